//! The bytes of all pages: the bound, who is evicted, who is written back.
//!
//! Decisions:
//! - Two levels: a clock over the inodes that have pages, and in each inode a hand over its pages. So no page is on a global
//!   list, and reading a page touches nothing shared. Inodes are spread over shards.
//! - The bound covers clean and dirty pages. Whoever adds pages makes room first ([`Room`]): drops clean ones, or, if it is
//!   a writer, writes dirty ones back. A reader that finds no room reads past the cache.
//! - Dirty pages may fill half of the bound; from a quarter on the flusher works.
//! - Queue and clock keep their inodes loaded, so a closed file's pages serve whoever opens it next. Entries without
//!   pages go when new ones come.

use std::collections::VecDeque;

use e4_sync::atomic::{AtomicUsize, Ordering};
use e4_sync::{Condvar, Duration, Instant, Mutex, Rank};

use super::flusher::Bell;
use crate::inode::Inode;
use crate::mount::MountOptions;

const SHARDS: usize = 8;
/// The least bound: smaller ones could not hold one write.
const BYTES_MIN: usize = 64 << 10;
/// Waiting for others' writeback looks again after this long, whatever it missed.
const RELIEF_TICK: Duration = Duration::from_millis(20);

/// An inode in the queue.
pub(super) struct Dirty {
    pub(super) inode: Inode,
    /// When it became dirty.
    pub(super) since: Instant,
}

struct Shard {
    /// Oldest first.
    dirty: Mutex<VecDeque<Dirty>>,
    clock: Mutex<VecDeque<Inode>>,
}

/// The page cache of one filesystem: what all inodes share.
pub(crate) struct Cache {
    limit: usize,
    pub(super) expire: Duration,
    pub(super) block: usize,
    bytes: AtomicUsize,
    dirty_bytes: AtomicUsize,
    shards: [Shard; SHARDS],
    next: AtomicUsize,
    pub(crate) bell: e4_sync::Arc<Bell>,
    relief_lock: Mutex<()>,
    relief: Condvar,
}

/// Room for pages, taken before they exist; what is not used goes back.
pub(super) struct Room<'a> {
    cache: &'a Cache,
    bytes: usize,
}

