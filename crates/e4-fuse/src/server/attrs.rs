//! Attributes: stat, setattr, access times, and the flags of `chattr`.

use std::time::{Duration, SystemTime};

use e4::{Node, SetAttr, Stat};
use e4_format::{FileType, InodeFlags, Timestamp};
use fuser::{Errno, FileAttr, INodeNo, Request, TimeOrNow};

use super::State;
use crate::attr::file_attr;
use crate::errno::{Answer, Fail};
use crate::options::Atime;
use crate::time::from_request;

/// What setattr carries.
pub(super) struct Change {
    pub(super) mode: Option<u32>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) size: Option<u64>,
    pub(super) atime: Option<TimeOrNow>,
    pub(super) mtime: Option<TimeOrNow>,
    pub(super) ctime: Option<SystemTime>,
}

/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS` (what lsattr and chattr use) and `FS_IOC_GETVERSION`.
const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
const GETVERSION: u32 = 0x8008_7601;
const GETVERSION_OLD: u32 = 0x8008_7602;

const DAY: Duration = Duration::from_secs(24 * 3600);

pub(super) fn now() -> Timestamp {
    let now = SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp {
        sec: now.as_secs().cast_signed(),
        nsec: now.subsec_nanos(),
    }
}

fn instant(time: TimeOrNow) -> Timestamp {
    match time {
        TimeOrNow::SpecificTime(t) => from_request(t),
        TimeOrNow::Now => now(),
    }
}

impl State {
    pub(super) fn getattr(&self, ino: INodeNo) -> Answer<FileAttr> {
        let known = self.nodes.get(ino)?;
        Ok(file_attr(&known.node.stat()?, &self.options))
    }

    pub(super) fn setattr(&self, ino: INodeNo, change: &Change) -> Answer<FileAttr> {
        let known = self.nodes.get(ino)?;
        let change = SetAttr {
            mode: change.mode.map(|m| (m & 0o7777) as u16),
            // Who sees one owner everywhere cannot mean to change it.
            uid: change.uid.filter(|_| self.options.uid.is_none()),
            gid: change.gid.filter(|_| self.options.gid.is_none()),
            size: change.size,
            atime: change.atime.map(instant),
            mtime: change.mtime.map(instant),
            ctime: change.ctime.map(from_request),
            ..SetAttr::default()
        };
        let stat = known.node.set_attr(&change)?;
        Ok(file_attr(&stat, &self.options))
    }

    /// Something was read: the access time follows, as the mount's options say.
    pub(super) fn accessed(&self, node: &Node) {
        if self.options.read_only || self.options.atime == Atime::Never {
            return;
        }
        let Ok(stat) = node.stat() else { return };
        let dir = stat.file_type == Some(FileType::Directory);
        if dir && self.options.no_dir_atime
            || stat.flags & InodeFlags::NOATIME.bits() != 0
            || stat.flags & InodeFlags::IMMUTABLE.bits() != 0
        {
            return;
        }
        let now = now();
        if self.options.atime == Atime::Relative && !stale(&stat, now) {
            return;
        }
        let change = SetAttr {
            atime: Some(now),
            ctime: Some(stat.ctime),
            ..SetAttr::default()
        };
        // Reading succeeds whether or not it can be noted.
        if let Err(error) = node.set_attr(&change) {
            tracing::debug!(%error, "access time");
        }
    }

    /// Flags and versions of inodes; everything else is not for a file.
    pub(super) fn ioctl(
        &self,
        req: &Request,
        ino: INodeNo,
        cmd: u32,
        input: &[u8],
    ) -> Answer<Vec<u8>> {
        let node = self.nodes.get(ino)?.node;
        match cmd {
            GETFLAGS => Ok(node.stat()?.flags.to_ne_bytes().to_vec()),
            GETVERSION | GETVERSION_OLD => Ok(node.generation().to_ne_bytes().to_vec()),
            SETFLAGS => {
                let word = input.get(..4).and_then(|b| b.try_into().ok());
                let bits = u32::from_ne_bytes(word.ok_or(Fail(Errno::EINVAL))?);
                let stat = node.stat()?;
                let guarded = InodeFlags::IMMUTABLE.bits() | InodeFlags::APPEND.bits();
                let owner = req.uid() == 0 || req.uid() == stat.uid;
                if !owner || (stat.flags ^ bits) & guarded != 0 && req.uid() != 0 {
                    return Err(Fail(Errno::EPERM));
                }
                node.set_attr(&SetAttr {
                    flags: Some(InodeFlags::from_bits(bits)),
                    ..SetAttr::default()
                })?;
                Ok(Vec::new())
            }
            _ => Err(Fail(Errno::ENOTTY)),
        }
    }
}

/// The rule of `relatime`.
fn stale(stat: &Stat, now: Timestamp) -> bool {
    stat.atime <= stat.mtime
        || stat.atime <= stat.ctime
        || now.sec - stat.atime.sec >= DAY.as_secs().cast_signed()
}
