//! Extents: what maps the logical blocks of a file to physical ones.
//!
//! Decisions: the 16-bit length field on disk doubles as the unwritten flag (values above 32768), and
//! readers that took it for a length have exposed old disk contents more than once (I-1). It exists only
//! inside this module; outside there are a length in blocks and an [`ExtentState`].

mod node;
mod write;

pub use node::{ExtentHeader, Extents, Indexes, Node};
pub use write::{stamp_extent_block, verify_extent_block, write_index, write_leaf};

use crate::units::{FileBlock, FsBlock};
use core::mem::size_of;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Magic number of every node.
pub const EXTENT_MAGIC: u16 = 0xF30A;
/// Longest written extent, in blocks.
pub const WRITTEN_MAX: u32 = 32768;
/// Longest unwritten extent, in blocks: one less, because of how the flag is encoded.
pub const UNWRITTEN_MAX: u32 = 32767;
/// Deepest tree there can be: five levels address more than 2^32 blocks with the smallest blocks.
pub const DEPTH_MAX: u16 = 5;
/// Bytes of a node header, and of each entry.
pub const ENTRY_SIZE: usize = 12;

/// Physical block numbers in extents have 48 bits.
const FS_BLOCK_LIMIT: u64 = 1 << 48;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    eh_magic: U16,
    eh_entries: U16,
    eh_max: U16,
    eh_depth: U16,
    eh_generation: U32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawExtent {
    ee_block: U32,
    ee_len: U16,
    ee_start_hi: U16,
    ee_start_lo: U32,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawIndex {
    ei_block: U32,
    ei_leaf_lo: U32,
    ei_leaf_hi: U16,
    ei_unused: U16,
}

const _: () = {
    use core::mem::offset_of;
    assert!(size_of::<RawHeader>() == ENTRY_SIZE);
    assert!(size_of::<RawExtent>() == ENTRY_SIZE);
    assert!(size_of::<RawIndex>() == ENTRY_SIZE);
    assert!(offset_of!(RawHeader, eh_entries) == 2);
    assert!(offset_of!(RawHeader, eh_max) == 4);
    assert!(offset_of!(RawHeader, eh_depth) == 6);
    assert!(offset_of!(RawHeader, eh_generation) == 8);
    assert!(offset_of!(RawExtent, ee_len) == 4);
    assert!(offset_of!(RawExtent, ee_start_hi) == 6);
    assert!(offset_of!(RawExtent, ee_start_lo) == 8);
    assert!(offset_of!(RawIndex, ei_leaf_lo) == 4);
    assert!(offset_of!(RawIndex, ei_leaf_hi) == 8);
};

/// Whether the blocks of an extent hold data.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ExtentState {
    /// Reads give what is on disk.
    Written,
    /// Allocated only: reads give zeros, whatever is on disk (I-1).
    Unwritten,
}

impl ExtentState {
    /// Longest extent in this state, in blocks.
    #[must_use]
    pub const fn max_len(self) -> u32 {
        match self {
            Self::Written => WRITTEN_MAX,
            Self::Unwritten => UNWRITTEN_MAX,
        }
    }
}

/// A run of logical blocks on a run of physical blocks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Extent {
    /// First logical block.
    pub block: FileBlock,
    /// Blocks: 1 to [`WRITTEN_MAX`] or [`UNWRITTEN_MAX`].
    pub len: u32,
    /// First physical block.
    pub start: FsBlock,
    /// Written or not.
    pub state: ExtentState,
}

impl Extent {
    /// The logical block after the last one. At most `FileBlock::MAX + 1`.
    #[must_use]
    pub const fn end(&self) -> u32 {
        self.block.get().saturating_add(self.len)
    }

    /// True if the logical block lies in this extent.
    #[must_use]
    pub const fn contains(&self, block: FileBlock) -> bool {
        block.get() >= self.block.get() && block.get() - self.block.get() < self.len
    }

    /// Physical block of a logical one; `None` outside the extent.
    #[must_use]
    pub const fn physical(&self, block: FileBlock) -> Option<FsBlock> {
        if !self.contains(block) {
            return None;
        }
        self.start
            .checked_add((block.get() - self.block.get()) as u64)
    }

    /// True if the extent has an encoding: length, last logical block and physical blocks in range.
    #[must_use]
    pub fn is_encodable(&self) -> bool {
        let end = self.block.get().checked_add(self.len);
        let phys = self.start.get().checked_add(u64::from(self.len));
        self.len >= 1
            && self.len <= self.state.max_len()
            && end.is_some()
            && phys.is_some_and(|p| p <= FS_BLOCK_LIMIT)
    }

    /// True if `next` continues this extent logically and physically in the same state and both fit
    /// into one.
    #[must_use]
    pub fn can_merge(&self, next: &Self) -> bool {
        self.state == next.state
            && self.block.checked_add(self.len) == Some(next.block)
            && self.start.checked_add(u64::from(self.len)) == Some(next.start)
            && self
                .len
                .checked_add(next.len)
                .is_some_and(|n| n <= self.state.max_len())
    }

    fn from_raw(raw: &RawExtent) -> Self {
        let len = u32::from(raw.ee_len.get());
        let (len, state) = if len <= WRITTEN_MAX {
            (len, ExtentState::Written)
        } else {
            (len - WRITTEN_MAX, ExtentState::Unwritten)
        };
        let start = u64::from(raw.ee_start_hi.get()) << 32 | u64::from(raw.ee_start_lo.get());
        Self {
            block: FileBlock::new(raw.ee_block.get()),
            len,
            start: FsBlock::new(start),
            state,
        }
    }

