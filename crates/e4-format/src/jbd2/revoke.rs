//! Revoke blocks: blocks that copies in older transactions must not overwrite at recovery.

use super::{BlockHeader, BlockKind, HEADER_SIZE, JournalFormat};
use crate::error::FormatError;
use crate::units::{FsBlock, Tid};

/// Bytes before the first entry: the header and the count of bytes in use.
const LIST: usize = HEADER_SIZE + 4;

const fn entry_size(format: &JournalFormat) -> usize {
    if format.bit64 { 8 } else { 4 }
}

/// Entries a revoke block has room for.
#[must_use]
pub const fn revokes_per_block(format: &JournalFormat) -> usize {
    (format.usable() - LIST) / entry_size(format)
}

/// The entries of a revoke block, after its header, checksum and length were verified.
///
/// # Errors
/// Not a revoke block, a wrong checksum, or a length outside the block.
pub fn revoked<'a>(block: &'a [u8], format: &JournalFormat) -> Result<Revoked<'a>, FormatError> {
    let block = format.whole(block)?;
    let header = BlockHeader::expect(block, BlockKind::Revoke)?;
    format.verify_tail(block, header)?;
    let used = block.get(HEADER_SIZE..).and_then(|b| b.first_chunk());
    let used = used.map_or(0, |b| u32::from_be_bytes(*b));
    let limit = format.usable();
    let list = usize::try_from(used)
        .ok()
        .filter(|n| *n <= limit)
        .and_then(|n| block.get(LIST..n));
    match list {
        Some(list) => Ok(Revoked {
            list,
            format: *format,
        }),
        None => Err(FormatError::JournalRevokeLength {
            tid: header.tid,
            found: used,
            limit,
        }),
    }
}

/// See [`revoked`].
#[derive(Clone, Debug)]
pub struct Revoked<'a> {
    list: &'a [u8],
    format: JournalFormat,
}

impl Iterator for Revoked<'_> {
    type Item = FsBlock;

    fn next(&mut self) -> Option<FsBlock> {
        let (entry, rest) = self.list.split_at_checked(entry_size(&self.format))?;
        self.list = rest;
        let number = entry.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
        Some(FsBlock::new(number))
    }
}

/// Fills a revoke block entry by entry.
#[derive(Debug)]
pub struct RevokeWriter<'a> {
    block: &'a mut [u8],
    format: JournalFormat,
    at: usize,
}

impl<'a> RevokeWriter<'a> {
    /// Begins a revoke block; the old contents are cleared.
    ///
    /// # Errors
    /// The block is too short.
    pub fn new(block: &'a mut [u8], format: &JournalFormat, tid: Tid) -> Result<Self, FormatError> {
        let block = format.whole_mut(block)?;
        block.fill(0);
        BlockHeader {
            kind: BlockKind::Revoke,
            tid,
        }
        .encode(block)?;
        Ok(Self {
            block,
            format: *format,
            at: LIST,
        })
    }

    /// Adds a block; false if there is no room (or the number has more bits than the journal's).
    pub fn push(&mut self, block: FsBlock) -> bool {
        let size = entry_size(&self.format);
        if self.at + size > self.format.usable() || (size == 4 && block.get() >> 32 != 0) {
            return false;
        }
        let bytes = block.get().to_be_bytes();
        let (_, low) = bytes.split_at(bytes.len() - size);
        if let Some(to) = self.block.get_mut(self.at..self.at + size) {
            to.copy_from_slice(low);
        }
        self.at += size;
        true
    }

    /// Stores how much is in use and stamps the checksum.
    pub fn finish(self) {
        let used = u32::try_from(self.at).unwrap_or(u32::MAX);
        if let Some(to) = self
            .block
            .get_mut(HEADER_SIZE..)
            .and_then(|b| b.first_chunk_mut())
        {
            *to = used.to_be_bytes();
        }
        self.format.stamp_tail(self.block);
    }
}
