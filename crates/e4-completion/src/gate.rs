//! The engine-wide bound on writes in flight: a counting gate.
//!
//! One word: the low half counts slots in use, the high half threads that wait. A thread that
//! gives a slot back learns from the same read-modify-write whether anybody waits, so a wake-up
//! cannot be lost: a waiter first raises the high half, then tries again, then sleeps, all under
//! the mutex the waker must pass.
//!
//! The slot is taken *after* the inode's line was passed and is never held while standing in a
//! line. Otherwise waiters behind a held drain could own every slot while the drain's owner needs
//! one to zero a partial block.

use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Condvar, Mutex, Rank};

const WAITER: u64 = 1 << 32;
const USED: u64 = WAITER - 1;

pub(crate) struct Gate {
    word: AtomicU64,
    limit: u64,
    sleep: Mutex<()>,
    freed: Condvar,
}

impl Gate {
    pub(crate) fn new(limit: u32) -> Self {
        Gate {
            word: AtomicU64::new(0),
            limit: u64::from(limit),
            sleep: Mutex::new(Rank::ENGINE_READY, ()),
            freed: Condvar::new(),
        }
    }

    /// Takes a slot if one is free. `Some(true)` if it is the only one in use.
    #[inline]
    pub(crate) fn try_enter(&self) -> Option<bool> {
        let before = self.word.fetch_add(1, Ordering::Relaxed) & USED;
        if before < self.limit {
            return Some(before == 0);
        }
        self.leave(1);
        None
    }

    /// Takes a slot, waiting for one. `drive` is asked for progress before sleeping.
    pub(crate) fn enter(&self, drive: &dyn Fn() -> bool) -> bool {
        loop {
            if let Some(first) = self.try_enter() {
                return first;
            }
            if drive() {
                continue;
            }
            let mut guard = self.sleep.lock();
            self.word.fetch_add(WAITER, Ordering::AcqRel);
            if self.word.load(Ordering::Acquire) & USED >= self.limit {
                self.freed.wait(&mut guard);
            }
            self.word.fetch_sub(WAITER, Ordering::AcqRel);
        }
    }

    /// Gives `count` slots back.
    #[inline]
    pub(crate) fn leave(&self, count: u64) {
        let before = self.word.fetch_sub(count, Ordering::AcqRel);
        if before >= WAITER {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        drop(self.sleep.lock());
        self.freed.notify_all();
    }

    /// Slots in use.
    pub(crate) fn in_use(&self) -> u64 {
        self.word.load(Ordering::Acquire) & USED
    }
}
