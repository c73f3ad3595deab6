//! Blocks of the orphan file: inodes to be truncated or deleted after a crash.
//!
//! Decisions: a block is an array of inode numbers, 0 meaning free, before an 8-byte tail. The checksum
//! binds a block to its place on disk, so it depends on the physical block number.

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::units::{FsBlock, InodeNo};

/// Magic number of the tail.
pub const ORPHAN_MAGIC: u32 = 0x0B10_CA04;
const TAIL_SIZE: usize = 8;

/// Inode numbers a block of `block_len` bytes has room for.
#[must_use]
pub const fn slots(block_len: usize) -> usize {
    block_len.saturating_sub(TAIL_SIZE) / 4
}

fn split(block: &[u8]) -> Result<(&[u8], &[u8; TAIL_SIZE]), FormatError> {
    let short = FormatError::Truncated {
        what: "orphan file block",
        len: block.len(),
    };
    block.split_last_chunk().ok_or(short)
}

fn slot_bytes(block: &[u8]) -> &[[u8; 4]] {
    split(block).map_or(&[], |(table, _)| table.as_chunks().0)
}

/// Makes the block empty: no orphans, tail with magic, no checksum yet.
pub fn init(block: &mut [u8]) {
    block.fill(0);
    if let Some((_, [a, b, c, d, ..])) = block.split_last_chunk_mut::<TAIL_SIZE>() {
        [*a, *b, *c, *d] = ORPHAN_MAGIC.to_le_bytes();
    }
}

/// The orphans of a block with their slots. Numbers are not yet known to be valid.
pub fn orphans(block: &[u8]) -> impl Iterator<Item = (usize, InodeNo)> + '_ {
    let raw = slot_bytes(block).iter().map(|b| u32::from_le_bytes(*b));
    raw.enumerate()
        .filter_map(|(slot, n)| Some((slot, InodeNo::new(n)?)))
}

/// The first free slot at or behind `from`.
#[must_use]
pub fn find_free(block: &[u8], from: usize) -> Option<usize> {
    let free = slot_bytes(block)
        .iter()
        .skip(from)
        .position(|b| *b == [0; 4]);
    free.map(|n| n + from)
}

/// Enters an orphan into the first free slot at or behind `from`; `None` if there is none.
pub fn insert(block: &mut [u8], from: usize, ino: InodeNo) -> Option<usize> {
    let slot = find_free(block, from)?;
    set(block, slot, ino.get()).then_some(slot)
}

/// Frees a slot that holds `ino`.
///
/// # Errors
/// The slot holds something else, or is outside the block.
pub fn remove(block: &mut [u8], slot: usize, ino: InodeNo) -> Result<(), FormatError> {
    let found = slot_bytes(block)
        .get(slot)
        .map_or(0, |b| u32::from_le_bytes(*b));
    if found != ino.get() || !set(block, slot, 0) {
        return Err(FormatError::OrphanSlot {
            slot,
            expected: ino,
            found,
        });
    }
    Ok(())
}

fn set(block: &mut [u8], slot: usize, value: u32) -> bool {
    let table = block
        .split_last_chunk_mut::<TAIL_SIZE>()
        .map(|(table, _)| table);
    match table.and_then(|t| t.as_chunks_mut::<4>().0.get_mut(slot)) {
        Some(at) => {
            *at = value.to_le_bytes();
            true
        }
        None => false,
    }
}

fn csum_of(table: &[u8], at: FsBlock, seed: u32) -> u32 {
    crc32c(crc32c(seed, &at.get().to_le_bytes()), table)
}

/// Writes magic and checksum; the checksum stays as it is without `metadata_csum` (`seed` is `None`).
/// `seed` is that of the orphan file's inode, `at` the physical block.
///
/// # Errors
/// The block is too short.
pub fn stamp(block: &mut [u8], at: FsBlock, seed: Option<u32>) -> Result<(), FormatError> {
    let len = block.len();
    let Some((table, tail)) = block.split_last_chunk_mut::<TAIL_SIZE>() else {
        return Err(FormatError::Truncated {
            what: "orphan file block",
            len,
        });
    };
    let [m0, m1, m2, m3, c0, c1, c2, c3] = tail;
    [*m0, *m1, *m2, *m3] = ORPHAN_MAGIC.to_le_bytes();
    if let Some(seed) = seed {
        [*c0, *c1, *c2, *c3] = csum_of(table, at, seed).to_le_bytes();
    }
    Ok(())
}

/// Verifies magic and (with a seed) checksum.
///
/// # Errors
/// Either differs.
pub fn verify(block: &[u8], at: FsBlock, seed: Option<u32>) -> Result<(), FormatError> {
    let (table, [m0, m1, m2, m3, c0, c1, c2, c3]) = split(block)?;
    let magic = u32::from_le_bytes([*m0, *m1, *m2, *m3]);
    if magic != ORPHAN_MAGIC {
        return Err(FormatError::OrphanMagic {
            block: at,
            found: magic,
        });
    }
    let Some(seed) = seed else { return Ok(()) };
    let expected = csum_of(table, at, seed);
    let found = u32::from_le_bytes([*c0, *c1, *c2, *c3]);
    if found != expected {
        return Err(FormatError::OrphanChecksum {
            block: at,
            expected,
            found,
        });
    }
    Ok(())
}
