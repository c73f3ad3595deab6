//! One block group's state in memory: its descriptor, its busy map and its pending frees.

use std::ops::Range;

use e4_format::bitmap::{Bitmap, BitmapMut};
use e4_format::{GroupDesc, Tid};

/// Blocks freed by a transaction that may not have committed yet.
struct PendingFree {
    tid: Tid,
    blocks: Range<u32>,
}

/// See the module documentation of the allocator.
pub(super) struct Group {
    pub(super) desc: GroupDesc,
    /// Bitmap of blocks not to be handed out: the on-disk bitmap plus pending frees. Loaded on first use.
    pub(super) busy: Option<Box<[u8]>>,
    pending: Vec<PendingFree>,
    /// Upper bound of the longest free run; exact after a failed search, raised by frees.
    pub(super) longest: u32,
    /// Where the last search in this group ended.
    pub(super) rotor: u32,
}

impl Group {
    pub(super) fn new(desc: GroupDesc) -> Self {
        let longest = desc.free_blocks_count;
        Self { desc, busy: None, pending: Vec::new(), longest, rotor: 0 }
    }

    /// Blocks that may be handed out now.
    pub(super) fn allocatable(&self) -> u32 {
        let pending: u32 = self.pending.iter().map(|p| p.blocks.end - p.blocks.start).sum();
        self.desc.free_blocks_count.saturating_sub(pending)
    }

    /// Finds up to `want` free blocks, preferring `goal`, else the first run that is long enough,
    /// else the longest one. `bits` is the number of blocks in the group.
    pub(super) fn find(&mut self, goal: u32, want: u32, bits: u32) -> Option<Range<u32>> {
        let busy = self.busy.as_deref()?;
        let map = Bitmap::new(busy, bits);
        if goal < bits && !map.test(goal) {
            let end = map.find_one(goal..bits.min(goal.saturating_add(want))).unwrap_or_else(|| {
                bits.min(goal.saturating_add(want))
            });
            return Some(goal..end);
        }
        for range in [goal.min(bits)..bits, 0..bits] {
            if let Some(run) = map.find_zero_run(range, want, want) {
                return Some(run);
            }
        }
        let best = map.longest_zero_run(0..bits);
        self.longest = best.as_ref().map_or(0, |r| r.end - r.start);
        best
    }

    /// Marks blocks busy.
    pub(super) fn take(&mut self, blocks: Range<u32>, bits: u32) {
        if let Some(busy) = self.busy.as_deref_mut() {
            BitmapMut::new(busy, bits).set_range(blocks.clone());
        }
        self.rotor = blocks.end;
    }

    /// Remembers freed blocks until `tid` has committed.
    pub(super) fn add_pending(&mut self, tid: Tid, blocks: Range<u32>) {
        self.pending.push(PendingFree { tid, blocks });
    }

    /// Gives back what transactions up to `tid` freed; returns how many blocks.
    pub(super) fn release_pending(&mut self, tid: Tid) -> u32 {
        let mut released = 0;
        let busy = &mut self.busy;
        self.pending.retain(|p| {
            if !tid.at_or_after(p.tid) {
                return true;
            }
            if let Some(busy) = busy.as_deref_mut() {
                let all = u32::try_from(busy.len() * 8).unwrap_or(u32::MAX);
                BitmapMut::new(busy, all).clear_range(p.blocks.clone());
            }
            released += p.blocks.end - p.blocks.start;
            false
        });
        // A freed run may join its neighbours: only a search can tell, so assume the best.
        if released > 0 {
            self.longest = self.allocatable();
        }
        released
    }
}