    /// `None` unless [`is_encodable`](Self::is_encodable).
    fn to_raw(self) -> Option<RawExtent> {
        if !self.is_encodable() {
            return None;
        }
        let len = match self.state {
            ExtentState::Written => self.len,
            ExtentState::Unwritten => self.len + WRITTEN_MAX,
        };
        let (lo, hi) = split48(self.start);
        Some(RawExtent {
            ee_block: U32::new(self.block.get()),
            ee_len: U16::new(u16::try_from(len).ok()?),
            ee_start_hi: U16::new(hi),
            ee_start_lo: U32::new(lo),
        })
    }
}

/// A child of an inner node.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ExtentIndex {
    /// First logical block the child covers.
    pub block: FileBlock,
    /// Physical block of the child.
    pub leaf: FsBlock,
}

impl ExtentIndex {
    fn from_raw(raw: &RawIndex) -> Self {
        let leaf = u64::from(raw.ei_leaf_hi.get()) << 32 | u64::from(raw.ei_leaf_lo.get());
        Self {
            block: FileBlock::new(raw.ei_block.get()),
            leaf: FsBlock::new(leaf),
        }
    }

    /// `None` if the child lies beyond 2^48.
    fn to_raw(self) -> Option<RawIndex> {
        if self.leaf.get() >= FS_BLOCK_LIMIT {
            return None;
        }
        let (lo, hi) = split48(self.leaf);
        Some(RawIndex {
            ei_block: U32::new(self.block.get()),
            ei_leaf_lo: U32::new(lo),
            ei_leaf_hi: U16::new(hi),
            ei_unused: U16::new(0),
        })
    }
}

fn split48(block: FsBlock) -> (u32, u16) {
    let [a, b, c, d, e, f, ..] = block.get().to_le_bytes();
    (u32::from_le_bytes([a, b, c, d]), u16::from_le_bytes([e, f]))
}

/// Entries of the root in an inode.
#[must_use]
pub const fn capacity_root() -> u16 {
    4
}

/// Entries of a node in a block of its own. At least four bytes remain behind them for the checksum.
#[must_use]
pub const fn capacity_block(block_size: crate::units::BlockSize) -> u16 {
    capacity(block_size.len())
}

/// Entries of a node of `len` bytes, 65536 at most.
#[allow(clippy::cast_possible_truncation)] // 65536 / 12 fits
const fn capacity(len: usize) -> u16 {
    let n = len.saturating_sub(ENTRY_SIZE) / ENTRY_SIZE;
    if n > u16::MAX as usize {
        u16::MAX
    } else {
        n as u16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn extent(block: u32, len: u32, start: u64, state: ExtentState) -> Extent {
        Extent {
            block: FileBlock::new(block),
            len,
            start: FsBlock::new(start),
            state,
        }
    }

    #[test]
    fn lengths_at_the_edge() {
        use ExtentState::{Unwritten, Written};
        for (len, state, raw) in [
            (1, Written, 1),
            (32768, Written, 0x8000),
            (1, Unwritten, 0x8001),
            (4, Unwritten, 0x8004),
            (32767, Unwritten, 0xFFFF),
        ] {
            let e = extent(5, len, (1 << 48) - u64::from(len), state);
            let stored = e.to_raw().unwrap();
            assert_eq!(stored.ee_len.get(), raw);
            assert_eq!(Extent::from_raw(&stored), e);
        }
        for (len, state) in [
            (0, Written),
            (32769, Written),
            (0, Unwritten),
            (32768, Unwritten),
        ] {
            assert!(
                extent(5, len, 9, state).to_raw().is_none(),
                "{len} {state:?}"
            );
        }
    }

    #[test]
    fn ends_of_the_address_spaces() {
        let written = ExtentState::Written;
        assert!(extent(FileBlock::MAX.get(), 1, 9, written).is_encodable());
        assert!(!extent(FileBlock::MAX.get(), 2, 9, written).is_encodable());
        assert!(!extent(u32::MAX, 1, 9, written).is_encodable());
        assert!(!extent(0, 2, (1 << 48) - 1, written).is_encodable());
        assert!(!extent(0, 2, u64::MAX, written).is_encodable());
    }

    #[test]
    fn merging_needs_everything_to_fit() {
        use ExtentState::{Unwritten, Written};
        let first = extent(10, 20, 100, Written);
        assert!(first.can_merge(&extent(30, 5, 120, Written)));
        assert!(first.can_merge(&extent(30, 32748, 120, Written)));
        assert!(!first.can_merge(&extent(30, 32749, 120, Written)));
        assert!(!first.can_merge(&extent(30, 5, 120, Unwritten)));
        assert!(!first.can_merge(&extent(31, 5, 120, Written)));
        assert!(!first.can_merge(&extent(30, 5, 121, Written)));
        let first = extent(10, 20, 100, Unwritten);
        assert!(first.can_merge(&extent(30, 32747, 120, Unwritten)));
        assert!(!first.can_merge(&extent(30, 32748, 120, Unwritten)));
    }

    #[test]
    fn capacities() {
        use crate::units::BlockSize;
        for (bs, entries) in [(1024, 84), (2048, 169), (4096, 340), (65536, 5460)] {
            assert_eq!(capacity_block(BlockSize::from_bytes(bs).unwrap()), entries);
        }
        assert_eq!(capacity(60), capacity_root());
    }
}
