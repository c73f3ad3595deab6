//! Linear directory blocks.
//!
//! Decisions: a block is a chain of records that covers it exactly; the iterator checks every link of
//! the chain before it shows an entry, and names for what no name may contain. With `metadata_csum` the
//! last 12 bytes are a record that looks unused to those who do not know it: the checksum tail. Blocks
//! do not know where they came from: callers add inode and block to the error.

mod edit;

pub use edit::{append, init_block, init_first_block, insert, remove, set_inode};

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::inode::FileType;
use crate::superblock::Superblock;
use crate::units::{BlockSize, InodeNo};

/// Longest name, in bytes.
pub const NAME_MAX: usize = 255;
/// Bytes of a record before its name.
pub const RECORD_HEADER: usize = 8;
/// Bytes of the checksum tail.
pub const TAIL_SIZE: usize = 12;
/// The type byte that marks the tail.
const TAIL_TYPE: u8 = 0xDE;

/// What the blocks of all directories of an image have in common.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirFormat {
    /// Block size.
    pub block_size: BlockSize,
    /// Blocks end with a checksum tail.
    pub csum_tail: bool,
    /// Entries carry the file type.
    pub file_type: bool,
    /// Largest valid inode number.
    pub inodes_count: u32,
}

impl Superblock {
    /// What the blocks of all directories of this image have in common.
    #[must_use]
    pub fn dir_format(&self) -> DirFormat {
        use crate::features::IncompatFeatures;
        DirFormat {
            block_size: self.block_size(),
            csum_tail: self.has_metadata_csum(),
            file_type: self.incompat().contains(IncompatFeatures::FILETYPE),
            inodes_count: self.inodes_count(),
        }
    }
}

impl DirFormat {
    /// Bytes of a block that records fill, tail excluded.
    #[must_use]
    pub const fn usable(&self) -> usize {
        if self.csum_tail {
            self.block_size.len() - TAIL_SIZE
        } else {
            self.block_size.len()
        }
    }
}

/// One record of a directory block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DirEntry<'a> {
    /// The inode; `None` for an unused record.
    pub inode: Option<InodeNo>,
    /// The name; meaningless in an unused record.
    pub name: &'a [u8],
    /// Type as the entry states it; `None` if unknown.
    pub file_type: Option<FileType>,
    /// Bytes of the record, name and slack included.
    pub rec_len: usize,
    /// Byte of the record within the block.
    pub offset: usize,
}

/// Bytes a record with a name of `name_len` bytes needs at least.
#[must_use]
pub const fn record_size(name_len: usize) -> usize {
    (RECORD_HEADER + name_len).next_multiple_of(4)
}

/// `rec_len` from its 16 bits. With blocks of 64 KiB the whole block does not fit and is stored as
/// 65535 or 0, and the two low bits, always zero otherwise, stand for bits 16 and 17.
fn decode_rec_len(raw: u16, block_len: usize) -> usize {
    let len = usize::from(raw);
    if block_len < 65536 {
        return len;
    }
    if len == 65535 || len == 0 {
        block_len
    } else {
        len & 0xFFFC | (len & 3) << 16
    }
}

/// The 16 bits for a record length; `None` if it is no multiple of 4 or longer than the block.
fn encode_rec_len(len: usize, block_len: usize) -> Option<u16> {
    if len > block_len || !len.is_multiple_of(4) {
        return None;
    }
    if len < 65536 {
        u16::try_from(len).ok()
    } else {
        Some(if block_len == 65536 { 65535 } else { 0 })
    }
}

/// The records of a block in order, unused ones included. Ends after the first error.
#[must_use]
pub const fn entries<'a>(block: &'a [u8], format: &DirFormat) -> Entries<'a> {
    Entries {
        block,
        format: *format,
        next: 0,
    }
}

/// See [`entries`].
#[derive(Clone, Debug)]
pub struct Entries<'a> {
    block: &'a [u8],
    format: DirFormat,
    next: usize,
}

impl<'a> Iterator for Entries<'a> {
    type Item = Result<DirEntry<'a>, FormatError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next >= self.format.usable() {
            return None;
        }
        let entry = record_at(self.block, &self.format, self.next).and_then(|e| {
            check_name(&e)?;
            Ok(e)
        });
        self.next = match &entry {
            Ok(e) => self.next + e.rec_len,
            Err(_) => usize::MAX,
        };
        Some(entry)
    }
}

