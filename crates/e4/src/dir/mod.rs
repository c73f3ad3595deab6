//! Directories on the image: the pure operations of `e4-dir`, bound to metadata blocks and handles.
//!
//! A directory's blocks are metadata: they live in the metadata cache and change only inside handles. The
//! namespace lock of the directory (rank 30) is the caller's.

mod create;
mod link;
pub(crate) mod links;
pub(crate) mod path;
mod remove;
mod rename;
mod store;

pub(crate) use create::Birth;
pub(crate) use link::Over;
pub(crate) use rename::Entry;
pub(crate) use store::{DirEdit, DirView, dir_error};

use core::ops::ControlFlow;

use e4_dir::Cursor;
use e4_format::{FileType, InodeNo};
use e4_sync::Arc;

use crate::error::Result;
use crate::inode::{Hold, Inode};
use crate::mount::Shared;

/// Names read under one hold of the directory's lock.
const BATCH: usize = 512;

/// One name of a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntryInfo {
    /// The name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// Its inode.
    pub ino: InodeNo,
    /// Its type, as the entry or the inode says.
    pub file_type: Option<FileType>,
}

impl Shared {
    /// The inode a name stands for.
    pub(crate) fn dir_lookup(&self, dir: &Inode, name: &[u8]) -> Result<Option<InodeNo>> {
        let state = dir.data();
        let core = state.core.read();
        let view = DirView::new(state, &core)?;
        let found = e4_dir::lookup(&view, name).map_err(|e| dir_error(state, e))?;
        Ok(found.map(|target| target.inode))
    }

    /// What a name stands for, held before the name can go away.
    pub(crate) fn lookup_in(self: &Arc<Self>, dir: &Inode, name: &[u8]) -> Result<Option<Hold>> {
        let state = dir.data();
        let _names = state.namespace.read();
        self.check_dir(state, &state.core.read())?;
        match self.dir_lookup(dir, name)? {
            Some(ino) => self.hold(ino).map(Some),
            None => Ok(None),
        }
    }

    /// Shows names from a position on, `.` and `..` among them, each with the position behind it. Names that stay are
    /// shown exactly once, whatever else changes meanwhile.
    pub(crate) fn read_dir_from(
        &self,
        dir: &Inode,
        cookie: u64,
        each: &mut dyn FnMut(&DirEntryInfo, u64) -> ControlFlow<()>,
    ) -> Result<()> {
        let mut cursor = Cursor::from_bits(cookie);
        while cursor != Cursor::END {
            // Shown with no lock held: the visitor may do anything.
            let (batch, next) = self.dir_batch(dir, cursor)?;
            for (entry, cookie) in &batch {
                if each(entry, *cookie).is_break() {
                    return Ok(());
                }
            }
            cursor = next;
        }
        Ok(())
    }

    fn dir_batch(&self, dir: &Inode, from: Cursor) -> Result<(Vec<(DirEntryInfo, u64)>, Cursor)> {
        let state = dir.data();
        let _names = state.namespace.read();
        let core = state.core.read();
        self.check_dir(state, &core)?;
        let view = DirView::new(state, &core)?;
        let mut batch = Vec::new();
        let next = e4_dir::iterate(&view, from, &mut |entry| {
            let info = DirEntryInfo {
                name: entry.name.to_vec(),
                ino: entry.inode,
                file_type: entry.file_type,
            };
            batch.push((info, entry.next.to_bits()));
            if batch.len() < BATCH {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            }
        })
        .map_err(|e| dir_error(state, e))?;
        Ok((batch, next))
    }

    /// All names, `.` and `..` among them, in directory order.
    pub(crate) fn dir_entries(&self, dir: &Inode) -> Result<Vec<DirEntryInfo>> {
        let mut out = Vec::new();
        self.read_dir_from(dir, 0, &mut |entry, _| {
            out.push(entry.clone());
            ControlFlow::Continue(())
        })?;
        Ok(out)
    }
}
