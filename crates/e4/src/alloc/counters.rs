//! How many blocks and inodes there are, and for whom.
//!
//! Invariant: every block that is free in a bitmap (and not in a condemned group) is in exactly one of three
//! accounts, or claimed by an allocation under way, or reserved:
//!
//! ```text
//!            claim            taken in a bitmap
//! available --------> claim ------------------> in use
//!   |  ^                ^                          | free
//!   |  | release        | claim                    v
//!   v  |                |                       pending (until the transaction commits)
//! promised -------------+                          |
//!   available <------------------------------------+ committed
//! ```
//!
//! One atomic per account and one compare-and-swap per step: no two callers count on the same block,
//! and a promise is kept without a lock.

use e4_sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};

use super::Account;
use super::group::Group;

/// See the module documentation.
#[derive(Default)]
pub(super) struct Counters {
    /// Signed: condemning a group whose blocks are claimed or promised leaves a debt.
    available: AtomicI64,
    promised: AtomicU64,
    pending: AtomicU64,
    /// What the bitmaps say, whoever may have it: changes with the bits and never else, so that it is
    /// exact whenever no handle is open, whatever moves between the accounts meanwhile.
    on_disk: AtomicU64,
    /// Condemned groups' included: the hints of the groups keep their inodes from being taken.
    inodes: AtomicU32,
}

/// Blocks set aside for one allocation.
#[derive(Debug)]
#[must_use = "a claim must be settled"]
pub(super) struct Claim {
    promised: u32,
    available: u32,
}

impl Claim {
    /// How many.
    pub(super) fn blocks(&self) -> u32 {
        self.promised + self.available
    }
}

impl Counters {
    pub(super) fn add_group(&self, group: &Group) {
        self.available
            .fetch_add(group.desc.free_blocks_count.into(), Ordering::Relaxed);
        self.on_disk
            .fetch_add(group.desc.free_blocks_count.into(), Ordering::Relaxed);
        // Inode numbers have 32 bits, so their sum fits.
        self.inodes
            .fetch_add(group.desc.free_inodes_count, Ordering::Relaxed);
    }

    /// The filesystem has got more of both.
    pub(super) fn grown(&self, blocks: u64, inodes: u32) {
        self.on_disk.fetch_add(blocks, Ordering::AcqRel);
        self.available
            .fetch_add(i64::try_from(blocks).unwrap_or(i64::MAX), Ordering::AcqRel);
        self.inodes.fetch_add(inodes, Ordering::AcqRel);
    }