impl Room<'_> {
    /// Pages were added.
    pub(super) fn used(&mut self, pages: usize) {
        let bytes = pages * self.cache.block;
        debug_assert!(bytes <= self.bytes, "pages without room");
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.cache.bytes.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

impl Cache {
    pub(crate) fn new(options: &MountOptions, block: usize) -> Self {
        let shard = |_| Shard {
            dirty: Mutex::new(Rank::LEAF, VecDeque::new()),
            clock: Mutex::new(Rank::LEAF, VecDeque::new()),
        };
        Self {
            limit: options.cache_bytes.max(BYTES_MIN),
            expire: options.dirty_expire,
            block,
            bytes: AtomicUsize::new(0),
            dirty_bytes: AtomicUsize::new(0),
            shards: std::array::from_fn(shard),
            next: AtomicUsize::new(0),
            bell: Bell::new(),
            relief_lock: Mutex::new(Rank::LEAF, ()),
            relief: Condvar::new(),
        }
    }

    /// Bytes in pages, room taken for pages to come included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes dirty or in writeback.
    pub(crate) fn dirty_bytes(&self) -> usize {
        self.dirty_bytes.load(Ordering::Relaxed)
    }

    /// The most one operation should ask room for.
    pub(super) fn portion(&self) -> usize {
        (self.limit / 8).clamp(self.block, 1 << 20) / self.block * self.block
    }

    pub(super) fn dirty_limit(&self) -> usize {
        self.limit / 2
    }

    /// True if the flusher should work although nothing is old.
    pub(super) fn is_pressed(&self) -> bool {
        self.dirty_bytes() > self.limit / 4
    }

    pub(super) fn became_dirty(&self, pages: usize) {
        self.dirty_bytes
            .fetch_add(pages * self.block, Ordering::AcqRel);
    }

    /// Pages are no longer dirty, for whatever reason: whoever waits for that looks again.
    pub(super) fn became_clean(&self, pages: usize) {
        if pages > 0 {
            self.dirty_bytes
                .fetch_sub(pages * self.block, Ordering::AcqRel);
        }
        drop(self.relief_lock.lock());
        self.relief.notify_all();
    }

    /// Pages are gone.
    pub(super) fn gone(&self, pages: usize) {
        self.bytes.fetch_sub(pages * self.block, Ordering::AcqRel);
    }

    /// Waits until somebody's writeback has ended.
    pub(super) fn wait_for_relief(&self) {
        let mut guard = self.relief_lock.lock();
        self.relief.wait_for(&mut guard, RELIEF_TICK);
    }

    fn shard(&self, inode: &Inode) -> &Shard {
        &self.shards[inode.data().ino.get() as usize % SHARDS]
    }

    /// Room for `bytes`, if dropping clean pages is enough.
    pub(super) fn try_room(&self, bytes: usize) -> Option<Room<'_>> {
        loop {
            let taken = self
                .bytes
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, |now| {
                    (now + bytes <= self.limit).then_some(now + bytes)
                });
            if taken.is_ok() {
                return Some(Room { cache: self, bytes });
            }
            if !self.evict(bytes.max(32 * self.block)) {
                return None;
            }
        }
    }

    /// Drops clean pages, about `bytes` of them. False if there are none to drop.
    fn evict(&self, bytes: usize) -> bool {
        let goal = bytes / self.block;
        // Twice round: once to forget who was used, once to take those nobody used again.
        let most = 2 * (self.bytes() / self.block) + 1024;
        let (mut gone, mut looked, mut idle) = (0, 0, 0);
        while gone < goal && looked < most && idle < SHARDS {
            let shard = &self.shards[self.next.fetch_add(1, Ordering::Relaxed) % SHARDS];
            let Some(inode) = shard.clock.lock().pop_front() else {
                idle += 1;
                continue;
            };
            idle = 0;
            let cache = &inode.data().cache;
            let (dropped, seen) = cache.write().turn_clock();
            self.gone(dropped);
            gone += dropped;
            looked += seen.max(1);
            cache.on_clock.store(false, Ordering::SeqCst);
            if cache.is_active() {
                self.put_on_clock(&inode);
            }
        }
        gone > 0
    }

    /// Pages were added to this inode.
    pub(super) fn put_on_clock(&self, inode: &Inode) {
        if inode.data().cache.on_clock.swap(true, Ordering::SeqCst) {
            return;
        }
        let shard = self.shard(inode);
        let mut empty = Vec::new();
        let mut clock = shard.clock.lock();
        clock.push_back(inode.clone());
        // Inodes that lost their pages otherwise, deleted ones for instance.
        while empty.len() < 2 && clock.front().is_some_and(|i| !i.data().cache.is_active()) {
            empty.extend(clock.pop_front());
        }
        drop(clock);
        for inode in empty {
            inode.data().cache.on_clock.store(false, Ordering::SeqCst);
            if inode.data().cache.is_active() {
                self.put_on_clock(&inode);
            }
        }
    }

    /// Pages of this inode became dirty.
    pub(super) fn list_dirty(&self, inode: &Inode) {
        if inode.data().cache.listed.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut clean = Vec::new();
        let mut dirty = self.shard(inode).dirty.lock();
        dirty.push_back(Dirty {
            inode: inode.clone(),
            since: e4_sync::now(),
        });
        while clean.len() < 2
            && dirty
                .front()
                .is_some_and(|d| !d.inode.data().cache.is_unclean())
        {
            clean.extend(dirty.pop_front());
        }
        drop(dirty);
        for entry in clean {
            self.unlisted(&entry.inode);
        }
    }

    /// An inode was taken off the queue: back on it, should it still be dirty.
    pub(super) fn unlisted(&self, inode: &Inode) {
        inode.data().cache.listed.store(false, Ordering::SeqCst);
        if inode.data().cache.is_unclean() {
            self.list_dirty(inode);
        }
    }

    /// Takes up to `most` inodes off the queue, oldest first within each shard: those dirty since before `before`, or
    /// all. Whoever takes them hands them to [`Cache::unlisted`] when done.
    pub(super) fn take_dirty(&self, most: usize, before: Option<Instant>) -> Vec<Dirty> {
        let mut taken = Vec::new();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        for i in 0..SHARDS {
            let mut dirty = self.shards[(first + i) % SHARDS].dirty.lock();
            while taken.len() < most
                && let Some(front) = dirty.front()
                && before.is_none_or(|b| front.since <= b)
            {
                taken.extend(dirty.pop_front());
            }
        }
        taken
    }

    /// Lets go of everything: the inodes hold the filesystem that holds them.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let dirty = std::mem::take(&mut *shard.dirty.lock());
            let clock = std::mem::take(&mut *shard.clock.lock());
            drop((dirty, clock));
        }
    }
}
