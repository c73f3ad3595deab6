//! More names for an inode, and inodes without one.

use e4_format::FileType;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use super::create::{birth_credits, name_credits};
use super::links::{LINK_MAX, check_name};
use super::remove::text;
use super::{Birth, DirView, dir_error};
use crate::error::{Error, Result};
use crate::inode::{CREDITS_PER_ORPHAN, CREDITS_PER_STORE, Core, Hold, Inode, InodeState};
use crate::mount::Shared;

/// What the name of a new link may stand for before.
#[derive(Clone, Copy)]
pub(crate) enum Over<'a> {
    /// Nothing.
    Nothing,
    /// Anything but a directory.
    Anything,
    /// This inode.
    Only(&'a Inode),
}

impl Shared {
    /// Gives `target` one more name; in the same handle, what the name stood for loses it.
    pub(crate) fn link(
        self: &Arc<Self>,
        dir: &Inode,
        name: &[u8],
        target: &Hold,
        over: Over<'_>,
    ) -> Result<()> {
        self.check_writable()?;
        check_name(name)?;
        self.free_left_over();
        let state = dir.data();
        // Outlives the lock: dropping it may free the inode.
        let old: Option<Hold>;
        let _names = state.namespace.write();
        old = match over {
            Over::Nothing => {
                self.check_can_add(state, name)?;
                None
            }
            Over::Anything | Over::Only(_) => self.replaceable(dir, name, over)?,
        };
        if old.as_ref().is_some_and(|old| Arc::ptr_eq(old, target)) {
            return Ok(());
        }
        let file = target.data();
        self.check_linkable(file, &file.core.read())?;
        let Some(kind) = file.kind else {
            return Err(Error::Invalid {
                what: "an inode of no known type",
            });
        };
        if old.is_some() {
            self.publish_completed(target)?;
        }
        let credits = { name_credits(state, &state.core.read())? }
            + 2 * (CREDITS_PER_STORE + CREDITS_PER_ORPHAN);
        let mut handle = self.meta.start(credits)?;
        // The count first: another link may have come meanwhile, and taking it back needs no space.
        {
            let mut core = file.core.write();
            self.check_linkable(file, &core)?;
            core.disk.links_count += 1;
        }
        let named = {
            let mut core = state.core.write();
            let put = match &old {
                None => self.insert_name(&mut handle, state, &mut core, name, file.ino, kind),
                Some(_) => self.replace_name(&mut handle, state, &mut core, name, (file.ino, kind)),
            };
            put.and_then(|()| self.touch_directory(&mut handle, state, &mut core))
        };
        let mut core = file.core.write();
        if let Err(error) = named {
            core.disk.links_count = core.disk.links_count.saturating_sub(1);
            if core.disk.links_count == 0 {
                // Its other name went meanwhile.
                self.orphan_add(&mut handle, file.ino, &mut core)?;
                file.doom();
            }
            self.store_core(&mut handle, file, &core, false)?;
            return Err(error);
        }
        self.orphan_remove(&mut handle, file.ino, &mut core)?;
        file.undoom();
        core.disk.ctime = self.now();
        self.store_core(&mut handle, file, &core, false)?;
        drop(core);
        match &old {
            Some(old) => self.drop_link(&mut handle, old),
            None => Ok(()),
        }
    }

    /// What a name stands for and will lose it; the caller holds the directory's lock.
    fn replaceable(
        self: &Arc<Self>,
        dir: &Inode,
        name: &[u8],
        over: Over<'_>,
    ) -> Result<Option<Hold>> {
        let state = dir.data();
        let found = { self.check_dir(state, &state.core.read()) }
            .and_then(|()| self.dir_lookup(dir, name))?;
        let old = found.map(|ino| self.hold(ino)).transpose()?;
        if let Over::Only(expected) = over
            && !old.as_ref().is_some_and(|old| Arc::ptr_eq(old, expected))
        {
            return Err(Error::ChangedMeanwhile { path: text(name) });
        }
        match &old {
            None => self.check_not_immutable(state, &state.core.read())?,
            Some(old) if old.data().kind == Some(FileType::Directory) => {
                return Err(Error::IsADirectory { path: text(name) });
            }
            Some(old) => self.check_removable(state, old)?,
        }
        Ok(old)
    }

    fn check_linkable(&self, file: &InodeState, core: &Core) -> Result<()> {
        self.check_free_to_change(file, core)?;
        if file.kind == Some(FileType::Directory) {
            return Err(Error::NotPermitted {
                image: Arc::clone(&self.image),
                ino: file.ino,
                flag: "a directory",
            });
        }
        let links = core.disk.links_count;
        if links == 0 && !file.linkable.load(Ordering::Acquire) {
            return Err(Error::NotFound {
                path: format!("deleted file, inode {}", file.ino),
            });
        }
        if links >= LINK_MAX {
            return Err(self.too_many_links(file, links));
        }
        Ok(())
    }

    /// The directory is there, may be changed, and has no such name.
    pub(super) fn check_can_add(&self, state: &InodeState, name: &[u8]) -> Result<()> {
        let core = state.core.read();
        self.check_dir(state, &core)?;
        self.check_not_immutable(state, &core)?;
        let view = DirView::new(state, &core)?;
        match e4_dir::lookup(&view, name).map_err(|e| dir_error(state, e))? {
            Some(_) => Err(Error::Exists { path: text(name) }),
            None => Ok(()),
        }
    }

    /// An inode without a name, which lives until its last user goes; [`Shared::link`] can give it one.
    pub(crate) fn tmpfile(self: &Arc<Self>, dir: &Inode, birth: Birth<'_>) -> Result<Hold> {
        self.check_writable()?;
        let state = dir.data();
        let _names = state.namespace.read();
        self.check_dir(state, &state.core.read())?;
        let credits = birth_credits(birth) + CREDITS_PER_ORPHAN;
        let mut handle = self.meta.start(credits)?;
        let mut newborn = self.make_inode(&mut handle, state, birth)?;
        newborn.disk.links_count = 0;
        let mut core = Core::new(newborn.disk.clone());
        if let Err(error) = self.orphan_add(&mut handle, newborn.ino, &mut core) {
            self.unmake(&mut handle, &newborn)?;
            return Err(error);
        }
        self.store_newborn(&mut handle, &newborn)?;
        drop(handle);
        // Nobody else can have loaded it: no name, and no link that a number would be believed for.
        let inode = self.orphan_inode(newborn.ino)?;
        let file = inode.data();
        file.core.write().orphan = core.orphan;
        file.linkable.store(true, Ordering::Release);
        file.doom();
        Hold::new(inode).ok_or_else(|| Error::Stale {
            image: Arc::clone(&self.image),
            ino: newborn.ino.get(),
        })
    }
}
