//! A condition variable for [`crate::Mutex`].
//!
//! While a thread waits, the mutex is released but its rank stays on the thread's record: the
//! thread does nothing in between, and holds the mutex again when it runs.

use crate::backend;
use crate::mutex::MutexGuard;
use std::time::Duration;

/// A condition variable. Wake-ups may be spurious: wait in a loop.
#[derive(Default)]
pub struct Condvar {
    inner: backend::Condvar,
}

impl Condvar {
    /// A condition variable nobody waits on.
    #[cfg(not(any(loom, shuttle)))]
    pub const fn new() -> Self {
        Condvar {
            inner: backend::Condvar::new(),
        }
    }

    /// A condition variable nobody waits on.
    #[cfg(any(loom, shuttle))]
    pub fn new() -> Self {
        Condvar {
            inner: backend::Condvar::new(),
        }
    }

    /// Releases the mutex, waits for a notification, takes the mutex again.
    #[inline]
    pub fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        self.inner.wait(&mut guard.inner);
    }

    /// As [`Condvar::wait`], for at most `timeout`. Returns true if the time ran out. Under loom
    /// and shuttle the time never runs out.
    #[inline]
    pub fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, timeout: Duration) -> bool {
        self.inner.wait_for(&mut guard.inner, timeout)
    }

    /// Wakes one waiter.
    #[inline]
    pub fn notify_one(&self) {
        self.inner.notify_one();
    }

    /// Wakes every waiter.
    #[inline]
    pub fn notify_all(&self) {
        self.inner.notify_all();
    }
}

impl std::fmt::Debug for Condvar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Condvar")
    }
}
