//! Tagged contents: every 512-byte sector says which file, block and generation it belongs to, and every byte
//! of it can be checked.
//!
//! Decision: a sector's contents are a pure function of its tag, so verifying means generating it again
//! and comparing; a flipped bit anywhere is noticed without a checksum over the data.

use crate::fill::find_poison;
use crate::rng::mix;

/// The unit of tearing, bytes.
pub const SECTOR: usize = 512;

const WORDS: usize = SECTOR / 8;
const MAGIC: u64 = u64::from_le_bytes(*b"e4-TAG\x01\n");

/// Names one generation of one block of one file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag {
    /// The file; never 0 in contents made by [`crate::History`] users, by convention.
    pub file: u64,
    /// The block within the file, in the caller's unit.
    pub block: u64,
    /// The generation.
    pub generation: u64,
}

/// What a sector turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectorVerdict {
    /// All zeros.
    Zeros,
    /// Exactly what the tag's sector should be.
    Tag {
        /// Whose.
        tag: Tag,
        /// Which sector of the block.
        index: u32,
        /// Of how many.
        count: u32,
    },
    /// Leaked fill of the device; the device sector it belongs to.
    Poison(u64),
    /// Anything else: damaged, or never written by us.
    Foreign,
}

/// What a block turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagVerdict {
    /// All zeros.
    Zeros,
    /// One whole generation, undamaged.
    Tag(Tag),
    /// Contains leaked fill of the device, from this device sector.
    Poison(u64),
    /// Undamaged sectors of one block of one file, but of several generations (or partly zeros).
    Torn {
        /// The file.
        file: u64,
        /// The block.
        block: u64,
        /// The oldest generation seen.
        oldest: u64,
        /// The newest.
        newest: u64,
        /// Whether some sectors were zeros.
        zeros: bool,
    },
    /// Anything else: damaged, misplaced or mixed; the first bad sector's index.
    Foreign(usize),
}

impl Tag {
    /// Fills `block` with this tag.
    ///
    /// # Panics
    /// If the length is not a positive multiple of 512.
    pub fn stamp(&self, block: &mut [u8]) {
        assert!(
            !block.is_empty() && block.len().is_multiple_of(SECTOR),
            "{} bytes are not whole sectors",
            block.len()
        );
        let count = (block.len() / SECTOR) as u32;
        for (index, sector) in block.chunks_exact_mut(SECTOR).enumerate() {
            let words = self.sector(index as u32, count);
            for (bytes, word) in sector.chunks_exact_mut(8).zip(words) {
                bytes.copy_from_slice(&word.to_le_bytes());
            }
        }
    }

