//! Stamps: every sector of test data says which run, file, place and generation it belongs to.
//!
//! These are the lab's tags ([`e4_sim::Tag`]) with the sector as the block: a power cut and two concurrent
//! writes may both tear a block between sectors, which is allowed, but never inside one. The run goes
//! into the upper half of the tag's file number.

use e4_sim::{SectorVerdict, Tag};

/// Bytes of a sector.
pub const SECTOR: usize = e4_sim::SECTOR;

/// What a sector is said to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// Tells runs apart: data of an earlier run is stale.
    pub run: u32,
    /// The file's number in the run.
    pub file: u32,
    /// Byte offset of the sector in the file.
    pub offset: u64,
}

/// What a sector was found to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// Zeros: never written, truncated or punched.
    Zeros,
    /// This run, this file, this place, this generation.
    Generation(u64),
    /// A whole stamp, but of another run, file or place.
    Stray {
        /// Where it belongs.
        place: Place,
        /// Its generation.
        generation: u64,
    },
    /// Nothing a run writes, or a damaged stamp.
    Foreign,
}

impl Place {
    fn tag(self, generation: u64) -> Tag {
        Tag {
            file: u64::from(self.run) << 32 | u64::from(self.file),
            block: self.offset / SECTOR as u64,
            generation,
        }
    }

    fn of(tag: Tag) -> Self {
        Self {
            run: (tag.file >> 32) as u32,
            file: tag.file as u32,
            offset: tag.block.saturating_mul(SECTOR as u64),
        }
    }
}

/// Stamps every sector of `buf`, which begins at `offset` of the file. Both are multiples of a sector.
pub fn fill(buf: &mut [u8], run: u32, file: u32, offset: u64, generation: u64) {
    let mut place = Place { run, file, offset };
    for sector in buf.chunks_exact_mut(SECTOR) {
        place.tag(generation).stamp(sector);
        place.offset += SECTOR as u64;
    }
}

/// Names what a sector holds, read at `place`.
#[must_use]
pub fn read(sector: &[u8], place: Place) -> Content {
    match Tag::verify_sector(sector) {
        SectorVerdict::Zeros => Content::Zeros,
        SectorVerdict::Tag {
            tag,
            index: 0,
            count: 1,
        } => {
            let found = Place::of(tag);
            let generation = tag.generation;
            if found == place {
                Content::Generation(generation)
            } else {
                Content::Stray {
                    place: found,
                    generation,
                }
            }
        }
        SectorVerdict::Tag { .. } | SectorVerdict::Poison(_) | SectorVerdict::Foreign => {
            Content::Foreign
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        run: 9,
        file: 3,
        offset: 4096,
    };

    fn stamped() -> Vec<u8> {
        let mut buf = vec![0u8; 4 * SECTOR];
        fill(&mut buf, PLACE.run, PLACE.file, PLACE.offset, 77);
        buf
    }

    #[test]
    fn every_sector_knows_its_place() {
        let buf = stamped();
        for (i, sector) in buf.chunks(SECTOR).enumerate() {
            let offset = PLACE.offset + (i * SECTOR) as u64;
            assert_eq!(
                read(sector, Place { offset, ..PLACE }),
                Content::Generation(77)
            );
        }
        let second = Place {
            offset: 4096 + 512,
            ..PLACE
        };
        assert_eq!(
            read(&buf[SECTOR..2 * SECTOR], PLACE),
            Content::Stray {
                place: second,
                generation: 77
            }
        );
        for other in [Place { file: 4, ..PLACE }, Place { run: 8, ..PLACE }] {
            assert!(matches!(read(&buf[..SECTOR], other), Content::Stray { .. }));
        }
    }

    #[test]
    fn every_flipped_byte_is_noticed() {
        let buf = stamped();
        for i in 0..SECTOR {
            let mut sector = buf[..SECTOR].to_vec();
            sector[i] ^= 0x10;
            assert_eq!(read(&sector, PLACE), Content::Foreign, "byte {i}");
        }
    }

    #[test]
    fn zeros_and_rubbish() {
        assert_eq!(read(&[0; SECTOR], PLACE), Content::Zeros);
        assert_eq!(read(&[0x69; SECTOR], PLACE), Content::Foreign);
    }
}
