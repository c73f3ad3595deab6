//! A transaction's lists, and the arithmetic that proves it fits the log.
//!
//! The proof. One *credit* is one block of log for a modified block. A handle of `c` credits that modifies `u`
//! distinct new blocks and turns `v` credits into revoke records (each pays for a block full of records) has `u + v <= c`.
//! So with B blocks and R revoke records from closed handles and C the credits of the open ones, the
//! transaction ends with at most `units = B + C + ceil(R / revokes per block)` blocks besides descriptors and
//! the commit record. [`Limits::cost`] adds those (treating revoke blocks as described, which only
//! overestimates) and [`Limits::fits`] admits a handle only while the cost, including the credits set aside for
//! [`crate::CommitHooks::record`], stays within `max_blocks`. Log space of `max_blocks` is taken out of the free
//! space when the transaction opens. Hence: a transaction that was opened fits, and no open handle ever waits.

use e4_format::{FsBlock, Tid};
use e4_sync::{Arc, Mutex, Rank};
use hashbrown::{HashMap, HashSet};

use crate::buffer::Buffer;

/// What a transaction has collected.
#[derive(Default)]
pub(crate) struct Lists {
    /// Every block modified in it.
    pub(crate) blocks: HashMap<FsBlock, Arc<Buffer>>,
    /// Blocks whose earlier copies in the log must not be replayed. Disjoint from `blocks`.
    pub(crate) revokes: HashSet<FsBlock>,
}

/// One transaction, from its first handle to its commit.
pub(crate) struct Transaction {
    pub(crate) tid: Tid,
    pub(crate) lists: Mutex<Lists>,
}

impl Transaction {
    pub(crate) fn new(tid: Tid) -> Self {
        Self {
            tid,
            lists: Mutex::new(Rank::JOURNAL_LISTS, Lists::default()),
        }
    }
}

/// What the running transaction holds so far. Under the state lock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// Open handles.
    pub(crate) handles: u32,
    /// Credits of open handles, used or not.
    pub(crate) reserved: u32,
    /// Blocks added by closed handles. A handle that forgets a block of another open handle closes
    /// with a negative balance; the sum with `reserved` is never short.
    pub(crate) blocks: i64,
    /// Revoke records added by closed handles, with the same reservation.
    pub(crate) revokes: i64,
}

/// The sizes that bound a transaction; fixed when the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Log blocks one transaction may occupy, descriptors and commit record included.
    pub(crate) max_blocks: u32,
    /// Credits set aside in every transaction for the record hook.
    pub(crate) record: u32,
    /// Tags in one descriptor block.
    pub(crate) tags: u32,
    /// Records in one revoke block.
    pub(crate) revokes: u32,
    /// Largest number of units (see the module documentation) that costs at most `max_blocks`.
    units: u32,
}

/// Credits that suffice for the handles of a transaction, however large the log: more handles only wait for the next
/// one, while a larger recording converts more writes per leaf it rewrites.
const HANDLES_ROOM: u32 = 1024;

impl Limits {
    /// `record` is capped at what leaves a transaction room for handles: half of it, or [`HANDLES_ROOM`] if that is
    /// less.
    pub(crate) fn new(max_blocks: u32, tags: u32, revokes: u32, record: u32) -> Self {
        let (tags, revokes) = (tags.max(1), revokes.max(1));
        let mut limits = Self {
            max_blocks,
            record: 0,
            tags,
            revokes,
            units: 0,
        };
        // cost(u) = u + ceil(u / tags) + 1 grows with u; start at the estimate and correct.
        let mut units = u64::from(max_blocks) * u64::from(tags) / (u64::from(tags) + 1) + 1;
        while units > 0 && limits.cost(units) > u64::from(max_blocks) {
            units -= 1;
        }
        limits.units = u32::try_from(units).unwrap_or(u32::MAX);
        let room = (limits.units / 2).min(HANDLES_ROOM);
        limits.record = record.min(limits.units - room);
        limits
    }

    /// Log blocks that `units` blocks occupy with their descriptors and the commit record.
    pub(crate) fn cost(&self, units: u64) -> u64 {
        units + units.div_ceil(u64::from(self.tags)) + 1
    }

    /// The largest handle that fits into an empty transaction.
    pub(crate) fn max_handle(&self) -> u32 {
        self.units - self.record
    }

    /// Whether `credits` more can be promised on top of `usage`.
    pub(crate) fn fits(&self, usage: &Usage, credits: u32) -> bool {
        let revokes = u64::try_from(usage.revokes).unwrap_or(0);
        let revoke_blocks = if revokes == 0 {
            0
        } else {
            revokes.div_ceil(u64::from(self.revokes))
        };
        let fixed = u64::from(usage.reserved) + u64::from(credits) + u64::from(self.record);
        let units = i128::from(usage.blocks) + i128::from(fixed + revoke_blocks);
        units <= i128::from(self.units)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_the_largest_that_fit() {
        for tags in [1, 2, 60, 254, 5000] {
            for max in [1, 2, 3, 31, 255, 256, 4096, 8191] {
                let l = Limits::new(max, tags, 100, 0);
                let u = u64::from(l.max_handle());
                assert!(u == 0 || l.cost(u) <= u64::from(max), "{tags} {max}");
                assert!(l.cost(u + 1) > u64::from(max), "{tags} {max}");
            }
        }
    }

    #[test]
    fn record_is_capped_and_kept_aside() {
        let l = Limits::new(255, 254, 1000, 10_000);
        assert!(l.record * 2 <= 254 && l.record >= 125);
        let empty = Usage::default();
        assert!(l.fits(&empty, l.max_handle()));
        assert!(!l.fits(&empty, l.max_handle() + 1));
    }

    /// Any interleaving of handles that stays within its credits ends within the limit.
    #[test]
    fn admitted_work_always_fits() {
        let mut seed = 1u64;
        let mut rand = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
            (seed >> 33) % n
        };
        for _ in 0..2000 {
            let l = Limits::new(40, 7, 5, u32::try_from(rand(10)).unwrap());
            let mut usage = Usage::default();
            let (mut blocks, mut revokes) = (0u64, 0u64);
            for _ in 0..60 {
                let c = u32::try_from(rand(6)).unwrap();
                if !l.fits(&usage, c) {
                    continue;
                }
                // The handle opens, uses u + v <= c, closes.
                let u = rand(u64::from(c) + 1);
                let v = rand(u64::from(c) - u + 1);
                let r = rand(v * u64::from(l.revokes) + 1);
                usage.blocks += i64::try_from(u).unwrap();
                usage.revokes += i64::try_from(r).unwrap();
                blocks += u;
                revokes += r;
            }
            blocks += u64::from(l.record);
            let written = blocks
                + blocks.div_ceil(u64::from(l.tags))
                + revokes.div_ceil(u64::from(l.revokes))
                + 1;
            assert!(written <= u64::from(l.max_blocks));
        }
    }
}