    fn sector(&self, index: u32, count: u32) -> [u64; WORDS] {
        let place = u64::from(count) << 32 | u64::from(index);
        let seed = mix(self.file ^ mix(self.block ^ mix(self.generation ^ mix(place))));
        let mut words = [0; WORDS];
        words[..5].copy_from_slice(&[MAGIC, self.file, self.block, self.generation, place]);
        for (n, word) in words.iter_mut().enumerate().skip(5) {
            *word = seed.wrapping_add((n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        }
        words
    }

    /// What one sector is.
    #[must_use]
    pub fn verify_sector(sector: &[u8]) -> SectorVerdict {
        if sector.iter().all(|&b| b == 0) {
            return SectorVerdict::Zeros;
        }
        let mut words = [0; WORDS];
        for (word, bytes) in words.iter_mut().zip(sector.chunks_exact(8)) {
            *word = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
        }
        let [magic, file, block, generation, place, ..] = words;
        let tag = Tag {
            file,
            block,
            generation,
        };
        let (index, count) = (place as u32, (place >> 32) as u32);
        if sector.len() == SECTOR && magic == MAGIC && words == tag.sector(index, count) {
            return SectorVerdict::Tag { tag, index, count };
        }
        match find_poison(sector) {
            Some((_, from)) => SectorVerdict::Poison(from),
            None => SectorVerdict::Foreign,
        }
    }

    /// What a block (a positive multiple of 512 bytes) is.
    #[must_use]
    pub fn verify(block: &[u8]) -> TagVerdict {
        let count = (block.len() / SECTOR) as u32;
        let (mut zeros, mut range, mut foreign) = (false, None::<(Tag, Tag)>, None);
        for (n, sector) in block.chunks(SECTOR).enumerate() {
            match Self::verify_sector(sector) {
                SectorVerdict::Zeros => zeros = true,
                // The worst wins, wherever it is.
                SectorVerdict::Poison(from) => return TagVerdict::Poison(from),
                SectorVerdict::Tag {
                    tag,
                    index,
                    count: c,
                } if (index, c) == (n as u32, count) => {
                    let (oldest, newest) = *range.get_or_insert((tag, tag));
                    if (tag.file, tag.block) != (oldest.file, oldest.block) {
                        foreign = foreign.or(Some(n));
                    }
                    range = Some((oldest.min(tag), newest.max(tag)));
                }
                _ => foreign = foreign.or(Some(n)),
            }
        }
        match (foreign, range) {
            (Some(n), _) => TagVerdict::Foreign(n),
            (None, None) => TagVerdict::Zeros,
            (None, Some((oldest, newest))) if !zeros && oldest == newest => TagVerdict::Tag(newest),
            (None, Some((oldest, newest))) => TagVerdict::Torn {
                file: newest.file,
                block: newest.block,
                oldest: oldest.generation,
                newest: newest.generation,
                zeros,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fill::poison;
    use crate::rng::Rng;

    const A: Tag = Tag {
        file: 3,
        block: 70_000,
        generation: 9,
    };

    fn stamped(tag: Tag, len: usize) -> Vec<u8> {
        let mut block = vec![0; len];
        tag.stamp(&mut block);
        block
    }

    #[test]
    fn whole_blocks() {
        for len in [512, 1024, 4096, 65536] {
            assert_eq!(Tag::verify(&stamped(A, len)), TagVerdict::Tag(A));
            assert_eq!(Tag::verify(&vec![0; len]), TagVerdict::Zeros);
            assert_eq!(Tag::verify(&vec![7; len]), TagVerdict::Foreign(0));
            let stale = TagVerdict::Poison(5 * len as u64 / 512);
            assert_eq!(Tag::verify(&poison(5, len)), stale);
        }
    }

    /// Every single flipped bit is noticed.
    #[test]
    fn any_flipped_bit_is_foreign() {
        let good = stamped(A, 1024);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                Tag::verify(&bad),
                TagVerdict::Foreign(bit / 8 / SECTOR),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn mixtures() {
        let newer = Tag {
            generation: 12,
            ..A
        };
        let mut torn = stamped(A, 4096);
        torn[512..1024].copy_from_slice(&stamped(newer, 4096)[512..1024]);
        let expected = |oldest, newest, zeros| TagVerdict::Torn {
            file: 3,
            block: 70_000,
            oldest,
            newest,
            zeros,
        };
        assert_eq!(Tag::verify(&torn), expected(9, 12, false));
        torn[..512].fill(0);
        assert_eq!(Tag::verify(&torn), expected(9, 12, true));
        let mut half = stamped(A, 4096);
        half[2048..].fill(0);
        assert_eq!(Tag::verify(&half), expected(9, 9, true));
        let mut leaked = stamped(A, 4096);
        leaked[4000..4096].copy_from_slice(&poison(1, 4096)[4000..4096]);
        assert_eq!(Tag::verify(&leaked), TagVerdict::Poison(15));
        let other = Tag { block: 1, ..A };
        let mut mixed = stamped(A, 4096);
        mixed[1024..1536].copy_from_slice(&stamped(other, 4096)[1024..1536]);
        assert_eq!(Tag::verify(&mixed), TagVerdict::Foreign(2));
        // Right contents in the wrong place.
        let mut shifted = stamped(A, 4096);
        shifted.rotate_left(512);
        assert_eq!(Tag::verify(&shifted), TagVerdict::Foreign(0));
    }

    #[test]
    fn random_bytes_are_foreign() {
        let mut rng = Rng::new(2);
        let mut block = vec![0; 4096];
        for _ in 0..200 {
            rng.fill(&mut block);
            assert_eq!(Tag::verify(&block), TagVerdict::Foreign(0));
        }
    }
}
