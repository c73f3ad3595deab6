//! Unmapping blocks of a block map: truncate, punch hole and deletion.

use core::ops::Range;

use e4_extent::FileRange;
use e4_format::{FileBlock, FsBlock};
use e4_indirect::{RemoveLimits, plan_remove};
use e4_journal::Handle;

use super::store::{BlockMapEdit, BlockMapView, map_error};
use crate::alloc::CREDITS_PER_ALLOC;
use crate::error::Result;
use crate::inode::{Core, InodeState};

/// Indirect blocks and runs of data removed per handle.
const LIMITS: RemoveLimits = RemoveLimits {
    nodes: 12,
    runs: 64,
};

/// Credits of one step of [`InodeState::remove_mapped`], freeing the data included.
pub(crate) fn remove_credits(groups: u32) -> u32 {
    // Each run lies in one group, or in two neighbouring ones; each freed indirect block in one, and is revoked.
    let touched = groups.min(LIMITS.runs * 2 + LIMITS.nodes);
    LIMITS.nodes + touched * CREDITS_PER_ALLOC + 1
}

/// What a step of removal did.
pub(crate) struct Unmapped {
    /// Blocks that are to be freed.
    pub(crate) runs: Vec<(FsBlock, u32)>,
    /// Where the unmapped range begins.
    pub(crate) from: FileBlock,
}

impl InodeState {
    /// Unmaps a bounded part of `range`, from its end. The blocks are the caller's to free.
    pub(crate) fn remove_mapped(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        range: FileRange,
    ) -> Result<Unmapped> {
        let blocks: Range<u32> = range.start.get()..range.end.get();
        let planned = plan_remove(&BlockMapView::new(self, core), blocks, LIMITS)
            .map_err(|e| map_error(self, e))?;
        let mut edit = BlockMapEdit::new(self, core, handle);
        let applied = planned.plan.apply(&mut edit);
        edit.finish()?;
        applied.map_err(|e| map_error(self, e))?;
        let from = planned
            .remaining
            .map_or(range.start, |rest| FileBlock::new(rest.end));
        let runs = planned.unmapped.iter().filter_map(|run| {
            let len = run.blocks.end - run.blocks.start;
            run.at.map(|at| (at, len))
        });
        Ok(Unmapped {
            runs: runs.collect(),
            from,
        })
    }
}
