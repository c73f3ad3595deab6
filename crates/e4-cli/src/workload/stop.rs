//! A flag that ends a run, and that pacing actors sleep on.

use e4_sync::atomic::{AtomicBool, Ordering};
use e4_sync::{Condvar, Duration, Mutex, Rank};

/// See the module documentation.
#[derive(Debug)]
pub struct Stop {
    raised: AtomicBool,
    lock: Mutex<()>,
    changed: Condvar,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            raised: AtomicBool::new(false),
            lock: Mutex::new(Rank::LEAF, ()),
            changed: Condvar::new(),
        }
    }
}

impl Stop {
    /// Ends the run.
    pub fn raise(&self) {
        let _guard = self.lock.lock();
        self.raised.store(true, Ordering::Release);
        self.changed.notify_all();
    }

    /// Makes ready for another run; nobody may be running.
    pub fn lower(&self) {
        self.raised.store(false, Ordering::Release);
    }

    /// True once the run shall end.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    /// Sleeps for `time`, or until the run shall end. Returns true if it shall.
    pub fn sleep(&self, time: Duration) -> bool {
        let deadline = e4_sync::now() + time;
        let mut guard = self.lock.lock();
        while !self.is_raised() {
            let left = deadline.saturating_duration_since(e4_sync::now());
            if left.is_zero() {
                return false;
            }
            self.changed.wait_for(&mut guard, left);
        }
        true
    }
}
