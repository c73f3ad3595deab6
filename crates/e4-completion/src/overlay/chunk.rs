//! One chunk of the overlay: 4096 blocks, two planes, and the links between its words.
//!
//! A word holds 32 blocks in both planes: bit i of the low half is block i in the even plane, bit
//! i of the high half is the same block in the odd plane. So one read-modify-write sees and changes
//! both planes, and how many runs a word holds before and after is exact.
//!
//! A run that crosses a word boundary would be counted twice. A *link* bit says "this boundary
//! joins two set blocks and was counted as joined". Two threads may set the two sides at the same
//! moment, so whoever changed a side *settles* the link: set it if both sides are set, clear it
//! otherwise, and look again until the sides have not changed meanwhile. Every step is a
//! read-modify-write, so of two threads that settle one link the later one sees the other's side:
//! the last one to settle leaves it right, and each change of the bit is counted by the one thread
//! that made it.

use crate::epoch::Parity;
use e4_sync::atomic::{AtomicU64, Ordering};

/// Blocks in a chunk. Two words under loom, which pays for every atomic.
pub(super) const CHUNK_BLOCKS: u32 = if cfg!(loom) { 64 } else { 4096 };
/// Blocks in a word.
pub(super) const WORD_BLOCKS: u32 = 32;
/// Words in a chunk.
pub(super) const WORDS: usize = (CHUNK_BLOCKS / WORD_BLOCKS) as usize;

const TOP: u32 = 1 << 31;

/// 4096 blocks.
pub(super) struct Chunk {
    words: [AtomicU64; WORDS],
    /// Bit w: the last block of word w and the first of word w + 1 are joined. The last bit joins
    /// this chunk to the next one.
    links: [AtomicU64; WORDS.div_ceil(64)],
}

/// Which planes an operation looks at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Planes {
    /// One parity.
    One(Parity),
    /// Both.
    Both,
}

impl Planes {
    /// The blocks of a word that are set in these planes.
    #[inline]
    pub(super) fn view(self, word: u64) -> u32 {
        match self {
            Planes::One(Parity::Even) => word as u32,
            Planes::One(Parity::Odd) => (word >> 32) as u32,
            Planes::Both => word as u32 | (word >> 32) as u32,
        }
    }

    #[inline]
    fn spread(self, blocks: u32) -> u64 {
        match self {
            Planes::One(Parity::Even) => u64::from(blocks),
            Planes::One(Parity::Odd) => u64::from(blocks) << 32,
            Planes::Both => u64::from(blocks) | u64::from(blocks) << 32,
        }
    }
}

/// Runs of set bits within a word.
#[inline]
fn runs(blocks: u32) -> i64 {
    i64::from((blocks & !(blocks << 1)).count_ones())
}

impl Chunk {
    pub(super) fn new() -> Self {
        Chunk {
            words: std::array::from_fn(|_| AtomicU64::new(0)),
            links: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    /// The blocks of word `w` in these planes.
    #[inline]
    pub(super) fn view(&self, w: usize, planes: Planes) -> u32 {
        planes.view(self.words[w].load(Ordering::Acquire))
    }

    /// The first block at or after bit `bit` of word `w` whose state is not `published`, counted
    /// from the start of the chunk.
    pub(super) fn end_of_span(&self, w: usize, bit: u32, published: bool) -> Option<u32> {
        let mut mask = u32::MAX << bit;
        for w in w..WORDS {
            let view = self.view(w, Planes::Both);
            let differs = if published { !view } else { view } & mask;
            if differs != 0 {
                return Some(w as u32 * WORD_BLOCKS + differs.trailing_zeros());
            }
            mask = u32::MAX;
        }
        None
    }

    /// True if the chunk holds nothing and joins nothing. Exact only with exclusive access.
    pub(super) fn is_empty(&self) -> bool {
        let zero = |a: &AtomicU64| a.load(Ordering::Acquire) == 0;
        self.words.iter().all(zero) && self.links.iter().all(zero)
    }

    /// Sets or clears blocks of one word. Returns the change of runs *within the word* and the
    /// change of the union of both planes.
    #[inline]
    pub(super) fn change(&self, w: usize, blocks: u32, planes: Planes, set: bool) -> (i64, u32) {
        let mask = planes.spread(blocks);
        let before = if set {
            self.words[w].fetch_or(mask, Ordering::AcqRel)
        } else {
            self.words[w].fetch_and(!mask, Ordering::AcqRel)
        };
        let after = if set { before | mask } else { before & !mask };
        let (before, after) = (Planes::Both.view(before), Planes::Both.view(after));
        (runs(after) - runs(before), before ^ after)
    }

    /// A read that takes part in the modification order: a later settle sees what this one wrote.
    #[inline]
    fn look(&self, w: usize) -> u32 {
        Planes::Both.view(self.words[w].fetch_or(0, Ordering::AcqRel))
    }

    /// Settles the boundary after word `w`; `next` is the chunk that holds word `w + 1`. Returns
    /// the change in the number of runs.
    pub(super) fn settle(&self, w: usize, next: &Chunk) -> i64 {
        let (link, bit) = (&self.links[w / 64], 1_u64 << (w % 64));
        let joined = || self.look(w) & TOP != 0 && next.look((w + 1) % WORDS) & 1 != 0;
        let mut delta = 0;
        loop {
            let want = joined();
            if want {
                if link.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                    delta -= 1;
                }
            } else if link.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                delta += 1;
            }
            if joined() == want {
                return delta;
            }
        }
    }

    /// Settles the boundary after the last word when no next chunk exists: it joins nothing.
    pub(super) fn settle_end(&self) -> i64 {
        let last = WORDS - 1;
        let bit = 1_u64 << (last % 64);
        i64::from(self.links[last / 64].fetch_and(!bit, Ordering::AcqRel) & bit != 0)
    }
}

/// True if the change touched the first block of a word.
#[inline]
pub(super) fn touches_first(changed: u32) -> bool {
    changed & 1 != 0
}

/// True if the change touched the last block of a word.
#[inline]
pub(super) fn touches_last(changed: u32) -> bool {
    changed & TOP != 0
}
