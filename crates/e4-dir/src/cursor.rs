//! Positions in a directory.
//!
//! Decisions: directories with an index, and those of a single block that will get one, are listed in
//! order of hashes, so that a position survives splits, compaction and the conversion of a block to an
//! htree: a name that stays is listed exactly once. Others are listed in order of blocks, where entries
//! never move. Names with equal hashes (62 bits of them) are told apart by a checksum of the name, which a
//! [`Cursor`] has room for and its 63-bit form has not.

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

/// Place of a name in hash order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Key {
    /// 31 bits of the major hash, 31 of the minor one.
    pub(crate) hash: u64,
    /// Checksum of the name, among equal hashes.
    pub(crate) tie: u32,
}

impl Key {
    /// Before all names.
    pub(crate) const FIRST: Self = Self { hash: 0, tie: 0 };

    /// Of a name; `major` is what its place is decided by.
    pub(crate) fn new(major: u32, minor: u32, name: &[u8]) -> Self {
        let major = u64::from(major.min(MAJOR_MAX) >> 1);
        let hash = major << 31 | u64::from(minor >> 1);
        Self {
            hash,
            tie: crc32c(CRC32C_INIT, name),
        }
    }

    /// The major hash it begins at.
    pub(crate) fn major(self) -> u32 {
        u32::try_from(self.hash >> 31 << 1).unwrap_or(MAJOR_MAX)
    }

    /// The position behind this name: exact in 63 bits unless `next` has the same hash.
    pub(crate) fn after(self, next: Option<Self>) -> Self {
        match next {
            Some(n) if n.hash == self.hash => n,
            _ => Self {
                hash: self.hash + 1,
                tie: 0,
            },
        }
    }
}

impl Cursor {
    /// Before everything.
    pub const START: Self = Self(Position::Start);
    /// Behind everything.
    pub const END: Self = Self(Position::End);

    /// As a number below 2^63, for interfaces that have no more. Among names with equal hashes it means
    /// the first of them: whoever resumes there may see some again but misses none.
    #[must_use]
    pub fn to_bits(self) -> u64 {
        match self.0 {
            Position::Start => 0,
            Position::AfterDot => 1,
            Position::Hash(key) => key.hash + 2,
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
            2..LINEAR => Position::Hash(Key {
                hash: bits - 2,
                tie: 0,
            }),
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
        let hash = |major, minor| {
            Position::Hash(Key {
                tie: 0,
                ..Key::new(major, minor, b"x")
            })
        };
        let linear = |block, offset| Position::Linear {
            block: FileBlock::new(block),
            offset,
        };
        [
            Position::Start,
            Position::AfterDot,
            hash(0, 0),
            hash(2, u32::MAX),
            hash(MAJOR_MAX, u32::MAX),
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
        let largest = Key::new(u32::MAX, u32::MAX, b"x");
        let after = Cursor(Position::Hash(largest.after(None)));
        assert_eq!(Cursor::from_bits(after.to_bits()), after);
        assert_eq!(largest.major(), MAJOR_MAX);
    }
}