    pub(super) fn available(&self) -> u64 {
        self.available.load(Ordering::Relaxed).max(0).unsigned_abs()
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::Relaxed)
    }

    pub(super) fn promised(&self) -> u64 {
        self.promised.load(Ordering::Relaxed)
    }

    /// Free inodes as the bitmaps have them.
    pub(super) fn inodes(&self) -> u32 {
        self.inodes.load(Ordering::Relaxed)
    }

    /// Free blocks as the bitmaps have them.
    pub(super) fn on_disk(&self) -> u64 {
        self.on_disk.load(Ordering::Acquire)
    }

    /// Bits were set.
    pub(super) fn bits_taken(&self, n: u32) {
        self.on_disk.fetch_sub(n.into(), Ordering::AcqRel);
    }

    /// Bits were cleared; the blocks are pending.
    pub(super) fn bits_freed(&self, n: u32) {
        self.on_disk.fetch_add(n.into(), Ordering::AcqRel);
        self.pending.fetch_add(n.into(), Ordering::AcqRel);
    }

    /// Sets aside 1 to `want` blocks; `None` if there is none for this account.
    pub(super) fn claim(&self, want: u32, account: Account) -> Option<Claim> {
        if account == Account::Promised {
            let take = |promised: u64| u64::from(want).min(promised);
            let update = |promised| Some(promised - take(promised)).filter(|_| promised > 0);
            let before = self
                .promised
                .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
            if let Ok(before) = before {
                let promised = u32::try_from(take(before)).unwrap_or(want);
                return Some(Claim {
                    promised,
                    available: 0,
                });
            }
        }
        let take = |free: i64| i64::from(want).min(free.max(0));
        let update = |free| Some(free - take(free)).filter(|_| free > 0);
        let before = self
            .available
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
        let available = u32::try_from(take(before.ok()?)).unwrap_or(want);
        (available > 0).then_some(Claim {
            promised: 0,
            available,
        })
    }

    /// Ends a claim of which `used` blocks were taken; the rest goes back where it came from.
    pub(super) fn settle(&self, claim: &Claim, used: u32) {
        let from_promise = used.min(claim.promised);
        let from_available = (used - from_promise).min(claim.available);
        self.promised
            .fetch_add((claim.promised - from_promise).into(), Ordering::AcqRel);
        self.available
            .fetch_add((claim.available - from_available).into(), Ordering::AcqRel);
    }

    pub(super) fn promise(&self, n: u64) -> bool {
        let Ok(amount) = i64::try_from(n) else {
            return false;
        };
        let update = |free: i64| (free >= amount).then(|| free - amount);
        let done = self
            .available
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update)
            .is_ok();
        if done {
            self.promised.fetch_add(n, Ordering::AcqRel);
        }
        done
    }

    pub(super) fn release_promise(&self, n: u64) {
        let update = |promised: u64| Some(promised.saturating_sub(n));
        let before = self
            .promised
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
        let before = before.unwrap_or(0);
        debug_assert!(
            before >= n,
            "more promised blocks returned than were promised (I-42)"
        );
        self.available
            .fetch_add(n.min(before).cast_signed(), Ordering::AcqRel);
    }

    /// Pending blocks may be used, unless their group was condemned meanwhile.
    pub(super) fn release_pending(&self, n: u32, condemned: bool) {
        self.pending.fetch_sub(n.into(), Ordering::AcqRel);
        if !condemned {
            self.available.fetch_add(n.into(), Ordering::AcqRel);
        }
    }

    /// Reserved blocks were not taken after all.
    pub(super) fn unreserved(&self, n: u32, condemned: bool) {
        if !condemned {
            self.available.fetch_add(n.into(), Ordering::AcqRel);
        }
    }

    pub(super) fn condemn_blocks(&self, n: u32) {
        self.available.fetch_sub(n.into(), Ordering::AcqRel);
    }

    pub(super) fn inode_taken(&self) {
        let update = |free: u32| Some(free.saturating_sub(1));
        let _ = self
            .inodes
            .fetch_update(Ordering::AcqRel, Ordering::Relaxed, update);
    }

    pub(super) fn inode_freed(&self) {
        self.inodes.fetch_add(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use e4_sync::{Arc, thread};

    fn with(blocks: i64) -> Counters {
        let counters = Counters::default();
        counters.available.store(blocks, Ordering::Relaxed);
        counters
            .on_disk
            .store(blocks.unsigned_abs(), Ordering::Relaxed);
        counters
    }

    #[test]
    fn a_promise_is_out_of_reach_of_others() {
        let counters = with(10);
        assert!(counters.promise(7) && !counters.promise(4));
        let claim = counters.claim(100, Account::Free).unwrap();
        assert_eq!(claim.blocks(), 3);
        assert!(counters.claim(1, Account::Free).is_none());
        let kept = counters.claim(2, Account::Promised).unwrap();
        assert_eq!(kept.blocks(), 2);
        counters.bits_taken(2 + 1);
        counters.settle(&kept, 2);
        counters.settle(&claim, 1);
        assert_eq!((counters.available(), counters.on_disk()), (2, 7));
        counters.release_promise(5);
        assert_eq!(counters.available(), 7);
    }

    #[test]
    fn without_a_promise_metadata_takes_what_is_free() {
        let counters = with(1);
        let claim = counters.claim(3, Account::Promised).unwrap();
        assert_eq!(claim.blocks(), 1);
        counters.settle(&claim, 0);
        assert_eq!(counters.available(), 1);
    }

    #[test]
    fn condemned_blocks_stay_free_on_disk() {
        let counters = with(10);
        counters.bits_freed(4);
        counters.condemn_blocks(6);
        counters.release_pending(4, true);
        assert_eq!((counters.available(), counters.on_disk()), (4, 14));
    }

    /// Claims, promises and settlements from several threads never hand out a block twice: at no time
    /// are more blocks out than there are, and what is on disk does not appear to change.
    #[test]
    fn claims_never_exceed_what_is_there() {
        let counters = Arc::new(with(64));
        let out = Arc::new(AtomicI64::new(0));
        let work = |seed: u32| {
            let (counters, out) = (Arc::clone(&counters), Arc::clone(&out));
            thread::spawn(move || {
                let mut x = seed;
                for _ in 0..20_000 {
                    x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let n = 1 + (x >> 16) % 40;
                    if x >> 31 == 0 {
                        if counters.promise(n.into()) {
                            assert!(out.fetch_add(n.into(), Ordering::SeqCst) + i64::from(n) <= 64);
                            out.fetch_sub(n.into(), Ordering::SeqCst);
                            counters.release_promise(n.into());
                        }
                    } else if let Some(claim) = counters.claim(n, Account::Free) {
                        let got = i64::from(claim.blocks());
                        assert!(out.fetch_add(got, Ordering::SeqCst) + got <= 64);
                        out.fetch_sub(got, Ordering::SeqCst);
                        counters.settle(&claim, 0);
                    }
                    assert_eq!(counters.on_disk(), 64);
                }
            })
        };
        let threads: Vec<_> = (1..5).map(work).collect();
        for thread in threads {
            thread.join().unwrap();
        }
        assert_eq!((counters.available(), counters.on_disk()), (64, 64));
    }
}
