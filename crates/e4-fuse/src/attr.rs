//! Attributes as the kernel wants them, and inode numbers.
//!
//! The kernel calls the root 1; ext4 calls it 2 and never shows its inode 1 (bad blocks) to anybody. What
//! `stat` shows as the root's number is ext4's.

use e4::Stat;
use e4_format::{FileType, InodeNo};
use fuser::{FileAttr, INodeNo};

use crate::errno::{Answer, Fail};
use crate::options::Options;
use crate::time::to_reply;

/// The inode a node id of the kernel means.
pub(crate) fn inode_of(node: INodeNo) -> Answer<InodeNo> {
    if node == INodeNo::ROOT {
        return Ok(InodeNo::ROOT);
    }
    u32::try_from(node.0)
        .ok()
        .and_then(InodeNo::new)
        .ok_or(Fail(fuser::Errno::ESTALE))
}

/// The node id the kernel gets for an inode.
pub(crate) fn node_id(ino: InodeNo) -> INodeNo {
    if ino == InodeNo::ROOT {
        INodeNo::ROOT
    } else {
        INodeNo(u64::from(ino.get()))
    }
}

/// A file type in fuser's words. Damage shows as a regular file that cannot be opened.
pub(crate) fn kind(file_type: Option<FileType>) -> fuser::FileType {
    match file_type {
        Some(FileType::Directory) => fuser::FileType::Directory,
        Some(FileType::Symlink) => fuser::FileType::Symlink,
        Some(FileType::Fifo) => fuser::FileType::NamedPipe,
        Some(FileType::Socket) => fuser::FileType::Socket,
        Some(FileType::CharDevice) => fuser::FileType::CharDevice,
        Some(FileType::BlockDevice) => fuser::FileType::BlockDevice,
        Some(FileType::Regular) | None => fuser::FileType::RegularFile,
    }
}

/// Attributes of an inode; `ino` is what the kernel shall call it.
pub(crate) fn file_attr(stat: &Stat, options: &Options) -> FileAttr {
    FileAttr {
        ino: INodeNo(u64::from(stat.ino.get())),
        size: stat.size,
        blocks: stat.sectors,
        atime: to_reply(stat.atime),
        mtime: to_reply(stat.mtime),
        ctime: to_reply(stat.ctime),
        crtime: to_reply(stat.crtime),
        kind: kind(stat.file_type),
        perm: stat.mode,
        nlink: stat.links,
        uid: options.uid.unwrap_or(stat.uid),
        gid: options.gid.unwrap_or(stat.gid),
        rdev: stat.rdev,
        blksize: stat.block_size,
        flags: 0,
    }
}
