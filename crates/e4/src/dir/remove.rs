//! Removing names: unlink and rmdir.
//!
//! The last link of an inode goes in the same handle that notes it as orphan; its blocks follow when its last user
//! goes ([`crate::inode::Hold`]).

use e4_format::{FileType, InodeNo};
use e4_journal::Handle;
use e4_planted::planted;
use e4_sync::Arc;

use super::links::{check_name, uncount_subdirectory};
use super::{DirEdit, DirView, dir_error};
use crate::error::{Error, Result};
use crate::inode::{CREDITS_PER_ORPHAN, CREDITS_PER_STORE, Core, Hold, Inode, InodeState};
use crate::mount::Shared;

/// The block with the name, both inodes, the orphan.
const CREDITS_PER_REMOVAL: u32 = 1 + 2 * CREDITS_PER_STORE + CREDITS_PER_ORPHAN;

impl Shared {
    /// Removes the name of something that is no directory.
    pub(crate) fn unlink(self: &Arc<Self>, dir: &Inode, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        check_name(name)?;
        self.free_left_over();
        let state = dir.data();
        // Outlives the lock: dropping it may free the inode.
        let victim: Hold;
        let _names = state.namespace.write();
        victim = self.named(dir, name)?;
        self.check_removable(state, &victim)?;
        if victim.data().kind == Some(FileType::Directory) {
            return Err(Error::IsADirectory { path: text(name) });
        }
        let mut handle = self.meta.start(CREDITS_PER_REMOVAL)?;
        {
            let mut core = state.core.write();
            self.remove_name(&mut handle, state, &mut core, name)?;
            self.touch_directory(&mut handle, state, &mut core)?;
        }
        self.drop_link(&mut handle, &victim)
    }

    /// Removes an empty directory.
    pub(crate) fn rmdir(self: &Arc<Self>, dir: &Inode, name: &[u8]) -> Result<()> {
        self.check_writable()?;
        check_name(name)?;
        self.free_left_over();
        let state = dir.data();
        loop {
            let Some(victim) = self.lookup_in(dir, name)? else {
                return Err(not_found(name));
            };
            if victim.data().kind != Some(FileType::Directory) {
                self.check_removable(state, &victim)?;
                return Err(Error::NotADirectory { path: text(name) });
            }
            let _names = self.lock_names(&[dir, &victim])?;
            if !self.still_names(dir, name, &victim)? {
                continue;
            }
            self.check_removable(state, &victim)?;
            self.check_empty(&victim, name)?;
            let mut handle = self.meta.start(CREDITS_PER_REMOVAL)?;
            {
                let mut core = state.core.write();
                self.remove_name(&mut handle, state, &mut core, name)?;
                uncount_subdirectory(&mut core);
                self.touch_directory(&mut handle, state, &mut core)?;
            }
            return self.drop_link(&mut handle, &victim);
        }
    }

    /// What a name stands for; the caller holds the directory's lock.
    pub(super) fn named(self: &Arc<Self>, dir: &Inode, name: &[u8]) -> Result<Hold> {
        self.check_dir(dir.data(), &dir.data().core.read())?;
        match self.dir_lookup(dir, name)? {
            Some(ino) => self.hold(ino),
            None => Err(not_found(name)),
        }
    }

    /// True if the name stands for this inode; the caller holds the directory's lock.
    pub(super) fn still_names(&self, dir: &Inode, name: &[u8], inode: &Inode) -> Result<bool> {
        self.check_dir(dir.data(), &dir.data().core.read())?;
        Ok(self.dir_lookup(dir, name)? == Some(inode.data().ino))
    }

    /// Neither the directory nor the inode forbids that the name goes.
    pub(super) fn check_removable(&self, dir: &InodeState, victim: &Inode) -> Result<()> {
        self.check_free_to_change(dir, &dir.core.read())?;
        let victim = victim.data();
        self.check_free_to_change(victim, &victim.core.read())
    }

    pub(super) fn check_empty(&self, dir: &Inode, name: &[u8]) -> Result<()> {
        let state = dir.data();
        let core = state.core.read();
        let view = DirView::new(state, &core)?;
        if e4_dir::is_empty(&view).map_err(|e| dir_error(state, e))? {
            Ok(())
        } else {
            Err(Error::NotEmpty { path: text(name) })
        }
    }

    /// Takes a name out of its directory's blocks.
    pub(super) fn remove_name(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
        name: &[u8],
    ) -> Result<()> {
        let mut edit = DirEdit::new(state, core, handle)?;
        match e4_dir::remove(&mut edit, name).map_err(|e| dir_error(state, e))? {
            Some(_) => Ok(()),
            None => Err(not_found(name)),
        }
    }

    /// Lets a name stand for another inode.
    pub(super) fn replace_name(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
        name: &[u8],
        (ino, kind): (InodeNo, FileType),
    ) -> Result<()> {
        let mut edit = DirEdit::new(state, core, handle)?;
        match e4_dir::replace(&mut edit, name, ino, kind).map_err(|e| dir_error(state, e))? {
            Some(_) => Ok(()),
            None => Err(not_found(name)),
        }
    }

    /// An inode has lost a name: one link less, a directory all of them. Without links it is an orphan from here on.
    pub(super) fn drop_link(&self, handle: &mut Handle, victim: &Inode) -> Result<()> {
        let state = victim.data();
        let mut core = state.core.write();
        core.disk.links_count = match state.kind {
            Some(FileType::Directory) => 0,
            _ if planted!(LinksNotCounted) && core.disk.links_count > 1 => core.disk.links_count,
            _ => core.disk.links_count.saturating_sub(1),
        };
        core.disk.ctime = self.now();
        if core.disk.links_count == 0 {
            self.orphan_add(handle, state.ino, &mut core)?;
            state.doom();
        }
        self.store_core(handle, state, &core, false)
    }
}

pub(super) fn text(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

pub(super) fn not_found(name: &[u8]) -> Error {
    Error::NotFound { path: text(name) }
}
