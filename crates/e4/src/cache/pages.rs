//! The pages of one inode, as a plain value: no lock, no I/O, no clock.
//!
//! A page is clean, dirty, or in writeback; one in writeback may be dirty again. *Marks* number the changes from clean to
//! dirty, so that a writeback which takes what was dirty when it began ends under continuous writing.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use e4_sync::atomic::{AtomicBool, Ordering};

/// Pages the clock looks at in one inode before it goes on to the next.
const LOOK: usize = 64;

/// One file block in memory.
pub(super) struct Page {
    data: Box<[u8]>,
    /// Changed since the last writeback began.
    dirty: Option<u64>,
    /// A copy is on its way to the device, or not yet published.
    writing: bool,
    /// A direct write overlapped while it was in writeback: which of the two is on the device is unknown.
    stale: bool,
    /// Its block is not allocated, but set aside.
    reserved: bool,
    /// Looked at since the clock's hand passed.
    used: AtomicBool,
}

impl Page {
    fn new(data: Box<[u8]>) -> Self {
        Self {
            data,
            dirty: None,
            writing: false,
            stale: false,
            reserved: false,
            used: AtomicBool::new(false),
        }
    }

    fn is_clean(&self) -> bool {
        self.dirty.is_none() && !self.writing
    }
}

/// A read from the device that is to become pages.
struct Fill {
    id: u64,
    blocks: Range<u32>,
    /// Somebody changed these blocks meanwhile: what was read must not be cached.
    stale: bool,
}

/// What dropping pages gave back.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Pages gone.
    pub(super) pages: usize,
    /// Of those, dirty ones.
    pub(super) dirty: usize,
    /// Reservations of theirs.
    pub(super) reserved: u32,
}

/// See the module documentation.
#[derive(Default)]
pub(super) struct PageMap {
    pages: BTreeMap<u32, Page>,
    dirty: BTreeSet<u32>,
    fills: Vec<Fill>,
    next_fill: u64,
    /// The newest mark.
    mark: u64,
    /// Pages in writeback.
    writing: usize,
    /// Pages dirty or in writeback.
    unclean: usize,
    reserved: u32,
    /// Tree nodes promised for the reserved blocks.
    pub(super) nodes: u32,
    hand: u32,
}

impl PageMap {
    /// Pages dirty or in writeback.
    pub(super) fn unclean(&self) -> usize {
        self.unclean
    }

    pub(super) fn is_active(&self) -> bool {
        !self.pages.is_empty() || !self.fills.is_empty()
    }

    pub(super) fn reserved(&self) -> u32 {
        self.reserved
    }

    pub(super) fn mark(&self) -> u64 {
        self.mark
    }

    pub(super) fn contains(&self, block: u32) -> bool {
        self.pages.contains_key(&block)
    }

    /// The page's bytes, for reading.
    pub(super) fn get(&self, block: u32) -> Option<&[u8]> {
        let page = self.pages.get(&block)?;
        if !page.used.load(Ordering::Relaxed) {
            page.used.store(true, Ordering::Relaxed);
        }
        Some(&page.data)
    }

    /// The first page at or behind `block` in `range` that is there.
    pub(super) fn first_in(&self, range: Range<u32>) -> Option<u32> {
        self.pages.range(range).next().map(|(b, _)| *b)
    }

    /// True unless the page is dirty: writing it would need a reservation, were its block a hole.
    pub(super) fn may_need_reservation(&self, block: u32) -> bool {
        self.pages.get(&block).is_none_or(|p| p.dirty.is_none())
    }

    /// Announces a read of `blocks` from the device.
    pub(super) fn begin_fill(&mut self, blocks: Range<u32>) -> u64 {
        self.next_fill += 1;
        self.fills.push(Fill {
            id: self.next_fill,
            blocks,
            stale: false,
        });
        self.next_fill
    }

    /// Ends it; true if what was read may be cached.
    pub(super) fn end_fill(&mut self, id: u64) -> bool {
        let Some(i) = self.fills.iter().position(|f| f.id == id) else {
            return false;
        };
        !self.fills.swap_remove(i).stale
    }

