//! The publish epoch: how a commit knows that everything published before it is known.
//!
//! Every publish happens inside [`PublishEpoch::enter`] and marks its blocks in the plane of the
//! parity it got. A commit calls [`PublishEpoch::flip_and_wait`]: publishers that come later get
//! the other parity, and once the publishers of the old parity have left, its plane is complete
//! and belongs to the commit. Publishers never block and never retry for long: they compete for
//! one word.
//!
//! ```text
//!   word:  | publishers of parity 1 (31) | publishers of parity 0 (32) | parity (1) |
//!
//!   enter   compare-and-swap: read the parity and count under it in one step
//!   leave   subtract; the last one of a parity that is no longer current wakes the flipper
//!   flip    exclusive-or the parity bit, then sleep until the old count is zero
//! ```
//!
//! Safety argument. Reading the parity and being counted is one atomic step, so no publisher can
//! hold the old parity uncounted after the flip (the hole of "count, then look" schemes). After the
//! flip the old count only falls, so it reaches zero once, and the thread that takes it there sees
//! in the same step that its parity is no longer current; it passes the flipper's mutex before it
//! notifies, so the flipper is either asleep or has not looked yet. Flips are serialised by that
//! mutex's `flipping` flag: a second flip before the first is over would hand out a parity whose
//! plane the first still collects. A publisher must not flip (it would wait for itself).

use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Condvar, Mutex, Rank};

const PARITY: u64 = 1;
const EVEN_ONE: u64 = 1 << 1;
const EVEN_MASK: u64 = ((1 << 32) - 1) << 1;
const ODD_ONE: u64 = 1 << 33;
const ODD_MASK: u64 = u64::MAX << 33;

/// One of the two planes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Parity {
    /// Parity 0.
    Even,
    /// Parity 1.
    Odd,
}

impl Parity {
    /// The other one.
    pub const fn other(self) -> Parity {
        match self {
            Parity::Even => Parity::Odd,
            Parity::Odd => Parity::Even,
        }
    }

    #[inline]
    const fn of(word: u64) -> Parity {
        if word & PARITY == 0 {
            Parity::Even
        } else {
            Parity::Odd
        }
    }

    #[inline]
    const fn one(self) -> u64 {
        match self {
            Parity::Even => EVEN_ONE,
            Parity::Odd => ODD_ONE,
        }
    }

    #[inline]
    const fn publishers(self, word: u64) -> u64 {
        match self {
            Parity::Even => word & EVEN_MASK,
            Parity::Odd => word & ODD_MASK,
        }
    }
}

/// The gate. One per filesystem.
pub struct PublishEpoch {
    word: AtomicU64,
    /// True while a flip waits.
    flipping: Mutex<bool>,
    left: Condvar,
}

/// A publisher inside the epoch. Publish into [`Publisher::parity`], then drop it.
#[must_use = "publish while the guard lives"]
pub struct Publisher<'a> {
    epoch: &'a PublishEpoch,
    parity: Parity,
}

impl PublishEpoch {
    /// Parity even, nobody inside.
    pub fn new() -> Self {
        PublishEpoch {
            word: AtomicU64::new(0),
            flipping: Mutex::new(Rank::LEAF, false),
            left: Condvar::new(),
        }
    }

    /// Enters; never blocks.
    #[inline]
    pub fn enter(&self) -> Publisher<'_> {
        let mut seen = self.word.load(Ordering::Relaxed);
        loop {
            let parity = Parity::of(seen);
            // Acquire: what the flipper did before handing this parity out again is visible.
            match self.word.compare_exchange_weak(
                seen,
                seen + parity.one(),
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => {
                    return Publisher {
                        epoch: self,
                        parity,
                    };
                }
                Err(now) => seen = now,
            }
        }
    }

    /// The parity newcomers get at this moment.
    pub fn current(&self) -> Parity {
        Parity::of(self.word.load(Ordering::Acquire))
    }

    /// Flips, waits until every publisher of the old parity has left, and returns it: everything
    /// published under it is visible to the caller, and nothing will be added to its plane until
    /// the next flip. Concurrent flips take turns.
    pub fn flip_and_wait(&self) -> Parity {
        let mut flipping = self.flipping.lock();
        while *flipping {
            self.left.wait(&mut flipping);
        }
        *flipping = true;
        let old = Parity::of(self.word.fetch_xor(PARITY, Ordering::AcqRel));
        while old.publishers(self.word.load(Ordering::Acquire)) != 0 {
            self.left.wait(&mut flipping);
        }
        *flipping = false;
        self.left.notify_all();
        old
    }

    #[cold]
    fn last_of_old(&self) {
        drop(self.flipping.lock());
        self.left.notify_all();
    }
}

impl Default for PublishEpoch {
    fn default() -> Self {
        Self::new()
    }
}

impl Publisher<'_> {
    /// Where to publish.
    #[inline]
    pub fn parity(&self) -> Parity {
        self.parity
    }
}

impl Drop for Publisher<'_> {
    #[inline]
    fn drop(&mut self) {
        // Release: the flipper that sees the count at zero sees what was published.
        let one = self.parity.one();
        let after = self.epoch.word.fetch_sub(one, Ordering::Release) - one;
        if Parity::of(after) != self.parity && self.parity.publishers(after) == 0 {
            self.epoch.last_of_old();
        }
    }
}

#[cfg(all(test, not(any(loom, shuttle))))]
mod tests {
    use super::*;
    use e4_sync::{Arc, thread};

    #[test]
    fn flip_alternates_and_counts_are_separate() {
        let epoch = PublishEpoch::new();
        let a = epoch.enter();
        assert_eq!(a.parity(), Parity::Even);
        drop(a);
        assert_eq!(epoch.flip_and_wait(), Parity::Even);
        let b = epoch.enter();
        assert_eq!(b.parity(), Parity::Odd);
        drop(b);
        assert_eq!(epoch.flip_and_wait(), Parity::Odd);
        assert_eq!(epoch.current(), Parity::Even);
    }

    #[test]
    fn flip_waits_for_the_old_and_not_for_the_new() {
        let epoch = Arc::new(PublishEpoch::new());
        let old = epoch.enter();
        let flipper = {
            let epoch = Arc::clone(&epoch);
            thread::spawn(move || epoch.flip_and_wait())
        };
        while epoch.current() == Parity::Even {
            thread::yield_now();
        }
        let new = epoch.enter();
        assert_eq!(new.parity(), Parity::Odd);
        assert!(!flipper.is_finished());
        drop(old);
        assert_eq!(flipper.join().expect("flipper"), Parity::Even);
        drop(new);
    }
}
