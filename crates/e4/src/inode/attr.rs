//! Changing what an inode says about its file: mode, owner, times, flags. Sizes go through truncate.

use e4_completion::Observer;
use e4_format::{FileType, InodeFlags, Timestamp};

use super::{CREDITS_PER_STORE, Inode, InodeState};
use crate::data::converter::Conv;
use crate::error::{Error, Result};
use crate::mount::Shared;
use crate::xattr::CREDITS_PER_XATTR;

/// What to change about an inode; `None` stays as it is. The time of the change itself (`ctime`) becomes now,
/// unless it is given.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[allow(missing_docs, reason = "the fields of stat(2)")]
pub struct SetAttr {
    /// Permission bits: 07777.
    pub mode: Option<u16>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// Bytes. Regular files only.
    pub size: Option<u64>,
    pub atime: Option<Timestamp>,
    pub mtime: Option<Timestamp>,
    pub ctime: Option<Timestamp>,
    pub crtime: Option<Timestamp>,
    /// The flags of `chattr`. Only those that people may change are looked at: S i a d A D T P.
    pub flags: Option<InodeFlags>,
}

/// The flags [`SetAttr::flags`] changes.
const CHANGEABLE: u32 = InodeFlags::SYNC.bits()
    | InodeFlags::IMMUTABLE.bits()
    | InodeFlags::APPEND.bits()
    | InodeFlags::NODUMP.bits()
    | InodeFlags::NOATIME.bits()
    | InodeFlags::DIRSYNC.bits()
    | InodeFlags::TOPDIR.bits()
    | InodeFlags::PROJINHERIT.bits();

impl SetAttr {
    /// True if something other than size and flags is to change.
    fn changes_fields(&self) -> bool {
        self.mode.is_some()
            || self.uid.is_some()
            || self.gid.is_some()
            || [self.atime, self.mtime, self.ctime, self.crtime]
                .iter()
                .any(Option::is_some)
    }
}

impl Shared {
    /// Changes an inode: the size first, by truncate; everything else in one handle.
    pub(crate) fn set_attr(
        &self,
        inode: &Inode,
        observer: &Observer<Conv>,
        change: &SetAttr,
    ) -> Result<()> {
        self.check_writable()?;
        let state = inode.data();
        {
            let core = state.core.read();
            if change.changes_fields() {
                self.check_free_to_change(state, &core)?;
            }
            if change.size.is_some() {
                self.check_free_to_change(state, &core)?;
                self.check_sizable(state)?;
            }
        }
        if let Some(bytes) = change.size {
            self.set_size(inode, observer, bytes)?;
        }
        if change.changes_fields() || change.flags.is_some() {
            self.set_fields(state, change)?;
        }
        Ok(())
    }

    fn check_sizable(&self, state: &InodeState) -> Result<()> {
        let path = || format!("inode {}", state.ino);
        match state.kind {
            Some(FileType::Regular) => Ok(()),
            Some(FileType::Directory) => Err(Error::IsADirectory { path: path() }),
            _ => Err(Error::NotARegularFile { path: path() }),
        }
    }

    fn set_fields(&self, state: &InodeState, change: &SetAttr) -> Result<()> {
        let _names = state.namespace.write();
        let mut handle = self.meta.start(CREDITS_PER_STORE + CREDITS_PER_XATTR)?;
        let mut core = state.core.write();
        state.take_written(&mut core);
        if let Some(mode) = change.mode {
            core.disk.mode = core.disk.mode & !0o7777 | mode & 0o7777;
            if state.kind != Some(FileType::Symlink) {
                self.chmod_acl(&mut handle, state, &mut core)?;
            }
        }
        let disk = &mut core.disk;
        if let Some(flags) = change.flags {
            let kept = disk.flags.bits() & !CHANGEABLE;
            disk.flags = InodeFlags::from_bits(kept | flags.bits() & CHANGEABLE);
        }
        disk.uid = change.uid.unwrap_or(disk.uid);
        disk.gid = change.gid.unwrap_or(disk.gid);
        disk.atime = change.atime.unwrap_or(disk.atime);
        disk.mtime = change.mtime.unwrap_or(disk.mtime);
        disk.crtime = change.crtime.unwrap_or(disk.crtime);
        disk.ctime = change.ctime.unwrap_or_else(|| self.now());
        self.store_core(&mut handle, state, &core, false)
    }

    /// Stores the time of the last write, if the disk inode does not say it yet.
    pub(crate) fn store_written(&self, state: &InodeState) -> Result<()> {
        if state.written().is_none() || self.is_read_only() {
            return Ok(());
        }
        let mut handle = self.meta.start(CREDITS_PER_STORE)?;
        let mut core = state.core.write();
        state.take_written(&mut core);
        self.store_core(&mut handle, state, &core, false)
    }
}
