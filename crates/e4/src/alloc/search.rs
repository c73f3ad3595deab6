//! Where to look for blocks: which group, and which run in it.
//!
//! Decisions:
//! - Contiguity before distance, within reason: the request is tried whole, then with a lower demand, at
//!   last with any single block. Each round begins at the goal's group and goes on to the following
//!   ones. Only the last round reads every bitmap; the others read a few new ones at most, so a large
//!   request does not read the bitmaps of a whole image.
//! - Within a group: exactly at the goal (that continues a file) even if the run is shorter, then the
//!   first run behind the goal that is long enough, then the first one from the start.

use std::ops::Range;

use e4_format::bitmap::Bitmap;

/// Bitmaps not read before that a demanding round may read.
pub(super) const NEW_BITMAPS_PER_ROUND: u32 = 8;
/// A run at the goal is taken if it has this many blocks, however many are wanted.
const AT_GOAL_MIN: u32 = 8;

/// The least each round is content with.
pub(super) fn demands(want: u32) -> impl Iterator<Item = u32> {
    let mut last = u32::MAX;
    [want, want.min(1024), want.min(64), 1]
        .into_iter()
        .filter(move |&demand| {
            let lower = demand < last;
            last = demand;
            lower
        })
}

/// A place to begin, as a bit of one group's bitmap.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Goal {
    /// This very block, if it is free.
    Block(u32),
    /// Anywhere.
    None,
}

/// A run of `least` to `want` free blocks.
pub(super) fn find(map: &Bitmap<'_>, goal: Goal, want: u32, least: u32) -> Option<Range<u32>> {
    let bits = map.bits();
    let from = match goal {
        Goal::Block(bit) => bit.min(bits),
        Goal::None => 0,
    };
    if let Goal::Block(bit) = goal
        && !map.test(bit)
    {
        let end = bits.min(bit.saturating_add(want));
        let end = map.find_one(bit..end).unwrap_or(end);
        if end - bit >= least.min(AT_GOAL_MIN) {
            return Some(bit..end);
        }
    }
    map.find_zero_run(from..bits, least, want)
        .or_else(|| map.find_zero_run(0..bits, least, want))
}

#[cfg(test)]
mod tests {
    use super::*;
    use e4_format::bitmap::BitmapMut;

    /// 64 blocks; 4..8, 16..24 and 40..64 are free.
    fn map() -> [u8; 8] {
        let mut bytes = [0xff; 8];
        let mut map = BitmapMut::new(&mut bytes, 64);
        for range in [4..8, 16..24, 40..64] {
            map.clear_range(range);
        }
        bytes
    }

    #[test]
    fn runs_are_chosen_by_goal_then_by_length() {
        let bytes = map();
        let map = Bitmap::new(&bytes, 64);
        for (goal, want, least, found) in [
            (Goal::None, 3, 3, Some(4..7)),
            (Goal::None, 8, 8, Some(16..24)),
            (Goal::None, 30, 8, Some(16..24)),
            (Goal::None, 30, 20, Some(40..64)),
            (Goal::None, 30, 30, None),
            (Goal::Block(18), 2, 2, Some(18..20)),
            // Shorter than wanted, but it continues.
            (Goal::Block(16), 20, 20, Some(16..24)),
            // Too short to be worth it.
            (Goal::Block(20), 20, 20, Some(40..60)),
            (Goal::Block(30), 4, 4, Some(40..44)),
            (Goal::Block(60), 8, 8, Some(16..24)),
            (Goal::Block(64), 1, 1, Some(4..5)),
            (Goal::Block(u32::MAX), 1, 1, Some(4..5)),
        ] {
            assert_eq!(
                find(&map, goal, want, least),
                found,
                "{goal:?} {want} {least}"
            );
        }
    }

    #[test]
    fn demands_fall_to_one() {
        assert_eq!(demands(1).collect::<Vec<_>>(), [1]);
        assert_eq!(demands(50).collect::<Vec<_>>(), [50, 1]);
        assert_eq!(demands(32_767).collect::<Vec<_>>(), [32_767, 1024, 64, 1]);
    }
}
