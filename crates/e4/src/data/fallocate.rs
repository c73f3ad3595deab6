//! Allocating file blocks as unwritten extents: for fallocate, and for writes into holes.
//!
//! Needs no barrier against I/O in flight: conversions re-read the map and convert exactly their range
//! (I-3), so an extent that grows next to a pending one does not drag blocks along (S16).

use std::ops::Range;

use e4_extent::{Mapping, credits_for_insert};
use e4_format::{Extent, ExtentState, FileBlock, FsBlock, MapKind};
use e4_journal::Handle;
use e4_planted::planted;

use super::write::Target;
use crate::alloc::{Account, CREDITS_PER_ALLOC};
use crate::error::{Error, Result};
use crate::extent::{TreeEdit, View, shape, tree_error};
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;

/// Longest run allocated at once: the longest unwritten extent.
const RUN_MAX: u32 = 32767;

impl Shared {
    /// Allocates everything unallocated in `blocks`, unwritten.
    pub(crate) fn fill_holes(&self, inode: &Inode, blocks: Range<u32>) -> Result<()> {
        let mut at = blocks.start;
        let mut waited = false;
        while at < blocks.end {
            match self.fill_one(inode, at..blocks.end) {
                Ok(next) => at = next,
                // Blocks freed by a transaction that has not committed may be all there is.
                Err(Error::NoSpace { .. }) if !waited && self.alloc.has_pending() => {
                    waited = true;
                    self.meta.commit_all()?;
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// Allocates (part of) the first hole in `blocks`, in a handle of its own. Returns where to go on.
    fn fill_one(&self, inode: &Inode, blocks: Range<u32>) -> Result<u32> {
        let state = inode.data();
        let credits = insert_credits(state, &state.core.read())?;
        let mut handle = self.meta.start(credits)?;
        let mut core = state.core.write();
        let Some(hole) = state.first_hole(&core, blocks.clone())? else {
            return Ok(blocks.end);
        };
        // The tree may have grown a level since the estimate; then begin again with a better one.
        if insert_credits(state, &core)? > handle.credits_left() {
            return Ok(blocks.start);
        }
        let goal = state.goal(&core, hole.start)?;
        let accounts = (Account::Free, Account::Free);
        let (end, _) = state.insert_run(&mut core, &mut handle, hole, goal, accounts)?;
        self.store_core(&mut handle, state, &core, true)?;
        Ok(end)
    }

    /// Only an extent can be allocated and unwritten, or moved: without them a hole can be punched and nothing else. The
    /// kernel refuses the same.
    pub(crate) fn check_preallocatable(&self, state: &InodeState) -> Result<()> {
        if state.core.read().disk.map_kind() == MapKind::Extents {
            return Ok(());
        }
        Err(Error::Unsupported {
            image: e4_sync::Arc::clone(&self.image),
            what: format!("inode {}: preallocation without extents", state.ino),
        })
    }

    /// fallocate: allocates the range, and extends the file unless told to keep its size.
    pub(crate) fn preallocate(
        &self,
        inode: &Inode,
        target: &Target,
        keep_size: bool,
    ) -> Result<()> {
        let state = inode.data();
        self.fill_holes(inode, target.blocks.clone())?;
        let mut handle = self.meta.start(CREDITS_PER_STORE)?;
        let mut core = state.core.write();
        let now = self.now();
        state.take_written(&mut core);
        core.disk.ctime = now;
        if !keep_size && target.end > state.size() {
            core.disk.mtime = now;
            core.disk.size = core.disk.size.max(target.end);
            state.set_size(target.end);
        }
        self.store_core(&mut handle, state, &core, true)
    }
}

/// Journal credits of allocating one run and inserting it.
pub(crate) fn insert_credits(state: &InodeState, core: &Core) -> Result<u32> {
    let need = credits_for_insert(shape(state, core)?);
    if planted!(WrongCredits) {
        return Ok(CREDITS_PER_ALLOC);
    }
    // Nodes may come from and go back to as many groups as there are nodes; one log block of revokes.
    Ok(need.blocks(u32::MAX) + CREDITS_PER_ALLOC + CREDITS_PER_STORE + 1)
}

impl InodeState {
    /// The first unallocated run in `blocks`.
    pub(crate) fn first_hole(&self, core: &Core, blocks: Range<u32>) -> Result<Option<Range<u32>>> {
        let view = View::new(self, core)?;
        let mut at = blocks.start;
        while at < blocks.end {
            let mapping = view.lookup(FileBlock::new(at))?;
            let end = mapping.blocks().end.get().max(at + 1);
            if matches!(mapping, Mapping::Hole(_)) {
                return Ok(Some(at..end.min(blocks.end)));
            }
            at = end;
        }
        Ok(None)
    }

    /// Where a block would best lie: behind the one before it, else in the inode's group.
    pub(crate) fn goal(&self, core: &Core, block: u32) -> Result<FsBlock> {
        if let Some(before) = block.checked_sub(1) {
            let mapping = View::new(self, core)?.lookup(FileBlock::new(before))?;
            if let Mapping::Extent(extent) = mapping {
                return Ok(FsBlock::new(extent.start.get() + u64::from(extent.len)));
            }
        }
        Ok(self.shared.alloc.goal_of_inode(self.ino))
    }

    /// Allocates up to the whole of `hole` and inserts it, unwritten. The accounts are those of the blocks and of the
    /// tree's nodes. Returns the end of what was done, and how many nodes were taken.
    pub(crate) fn insert_run(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        hole: Range<u32>,
        goal: FsBlock,
        (blocks, nodes): (Account, Account),
    ) -> Result<(u32, u32)> {
        let want = (hole.end - hole.start).min(RUN_MAX);
        let run = self.shared.alloc.alloc(handle, goal, want, blocks)?;
        if blocks == Account::Promised {
            self.cache
                .reservation_spent(hole.start..hole.start + run.len);
        }
        let extent = Extent {
            block: FileBlock::new(hole.start),
            len: run.len,
            start: run.start,
            state: if planted!(AllocateWritten) {
                ExtentState::Written
            } else {
                ExtentState::Unwritten
            },
        };
        let taken = match self.insert_extent(core, handle, &extent, nodes) {
            Ok(taken) => taken,
            Err(error) => {
                let (start, len) = (run.start, u64::from(run.len));
                self.shared.alloc.free(handle, start, len)?;
                return Err(error);
            }
        };
        let per_block = u64::from(self.shared.sb.block_size().bytes() / 512);
        if !planted!(SectorsNotCounted) {
            core.disk.sectors += u64::from(run.len) * per_block;
        }
        Ok((hole.start + run.len, taken))
    }

    /// Inserts an extent into the tree, with nodes from `account`. Returns how many.
    pub(crate) fn insert_extent(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        extent: &Extent,
        account: Account,
    ) -> Result<u32> {
        let mut edit = TreeEdit::new(self, core, handle, account);
        let inserted = e4_extent::insert(&mut edit, extent);
        let taken = edit.finish()?;
        self.forget_tree();
        inserted.map_err(|e| tree_error(self, e))?;
        Ok(taken)
    }
}
