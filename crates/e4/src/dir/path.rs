//! Path lookup, with symbolic links followed.

use e4_format::{FileType, InodeNo};
use e4_sync::Arc;

use crate::error::{Error, Result};
use crate::inode::{Hold, Inode};
use crate::mount::Shared;

/// As many links as Linux follows.
const LINKS_MAX: u32 = 40;
/// Longest name.
const NAME_MAX: usize = 255;
/// Longest link target: what fits a page on every system.
const TARGET_MAX: u64 = 4096;

/// What is wanted of the last component.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    /// What it stands for, links followed.
    Follow,
    /// What it stands for, be it a link.
    Keep,
    /// Its name only, whatever it is: it is not looked up.
    Name,
}

impl Shared {
    /// The inode a path stands for.
    pub(crate) fn resolve(self: &Arc<Self>, path: &str, last: Last) -> Result<Hold> {
        match self.walk(path, last)? {
            (_, _, Some(inode)) => Ok(inode),
            _ => Err(Error::NotFound {
                path: path.to_owned(),
            }),
        }
    }

    /// Walks a path. Returns the directory of the last component, its name, and its inode if there is
    /// one.
    pub(crate) fn walk(
        self: &Arc<Self>,
        path: &str,
        last: Last,
    ) -> Result<(Hold, Vec<u8>, Option<Hold>)> {
        let root = self.hold(InodeNo::ROOT)?;
        let mut dir = root.clone();
        let mut links = 0;
        // Components still to be walked, in reverse.
        let mut todo: Vec<Vec<u8>> = components(path.as_bytes());
        loop {
            let Some(name) = todo.pop() else {
                return Ok((dir.clone(), b".".to_vec(), Some(dir)));
            };
            if dir.data().kind != Some(FileType::Directory) {
                return Err(Error::NotADirectory {
                    path: path.to_owned(),
                });
            }
            if last == Last::Name && todo.is_empty() {
                return Ok((dir, name, None));
            }
            if name.len() > NAME_MAX {
                return Err(Error::NameTooLong { len: name.len() });
            }
            let found = {
                let _names = dir.data().namespace.read();
                match self.dir_lookup(&dir, &name)? {
                    // Held before the name can go away.
                    Some(ino) => Some(self.hold(ino)?),
                    None => None,
                }
            };
            let Some(inode) = found else {
                if todo.is_empty() {
                    return Ok((dir, name, None));
                }
                return Err(Error::NotFound {
                    path: path.to_owned(),
                });
            };
            let is_link = inode.data().kind == Some(FileType::Symlink);
            if is_link && (!todo.is_empty() || last == Last::Follow) {
                links += 1;
                if links > LINKS_MAX {
                    return Err(Error::SymlinkLoop {
                        path: path.to_owned(),
                    });
                }
                let target = self.link_target(&inode)?;
                if target.first() == Some(&b'/') {
                    dir = root.clone();
                }
                todo.extend(components(&target));
                continue;
            }
            if todo.is_empty() {
                return Ok((dir, name, Some(inode)));
            }
            dir = inode;
        }
    }

    /// The target of a symbolic link.
    pub(crate) fn link_target(&self, inode: &Inode) -> Result<Vec<u8>> {
        let state = inode.data();
        let core = state.core.read();
        if let Some(target) = core.disk.fast_symlink() {
            return Ok(target.to_vec());
        }
        let size = core.disk.size;
        if size == 0 || size > TARGET_MAX {
            return Err(Error::BadInode {
                image: Arc::clone(&self.image),
                ino: state.ino.get(),
                what: "is a symbolic link of an impossible length",
            });
        }
        let pieces = state.map(&core, 0..1)?;
        let at = pieces
            .first()
            .and_then(crate::extent::Piece::physical)
            .ok_or_else(|| Error::BadInode {
                image: Arc::clone(&self.image),
                ino: state.ino.get(),
                what: "is a symbolic link without a block",
            })?;
        // Through the cache: a target is metadata, in a journal's block until it is written home.
        let block = crate::meta::read_plain(&self.meta, at)?;
        let data = block.data();
        let len = usize::try_from(size).unwrap_or(0);
        Ok(data.get(..len).unwrap_or(&data).to_vec())
    }
}

/// The components of a path in reverse order.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    let parts = path
        .split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".");
    let mut parts: Vec<Vec<u8>> = parts.map(<[u8]>::to_vec).collect();
    parts.reverse();
    parts
}
