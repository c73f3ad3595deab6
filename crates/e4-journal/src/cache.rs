//! The cache of metadata blocks: sharded by block number, bounded, evicting by CLOCK.
//!
//! Decisions:
//! - *Pinned* is not a flag but a fact: somebody besides the cache holds the buffer's `Arc` (a [`crate::Block`], a
//!   transaction's list, the checkpoint list). References are only made from the shard's own, under the
//!   shard's lock, or from another reference; so a count of one seen under the lock stays one.
//!   A modified block is therefore never evicted, by construction.
//! - If all buffers a sweep looks at are pinned or recently used, the shard grows past its share; later insertions
//!   bring it back. A sweep looks at a bounded number of buffers, so an insertion is O(1).
//! - No I/O under a shard's lock (rank 110): a missing block is inserted unloaded and loaded under its own lock.

use e4_format::FsBlock;
use e4_sync::{Arc, Mutex, Rank};
use hashbrown::HashMap;

use crate::buffer::Buffer;

/// A power of two, well above the number of threads that use metadata at once.
const SHARDS: usize = 64;
/// Buffers one insertion may look at.
const SWEEP: usize = 32;

#[derive(Default)]
struct Shard {
    index: HashMap<FsBlock, usize>,
    ring: Vec<Arc<Buffer>>,
    hand: usize,
}

/// All cached blocks of one store.
pub(crate) struct Cache {
    shards: Box<[Mutex<Shard>]>,
    per_shard: usize,
}

impl Cache {
    /// A cache that keeps about `blocks` blocks.
    pub(crate) fn new(blocks: usize) -> Self {
        Self {
            shards: (0..SHARDS)
                .map(|_| Mutex::new(Rank::META_SHARD, Shard::default()))
                .collect(),
            per_shard: blocks.div_ceil(SHARDS).max(1),
        }
    }

    fn shard(&self, block: FsBlock) -> &Mutex<Shard> {
        // Neighbouring blocks go to different shards: they are used together by different threads.
        #[allow(clippy::cast_possible_truncation)] // masked
        let i = (block.get() & (SHARDS as u64 - 1)) as usize;
        &self.shards[i]
    }

    /// The buffer of a block, unloaded if it is new.
    pub(crate) fn get(&self, block: FsBlock) -> Arc<Buffer> {
        let mut shard = self.shard(block).lock();
        if let Some(&i) = shard.index.get(&block)
            && let Some(buffer) = shard.ring.get(i)
        {
            buffer.touch();
            return Arc::clone(buffer);
        }
        shard.shrink_below(self.per_shard);
        let buffer = Arc::new(Buffer::new(block));
        let at = shard.ring.len();
        shard.ring.push(Arc::clone(&buffer));
        shard.index.insert(block, at);
        buffer
    }

    /// Takes a block out. The buffer is marked dead for writers; whoever holds it keeps its last content.
    pub(crate) fn detach(&self, block: FsBlock) {
        let removed = {
            let mut shard = self.shard(block).lock();
            match shard.index.get(&block).copied() {
                Some(i) => shard.remove(i),
                None => None,
            }
        };
        if let Some(buffer) = removed {
            let mut state = buffer.lock();
            state.detached = true;
            state.joined = None;
        }
    }

    /// Blocks in the cache.
    pub(crate) fn len(&self) -> usize {
        self.shards.iter().map(|s| s.lock().ring.len()).sum()
    }
}

impl Shard {
    /// Makes room for one more, as far as a bounded sweep finds something to evict.
    fn shrink_below(&mut self, limit: usize) {
        let mut looked = 0;
        while self.ring.len() >= limit && looked < SWEEP {
            looked += 1;
            if self.hand >= self.ring.len() {
                self.hand = 0;
            }
            let Some(buffer) = self.ring.get(self.hand) else {
                return;
            };
            if Arc::strong_count(buffer) > 1 || buffer.take_referenced() {
                self.hand += 1;
            } else {
                // The last one moves here; the hand looks at it next.
                self.remove(self.hand);
            }
        }
    }

    fn remove(&mut self, at: usize) -> Option<Arc<Buffer>> {
        if at >= self.ring.len() {
            return None;
        }
        let gone = self.ring.swap_remove(at);
        self.index.remove(&gone.block());
        if let Some(moved) = self.ring.get(at) {
            self.index.insert(moved.block(), at);
        }
        Some(gone)
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn evicts_only_what_nobody_holds() {
        let cache = Cache::new(SHARDS * 4);
        let held: Vec<_> = (0..32).map(|i| cache.get(FsBlock::new(i * 64))).collect();
        for i in 32..1000 {
            drop(cache.get(FsBlock::new(i * 64)));
        }
        for (i, buffer) in held.iter().enumerate() {
            let again = cache.get(FsBlock::new(i as u64 * 64));
            assert!(
                Arc::ptr_eq(buffer, &again),
                "block {i} was evicted while held"
            );
        }
        assert!(cache.len() <= 32 + SWEEP, "{} blocks left", cache.len());
        drop(held);
        for i in 1000..1100 {
            drop(cache.get(FsBlock::new(i * 64)));
        }
        assert!(cache.len() <= 8, "{} blocks after release", cache.len());
    }

    #[test]
    fn detached_blocks_get_a_new_buffer() {
        let cache = Cache::new(16);
        let old = cache.get(FsBlock::new(7));
        cache.detach(FsBlock::new(7));
        let new = cache.get(FsBlock::new(7));
        assert!(!Arc::ptr_eq(&old, &new));
        assert!(old.lock().detached && !new.lock().detached);
    }

    #[test]
    fn index_survives_removals() {
        let cache = Cache::new(SHARDS * 8);
        for i in 0..8 {
            drop(cache.get(FsBlock::new(i * 64)));
        }
        cache.detach(FsBlock::new(0));
        cache.detach(FsBlock::new(7 * 64));
        let a = cache.get(FsBlock::new(6 * 64));
        let b = cache.get(FsBlock::new(6 * 64));
        assert!(Arc::ptr_eq(&a, &b));
        assert_eq!(cache.len(), 6);
    }
}
