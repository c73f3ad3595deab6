//! Writing nodes of an extent tree, and their checksum.
//!
//! Decisions: a node is written whole, from decoded entries, so that order and overlaps are checked at
//! the one place where bytes come into being; bytes behind the entries become zeros, which keeps images
//! reproducible and leaks nothing. The checksum sits behind the last entry there is room for.

use super::{DEPTH_MAX, ENTRY_SIZE, EXTENT_MAGIC, Extent, ExtentIndex, RawHeader, capacity};
use crate::csum::crc32c;
use crate::error::FormatError;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Fills `bytes` (a block, or the 60 bytes of an inode) with a leaf. `max` is the room the header
/// states: [`capacity_root`](super::capacity_root) or [`capacity_block`](super::capacity_block).
///
/// # Errors
/// Too many extents, one without an encoding, or extents out of order or overlapping.
pub fn write_leaf(
    bytes: &mut [u8],
    extents: &[Extent],
    max: u16,
    generation: u32,
) -> Result<(), FormatError> {
    let mut free_from = 0u32;
    for (entry, e) in extents.iter().enumerate() {
        if !e.is_encodable() {
            return Err(FormatError::ExtentRange {
                entry,
                block: e.block,
                len: e.len,
            });
        }
        if e.block.get() < free_from {
            return Err(FormatError::ExtentOrder {
                entry,
                block: e.block,
            });
        }
        free_from = e.end();
    }
    let entries = extents.iter().filter_map(|e| e.to_raw());
    write_node(bytes, entries, extents.len(), max, 0, generation)
}

/// Fills `bytes` with an inner node of the given depth (1 and up).
///
/// # Errors
/// Too many or no children, a child beyond 2^48, children out of order, or an impossible depth.
pub fn write_index(
    bytes: &mut [u8],
    children: &[ExtentIndex],
    depth: u16,
    max: u16,
    generation: u32,
) -> Result<(), FormatError> {
    if depth == 0 || depth > DEPTH_MAX {
        return Err(FormatError::ExtentDepth {
            found: depth,
            limit: DEPTH_MAX,
        });
    }
    let mut last = None;
    for (entry, child) in children.iter().enumerate() {
        if child.to_raw().is_none() || child.leaf.get() == 0 {
            return Err(FormatError::ExtentChild {
                entry,
                leaf: child.leaf,
            });
        }
        if last.is_some_and(|last| child.block <= last) {
            return Err(FormatError::ExtentOrder {
                entry,
                block: child.block,
            });
        }
        last = Some(child.block);
    }
    let entries = children.iter().filter_map(|c| c.to_raw());
    write_node(bytes, entries, children.len(), max, depth, generation)
}

fn write_node<E: IntoBytes + Immutable>(
    bytes: &mut [u8],
    entries: impl Iterator<Item = E>,
    count: usize,
    max: u16,
    depth: u16,
    generation: u32,
) -> Result<(), FormatError> {
    let limit = capacity(bytes.len());
    if max == 0 || max > limit {
        return Err(FormatError::ExtentMax { found: max, limit });
    }
    let found = u16::try_from(count).unwrap_or(u16::MAX);
    if found > max || (found == 0 && depth > 0) {
        return Err(FormatError::ExtentEntries { found, max, depth });
    }
    let header = RawHeader {
        eh_magic: U16::new(EXTENT_MAGIC),
        eh_entries: U16::new(found),
        eh_max: U16::new(max),
        eh_depth: U16::new(depth),
        eh_generation: U32::new(generation),
    };
    bytes.fill(0);
    let (head, rest) = bytes.split_at_mut(ENTRY_SIZE);
    head.copy_from_slice(header.as_bytes());
    for (to, entry) in rest.chunks_exact_mut(ENTRY_SIZE).zip(entries) {
        to.copy_from_slice(entry.as_bytes());
    }
    Ok(())
}

/// Where the checksum of a node in a block is: behind the last entry its header has room for.
fn tail_offset(bytes: &[u8]) -> Result<usize, FormatError> {
    let Ok((raw, _)) = RawHeader::ref_from_prefix(bytes) else {
        return Err(FormatError::Truncated {
            what: "extent node",
            len: bytes.len(),
        });
    };
    let at = ENTRY_SIZE + usize::from(raw.eh_max.get()) * ENTRY_SIZE;
    if at + 4 > bytes.len() {
        let limit = capacity(bytes.len());
        return Err(FormatError::ExtentMax {
            found: raw.eh_max.get(),
            limit,
        });
    }
    Ok(at)
}

/// Computes and stores the checksum of a node in a block of its own. `seed` is the inode's
/// ([`csum_seed_for`](crate::inode::csum_seed_for)). Roots in inodes have none.
///
/// # Errors
/// The header states more room than the block has.
pub fn stamp_extent_block(bytes: &mut [u8], seed: u32) -> Result<(), FormatError> {
    let at = tail_offset(bytes)?;
    let (covered, tail) = bytes.split_at_mut(at);
    let sum = crc32c(seed, covered);
    if let Some(tail) = tail.first_chunk_mut() {
        *tail = sum.to_le_bytes();
    }
    Ok(())
}

/// Verifies the checksum of a node in a block of its own.
///
/// # Errors
/// The checksum differs, or its place is outside the block.
pub fn verify_extent_block(bytes: &[u8], seed: u32) -> Result<(), FormatError> {
    let at = tail_offset(bytes)?;
    let (covered, tail) = bytes.split_at(at);
    let found = tail.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let expected = crc32c(seed, covered);
    if found != expected {
        return Err(FormatError::ExtentChecksum { expected, found });
    }
    Ok(())
}
