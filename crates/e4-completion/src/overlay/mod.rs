//! The overlay of one inode: which blocks are *published* (readable as written) but not yet
//! *recorded* (the on-disk tree still says unwritten).
//!
//! A sparse bitmap of chunks of 4096 blocks with two planes, one per epoch parity
//! ([`crate::PublishEpoch`]). Setting and clearing blocks is atomic per 32-block word, so a clear
//! can never lose a block that somebody publishes next to it. The set of chunks is under a
//! reader-writer lock that is taken exclusively only to add or drop a chunk; an empty overlay is
//! recognised without it.
//!
//! Rules for the owner (design rule 5):
//! - Readers look here first, then in the tree.
//! - A block is cleared only *after* the tree was flipped, or, by an operation that unmaps it,
//!   within the same section of the tree lock.
//! - Publish under a [`crate::Publisher`], with its parity. Two publishers of one block are fine.
//!
//! The number of runs (maximal ranges of consecutive published blocks, both planes together) is
//! kept exactly: every call returns how it changed it, and [`Overlay::runs`] is the sum. It is what
//! journal credits are charged by.
//!
//! Memory: 1 KiB and one map entry per chunk that holds anything; nothing when empty.

mod chunk;

pub use chunk::Planes;

use crate::epoch::Parity;
use chunk::{CHUNK_BLOCKS, Chunk, WORD_BLOCKS, WORDS, touches_first, touches_last};
use e4_sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use e4_sync::{Rank, RwLock, RwLockReadGuard};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::ops::{Range, RangeInclusive};

/// By number. Not in order: a single block is looked up once or twice per write, while order matters only to a
/// recording, which sorts.
type Chunks = HashMap<u32, Box<Chunk>, BuildHasherDefault<Spread>>;

