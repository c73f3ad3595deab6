//! Truncate, and the deletion of a file's contents.
//!
//! Order (I-14, I-16): shut out new overlapping I/O and wait for what is submitted (the drain, which also
//! flushes what is completed and hands over its errors); publish the new size; free blocks, from the end,
//! in as many transactions as it takes, with the inode noted as orphan so that a crash in the middle is
//! finished at the next mount. Published ranges of blocks that go are dropped in the same section of the tree
//! lock that unmaps them (rule 5).

use e4_completion::{Drain, Observer};
use e4_extent::{FileRange, RemoveLimits, credits_for_remove};
use e4_format::{ByteOffset, FileBlock, FileType, FsBlock, MapKind};
use e4_journal::Handle;
use e4_planted::planted;
use e4_sync::atomic::Ordering;

use super::converter::Conv;
use crate::alloc::{CREDITS_PER_ALLOC, CREDITS_PER_INODE};
use crate::cache::Quiet;
use crate::error::Result;
use crate::extent::{TreeEdit, TreeView, shape, tree_error};
use crate::indirect::{Unmapped, remove_credits};
use crate::inode::{CREDITS_PER_ORPHAN, CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;
use crate::xattr::CREDITS_PER_XATTR;

/// What becomes of the inode when its blocks are gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum End {
    /// It stays.
    Keep,
    /// It is freed: nobody links to it.
    Delete,
}

/// Leaves and extents removed per handle.
const LEAVES: u32 = 4;
const EXTENTS: u32 = 64;
const EXTRAS: u32 = 4;
/// Blocks of metadata removed per handle.
const METADATA_BLOCKS: u32 = 256;

impl Shared {
    /// Sets the size of a regular file.
    pub(crate) fn set_size(
        &self,
        inode: &Inode,
        observer: &Observer<Conv>,
        bytes: u64,
    ) -> Result<()> {
        let target = self.target(ByteOffset::new(0), bytes)?;
        let state = inode.data();
        state.check_reach(&state.core.read(), bytes)?;
        let _turn = state.io.lock();
        let pages = self.still_pages(inode, 0..0);
        let bs = u64::from(self.sb.block_size().bytes());
        let mut from = target.end.min(inode.data().size()) / bs * bs;
        if planted!(TruncateWithoutDrain) {
            from = u64::MAX;
        }
        let guard =
            self.engine
                .drain(inode, from..u64::MAX, Drain::Exclusive, observer, &|| {
                    self.drive()
                })?;
        let done = self.set_length(inode, bytes, &pages);
        drop(guard);
        drop(pages);
        done
    }

    /// Sets the size of a file whose I/O from the smaller of the two sizes on has been drained and is held off.
    fn set_length(&self, inode: &Inode, bytes: u64, pages: &Quiet<'_>) -> Result<()> {
        let state = inode.data();
        let old = state.size();
        self.zero_tail(inode, bytes.min(old))?;
        if bytes < old {
            pages.cut(bytes);
        }
        if bytes == 0 && old > 0 {
            self.note_emptied(inode);
        }
        if bytes > old {
            let mut handle = self.meta.start(CREDITS_PER_STORE)?;
            let mut core = state.core.write();
            let now = self.now();
            core.disk.size = bytes;
            state.take_written(&mut core);
            core.disk.mtime = now;
            core.disk.ctime = now;
            state.set_size(bytes);
            return self.store_core(&mut handle, state, &core, true);
        }
        self.shrink(inode, bytes, End::Keep)
    }

    /// Zeroes the part of the last block behind `bytes`, if that block is written: it must not come back when
    /// the file grows.
    pub(crate) fn zero_tail(&self, inode: &Inode, bytes: u64) -> Result<()> {
        let bs = self.sb.block_size();
        let within = bs.within(ByteOffset::new(bytes)) as usize;
        if within == 0 || planted!(TruncateKeepsTail) {
            return Ok(());
        }
        let Some(block) = bs.file_block_of(ByteOffset::new(bytes)) else {
            return Ok(());
        };
        self.zero_part(inode, block.get(), within..bs.len())
    }

