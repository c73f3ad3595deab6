//! What is known of one name, apart from its contents.

use e4::{Node, Stat};
use e4_format::{FileType, InodeNo, Timestamp};

use crate::error::{ExportError, at, show};

/// An extended attribute: whole name (`user.x`) and value; ACLs in the form programs see.
pub type Xattr = (Vec<u8>, Vec<u8>);

/// What is known of one name.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of stat(2)")]
pub struct Facts {
    pub ino: InodeNo,
    pub file_type: FileType,
    /// Permission bits: 07777.
    pub mode: u16,
    pub links: u32,
    pub uid: u32,
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    pub mtime: Timestamp,
    /// Device of a device file: major and minor number.
    pub device: Option<(u32, u32)>,
}

impl Facts {
    pub(crate) fn of(path: &[u8], stat: &Stat) -> Result<Self, ExportError> {
        let file_type = stat.file_type.ok_or_else(|| ExportError::Kind {
            path: show(path),
            ino: stat.ino.get(),
        })?;
        let is_device = matches!(file_type, FileType::CharDevice | FileType::BlockDevice);
        Ok(Self {
            ino: stat.ino,
            file_type,
            mode: stat.mode & 0o7777,
            links: stat.links,
            uid: stat.uid,
            gid: stat.gid,
            size: stat.size,
            mtime: stat.mtime,
            device: is_device.then_some((
                stat.rdev >> 8 & 0xFFF,
                stat.rdev & 0xFF | stat.rdev >> 12 & !0xFF,
            )),
        })
    }

    /// It may have several names that are to stay one file.
    pub(crate) fn is_linked(&self) -> bool {
        self.links > 1 && self.file_type != FileType::Directory
    }
}

/// The extended attributes of an inode, in order of their names.
pub(crate) fn xattrs(path: &[u8], node: &Node) -> Result<Vec<Xattr>, ExportError> {
    let mut all = Vec::new();
    for name in node.list_xattr().map_err(at(path))? {
        if let Some(value) = node.get_xattr(&name).map_err(at(path))? {
            all.push((name, value));
        }
    }
    all.sort_unstable();
    Ok(all)
}

impl Facts {
    /// The name of its type in messages and JSON: `file`, `directory`, `symlink` and so on.
    #[must_use]
    pub fn type_name(&self) -> &'static str {
        match self.file_type {
            FileType::Regular => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::CharDevice => "character device",
            FileType::BlockDevice => "block device",
            FileType::Fifo => "fifo",
            FileType::Socket => "socket",
        }
    }
}
