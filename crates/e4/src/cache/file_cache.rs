//! One inode's page cache behind its locks.
//!
//! Two counters stand beside the map, so that direct I/O on files nobody reads or writes through the cache pays one load
//! each time. They are set under the map's lock, before what they announce begins; [`FileCache::is_active`] is asked by a
//! direct write after its data is on the device. Both sides put a fence between: either the write sees the read under way
//! and spoils it, or the read begins after the data.

use e4_sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use e4_sync::{Mutex, MutexGuard, Rank, RwLock, RwLockReadGuard, RwLockWriteGuard};

use super::pages::PageMap;

/// See the module documentation.
pub(crate) struct FileCache {
    map: RwLock<PageMap>,
    turn: Mutex<()>,
    /// The map has pages, or is being filled.
    active: AtomicBool,
    /// Pages dirty or in writeback.
    unclean: AtomicUsize,
    /// In the queue of dirty inodes.
    pub(super) listed: AtomicBool,
    /// On the clock.
    pub(super) on_clock: AtomicBool,
    /// It was cut to nothing and is being written anew: what is written must not stay behind the cut.
    pub(super) flush_at_close: AtomicBool,
}

impl FileCache {
    pub(crate) fn new() -> Self {
        Self {
            map: RwLock::new(Rank::PAGE_MAP, PageMap::default()),
            turn: Mutex::new(Rank::DIRTY_DATA, ()),
            active: AtomicBool::new(false),
            unclean: AtomicUsize::new(0),
            listed: AtomicBool::new(false),
            on_clock: AtomicBool::new(false),
            flush_at_close: AtomicBool::new(false),
        }
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, PageMap> {
        self.map.read()
    }

    /// The map for changes; the counters follow when the guard goes.
    pub(super) fn write(&self) -> MapGuard<'_> {
        MapGuard {
            map: self.map.write(),
            cache: self,
        }
    }

    /// The writeback turn. `sub`: the inode's number, for whoever takes several.
    pub(super) fn take_turn(&self, sub: u64) -> MutexGuard<'_, ()> {
        self.turn.lock_nested(sub)
    }

    /// What was set aside for these pages has become blocks.
    pub(crate) fn reservation_spent(&self, blocks: core::ops::Range<u32>) {
        self.write().clear_reserved(blocks);
    }

    /// True if there are pages, or will be.
    pub(crate) fn is_active(&self) -> bool {
        fence(Ordering::SeqCst);
        self.active.load(Ordering::SeqCst)
    }

    /// True if something is dirty or in writeback.
    pub(crate) fn is_unclean(&self) -> bool {
        self.unclean.load(Ordering::Acquire) > 0
    }
}

/// The map, locked for changes.
pub(super) struct MapGuard<'a> {
    map: RwLockWriteGuard<'a, PageMap>,
    cache: &'a FileCache,
}

impl core::ops::Deref for MapGuard<'_> {
    type Target = PageMap;
    fn deref(&self) -> &PageMap {
        &self.map
    }
}

impl core::ops::DerefMut for MapGuard<'_> {
    fn deref_mut(&mut self) -> &mut PageMap {
        &mut self.map
    }
}

impl Drop for MapGuard<'_> {
    fn drop(&mut self) {
        let cache = self.cache;
        cache.unclean.store(self.map.unclean(), Ordering::Release);
        cache.active.store(self.map.is_active(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
}
