//! Removing a range of blocks, from its end, as much at a time as a journal handle may touch.

use alloc::vec::Vec;
use core::ops::Range;

use e4_format::indirect::{SLOTS, covers, first_of_slot, levels_below};
use e4_format::{FileBlock, FsBlock};

use crate::error::MapError;
use crate::plan::{NodeId, Parent, Plan};
use crate::read::Run;
use crate::store::MapRead;

/// How much one plan may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoveLimits {
    /// Indirect blocks it may read, and so change or free; at least 3, or nothing could be removed.
    pub nodes: u32,
    /// Runs of data blocks it may unmap; at least 1.
    pub runs: u32,
}

/// What removing (part of) a range does.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RemovePlan {
    /// The change of the map.
    pub plan: Plan,
    /// Data blocks that are the caller's to free, the last ones of the file first.
    pub unmapped: Vec<Run>,
    /// What is left of the range, if the limits did not allow all of it.
    pub remaining: Option<Range<u32>>,
}

/// Unmaps the blocks of `range`, the last ones first. Indirect blocks that map nothing any more leave the map.
///
/// # Errors
/// [`MapError::Read`], [`MapError::Twice`]. The map is unchanged.
pub fn plan_remove<S: MapRead>(
    store: &S,
    range: Range<u32>,
    limits: RemoveLimits,
) -> Result<RemovePlan, MapError<S::Error>> {
    let mut removal = Removal {
        store,
        per: store.per_block(),
        range: u64::from(range.start)..u64::from(range.end),
        nodes_left: limits.nodes,
        runs_left: limits.runs,
        plan: Plan::new(store, FsBlock::new(0)),
        unmapped: Vec::new(),
    };
    let mut remaining = None;
    for slot in (0..SLOTS).rev() {
        let first = first_of_slot(slot, removal.per);
        if let Some(end) = removal.pointer(Parent::Root, slot, levels_below(slot), first)? {
            remaining = Some(range.start..u32::try_from(end).unwrap_or(u32::MAX).min(range.end));
            break;
        }
    }
    Ok(RemovePlan {
        plan: removal.plan,
        unmapped: removal.unmapped,
        remaining,
    })
}

struct Removal<'a, S> {
    store: &'a S,
    per: u32,
    range: Range<u64>,
    nodes_left: u32,
    runs_left: u32,
    plan: Plan,
    unmapped: Vec<Run>,
}

impl<S: MapRead> Removal<'_, S> {
    /// Removes what one pointer stands for. `Some`: had to stop, nothing from this block on is left.
    fn pointer(
        &mut self,
        of: Parent,
        n: u32,
        levels: u32,
        first: u64,
    ) -> Result<Option<u64>, MapError<S::Error>> {
        let end = first + covers(levels, self.per);
        if first >= self.range.end || end <= self.range.start {
            return Ok(None);
        }
        let Some(at) = self.plan.pointer(of, n) else {
            return Ok(None);
        };
        if levels == 0 {
            if !self.unmap(first, at) {
                return Ok(Some(end));
            }
            self.plan.set(of, n, None)?;
            return Ok(None);
        }
        if self.plan.knows(at) {
            let near = FileBlock::new(u32::try_from(first).unwrap_or(u32::MAX));
            return Err(MapError::Twice { at, near });
        }
        if self.nodes_left == 0 {
            return Ok(Some(end));
        }
        self.nodes_left -= 1;
        let Some(id) = self.plan.child(self.store, of, n)? else {
            return Ok(None);
        };
        let stopped = self.node(id, levels - 1, first)?;
        if self.plan.is_empty(id) {
            self.plan.free(id);
            self.plan.set(of, n, None)?;
        }
        Ok(stopped)
    }

    /// Removes what the pointers of a node stand for, each with `levels` of indirection below it.
    fn node(
        &mut self,
        id: NodeId,
        levels: u32,
        first: u64,
    ) -> Result<Option<u64>, MapError<S::Error>> {
        for n in (0..self.per).rev() {
            let first = first + u64::from(n) * covers(levels, self.per);
            let stopped = self.pointer(Parent::Node(id), n, levels, first)?;
            if stopped.is_some() {
                return Ok(stopped);
            }
        }
        Ok(None)
    }

    /// Notes a data block as unmapped; false if that would be a run too many.
    fn unmap(&mut self, block: u64, at: FsBlock) -> bool {
        let block = u32::try_from(block).unwrap_or(u32::MAX);
        let run = Run {
            blocks: block..block.saturating_add(1),
            at: Some(at),
        };
        if let Some(last) = self.unmapped.last_mut()
            && run.continues(last)
        {
            *last = Run {
                blocks: run.blocks.start..last.blocks.end,
                at: run.at,
            };
            return true;
        }
        let Some(left) = self.runs_left.checked_sub(1) else {
            return false;
        };
        self.runs_left = left;
        self.unmapped.push(run);
        true
    }
}
