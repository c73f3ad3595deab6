//! Attributes: stat, setattr, access times, and the flags of `chattr`.

use std::time::Duration;

use e4::{Node, SetAttr, Stat};
use e4_format::{FileType, InodeFlags, Timestamp};
use e4_fuse_transport::{self as transport, Attr, Caller, Errno, NodeId};

use super::State;
use crate::attr::{attr, instant, now};
use crate::errno::{Answer, Fail};
use crate::nodes::Known;
use crate::options::Atime;

/// `FS_IOC_GETFLAGS`, `FS_IOC_SETFLAGS` (what lsattr and chattr use) and `FS_IOC_GETVERSION`.
const GETFLAGS: u32 = 0x8008_6601;
const SETFLAGS: u32 = 0x4008_6602;
const GETVERSION: u32 = 0x8008_7601;
const GETVERSION_OLD: u32 = 0x8008_7602;

const DAY: Duration = Duration::from_secs(24 * 3600);

impl State {
    pub(super) fn getattr(&self, node: NodeId) -> Answer<Attr> {
        let known = self.nodes.get(node)?;
        Ok(attr(&known.node.stat()?, &self.options))
    }

    /// Attributes, and when it was born.
    pub(super) fn statx(&self, node: NodeId) -> Answer<(Attr, (i64, u32))> {
        let stat = self.nodes.get(node)?.node.stat()?;
        let born = (stat.crtime.sec, stat.crtime.nsec);
        Ok((attr(&stat, &self.options), born))
    }

    pub(super) fn setattr(&self, node: NodeId, change: &transport::SetAttr) -> Answer<Attr> {
        let known = self.nodes.get(node)?;
        if change.kill_set_id {
            self.drop_privileges(&known)?;
        }
        let change = SetAttr {
            mode: change.mode.map(|m| (m & 0o7777) as u16),
            // Who sees one owner everywhere cannot mean to change it.
            uid: change.uid.filter(|_| self.options.uid.is_none()),
            gid: change.gid.filter(|_| self.options.gid.is_none()),
            size: change.size,
            atime: change.atime.map(instant),
            mtime: change.mtime.map(instant),
            ctime: change.ctime.map(instant),
            ..SetAttr::default()
        };
        let stat = known.node.set_attr(&change)?;
        Ok(attr(&stat, &self.options))
    }

    /// Takes away what whoever changes a file may not keep in it: set-user-id, set-group-id (where the group may
    /// execute it), file capabilities.
    pub(super) fn drop_privileges(&self, known: &Known) -> Answer<()> {
        let stat = known.node.stat()?;
        if stat.file_type == Some(FileType::Directory) {
            return Ok(());
        }
        let mut kept = stat.mode & !0o4000;
        if stat.mode & 0o010 != 0 {
            kept &= !0o2000;
        }
        if kept != stat.mode {
            known.node.set_attr(&SetAttr {
                mode: Some(kept),
                ..SetAttr::default()
            })?;
        }
        self.drop_capability(known)
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
        by: Caller,
        node: NodeId,
        cmd: u32,
        input: &[u8],
    ) -> Answer<Vec<u8>> {
        let node = self.nodes.get(node)?.node;
        match cmd {
            GETFLAGS => Ok(node.stat()?.flags.to_ne_bytes().to_vec()),
            GETVERSION | GETVERSION_OLD => Ok(node.generation().to_ne_bytes().to_vec()),
            SETFLAGS => {
                let word = input.get(..4).and_then(|b| b.try_into().ok());
                let bits = u32::from_ne_bytes(word.ok_or(Fail(Errno::INVAL))?);
                let stat = node.stat()?;
                let guarded = InodeFlags::IMMUTABLE.bits() | InodeFlags::APPEND.bits();
                let owner = by.uid == 0 || by.uid == stat.uid;
                if !owner || (stat.flags ^ bits) & guarded != 0 && by.uid != 0 {
                    return Err(Fail(Errno::PERM));
                }
                node.set_attr(&SetAttr {
                    flags: Some(InodeFlags::from_bits(bits)),
                    ..SetAttr::default()
                })?;
                Ok(Vec::new())
            }
            _ => Err(Fail(Errno::NOTTY)),
        }
    }
}

/// The rule of `relatime`.
fn stale(stat: &Stat, now: Timestamp) -> bool {
    stat.atime <= stat.mtime
        || stat.atime <= stat.ctime
        || now.sec - stat.atime.sec >= DAY.as_secs().cast_signed()
}