    /// What is being read of `blocks` is out of date.
    pub(super) fn spoil_fills(&mut self, blocks: &Range<u32>) {
        for fill in &mut self.fills {
            fill.stale |= fill.blocks.start < blocks.end && blocks.start < fill.blocks.end;
        }
    }

    /// Adds a clean page unless there is one. True if it was added.
    pub(super) fn insert_clean(&mut self, block: u32, data: &[u8]) -> bool {
        if self.pages.contains_key(&block) {
            return false;
        }
        self.pages.insert(block, Page::new(data.into()));
        true
    }

    /// Changes part of a page and makes it dirty. Absent, it begins as `base`, or as zeros. Returns whether the page is new
    /// and whether it became unclean.
    pub(super) fn write(
        &mut self,
        block: u32,
        size: usize,
        at: usize,
        bytes: &[u8],
        base: Option<Box<[u8]>>,
    ) -> (bool, bool) {
        let mut new = false;
        let page = self.pages.entry(block).or_insert_with(|| {
            new = true;
            Page::new(base.unwrap_or_else(|| vec![0; size].into()))
        });
        if let Some(slot) = page.data.get_mut(at..at + bytes.len()) {
            slot.copy_from_slice(bytes);
        }
        *page.used.get_mut() = true;
        let became = page.is_clean();
        self.unclean += usize::from(became);
        if page.dirty.is_none() {
            self.mark += 1;
            page.dirty = Some(self.mark);
            self.dirty.insert(block);
        }
        (new, became)
    }

    /// Notes that a dirty page's block is set aside.
    pub(super) fn set_reserved(&mut self, block: u32) {
        if let Some(page) = self.pages.get_mut(&block)
            && !page.reserved
        {
            debug_assert!(page.dirty.is_some(), "only dirty pages reserve");
            page.reserved = true;
            self.reserved += 1;
        }
    }

    /// The longest run from `start` on in which every page is reserved, or none is; at most to `end`.
    pub(super) fn same_reservation(&self, start: u32, end: u32) -> (Range<u32>, bool) {
        let is = |b: u32| self.pages.get(&b).is_some_and(|p| p.reserved);
        let first = is(start);
        let until = (start..end).find(|b| is(*b) != first).unwrap_or(end);
        (start..until, first)
    }

    /// The reservations of these pages are over. How many there were.
    pub(super) fn clear_reserved(&mut self, blocks: Range<u32>) -> u32 {
        let mut n = 0;
        for (_, page) in self.pages.range_mut(blocks) {
            n += u32::from(std::mem::take(&mut page.reserved));
        }
        self.reserved -= n;
        n
    }

    /// Tree nodes promised for nothing: no block is reserved any more.
    pub(super) fn take_idle_nodes(&mut self) -> u32 {
        if self.reserved == 0 {
            std::mem::take(&mut self.nodes)
        } else {
            0
        }
    }

    /// The first run of pages in `blocks`, at most `most`, that were dirty at `mark`. The holder of the writeback turn
    /// asks, so none of them is in writeback.
    pub(super) fn dirty_run(&self, blocks: Range<u32>, mark: u64, most: u32) -> Option<Range<u32>> {
        let wanted = |b: &u32| {
            self.pages
                .get(b)
                .is_some_and(|p| !p.writing && p.dirty.is_some_and(|m| m <= mark))
        };
        let mut dirty = self.dirty.range(blocks).copied().filter(wanted);
        let start = dirty.next()?;
        let mut end = start + 1;
        while end - start < most && dirty.next() == Some(end) {
            end += 1;
        }
        Some(start..end)
    }

    /// Begins writeback of a run: the pages are copied into `buf` and no longer dirty.
    pub(super) fn begin_writing(&mut self, blocks: Range<u32>, buf: &mut [u8]) {
        for (block, slot) in blocks.clone().zip(buf.chunks_mut(buf.len() / blocks.len())) {
            if let Some(page) = self.pages.get_mut(&block) {
                slot.copy_from_slice(&page.data);
                page.dirty = None;
                page.writing = true;
                page.stale = false;
                self.dirty.remove(&block);
                self.writing += 1;
            }
        }
    }

