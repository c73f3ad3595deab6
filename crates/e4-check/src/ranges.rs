//! A set of blocks as merged runs, for what comes in few runs: filesystem metadata, blocks claimed twice.

use std::collections::BTreeMap;

/// The set. Invariant: runs are non-empty, disjoint, and do not touch.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    runs: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// Adds `len` blocks from `start`; true if none of them was in the set.
    pub(crate) fn insert(&mut self, start: u64, len: u64) -> bool {
        if len == 0 {
            return true;
        }
        let fresh = self.overlap(start, len).next().is_none();
        let (mut from, mut to) = (start, start.saturating_add(len));
        while let Some((&s, &e)) = self.runs.range(..=to).next_back()
            && e >= from
        {
            from = from.min(s);
            to = to.max(e);
            self.runs.remove(&s);
        }
        self.runs.insert(from, to);
        fresh
    }

    /// The parts of `start..start + len` that are in the set, as (first, length).
    pub(crate) fn overlap(&self, start: u64, len: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let end = start.saturating_add(len);
        let before = self.runs.range(..start).next_back();
        before
            .into_iter()
            .chain(self.runs.range(start..end))
            .map(move |(&s, &e)| (s.max(start), e.min(end)))
            .filter(|(s, e)| s < e)
            .map(|(s, e)| (s, e - s))
    }

    pub(crate) fn contains(&self, block: u64) -> bool {
        self.overlap(block, 1).next().is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub(crate) fn runs(&self) -> usize {
        self.runs.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inserts_merge_and_report_overlap() {
        let mut set = RangeSet::default();
        assert!(set.insert(10, 5));
        assert!(set.insert(15, 5));
        assert!(set.insert(30, 1));
        assert_eq!(set.runs(), 2);
        assert!(!set.insert(12, 100));
        assert_eq!(set.runs(), 1);
        assert_eq!(set.overlap(0, 1000).collect::<Vec<_>>(), [(10, 102)]);
        assert_eq!(set.overlap(50, 5).collect::<Vec<_>>(), [(50, 5)]);
        assert!(set.contains(10) && set.contains(111) && !set.contains(112) && !set.contains(9));
    }
}
