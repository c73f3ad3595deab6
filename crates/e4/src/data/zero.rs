//! Zero range: the range reads as zeros and stays allocated. Whole blocks become unwritten, partial ones are zeroed in
//! place, holes are allocated (unwritten).
//!
//! The caller has drained the range, rounded out to blocks, and holds newcomers off; so nothing published or in flight
//! can come back into it. Space comes first: without enough of it nothing is zeroed. Each step leaves a
//! consistent file of which more is zeros, so a crash in the middle needs no note.

use std::ops::Range;

use e4_extent::{FileRange, UnwriteLimits, plan_unwrite};
use e4_format::{ByteOffset, FileBlock};
use e4_planted::planted;

use super::write::Target;
use crate::alloc::{Account, CREDITS_PER_ALLOC};
use crate::error::Result;
use crate::extent::{TreeEdit, TreeView, tree_error};
use crate::inode::{CREDITS_PER_STORE, Core, Inode, InodeState};
use crate::mount::Shared;

/// Leaves changed per handle.
const LIMITS: UnwriteLimits = UnwriteLimits {
    leaves: 4,
    extras: 4,
};

impl Shared {
    /// Makes `target` zeros that are allocated; extends the file to its end unless told to keep the size.
    pub(crate) fn zero_range(&self, inode: &Inode, target: &Target, keep_size: bool) -> Result<()> {
        self.fill_holes(inode, target.blocks.clone())?;
        let inner = self.zero_edges(inode, target)?;
        self.unwrite(inode, inner)?;
        self.preallocate(inode, target, keep_size)?;
        let state = inode.data();
        let mut handle = self.meta.start(CREDITS_PER_STORE)?;
        let mut core = state.core.write();
        core.disk.mtime = self.now();
        self.store_core(&mut handle, state, &core, true)
    }

    /// Zeroes the blocks that `target` covers in part, where they are written; returns those it covers whole.
    pub(crate) fn zero_edges(&self, inode: &Inode, target: &Target) -> Result<Range<u32>> {
        let bs = self.sb.block_size();
        let head = bs.within(ByteOffset::new(target.at)) as usize;
        let tail = bs.within(ByteOffset::new(target.end)) as usize;
        let (first, last) = (target.blocks.start, target.blocks.end);
        if head != 0 && last - first == 1 {
            let end = if tail == 0 { bs.len() } else { tail };
            self.zero_part(inode, first, head..end)?;
        } else {
            if head != 0 {
                self.zero_part(inode, first, head..bs.len())?;
            }
            if tail != 0 {
                self.zero_part(inode, last - 1, 0..tail)?;
            }
        }
        let start = first + u32::from(head != 0);
        let end = last - u32::from(tail != 0);
        Ok(start..end.max(start))
    }

    /// Makes the written and published blocks of `blocks` unwritten.
    fn unwrite(&self, inode: &Inode, blocks: Range<u32>) -> Result<()> {
        let state = inode.data();
        let mut at = blocks.start;
        while at < blocks.end {
            let rest = FileRange::new(FileBlock::new(at), FileBlock::new(blocks.end));
            let credits = state.unwrite_credits(&state.core.read(), rest)?;
            let mut handle = self.meta.start(credits)?;
            let mut core = state.core.write();
            // A recording may have changed the tree since the estimate; then begin again with a better one.
            if state.unwrite_credits(&core, rest)? > handle.credits_left() {
                continue;
            }
            let planned = plan_unwrite(&TreeView::new(state, &core), rest, LIMITS)
                .map_err(|e| tree_error(state, e))?;
            let next = planned.next.map_or(blocks.end, FileBlock::get);
            if !planned.plan.is_empty() {
                let mut edit = TreeEdit::new(state, &mut core, &mut handle, Account::Free);
                let applied = planned.plan.apply(&mut edit);
                edit.finish()?;
                state.forget_tree();
                applied.map_err(|e| tree_error(state, e))?;
            }
            // What was published of it is unwritten in the tree already: it goes in the same section (rule 5).
            if !planted!(ZeroRangeKeepsPublished) {
                state.overlay.clear(at..next);
            }
            self.store_core(&mut handle, state, &core, true)?;
            at = next;
        }
        Ok(())
    }
}

impl InodeState {
    fn unwrite_credits(&self, core: &Core, range: FileRange) -> Result<u32> {
        let planned = plan_unwrite(&TreeView::new(self, core), range, LIMITS)
            .map_err(|e| tree_error(self, e))?;
        let need = planned.plan.credits().blocks(u32::MAX);
        // One log block of revokes, and what giving back an unused node costs.
        Ok(need + CREDITS_PER_ALLOC + CREDITS_PER_STORE + 1)
    }
}
