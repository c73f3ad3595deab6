//! Which blocks are taken, as ranges: a 16 TiB image has half a gigabyte of bitmap bits but only a
//! few thousand runs, so the formatter never holds a bitmap larger than one block.
//!
//! Invariant: ranges are non-empty, disjoint and never touch (neighbours are merged).

use std::collections::BTreeMap;

/// The set of used blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct SpaceMap {
    /// First block -> first block after the range.
    used: BTreeMap<u64, u64>,
    end: u64,
}

/// A run of blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) len: u64,
}

impl Run {
    pub(crate) fn end(self) -> u64 {
        self.start + self.len
    }
}

impl SpaceMap {
    /// All blocks below `end` exist; those below `first` are outside every group and count as used.
    pub(crate) fn new(first: u64, end: u64) -> Self {
        let mut map = Self {
            used: BTreeMap::new(),
            end,
        };
        map.mark(0, first);
        map
    }

    /// Takes `len` blocks from `start`. The caller knows them to be free.
    pub(crate) fn mark(&mut self, start: u64, len: u64) {
        if len == 0 {
            return;
        }
        let (mut from, mut to) = (start, start + len);
        if let Some((&before, &end)) = self.used.range(..=from).next_back()
            && end >= from
        {
            from = before;
            to = to.max(end);
        }
        while let Some((&next, &end)) = self.used.range(from + 1..=to).next() {
            self.used.remove(&next);
            to = to.max(end);
        }
        self.used.insert(from, to);
    }

    /// The free runs at or after `goal`, in order.
    pub(crate) fn free_from(&self, goal: u64) -> impl Iterator<Item = Run> + '_ {
        let mut at = match self.used.range(..=goal).next_back() {
            Some((_, &end)) if end > goal => end,
            _ => goal,
        };
        let mut rest = self
            .used
            .range(at..)
            .map(|(&s, &e)| (s, e))
            .chain([(self.end, self.end)]);
        std::iter::from_fn(move || {
            loop {
                let (start, end) = rest.next()?;
                let run = Run {
                    start: at,
                    len: start.saturating_sub(at),
                };
                at = at.max(end);
                if run.len > 0 {
                    return Some(run);
                }
            }
        })
    }

    /// Takes the first contiguous run of `len` blocks at or after `goal`, or before it if there is none.
    pub(crate) fn take(&mut self, goal: u64, len: u64) -> Option<Run> {
        let after = self.free_from(goal).find(|r| r.len >= len);
        let found = after.or_else(|| self.free_from(0).find(|r| r.len >= len))?;
        self.mark(found.start, len);
        Some(Run {
            start: found.start,
            len,
        })
    }

    /// Takes `len` blocks, contiguous if possible, else the free runs from `goal` on (wrapping once).
    pub(crate) fn take_pieces(&mut self, goal: u64, len: u64) -> Option<Vec<Run>> {
        if let Some(run) = self.take(goal, len) {
            return Some(vec![run]);
        }
        let mut left = len;
        let mut pieces = Vec::new();
        let below = self
            .free_from(0)
            .take_while(|r| r.start < goal)
            .map(|r| Run {
                start: r.start,
                len: r.len.min(goal - r.start),
            });
        for run in self.free_from(goal).chain(below) {
            let len = run.len.min(left);
            pieces.push(Run {
                start: run.start,
                len,
            });
            left -= len;
            if left == 0 {
                break;
            }
        }
        if left > 0 {
            return None;
        }
        for piece in &pieces {
            self.mark(piece.start, piece.len);
        }
        pieces.sort_by_key(|p| p.start);
        Some(pieces)
    }

    /// The used runs inside `start..end`, clipped to it.
    pub(crate) fn used_in(&self, start: u64, end: u64) -> impl Iterator<Item = Run> + '_ {
        let head = self.used.range(..start).next_back().map(|(&s, &e)| (s, e));
        head.into_iter()
            .chain(self.used.range(start..end).map(|(&s, &e)| (s, e)))
            .map(move |(s, e)| (s.max(start), e.min(end)))
            .filter(|(s, e)| s < e)
            .map(|(s, e)| Run {
                start: s,
                len: e - s,
            })
    }

    /// How many blocks of `start..end` are used.
    pub(crate) fn used_count(&self, start: u64, end: u64) -> u64 {
        self.used_in(start, end).map(|r| r.len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_merge_with_both_neighbours() {
        let mut map = SpaceMap::new(1, 100);
        map.mark(10, 5);
        map.mark(20, 5);
        map.mark(15, 5);
        assert_eq!(
            map.used_in(0, 100).collect::<Vec<_>>(),
            [Run { start: 0, len: 1 }, Run { start: 10, len: 15 }]
        );
        assert_eq!(map.used_count(12, 30), 13);
    }

    #[test]
    fn take_prefers_the_goal_and_wraps() {
        let mut map = SpaceMap::new(0, 100);
        map.mark(40, 10);
        assert_eq!(map.take(45, 20), Some(Run { start: 50, len: 20 }));
        assert_eq!(map.take(80, 30), Some(Run { start: 0, len: 30 }));
        assert_eq!(map.take(0, 31), None);
    }

    #[test]
    fn pieces_cover_the_length_without_overlap() {
        let mut map = SpaceMap::new(0, 100);
        for at in (0..100).step_by(10) {
            map.mark(at, 2);
        }
        let pieces = map.take_pieces(50, 30).unwrap();
        assert_eq!(pieces.iter().map(|p| p.len).sum::<u64>(), 30);
        assert_eq!(pieces[0].start, 52);
        let wrapped = map.take_pieces(95, 20).unwrap();
        assert_eq!(wrapped.iter().map(|p| p.len).sum::<u64>(), 20);
        assert_eq!(map.used_count(0, 100), 20 + 50);
        assert_eq!(map.take_pieces(0, 31), None);
    }
}