/// Chunk numbers are small and come in runs: one multiplication spreads them.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&b| self.write_u32(u32::from(b)));
    }

    #[inline]
    fn write_u32(&mut self, n: u32) {
        self.0 = (self.0 ^ u64::from(n)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// The numbers of the chunks that a range of them holds, in order.
fn held(chunks: &Chunks, numbers: RangeInclusive<u32>) -> Vec<u32> {
    let asked = u64::from(numbers.end() - numbers.start()) + 1;
    if asked <= chunks.len() as u64 {
        return numbers.filter(|n| chunks.contains_key(n)).collect();
    }
    let all = chunks.keys().copied();
    let mut held: Vec<u32> = all.filter(|n| numbers.contains(n)).collect();
    held.sort_unstable();
    held
}

/// The published-but-unrecorded blocks of one inode.
pub struct Overlay {
    chunks: RwLock<Chunks>,
    /// Number of chunks: zero means empty, without looking.
    present: AtomicUsize,
    runs: AtomicI64,
}

/// The answer to a lookup: the state of a block and of everything up to `until`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Span {
    /// Whether the blocks are published.
    pub published: bool,
    /// First block of a different state, or the limit of the question.
    pub until: u32,
}

/// The words that cover a range: chunk number, word in it, mask of blocks.
fn words(range: Range<u32>) -> impl Iterator<Item = (u32, usize, u32)> {
    let mut at = u64::from(range.start);
    let end = u64::from(range.end);
    std::iter::from_fn(move || {
        if at >= end {
            return None;
        }
        let first = at % u64::from(WORD_BLOCKS);
        let stop = end.min(at - first + u64::from(WORD_BLOCKS));
        let count = stop - at;
        let mask = (u64::from(u32::MAX) >> (32 - count)) << first;
        let chunk = at / u64::from(CHUNK_BLOCKS);
        let word = at % u64::from(CHUNK_BLOCKS) / u64::from(WORD_BLOCKS);
        at = stop;
        Some((chunk as u32, word as usize, mask as u32))
    })
}

/// Chunk, word in the chunk, bit in the word.
#[inline]
fn place(block: u32) -> (u32, usize, u32) {
    let in_chunk = block % CHUNK_BLOCKS;
    (
        block / CHUNK_BLOCKS,
        (in_chunk / WORD_BLOCKS) as usize,
        in_chunk % WORD_BLOCKS,
    )
}

impl Overlay {
    /// Nothing published.
    pub fn new() -> Self {
        Overlay {
            chunks: RwLock::new(Rank::LEAF, Chunks::default()),
            present: AtomicUsize::new(0),
            runs: AtomicI64::new(0),
        }
    }

    /// True if nothing is published. A block whose publish returned before the call is seen.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.present.load(Ordering::Acquire) == 0
    }

    /// Maximal runs of published blocks, exact when no change is under way.
    #[inline]
    pub fn runs(&self) -> u64 {
        u64::try_from(self.runs.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// Heap bytes held.
    pub fn memory_bytes(&self) -> usize {
        let chunks = self.chunks.read();
        // A slot of the table and its control byte.
        let slot = size_of::<(u32, Box<Chunk>)>() + 1;
        chunks.len() * size_of::<Chunk>() + chunks.capacity() * slot
    }

    /// Publishes a range under the parity of the caller's [`crate::Publisher`]. Returns the change
    /// in the number of runs.
    pub fn publish(&self, range: Range<u32>, parity: Parity) -> i64 {
        if range.is_empty() {
            return 0;
        }
        self.publisher(parity).publish(range)
    }

    /// For publishing several ranges: what they share is looked up and locked once.
    pub fn publisher(&self, parity: Parity) -> OverlayPublisher<'_> {
        OverlayPublisher {
            overlay: self,
            parity,
            chunks: None,
        }
    }

    /// Makes the chunks of a range exist.
    #[cold]
    fn add_chunks(&self, numbers: RangeInclusive<u32>) {
        let mut chunks = self.chunks.write();
        for c in numbers {
            chunks.entry(c).or_insert_with(|| Box::new(Chunk::new()));
        }
        self.present.store(chunks.len(), Ordering::Release);
    }

    /// Clears a range in both planes: the tree says written now, or the blocks are unmapped.
    /// Returns the change in the number of runs.
    pub fn clear(&self, range: Range<u32>) -> i64 {
        if self.is_empty() || range.is_empty() {
            return 0;
        }
        let chunks = self.chunks.read();
        // By the chunks there are, not by those there could be: a truncate clears to the end of the
        // largest file.
        let numbers = range.start / CHUNK_BLOCKS..=(range.end - 1) / CHUNK_BLOCKS;
        let mut delta = 0;
        let mut empty = held(&chunks, numbers);
        for &number in &empty {
            let start = number * CHUNK_BLOCKS;
            let end = start.saturating_add(CHUNK_BLOCKS);
            let part = start.max(range.start)..end.min(range.end);
            delta += self.change(&chunks, part, Planes::Both, false);
        }
        empty.retain(|n| chunks.get(n).is_some_and(|c| c.is_empty()));
        drop(chunks);
        if !empty.is_empty() {
            let mut chunks = self.chunks.write();
            for n in empty {
                // Somebody may have published into it meanwhile.
                if chunks.get(&n).is_some_and(|c| c.is_empty()) {
                    chunks.remove(&n);
                }
            }
            if chunks.is_empty() {
                *chunks = Chunks::default();
            }
            self.present.store(chunks.len(), Ordering::Release);
        }
        delta
    }

    fn change(&self, chunks: &Chunks, range: Range<u32>, planes: Planes, set: bool) -> i64 {
        let mut delta = 0;
        let mut current: Option<(u32, &Chunk)> = None;
        for (number, w, mask) in words(range) {
            let chunk = match current {
                Some((n, chunk)) if n == number => chunk,
                _ => match chunks.get(&number) {
                    Some(chunk) => {
                        current = Some((number, chunk));
                        chunk
                    }
                    None => continue,
                },
            };
            delta += Self::change_word(chunks, (number, chunk), (w, mask), planes, set);
        }
        if delta != 0 {
            self.runs.fetch_add(delta, Ordering::AcqRel);
        }
        delta
    }

    /// As [`Self::change`], for blocks of one word of a chunk at hand.
    #[inline]
    fn change_word(
        chunks: &Chunks,
        (number, chunk): (u32, &Chunk),
        (w, mask): (usize, u32),
        planes: Planes,
        set: bool,
    ) -> i64 {
        let (mut delta, changed) = chunk.change(w, mask, planes, set);
        if touches_first(changed) {
            delta += settle_before(chunks, number, chunk, w);
        }
        if touches_last(changed) {
            delta += settle_after(chunks, number, chunk, w);
        }
        delta
    }

    /// Whether `block` is published, and up to where (at most `limit`) the answer holds.
    pub fn lookup(&self, block: u32, limit: u32) -> Span {
        let nothing = Span {
            published: false,
            until: limit,
        };
        if self.is_empty() || block >= limit {
            return nothing;
        }
        let chunks = self.chunks.read();
        let (number, w, bit) = place(block);
        let published = chunks
            .get(&number)
            .is_some_and(|c| c.view(w, Planes::Both) >> bit & 1 != 0);
        if limit - block == 1 {
            // A question about one block, the commonest.
            return Span {
                published,
                until: limit,
            };
        }
        let mut at = u64::from(block);
        let until = loop {
            if at >= u64::from(limit) {
                break limit;
            }
            let (number, w, bit) = place(at as u32);
            let Some(chunk) = chunks.get(&number) else {
                if published {
                    break at as u32;
                }
                at = (u64::from(number) + 1) * u64::from(CHUNK_BLOCKS);
                continue;
            };
            if let Some(end) = chunk.end_of_span(w, bit, published) {
                break limit.min(number * CHUNK_BLOCKS + end);
            }
            at = (u64::from(number) + 1) * u64::from(CHUNK_BLOCKS);
        };
        Span { published, until }
    }

    /// The published ranges within `range`, sorted and merged. Exact for a parity that
    /// [`crate::PublishEpoch::flip_and_wait`] has returned.
    pub fn collect(&self, planes: Planes, range: Range<u32>) -> Vec<Range<u32>> {
        let mut out: Vec<Range<u32>> = Vec::new();
        if self.is_empty() || range.is_empty() {
            return out;
        }
        let chunks = self.chunks.read();
        let numbers = range.start / CHUNK_BLOCKS..=(range.end - 1) / CHUNK_BLOCKS;
        for number in held(&chunks, numbers) {
            let Some(chunk) = chunks.get(&number) else {
                continue;
            };
            let start = number * CHUNK_BLOCKS;
            for w in 0..WORDS {
                let base = start + w as u32 * WORD_BLOCKS;
                let mut view = chunk.view(w, planes);
                while view != 0 {
                    let first = view.trailing_zeros();
                    let count = (view >> first).trailing_ones();
                    let found = clip(base + first, count, &range);
                    push_merged(&mut out, found);
                    view &= !(u32::MAX >> (32 - count) << first);
                }
            }
        }
        out
    }
}

/// Publishes ranges of one batch under one look at the chunks. See [`Overlay::publisher`].
pub struct OverlayPublisher<'a> {
    overlay: &'a Overlay,
    parity: Parity,
    /// Held from range to range, until one needs a new chunk.
    chunks: Option<RwLockReadGuard<'a, Chunks>>,
}

