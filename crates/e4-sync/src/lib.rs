//! e4-sync: the one crate that names locks, atomics, threads and clocks.
//!
//! Purpose: everything concurrent in e4 goes through this facade, so that the model checkers see
//! all of it. Three backends stand behind one API:
//!
//! | build                      | locks         | atomics, threads | lock order asserted |
//! |----------------------------|---------------|------------------|---------------------|
//! | default, debug             | `parking_lot` | `std`            | yes                 |
//! | default, release           | `parking_lot` | `std`            | no (zero bytes)     |
//! | `--cfg loom`               | `loom`        | `loom`           | no                  |
//! | `--cfg shuttle`            | `shuttle`     | `shuttle`        | yes, in debug       |
//!
//! Decisions:
//! - Guards are returned directly. Poisoning is decided here, once: a panic in a critical section
//!   is a bug of ours, the data stays reachable, nothing unwinds twice.
//! - THE LOCK ORDER lives in [`rank`]: every lock is created with a [`Rank`], and debug builds
//!   keep the ranks each thread holds and refuse a downward acquisition.
//! - The three waiting rules (the deadlock proof) are [`may_wait_for_completion`],
//!   [`may_wait_for_transaction`] and [`may_wait_for_device`].
//! - Things that are not mutexes but take part in the order (a journal handle, a byte range)
//!   hold a [`Held`] token of their rank.
//! - [`Arc`] and [`OnceLock`] are always those of `std`: the checkers offer no `Weak`, no unsized
//!   coercion and no once cell. A reference count is therefore not explored by loom.
//! - Timed waits never fire under loom and shuttle: a protocol must not need its time-outs.

#![allow(
    clippy::disallowed_types,
    clippy::disallowed_methods,
    reason = "this crate is the one place that may name them"
)]

pub mod rank;

mod condvar;
mod mutex;
mod rwlock;

#[cfg_attr(loom, path = "backend/loom.rs")]
#[cfg_attr(all(shuttle, not(loom)), path = "backend/shuttle.rs")]
#[cfg_attr(not(any(loom, shuttle)), path = "backend/real.rs")]
mod backend;

pub use backend::{atomic, hint, thread, thread_local};
pub use condvar::Condvar;
pub use mutex::{Mutex, MutexGuard};
pub use rank::{
    Held, Rank, assert_no_rank_at_or_above, may_wait_for_completion, may_wait_for_device,
    may_wait_for_transaction,
};
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use std::sync::{Arc, OnceLock, Weak};
pub use std::time::{Duration, Instant};

/// The monotonic clock. Under the model checkers it still runs, so nothing they explore may
/// depend on its value.
#[inline]
pub fn now() -> Instant {
    Instant::now()
}
