//! The system zone: blocks that hold the filesystem itself, which no file may own and nobody may free.
//!
//! Built once from the group descriptors; immutable afterwards. Sorted, merged ranges, so that a
//! lookup costs a binary search whatever the number of groups.

use e4_format::FsBlock;

/// Sorted, disjoint block ranges `[start, end)`.
#[derive(Debug, Default)]
pub(crate) struct SystemZone {
    ranges: Vec<(u64, u64)>,
}

impl SystemZone {
    /// More pieces, as `(start, len)`.
    pub(crate) fn add(&mut self, more: impl IntoIterator<Item = (u64, u64)>) {
        let mut pieces: Vec<(u64, u64)> = self
            .ranges
            .iter()
            .map(|&(start, end)| (start, end - start))
            .collect();
        pieces.extend(more);
        *self = Self::new(pieces);
    }

    /// From unsorted `(start, len)` pieces, overlaps allowed.
    pub(crate) fn new(mut pieces: Vec<(u64, u64)>) -> Self {
        pieces.retain(|&(_, len)| len > 0);
        pieces.sort_unstable();
        let mut ranges: Vec<(u64, u64)> = Vec::with_capacity(pieces.len());
        for (start, len) in pieces {
            let end = start.saturating_add(len);
            match ranges.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => ranges.push((start, end)),
            }
        }
        Self { ranges }
    }

    /// True if any block of `start .. start + len` belongs to the zone.
    pub(crate) fn overlaps(&self, start: FsBlock, len: u64) -> bool {
        let (start, end) = (start.get(), start.get().saturating_add(len));
        let i = self.ranges.partition_point(|r| r.1 <= start);
        self.ranges.get(i).is_some_and(|r| r.0 < end)
    }

    /// The parts of the zone inside `start .. end`.
    pub(crate) fn within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
        let i = self.ranges.partition_point(|r| r.1 <= start);
        let from = self.ranges.get(i..).unwrap_or_default();
        from.iter()
            .take_while(move |r| r.0 < end)
            .map(move |r| (r.0.max(start), r.1.min(end)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overlaps_and_parts() {
        let zone = SystemZone::new(vec![(10, 5), (12, 8), (100, 1), (0, 0)]);
        for (start, len, hit) in [
            (0, 10, false),
            (0, 11, true),
            (19, 1, true),
            (20, 80, false),
            (20, 81, true),
            (101, 9, false),
        ] {
            assert_eq!(
                zone.overlaps(FsBlock::new(start), len),
                hit,
                "{start}+{len}"
            );
        }
        assert_eq!(
            zone.within(15, 101).collect::<Vec<_>>(),
            [(15, 20), (100, 101)]
        );
    }
}
