//! Half-open ranges of file blocks.
//!
//! Decision: the end is exclusive and is a [`FileBlock`] too, because the last addressable block is
//! `u32::MAX - 1`; so every range of a file has an end that fits.

use core::fmt;
use e4_format::extent::Extent;
use e4_format::{FileBlock, FsBlock};

/// File blocks `start..end`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct FileRange {
    /// First block.
    pub start: FileBlock,
    /// First block behind the range.
    pub end: FileBlock,
}

impl FileRange {
    /// Every addressable block.
    pub const ALL: Self = Self {
        start: FileBlock::new(0),
        end: FileBlock::new(u32::MAX),
    };

    /// `start..end`; empty if `end <= start`.
    #[must_use]
    pub const fn new(start: FileBlock, end: FileBlock) -> Self {
        Self { start, end }
    }

    /// `start..start+len`, cut at the last addressable block.
    #[must_use]
    pub const fn with_len(start: FileBlock, len: u32) -> Self {
        Self {
            start,
            end: FileBlock::new(start.get().saturating_add(len)),
        }
    }

    /// The blocks an extent maps.
    #[must_use]
    pub const fn of(extent: &Extent) -> Self {
        Self::with_len(extent.block, extent.len)
    }

    /// Number of blocks.
    #[must_use]
    pub const fn len(&self) -> u32 {
        self.end.get().saturating_sub(self.start.get())
    }

    /// True if there is no block in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if `block` is one of its blocks.
    #[must_use]
    pub fn contains(&self, block: FileBlock) -> bool {
        self.start <= block && block < self.end
    }

    /// The common blocks; may be empty.
    #[must_use]
    pub fn clip(&self, other: Self) -> Self {
        Self {
            start: self.start.max(other.start),
            end: self.end.min(other.end),
        }
    }

    /// True if there is a common block.
    #[must_use]
    pub fn overlaps(&self, other: Self) -> bool {
        !self.clip(other).is_empty()
    }

    /// One block more on both sides, as far as blocks exist.
    pub(crate) const fn widened(self) -> Self {
        Self {
            start: FileBlock::new(self.start.get().saturating_sub(1)),
            end: FileBlock::new(self.end.get().saturating_add(1)),
        }
    }
}

impl fmt::Display for FileRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

/// A range to convert, with the physical place its data went to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct ConvertRange {
    /// The blocks whose data write succeeded.
    pub blocks: FileRange,
    /// Where the first of them was mapped when the data was written. A part of the range that is
    /// mapped elsewhere by now is not converted but reported as moved: its data is not there
    /// (design rule "record re-checks the physical block"). `None` waives the check.
    pub at: Option<FsBlock>,
}

impl ConvertRange {
    /// A range without the physical check.
    #[must_use]
    pub const fn unchecked(blocks: FileRange) -> Self {
        Self { blocks, at: None }
    }

    /// A range whose first block was mapped to `at` when its data was written.
    #[must_use]
    pub const fn checked(blocks: FileRange, at: FsBlock) -> Self {
        Self {
            blocks,
            at: Some(at),
        }
    }
}

/// The index of the first range that is empty or does not lie behind its predecessor.
pub(crate) fn first_disorder(ranges: impl Iterator<Item = FileRange>) -> Option<usize> {
    let mut end = 0;
    for (index, range) in ranges.enumerate() {
        if range.is_empty() || range.start.get() < end {
            return Some(index);
        }
        end = range.end.get();
    }
    None
}
