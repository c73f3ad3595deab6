//! Listings.
//!
//! The kernel continues where a reply ended, by the cookie of the last name it got; `e4`'s cookies stay
//! good whatever is created or removed meanwhile.

use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;

use e4::{Node, OpenFlags};
use e4_sync::atomic::{AtomicBool, Ordering};
use fuser::{FileHandle, Generation, INodeNo, ReplyDirectory, ReplyDirectoryPlus};

use super::{ATTR_TTL, State};
use crate::attr::{file_attr, kind};
use crate::errno::Answer;

/// An open directory.
pub(crate) struct OpenDir {
    node: Node,
    /// The access time has been seen to.
    noted: AtomicBool,
}

impl State {
    pub(super) fn opendir(&self, ino: INodeNo) -> Answer<FileHandle> {
        let node = self.nodes.get(ino)?.node;
        Ok(self.dirs.insert(OpenDir {
            node,
            noted: AtomicBool::new(false),
        }))
    }

    fn listing(&self, dir: &OpenDir) {
        if !dir.noted.swap(true, Ordering::Relaxed) {
            self.accessed(&dir.node);
        }
    }

    pub(super) fn readdir(
        &self,
        fh: FileHandle,
        cookie: u64,
        reply: &mut ReplyDirectory,
    ) -> Answer<()> {
        let dir = self.dirs.get(fh)?;
        self.listing(&dir);
        dir.node.read_dir_from(cookie, &mut |entry, next| {
            let ino = INodeNo(u64::from(entry.ino.get()));
            let name = std::ffi::OsStr::from_bytes(&entry.name);
            if reply.add(ino, next, kind(entry.file_type), name) {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        Ok(())
    }

    pub(super) fn readdirplus(
        &self,
        fh: FileHandle,
        cookie: u64,
        reply: &mut ReplyDirectoryPlus,
    ) -> Answer<()> {
        let dir = self.dirs.get(fh)?;
        self.listing(&dir);
        dir.node.read_dir_from(cookie, &mut |entry, next| {
            // A name removed meanwhile, or an inode that is damaged: the listing goes on, and whoever
            // asks for the name hears of it.
            let Ok(node) = self.fs.node(entry.ino) else {
                return ControlFlow::Continue(());
            };
            let Ok(stat) = node.stat() else {
                return ControlFlow::Continue(());
            };
            let attr = file_attr(&stat, &self.options);
            let generation = Generation(u64::from(stat.generation));
            let name = std::ffi::OsStr::from_bytes(&entry.name);
            if reply.add(attr.ino, next, name, &ATTR_TTL, &attr, generation) {
                return ControlFlow::Break(());
            }
            // The kernel counts a lookup for everything but these two.
            if entry.name != b"." && entry.name != b".." {
                self.nodes.handed_out(node);
            }
            ControlFlow::Continue(())
        })?;
        Ok(())
    }

    pub(super) fn fsyncdir(&self, fh: FileHandle) -> Answer<()> {
        let dir = self.dirs.get(fh)?;
        Ok(dir.node.open(OpenFlags::read())?.fsync()?)
    }
}