impl OverlayPublisher<'_> {
    /// As [`Overlay::publish`].
    #[inline]
    pub fn publish(&mut self, range: Range<u32>) -> i64 {
        if range.is_empty() {
            return 0;
        }
        let overlay = self.overlay;
        let chunks = self.chunks.get_or_insert_with(|| overlay.chunks.read());
        let (number, w, bit) = place(range.start);
        if range.end - range.start <= WORD_BLOCKS - bit
            && let Some(chunk) = chunks.get(&number)
        {
            let mask = (u32::MAX >> (WORD_BLOCKS - (range.end - range.start))) << bit;
            let planes = Planes::One(self.parity);
            let delta = Overlay::change_word(chunks, (number, chunk), (w, mask), planes, true);
            if delta != 0 {
                overlay.runs.fetch_add(delta, Ordering::AcqRel);
            }
            return delta;
        }
        // More than once only if a clear drops the new chunk while it is still empty.
        loop {
            let needed = range.start / CHUNK_BLOCKS..=(range.end - 1) / CHUNK_BLOCKS;
            let chunks = self.chunks.get_or_insert_with(|| overlay.chunks.read());
            if needed.clone().all(|c| chunks.contains_key(&c)) {
                return overlay.change(chunks, range, Planes::One(self.parity), true);
            }
            self.chunks = None;
            overlay.add_chunks(needed);
        }
    }
}

/// A run of `count` blocks from `start`, cut to `range`.
fn clip(start: u32, count: u32, range: &Range<u32>) -> Range<u32> {
    let end = start.saturating_add(count);
    start.max(range.start)..end.min(range.end)
}

fn push_merged(out: &mut Vec<Range<u32>>, found: Range<u32>) {
    if found.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(last) if last.end == found.start => last.end = found.end,
        _ => out.push(found),
    }
}

fn settle_after(chunks: &Chunks, number: u32, chunk: &Chunk, w: usize) -> i64 {
    if w + 1 < WORDS {
        return chunk.settle(w, chunk);
    }
    match number.checked_add(1).and_then(|n| chunks.get(&n)) {
        Some(next) => chunk.settle(w, next),
        None => chunk.settle_end(),
    }
}

fn settle_before(chunks: &Chunks, number: u32, chunk: &Chunk, w: usize) -> i64 {
    if let Some(before) = w.checked_sub(1) {
        return chunk.settle(before, chunk);
    }
    match number.checked_sub(1).and_then(|n| chunks.get(&n)) {
        Some(previous) => previous.settle(WORDS - 1, chunk),
        None => 0,
    }
}

impl Default for Overlay {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests;