    /// Ends it. What failed is dirty again. Returns how many pages became clean, and how many were dropped.
    pub(super) fn end_writing(&mut self, blocks: Range<u32>, good: bool) -> (usize, usize) {
        let (mut clean, mut dropped) = (0, Vec::new());
        for (block, page) in self.pages.range_mut(blocks) {
            if !std::mem::take(&mut page.writing) {
                continue;
            }
            self.writing -= 1;
            if !good && page.dirty.is_none() {
                self.mark += 1;
                page.dirty = Some(self.mark);
                self.dirty.insert(*block);
            }
            if page.dirty.is_none() {
                clean += 1;
                self.unclean -= 1;
                if page.stale {
                    dropped.push(*block);
                }
            }
        }
        for block in &dropped {
            self.pages.remove(block);
        }
        (clean, dropped.len())
    }

    /// Dirty pages that could not even be sent are as if they became dirty now: this writeback leaves them alone.
    pub(super) fn postpone(&mut self, blocks: Range<u32>) {
        self.mark += 1;
        for (_, page) in self.pages.range_mut(blocks) {
            if page.dirty.is_some() {
                page.dirty = Some(self.mark);
            }
        }
    }

    /// True if a page of `blocks` is dirty or in writeback.
    pub(super) fn has_unclean(&self, blocks: Range<u32>) -> bool {
        self.dirty.range(blocks.clone()).next().is_some()
            || (self.writing > 0 && self.pages.range(blocks).any(|(_, p)| p.writing))
    }

    /// Drops the clean pages of `blocks`; those in writeback go when that ends. How many went.
    pub(super) fn drop_clean(&mut self, blocks: Range<u32>) -> usize {
        self.spoil_fills(&blocks);
        let mut gone = Vec::new();
        for (block, page) in self.pages.range_mut(blocks) {
            if page.is_clean() {
                gone.push(*block);
            } else {
                page.stale |= page.writing;
            }
        }
        for block in &gone {
            self.pages.remove(block);
        }
        gone.len()
    }

    /// Drops all pages of `blocks`, dirty or not: their blocks are about to go. The holder of the writeback turn asks,
    /// so none of them is in writeback.
    pub(super) fn discard(&mut self, blocks: Range<u32>) -> Dropped {
        self.spoil_fills(&blocks);
        let gone: Vec<u32> = self.pages.range(blocks).map(|(b, _)| *b).collect();
        let mut dropped = Dropped::default();
        for block in gone {
            if let Some(page) = self.pages.remove(&block) {
                debug_assert!(!page.writing, "in writeback while its block goes");
                self.writing -= usize::from(page.writing);
                dropped.pages += 1;
                dropped.dirty += usize::from(!page.is_clean());
                self.unclean -= usize::from(!page.is_clean());
                dropped.reserved += u32::from(page.reserved);
                self.dirty.remove(&block);
            }
        }
        self.reserved -= dropped.reserved;
        dropped
    }

    /// Zeroes the rest of a page: the end of file is there now. Dirty or not is not changed: the device's copy is zeroed
    /// by whoever moves the end.
    pub(super) fn zero_behind(&mut self, block: u32, within: usize) {
        if let Some(rest) = self
            .pages
            .get_mut(&block)
            .and_then(|page| page.data.get_mut(within..))
        {
            rest.fill(0);
        }
    }

    /// One turn of the clock: looks at a few pages and drops the clean ones nobody looked at since. Returns how many it
    /// dropped and how many it looked at.
    pub(super) fn turn_clock(&mut self) -> (usize, usize) {
        let next = self.pages.range(self.hand..).map(|(b, _)| *b);
        let looked: Vec<u32> = next.take(LOOK).collect();
        self.hand = match looked.last() {
            Some(last) if looked.len() == LOOK => last.saturating_add(1),
            _ => 0,
        };
        let mut gone = 0;
        for block in &looked {
            let victim = self
                .pages
                .get_mut(block)
                .is_some_and(|p| !std::mem::take(p.used.get_mut()) && p.is_clean());
            if victim {
                self.pages.remove(block);
                gone += 1;
            }
        }
        (gone, looked.len())
    }
}
