//! A coarse clock for stage ages, in milliseconds since the engine was made.
//!
//! Reading the real clock costs tens of nanoseconds, more than a whole stage; so stages read a
//! cached value. It is refreshed when the engine goes from idle to busy, once per reaped batch, and
//! by every dump or watchdog query. An age is therefore never too small by more than the time since
//! the last of these, and a watchdog that asks every second is never off by more than a second.

use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Duration, Instant, now};

pub(crate) struct Clock {
    start: Instant,
    coarse: AtomicU64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Clock {
            start: now(),
            coarse: AtomicU64::new(0),
        }
    }

    /// The cached time.
    #[inline]
    pub(crate) fn stamp(&self) -> u64 {
        self.coarse.load(Ordering::Relaxed)
    }

    /// Reads the real clock and caches it.
    pub(crate) fn refresh(&self) -> u64 {
        let elapsed = now().saturating_duration_since(self.start).as_millis();
        let stamp = u64::try_from(elapsed).unwrap_or(u64::MAX);
        self.coarse.store(stamp, Ordering::Relaxed);
        stamp
    }

    /// How long before `at` a stage began.
    pub(crate) fn age(at: u64, stamp: u64) -> Duration {
        Duration::from_millis(at.saturating_sub(stamp))
    }
}
