//! Which blocks are in use by what was found: one bit per block, allocated group by group on first use.
//!
//! Invariant: memory is at most the size of the image's own block bitmaps. Work is bounded, too: each
//! claim costs a 64th of its length, and after [`Claims::is_exhausted`] nothing is claimed any more.

use crate::ranges::RangeSet;

/// Runs of doubly claimed blocks kept; an image beyond that is beyond listing.
const MAX_DOUBLE_RUNS: usize = 100_000;

/// The bits.
pub(crate) struct Claims {
    first: u64,
    per_group: u64,
    groups: Vec<Option<Box<[u64]>>>,
    twice: RangeSet,
    twice_blocks: u64,
    limit: u64,
}

impl Claims {
    /// For `groups` groups of `per_group` blocks from block `first` on.
    pub(crate) fn new(first: u64, per_group: u32, groups: u32) -> Self {
        let blocks = u64::from(per_group) * u64::from(groups);
        Self {
            first,
            per_group: per_group.into(),
            groups: (0..groups).map(|_| None).collect(),
            twice: RangeSet::default(),
            twice_blocks: 0,
            limit: blocks.saturating_mul(2) + (1 << 20),
        }
    }

    /// Claims a run; how many of its blocks were claimed before. The caller made sure that the blocks
    /// exist.
    pub(crate) fn claim(&mut self, start: u64, len: u64) -> u64 {
        if self.is_exhausted() {
            return 0;
        }
        let mut again = 0;
        let mut at = start.saturating_sub(self.first);
        let end = at + len;
        while at < end {
            let group = at / self.per_group;
            let from = at % self.per_group;
            let to = (from + (end - at)).min(self.per_group);
            let Some(slot) = usize::try_from(group)
                .ok()
                .and_then(|g| self.groups.get_mut(g))
            else {
                break;
            };
            let words = usize::try_from(self.per_group.div_ceil(64)).unwrap_or(0);
            let bits = slot.get_or_insert_with(|| vec![0; words].into_boxed_slice());
            again += set_bits(bits, from, to, |bit, count| {
                if self.twice.runs() < MAX_DOUBLE_RUNS {
                    self.twice
                        .insert(self.first + group * self.per_group + bit, count);
                }
            });
            at += to - from;
        }
        self.twice_blocks += again;
        again
    }

    /// Blocks claimed more than once.
    pub(crate) fn twice(&self) -> &RangeSet {
        &self.twice
    }

    /// So much was claimed twice that following it further is no use.
    pub(crate) fn is_exhausted(&self) -> bool {
        self.twice_blocks > self.limit || self.twice.runs() >= MAX_DOUBLE_RUNS
    }

    /// The bits of a group, 64 at a time, from block `64 * word` of the group on.
    pub(crate) fn word(&self, group: u32, index: u64) -> u64 {
        let bits = self.groups.get(group as usize).and_then(Option::as_ref);
        bits.map_or(0, |b| word(b, index))
    }

    /// How many blocks of a group are claimed.
    pub(crate) fn count(&self, group: u32) -> u32 {
        let bits = self.groups.get(group as usize).and_then(Option::as_ref);
        bits.map_or(0, |b| b.iter().map(|w| w.count_ones()).sum())
    }
}

fn word(bits: &[u64], index: u64) -> u64 {
    usize::try_from(index)
        .ok()
        .and_then(|i| bits.get(i))
        .copied()
        .unwrap_or(0)
}

/// Sets bits `from..to`; how many were set, and each run of those to `twice`.
fn set_bits(bits: &mut [u64], from: u64, to: u64, mut twice: impl FnMut(u64, u64)) -> u64 {
    let mut again = 0;
    let mut at = from;
    while at < to {
        let low = at % 64;
        let count = (64 - low).min(to - at);
        let mask = if count == 64 {
            u64::MAX
        } else {
            ((1 << count) - 1) << low
        };
        if let Some(word) = usize::try_from(at / 64).ok().and_then(|i| bits.get_mut(i)) {
            let mut both = *word & mask;
            again += u64::from(both.count_ones());
            while both != 0 {
                let start = both.trailing_zeros();
                let run = (both >> start).trailing_ones();
                twice(at - low + u64::from(start), run.into());
                both &= u64::MAX.checked_shl(start + run).unwrap_or(0);
            }
            *word |= mask;
        }
        at += count;
    }
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Claims {
        fn is_claimed(&self, block: u64) -> bool {
            let Some(at) = block.checked_sub(self.first) else {
                return false;
            };
            let group = u32::try_from(at / self.per_group).unwrap();
            let bit = at % self.per_group;
            self.word(group, bit / 64) >> (bit % 64) & 1 == 1
        }
    }

    #[test]
    fn counts_what_was_claimed_before() {
        let mut claims = Claims::new(1, 128, 4);
        assert_eq!(claims.claim(1, 10), 0);
        assert_eq!(claims.claim(100, 200), 0);
        assert_eq!(claims.claim(90, 20), 10);
        assert_eq!(claims.claim(5, 1), 1);
        assert!(claims.is_claimed(1) && claims.is_claimed(299));
        assert!(!claims.is_claimed(0) && !claims.is_claimed(300));
        assert_eq!(
            claims.twice().overlap(0, 1000).collect::<Vec<_>>(),
            [(5, 1), (100, 10)]
        );
        assert_eq!((0..4).map(|g| claims.count(g)).sum::<u32>(), 10 + 210);
    }

    #[test]
    fn gives_up_in_the_end() {
        let mut claims = Claims::new(0, 64, 1);
        while !claims.is_exhausted() {
            claims.claim(0, 64);
        }
        assert_eq!(claims.claim(0, 64), 0);
    }
}
