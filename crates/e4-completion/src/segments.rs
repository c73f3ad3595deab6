//! The unwritten block ranges of one io_end. One range in place, which is nearly always enough;
//! more spill to the heap at submission, never at completion (I-12).

use std::ops::Range;

/// A list of file-block ranges in the order they were added; adjacent additions are merged.
#[allow(clippy::box_collection, reason = "size of the common case")]
#[derive(Clone, Default, Debug, PartialEq, Eq)]
pub struct Segments {
    first: Option<Range<u32>>,
    /// Boxed, so that the common case stays small: these are moved from hand to hand.
    more: Option<Box<Vec<Range<u32>>>>,
}

impl Segments {
    /// No range.
    pub const fn new() -> Self {
        Segments {
            first: None,
            more: None,
        }
    }

    /// One range; none if it is empty (S27).
    #[inline]
    pub fn one(blocks: Range<u32>) -> Self {
        Segments {
            first: (!blocks.is_empty()).then_some(blocks),
            more: None,
        }
    }

    /// Adds a range. Empty ranges are ignored (S27), a continuation of the last one extends it.
    pub fn push(&mut self, blocks: Range<u32>) {
        if blocks.is_empty() {
            return;
        }
        let spilled = self.more.as_mut().and_then(|m| m.last_mut());
        match spilled.or(self.first.as_mut()) {
            None => self.first = Some(blocks),
            Some(last) if last.end == blocks.start => last.end = blocks.end,
            Some(_) => self.more.get_or_insert_default().push(blocks),
        }
    }

    /// True if there is nothing to convert.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// The ranges, in the order they were added.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = Range<u32>> + '_ {
        let spilled = self.more.iter().flat_map(|m| m.iter());
        self.first.iter().chain(spilled).cloned()
    }

    /// Number of ranges.
    pub fn len(&self) -> usize {
        usize::from(self.first.is_some()) + self.more.as_ref().map_or(0, |m| m.len())
    }

    /// Blocks in all ranges together.
    pub fn blocks(&self) -> u64 {
        self.iter().map(|r| u64::from(r.end - r.start)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merges_continuations_and_drops_empties() {
        let mut s = Segments::new();
        s.push(5..5);
        assert!(s.is_empty());
        s.push(0..2);
        s.push(2..4);
        s.push(8..9);
        s.push(9..12);
        s.push(20..21);
        assert_eq!(s.iter().collect::<Vec<_>>(), [0..4, 8..12, 20..21]);
        assert_eq!((s.len(), s.blocks()), (3, 9));
        assert!(Segments::one(7..7).is_empty());
    }
}
