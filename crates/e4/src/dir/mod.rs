//! Directories on the image: the pure operations of `e4-dir`, bound to metadata blocks and handles.
//!
//! A directory's blocks are metadata: they live in the metadata cache and change only inside handles. The
//! namespace lock of the directory (rank 30) is the caller's.

mod create;
pub(crate) mod path;
mod store;

pub(crate) use store::{DirEdit, DirView, dir_error};

use core::ops::ControlFlow;

use e4_dir::Cursor;
use e4_format::{FileType, InodeNo};

use crate::error::{Error, Result};
use crate::inode::Inode;
use crate::mount::Shared;

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

    /// All names, `.` and `..` among them, in directory order.
    pub(crate) fn dir_entries(&self, dir: &Inode) -> Result<Vec<DirEntryInfo>> {
        let state = dir.data();
        if state.kind != Some(FileType::Directory) {
            return Err(Error::NotADirectory {
                path: format!("inode {}", state.ino),
            });
        }
        let _names = state.namespace.read();
        let core = state.core.read();
        let view = DirView::new(state, &core)?;
        let mut out = Vec::new();
        e4_dir::iterate(&view, Cursor::START, &mut |entry| {
            out.push(DirEntryInfo {
                name: entry.name.to_vec(),
                ino: entry.inode,
                file_type: entry.file_type,
            });
            ControlFlow::Continue(())
        })
        .map_err(|e| dir_error(state, e))?;
        Ok(out)
    }
}
