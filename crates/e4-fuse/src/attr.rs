//! Attributes as the kernel wants them, inode numbers, and times.
//!
//! The kernel calls the root 1; ext4 calls it 2 and never shows its inode 1 (bad blocks) to anybody. What
//! `stat` shows as the root's number is ext4's.

use e4::Stat;
use e4_format::{FileType, InodeNo, Timestamp};
use e4_fuse_transport::{Attr, Errno, NodeId, SetTime};

use crate::errno::{Answer, Fail};
use crate::options::Options;

/// The inode a node id of the kernel means.
pub(crate) fn inode_of(node: NodeId) -> Answer<InodeNo> {
    if node == NodeId::ROOT {
        return Ok(InodeNo::ROOT);
    }
    u32::try_from(node.0)
        .ok()
        .and_then(InodeNo::new)
        .ok_or(Fail(Errno::STALE))
}

/// The node id the kernel gets for an inode.
pub(crate) fn node_id(ino: InodeNo) -> NodeId {
    if ino == InodeNo::ROOT {
        NodeId::ROOT
    } else {
        NodeId(u64::from(ino.get()))
    }
}

/// A file type as the upper bits of a mode. Damage shows as a regular file that cannot be opened.
pub(crate) fn type_bits(file_type: Option<FileType>) -> u32 {
    u32::from(file_type.unwrap_or(FileType::Regular).mode_bits())
}

/// Attributes of an inode.
pub(crate) fn attr(stat: &Stat, options: &Options) -> Attr {
    Attr {
        ino: u64::from(stat.ino.get()),
        size: stat.size,
        blocks: stat.sectors,
        atime: stat.atime.sec,
        mtime: stat.mtime.sec,
        ctime: stat.ctime.sec,
        atimensec: stat.atime.nsec,
        mtimensec: stat.mtime.nsec,
        ctimensec: stat.ctime.nsec,
        mode: type_bits(stat.file_type) | u32::from(stat.mode),
        nlink: stat.links,
        uid: options.uid.unwrap_or(stat.uid),
        gid: options.gid.unwrap_or(stat.gid),
        rdev: stat.rdev,
        blksize: stat.block_size,
        flags: 0,
    }
}

/// The present.
pub(crate) fn now() -> Timestamp {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        sec: now.as_secs().cast_signed(),
        nsec: now.subsec_nanos(),
    }
}

/// A time that is to be set.
pub(crate) fn instant(time: SetTime) -> Timestamp {
    match time {
        SetTime::Now => now(),
        SetTime::To(sec, nsec) => Timestamp { sec, nsec },
    }
}
