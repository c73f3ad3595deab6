//! Creating files and directories: inode, its table slot and its name, in one handle.

use std::ops::Range;

use e4_dir::credits_for_insert;
use e4_extent::ROOT_LEN;
use e4_format::extent::{capacity_root, write_leaf};
use e4_format::{FileType, FsBlock, Inode as DiskInode, InodeFlags, InodeNo};
use e4_journal::Handle;
use e4_sync::Arc;

use super::{DirEdit, DirView, dir_error};
use crate::alloc::{CREDITS_PER_ALLOC, CREDITS_PER_INODE};
use crate::error::{Error, Result};
use crate::extent::shape;
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;

/// Most links a directory may have before `dir_nlink` stops counting.
const LINK_MAX: u16 = 65000;

impl Shared {
    /// Creates `name` in `dir`. The name must not exist.
    pub(crate) fn create_in(
        self: &Arc<Self>,
        dir: &Inode,
        name: &[u8],
        kind: FileType,
        mode: u16,
    ) -> Result<Inode> {
        self.check_writable()?;
        let state = dir.data();
        let _names = state.namespace.write();
        loop {
            let credits = create_credits(state, &state.core.read())?;
            let mut handle = self.meta.start(credits)?;
            let mut core = state.core.write();
            if create_credits(state, &core)? > handle.credits_left() {
                continue;
            }
            let ino = self.alloc.alloc_inode(&mut handle, state.ino, kind)?;
            let named = self.name_new_inode(&mut handle, state, &mut core, (name, ino, kind, mode));
            if let Err(error) = named {
                self.alloc.free_inode(&mut handle, ino, Some(kind))?;
                return Err(error);
            }
            drop(core);
            drop(handle);
            return self.inode(ino);
        }
    }

    fn name_new_inode(
        self: &Arc<Self>,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
        (name, ino, kind, mode): (&[u8], InodeNo, FileType, u16),
    ) -> Result<()> {
        let mut edit = DirEdit::new(state, core, handle)?;
        match e4_dir::insert(&mut edit, name, ino, kind) {
            Ok(()) => {}
            Err(super::store::DirStoreError::Dir(e4_dir::DirError::Exists { .. })) => {
                return Err(Error::Exists {
                    path: String::from_utf8_lossy(name).into_owned(),
                });
            }
            Err(other) => return Err(dir_error(state, other)),
        }
        let mut disk = self.new_inode(kind, mode)?;
        if kind == FileType::Directory {
            self.init_directory(handle, ino, state.ino, &mut disk)?;
            if core.disk.links_count != 1 {
                core.disk.links_count = match core.disk.links_count.saturating_add(1) {
                    n if n > LINK_MAX => 1,
                    n => n,
                };
            }
        }
        self.store_new_inode(handle, ino, &disk)?;
        let now = self.now();
        core.disk.mtime = now;
        core.disk.ctime = now;
        self.store_core(handle, state, core, true)
    }

    /// A fresh inode with an empty extent tree.
    fn new_inode(&self, kind: FileType, mode: u16) -> Result<DiskInode> {
        let now = self.now();
        let mut disk = DiskInode::empty(&self.sb);
        disk.mode = kind.mode_bits() | (mode & 0o7777);
        disk.links_count = if kind == FileType::Directory { 2 } else { 1 };
        disk.flags.insert(InodeFlags::EXTENTS);
        disk.generation = self.new_generation();
        (disk.atime, disk.mtime, disk.ctime, disk.crtime) = (now, now, now, now);
        let mut root = [0; ROOT_LEN];
        write_leaf(&mut root, &[], capacity_root(), 0)
            .map_err(|source| crate::meta::format_error(&self.image, source))?;
        disk.i_block = root;
        Ok(disk)
    }

    /// Gives a new directory its first block. The directory is not loaded yet, so a state of its own
    /// carries the edit.
    fn init_directory(
        self: &Arc<Self>,
        handle: &mut Handle,
        ino: InodeNo,
        parent: InodeNo,
        disk: &mut DiskInode,
    ) -> Result<()> {
        let state = InodeState::new(Arc::clone(self), ino, disk.clone());
        let mut core = Core::new(disk.clone());
        let mut edit = DirEdit::new(&state, &mut core, handle)?;
        e4_dir::init(&mut edit, parent, ino).map_err(|e| dir_error(&state, e))?;
        *disk = core.disk;
        Ok(())
    }
}

impl InodeState {
    /// Allocates blocks of a directory, written (they are metadata, filled in the same transaction).
    pub(crate) fn insert_dir_run(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        blocks: Range<u32>,
    ) -> Result<u32> {
        let goal = self.shared.alloc.goal_of_inode(self.ino);
        let want = blocks.end - blocks.start;
        let run = self.shared.alloc.alloc(
            handle,
            FsBlock::new(goal.get()),
            want,
            crate::alloc::Account::Free,
        )?;
        let extent = e4_format::Extent {
            block: e4_format::FileBlock::new(blocks.start),
            len: run.len,
            start: run.start,
            state: e4_format::ExtentState::Written,
        };
        if let Err(error) = self.insert_extent(core, handle, &extent) {
            self.shared
                .alloc
                .free(handle, run.start, u64::from(run.len))?;
            return Err(error);
        }
        let per_block = u64::from(self.shared.sb.block_size().bytes() / 512);
        core.disk.sectors += u64::from(run.len) * per_block;
        Ok(blocks.start + run.len)
    }
}

/// Credits of a creation: the name, the blocks it may add to the directory, the inode, and the first
/// block of a new directory.
fn create_credits(state: &InodeState, core: &Core) -> Result<u32> {
    let view = DirView::new(state, core)?;
    let cost = credits_for_insert(&view);
    let per_append =
        e4_extent::credits_for_insert(shape(state, core)?).blocks(u32::MAX) + CREDITS_PER_ALLOC + 1;
    Ok(cost.written
        + cost.appended * per_append
        + CREDITS_PER_INODE * 2
        + CREDITS_PER_STORE * 2
        + 1
        + CREDITS_PER_ALLOC)
}
