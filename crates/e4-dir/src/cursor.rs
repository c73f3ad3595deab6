//! Positions in a directory.
//!
//! Decisions: directories with an index, and those of a single block that will get one, are listed
//! in order of hashes, so that a position survives splits, compaction and the conversion of a block
//! to an htree: a name that stays is listed exactly once. Others are listed in order of blocks,
//! where entries never move. Among equal major hashes a checksum of the name decides, not the minor
//! hash, which the legacy algorithm does not have. Names that are equal in all 62 bits (none among
//! honest ones) share a position: who stops between them goes on behind them, for a listing must
//! end on any image.

use e4_format::FileBlock;
use e4_format::csum::{CRC32C_INIT, crc32c};

/// Marks the 63-bit form of a linear position.
const LINEAR: u64 = 1 << 62;
/// The 63-bit form of the end; no position can be this one.
const END: u64 = i64::MAX.cast_unsigned();
/// Bits for an offset within a block.
const OFFSET_BITS: u32 = 16;
/// Largest major hash there is: the one above is reserved.
const MAJOR_MAX: u32 = 0xFFFF_FFFC;

/// A position in a directory: between two entries.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Cursor(pub(crate) Position);

/// What a cursor says.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(crate) enum Position {
    /// Before everything.
    #[default]
    Start,
    /// In hash order, behind `.`.
    AfterDot,
    /// In hash order, behind `..`, before all names with this key or a larger one.
    Hash(Key),
    /// In order of blocks: before the entry at this byte of the block.
    Linear { block: FileBlock, offset: u16 },
    /// Behind everything.
    End,
}

/// Place of a name in hash order: 31 bits of the major hash, 31 of a checksum of the name.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key(u64);

impl Key {
    /// Before all names.
    pub(crate) const FIRST: Self = Self(0);

    /// Of a name whose place is decided by `major`.
    pub(crate) fn new(major: u32, name: &[u8]) -> Self {
        let major = u64::from(major.min(MAJOR_MAX) >> 1);
        Self(major << 31 | u64::from(crc32c(CRC32C_INIT, name) >> 1))
    }

    /// The major hash it begins at.
    pub(crate) fn major(self) -> u32 {
        u32::try_from(self.0 >> 31 << 1).unwrap_or(MAJOR_MAX)
    }

    /// The position behind it.
    pub(crate) const fn after(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self(Position::Start);
    /// Behind everything.
    pub const END: Self = Self(Position::End);

    /// As a number below 2^63, for interfaces that have no more.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        match self.0 {
            Position::Start => 0,
            Position::AfterDot => 1,
            Position::Hash(key) => key.0 + 2,
            Position::Linear { block, offset } => {
                LINEAR | u64::from(block.get()) << OFFSET_BITS | u64::from(offset)
            }
            Position::End => END,
        }
    }

    /// From [`to_bits`](Self::to_bits); any number is some position.
    #[must_use]
    pub fn from_bits(bits: u64) -> Self {
        Self(match bits {
            0 => Position::Start,
            1 => Position::AfterDot,
            2..LINEAR => Position::Hash(Key(bits - 2)),
            LINEAR..END => match u32::try_from((bits & !LINEAR) >> OFFSET_BITS) {
                Ok(block) => {
                    let [a, b, ..] = bits.to_le_bytes();
                    let offset = u16::from_le_bytes([a, b]);
                    Position::Linear {
                        block: FileBlock::new(block),
                        offset,
                    }
                }
                Err(_) => Position::End,
            },
            _ => Position::End,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursors() -> impl Iterator<Item = Cursor> {
        let hash = |bits| Position::Hash(Key(bits));
        let linear = |block, offset| Position::Linear {
            block: FileBlock::new(block),
            offset,
        };
        [
            Position::Start,
            Position::AfterDot,
            hash(0),
            hash(1 << 31),
            Position::Hash(Key::new(u32::MAX, b"x")),
            linear(0, 0),
            linear(1, 12),
            linear(u32::MAX - 1, 65532),
            Position::End,
        ]
        .into_iter()
        .map(Cursor)
    }

    #[test]
    fn bits_keep_order_and_come_back() {
        let mut last = None;
        for c in cursors() {
            let bits = c.to_bits();
            assert!(bits < 1 << 63);
            assert_eq!(Cursor::from_bits(bits), c);
            assert!(last < Some(bits), "{c:?}");
            last = Some(bits);
        }
        assert_eq!(Cursor::from_bits(u64::MAX), Cursor::END);
    }

    #[test]
    fn behind_the_largest_hash_is_still_a_hash_position() {
        let largest = Key::new(u32::MAX, b"x");
        let after = Cursor(Position::Hash(largest.after()));
        assert_eq!(Cursor::from_bits(after.to_bits()), after);
        assert_eq!(largest.major(), MAJOR_MAX);
    }
}
