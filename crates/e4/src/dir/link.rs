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

impl Shared {
    /// Gives `target` one more name.
    pub(crate) fn link(self: &Arc<Self>, dir: &Inode, name: &[u8], target: &Hold) -> Result<()> {
        self.check_writable()?;
        check_name(name)?;
        let state = dir.data();
        let _names = state.namespace.write();
        self.check_can_add(state, name)?;
        let file = target.data();
        self.check_linkable(file, &file.core.read())?;
        let Some(kind) = file.kind else {
            return Err(Error::Invalid {
                what: "an inode of no known type",
            });
        };
        let credits =
            { name_credits(state, &state.core.read())? } + CREDITS_PER_STORE + CREDITS_PER_ORPHAN;
        let mut handle = self.meta.start(credits)?;
        // The count first: another link may have come meanwhile, and taking it back needs no space.
        {
            let mut core = file.core.write();
            self.check_linkable(file, &core)?;
            core.disk.links_count += 1;
        }
        let named = {
            let mut core = state.core.write();
            self.insert_name(&mut handle, state, &mut core, name, file.ino, kind)
                .and_then(|()| self.touch_directory(&mut handle, state, &mut core))
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
        self.store_core(&mut handle, file, &core, false)
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