    /// Zeroes part of a block in place if the block is written. The caller holds everybody else off.
    pub(crate) fn zero_part(
        &self,
        inode: &Inode,
        block: u32,
        part: std::ops::Range<usize>,
    ) -> Result<()> {
        let state = inode.data();
        let pieces = state.map(&state.core.read(), block..block + 1)?;
        if let Some(crate::extent::Piece {
            to: crate::extent::Mapped::Written(at),
            ..
        }) = pieces.first()
        {
            let at = self.byte_of(*at)?;
            let mut bytes = vec![0; self.sb.block_size().len()];
            self.device.read_at(at, &mut bytes)?;
            if let Some(slot) = bytes.get_mut(part) {
                slot.fill(0);
            }
            self.device.write_at(at, &bytes)?;
        }
        Ok(())
    }

    /// Frees everything behind `bytes`.
    pub(crate) fn shrink(&self, inode: &Inode, bytes: u64, end: End) -> Result<()> {
        let state = inode.data();
        let first = u32::try_from(self.sb.block_size().blocks_for(bytes)).unwrap_or(u32::MAX - 1);
        let mut range = FileRange::new(FileBlock::new(first), FileRange::ALL.end);
        let mapped = { state.is_mapped(&state.core.read()) };
        let mut begun = false;
        loop {
            let credits = shrink_credits(state, &state.core.read())?;
            let mut handle = self.meta.start(credits)?;
            let mut core = state.core.write();
            if !begun {
                begun = true;
                state.begin_shrink(&mut core, bytes, self.now());
            }
            let left = if mapped {
                state.remove(&mut core, &mut handle, range)?
            } else {
                None
            };
            match left {
                Some(rest) => {
                    range = rest;
                    self.orphan_add(&mut handle, state.ino, &mut core)?;
                    self.store_core(&mut handle, state, &core, true)?;
                }
                None => {
                    // A file without a name stays an orphan until its last user goes.
                    let over = end == End::Delete || core.disk.links_count > 0;
                    if over && !planted!(OrphanNotRemoved) {
                        self.orphan_remove(&mut handle, state.ino, &mut core)?;
                    }
                    match end {
                        End::Delete => self.delete_inode(&mut handle, state, &mut core)?,
                        End::Keep => self.store_core(&mut handle, state, &core, true)?,
                    }
                    break;
                }
            }
        }
        state.settle_charge(&state.core.read())
    }

    /// The number goes last: from then on the slot belongs to whoever is given it.
    fn delete_inode(&self, handle: &mut Handle, state: &InodeState, core: &mut Core) -> Result<()> {
        core.disk.dtime = u32::try_from(self.now().sec.max(1)).unwrap_or(u32::MAX);
        core.disk.links_count = 0;
        core.disk.mode = 0;
        self.drop_xattrs(handle, state.ino, core)?;
        self.store_core(handle, state, core, true)?;
        if planted!(LeakInode) {
            return Ok(());
        }
        self.alloc.free_inode(handle, state.ino, state.kind)
    }
}

fn shrink_credits(state: &InodeState, core: &Core) -> Result<u32> {
    let meta = &state.shared.meta;
    let revokes = match state.has_metadata_blocks() {
        true => METADATA_BLOCKS.div_ceil(meta.limits().revokes_per_credit.max(1)) + 1,
        false => 0,
    };
    let fixed = CREDITS_PER_STORE
        + CREDITS_PER_ORPHAN
        + CREDITS_PER_INODE
        + 2
        + revokes
        + CREDITS_PER_XATTR;
    match core.disk.map_kind() {
        MapKind::None | MapKind::Inline => return Ok(fixed),
        MapKind::Indirect => return Ok(remove_credits(state.shared.sb.groups()) + fixed),
        MapKind::Extents => {}
    }
    let need = credits_for_remove(shape(state, core)?, LEAVES, EXTRAS);
    // Each extent removed lies in one group, or in two neighbouring ones.
    let groups = state.shared.sb.groups().min(EXTENTS * 2);
    Ok(need.blocks(u32::MAX) + groups * CREDITS_PER_ALLOC + fixed)
}