/// The record at `offset`, with everything checked but what the name contains.
fn record_at<'a>(
    block: &'a [u8],
    format: &DirFormat,
    offset: usize,
) -> Result<DirEntry<'a>, FormatError> {
    let end = format.usable();
    let record = block.get(..end).and_then(|b| b.get(offset..));
    let Some(record) = record else {
        return Err(FormatError::Truncated {
            what: "directory block",
            len: block.len(),
        });
    };
    let Some(([a, b, c, d, l0, l1, name_len, kind], rest)) = record.split_first_chunk() else {
        return Err(FormatError::DirRecordLength {
            offset,
            found: record.len(),
        });
    };
    let rec_len = decode_rec_len(u16::from_le_bytes([*l0, *l1]), format.block_size.len());
    let min = record_size(usize::from(*name_len)).max(record_size(1));
    if rec_len < min || !rec_len.is_multiple_of(4) || rec_len > record.len() {
        return Err(FormatError::DirRecordLength {
            offset,
            found: rec_len,
        });
    }
    let ino = u32::from_le_bytes([*a, *b, *c, *d]);
    if ino > format.inodes_count {
        return Err(FormatError::DirInode { offset, found: ino });
    }
    Ok(DirEntry {
        inode: InodeNo::new(ino),
        name: rest.get(..usize::from(*name_len)).unwrap_or_default(),
        file_type: if format.file_type {
            FileType::of_dir_entry(*kind)
        } else {
            None
        },
        rec_len,
        offset,
    })
}

fn check_name(e: &DirEntry<'_>) -> Result<(), FormatError> {
    let bad = e.name.is_empty() || e.name.iter().any(|b| matches!(b, 0 | b'/'));
    if bad && e.inode.is_some() {
        return Err(FormatError::DirName { offset: e.offset });
    }
    Ok(())
}

/// The entry with this name.
///
/// # Errors
/// The chain of records is broken before the name was found.
pub fn find<'a>(
    block: &'a [u8],
    format: &DirFormat,
    name: &[u8],
) -> Result<Option<DirEntry<'a>>, FormatError> {
    let mut at = 0;
    while at < format.usable() {
        let e = record_at(block, format, at)?;
        if e.inode.is_some() && e.name == name {
            return Ok(Some(e));
        }
        at += e.rec_len;
    }
    Ok(None)
}

/// True if the block holds no entry but `.` and `..`.
///
/// # Errors
/// The chain of records is broken.
pub fn is_empty(block: &[u8], format: &DirFormat) -> Result<bool, FormatError> {
    for e in entries(block, format) {
        let e = e?;
        if e.inode.is_some() && e.name != b"." && e.name != b".." {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the tail and its checksum; nothing without `metadata_csum`. `seed` is the directory's
/// ([`csum_seed_for`](crate::inode::csum_seed_for)).
///
/// # Errors
/// The block is too short.
pub fn stamp(block: &mut [u8], format: &DirFormat, seed: u32) -> Result<(), FormatError> {
    if !format.csum_tail {
        return Ok(());
    }
    let len = block.len();
    let short = FormatError::Truncated {
        what: "directory block",
        len,
    };
    let Some((covered, tail)) = block.split_at_mut_checked(format.usable()) else {
        return Err(short);
    };
    let sum = crc32c(seed, covered);
    let Some(tail) = tail.first_chunk_mut::<TAIL_SIZE>() else {
        return Err(short);
    };
    *tail = tail_bytes(sum);
    Ok(())
}

/// Verifies tail and checksum; nothing without `metadata_csum`. Blocks of an htree's inner nodes have
/// another tail: see [`htree`](crate::htree).
///
/// # Errors
/// No tail, or a wrong checksum.
pub fn verify(block: &[u8], format: &DirFormat, seed: u32) -> Result<(), FormatError> {
    if !format.csum_tail {
        return Ok(());
    }
    let Some((covered, tail)) = block.split_at_checked(format.usable()) else {
        return Err(FormatError::Truncated {
            what: "directory block",
            len: block.len(),
        });
    };
    let Some((head, sum)) = tail.split_first_chunk::<8>() else {
        return Err(FormatError::Truncated {
            what: "directory block",
            len: block.len(),
        });
    };
    let found = sum.first_chunk().map_or(0, |b| u32::from_le_bytes(*b));
    let expected = crc32c(seed, covered);
    if tail_bytes(0).first_chunk::<8>() != Some(head) {
        return Err(FormatError::DirTail);
    }
    if found != expected {
        return Err(FormatError::DirChecksum { expected, found });
    }
    Ok(())
}

#[allow(clippy::cast_possible_truncation)] // 12
const fn tail_bytes(sum: u32) -> [u8; TAIL_SIZE] {
    let [a, b, c, d] = sum.to_le_bytes();
    [0, 0, 0, 0, TAIL_SIZE as u8, 0, 0, TAIL_TYPE, a, b, c, d]
}
