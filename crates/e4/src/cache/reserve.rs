//! Delayed allocation: space is set aside when a page over a hole becomes dirty, and becomes blocks at writeback.
//!
//! Reservations are promises of the allocator, as those for conversions are: one block for each page, and for each inode
//! the nodes its extent tree may need in the worst case, every page an extent of its own. Both are consumed by the
//! allocation, or given back when the page goes or turns out to have a block already.

use std::ops::Range;

use e4_extent::credits_for_insert;
use e4_format::extent::Node;
use e4_planted::planted;

use super::pages::{Dropped, PageMap};
use crate::alloc::Account;
use crate::data::insert_credits;
use crate::error::{Error, Result};
use crate::extent::{Mapped, shape};
use crate::inode::{Inode, InodeState};
use crate::mount::Shared;

/// Space set aside for pages that are about to become dirty; what is not used goes back.
pub(super) struct Reservation<'a> {
    shared: &'a Shared,
    /// The holes it is for.
    pub(super) holes: Vec<Range<u32>>,
    blocks: u32,
    nodes: u32,
}

impl Reservation<'_> {
    /// Moves it to the pages, which are dirty now.
    pub(super) fn give_to(mut self, map: &mut PageMap) {
        let before = map.reserved();
        for block in self.holes.iter().cloned().flatten() {
            if map.reserved() - before < self.blocks {
                map.set_reserved(block);
            }
        }
        self.blocks -= map.reserved() - before;
        map.nodes += std::mem::take(&mut self.nodes);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let left = u64::from(self.blocks) + u64::from(self.nodes);
        if left > 0 {
            self.shared.alloc.release_promise(left);
        }
    }
}

impl Shared {
    /// Sets aside what writing `blocks` needs. The inode's I/O lock is held, so holes may be filled meanwhile but none
    /// appears.
    ///
    /// # Errors
    /// No space.
    pub(super) fn reserve(&self, inode: &Inode, blocks: Range<u32>) -> Result<Reservation<'_>> {
        let state = inode.data();
        let mut waited = false;
        loop {
            let holes = state.unreserved_holes(blocks.clone())?;
            let wanted: u32 = holes.iter().map(|r| r.end - r.start).sum();
            if wanted == 0 {
                return Ok(Reservation {
                    shared: self,
                    holes,
                    blocks: 0,
                    nodes: 0,
                });
            }
            let nodes = state.nodes_missing(wanted)?;
            if self.alloc.promise(u64::from(wanted) + u64::from(nodes)) {
                return Ok(Reservation {
                    shared: self,
                    holes,
                    blocks: wanted,
                    nodes,
                });
            }
            if waited {
                return Err(Error::NoSpace {
                    image: self.image.clone(),
                    what: "blocks",
                });
            }
            waited = true;
            // Written back, this file's pages no longer need nodes for the worst case; and a commit brings freed blocks.
            self.flush_pages(inode, 0..u64::MAX)?;
            self.meta.commit_all()?;
        }
    }

    /// Gives the holes of `blocks`, all pages of which are dirty, their blocks. The writeback turn is held.
    pub(super) fn allocate_reserved(&self, inode: &Inode, blocks: Range<u32>) -> Result<()> {
        let state = inode.data();
        if state.cache.read().reserved() == 0 {
            return Ok(());
        }
        let mut at = blocks.start;
        while at < blocks.end {
            at = self.allocate_one(inode, at..blocks.end)?;
        }
        // What is still reserved got its block from somebody else.
        let mut map = state.cache.write();
        let blocks = map.clear_reserved(blocks);
        let nodes = map.take_idle_nodes();
        drop(map);
        self.alloc
            .release_promise(u64::from(blocks) + u64::from(nodes));
        Ok(())
    }

    /// Allocates (part of) the first hole, in a handle of its own. Returns where to go on.
    fn allocate_one(&self, inode: &Inode, blocks: Range<u32>) -> Result<u32> {
        let state = inode.data();
        let credits = insert_credits(state, &state.core.read())?;
        let mut handle = self.meta.start(credits)?;
        let mut core = state.core.write();
        let Some(hole) = state.first_hole(&core, blocks.clone())? else {
            return Ok(blocks.end);
        };
        if insert_credits(state, &core)? > handle.credits_left() {
            return Ok(blocks.start);
        }
        let goal = state.goal(&core, hole.start)?;
        let (part, reserved) = state.cache.read().same_reservation(hole.start, hole.end);
        let account = match reserved {
            true => Account::Promised,
            false => Account::Free,
        };
        let need = credits_for_insert(shape(state, &core)?).allocated;
        let nodes = match need <= state.cache.read().nodes {
            true => Account::Promised,
            false => Account::Free,
        };
        let (end, taken) =
            state.insert_run(&mut core, &mut handle, part, goal, (account, nodes))?;
        if nodes == Account::Promised {
            let mut map = state.cache.write();
            map.nodes = map.nodes.saturating_sub(taken);
        }
        self.store_core(&mut handle, state, &core, true)?;
        Ok(end)
    }

    /// Sectors that pages without blocks will have.
    pub(crate) fn delayed_sectors(&self, state: &InodeState) -> u64 {
        if !state.cache.is_unclean() {
            return 0;
        }
        let blocks = u64::from(state.cache.read().reserved());
        blocks * u64::from(self.sb.block_size().bytes() / 512)
    }

    /// Pages are gone: what they had set aside goes back, and the bytes with it.
    pub(super) fn settle_dropped(&self, state: &InodeState, dropped: Dropped) {
        let nodes = state.cache.write().take_idle_nodes();
        let blocks = match planted!(ReservationLeak) {
            true => 0,
            false => dropped.reserved,
        };
        let back = u64::from(blocks) + u64::from(nodes);
        if back > 0 {
            self.alloc.release_promise(back);
        }
        self.cache.gone(dropped.pages);
        if dropped.dirty > 0 {
            self.cache.became_clean(dropped.dirty);
        }
    }
}

impl InodeState {
    /// The holes in `blocks` for which nothing is set aside.
    fn unreserved_holes(&self, blocks: Range<u32>) -> Result<Vec<Range<u32>>> {
        let mut holes: Vec<Range<u32>> = Vec::new();
        let candidates: Vec<Range<u32>> = {
            let core = self.core.read();
            let pieces = self.map(&core, blocks)?;
            let hole = |p: &&crate::extent::Piece| p.to == Mapped::Hole;
            pieces
                .iter()
                .filter(hole)
                .map(|p| p.blocks.clone())
                .collect()
        };
        let map = self.cache.read();
        for block in candidates.into_iter().flatten() {
            if !map.may_need_reservation(block) {
                continue;
            }
            match holes.last_mut() {
                Some(last) if last.end == block => last.end += 1,
                _ => holes.push(block..block + 1),
            }
        }
        Ok(holes)
    }

    /// Nodes to set aside for `more` reserved blocks beyond those set aside already.
    fn nodes_missing(&self, more: u32) -> Result<u32> {
        let core = self.core.read();
        let shape = shape(self, &core)?;
        let root = Node::view(&core.disk.i_block).map_or(u16::MAX, |n| n.header().entries);
        drop(core);
        let map = self.cache.read();
        let reserved = map.reserved().saturating_add(more);
        let fits = shape.depth == 0 && u32::from(root) + reserved <= u32::from(shape.root_entries);
        if fits {
            return Ok(0);
        }
        let half = (u32::from(shape.node_entries) / 2).saturating_sub(1).max(1);
        let worst = reserved
            .div_ceil(half)
            .saturating_add(u32::from(shape.depth) + 2);
        Ok(worst.saturating_sub(map.nodes))
    }
}