impl InodeState {
    /// True if it has blocks, or could have.
    fn is_mapped(&self, core: &Core) -> bool {
        matches!(core.disk.map_kind(), MapKind::Extents | MapKind::Indirect)
    }

    /// True if its blocks hold metadata: entries, or a link's target. Each is revoked when it goes.
    fn has_metadata_blocks(&self) -> bool {
        matches!(self.kind, Some(FileType::Directory | FileType::Symlink))
    }

    /// The part of `range` to remove in one handle, and whether its blocks are to be revoked: of metadata, no more
    /// blocks than the credits allow. Behind its size no directory ever had one.
    fn step_of(&self, core: &Core, range: FileRange) -> (FileRange, bool) {
        if !self.has_metadata_blocks() {
            return (range, false);
        }
        let blocks = self.shared.sb.block_size().blocks_for(core.disk.size);
        let used = u32::try_from(blocks)
            .unwrap_or(u32::MAX)
            .max(range.start.get());
        if range.end.get() > used {
            return (FileRange::new(FileBlock::new(used), range.end), false);
        }
        let start = range.end.get().saturating_sub(METADATA_BLOCKS);
        let start = FileBlock::new(start.max(range.start.get()));
        (FileRange::new(start, range.end), true)
    }

    fn begin_shrink(&self, core: &mut Core, bytes: u64, now: e4_format::Timestamp) {
        self.take_written(core);
        core.disk.mtime = now;
        core.disk.ctime = now;
        if !self.has_metadata_blocks() {
            core.disk.size = bytes;
            self.set_size(bytes);
        }
        // What was published about the end of file belongs to the file as it was (rule 6).
        for end in self.pending_end.iter().filter(|_| !planted!(SizeComesBack)) {
            end.store(0, Ordering::Release);
        }
    }

    /// Unmaps a bounded part of `range`, from its end, and frees the blocks. Returns what is left.
    pub(crate) fn remove(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        range: FileRange,
    ) -> Result<Option<FileRange>> {
        let (step, revoke) = self.step_of(core, range);
        let Unmapped { runs, from } = match core.disk.map_kind() {
            MapKind::Indirect => self.remove_mapped(core, handle, step)?,
            _ => self.remove_extents(core, handle, step)?,
        };
        let shared = &self.shared;
        if !planted!(ForgetOverlayClear) {
            self.overlay.clear(from.get()..range.end.get());
        }
        let per_block = u64::from(shared.sb.block_size().bytes() / 512);
        for (start, len) in runs {
            if revoke {
                for n in 0..u64::from(len) {
                    handle.forget(FsBlock::new(start.get() + n))?;
                }
            }
            if !planted!(LeakBlocks) {
                shared.alloc.free(handle, start, u64::from(len))?;
            }
            let sectors = u64::from(len) * per_block;
            core.disk.sectors = core.disk.sectors.saturating_sub(sectors);
        }
        Ok((from > range.start).then(|| FileRange::new(range.start, from)))
    }

    /// Takes a bounded part of `range`, from its end, out of the extent tree.
    fn remove_extents(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        range: FileRange,
    ) -> Result<Unmapped> {
        let limits = RemoveLimits {
            leaves: LEAVES,
            extents: EXTENTS,
            extras: EXTRAS,
        };
        let planned = e4_extent::plan_remove(&TreeView::new(self, core), range, limits)
            .map_err(|e| tree_error(self, e))?;
        let mut edit = TreeEdit::new(self, core, handle, crate::alloc::Account::Free);
        let applied = planned.plan.apply(&mut edit);
        edit.finish()?;
        applied.map_err(|e| tree_error(self, e))?;
        self.forget_tree();
        let runs = planned.unmapped.iter().map(|e| (e.start, e.len));
        Ok(Unmapped {
            runs: runs.collect(),
            from: planned.remaining.map_or(range.start, |rest| rest.end),
        })
    }

    /// Credits of [`InodeState::remove`] and a store.
    pub(crate) fn remove_credits(&self, core: &Core) -> Result<u32> {
        shrink_credits(self, core)
    }
}
