//! The blocks of a jbd2 journal, big-endian.
//!
//! A transaction in the log is a series of descriptor blocks, each followed by the data blocks its tags
//! name, of revoke blocks, and finally one commit block. All begin with the same header.
//!
//! Decisions: what decides the layout of those blocks is gathered once, from the journal's superblock,
//! in [`JournalFormat`]. A data block that happens to begin with the journal's magic number is escaped,
//! so that recovery can never mistake it for a block of the journal. Checksums are of the data as it
//! lies in the log, escaped.

mod commit;
mod descriptor;
mod revoke;
mod superblock;

pub use commit::CommitBlock;
pub use descriptor::{DescriptorWriter, Tag, Tags, data_csum, tags, tags_per_block};
pub use revoke::{RevokeWriter, Revoked, revoked, revokes_per_block};
pub use superblock::{
    JournalCompat, JournalIncompat, JournalSuperblock, RawJournalSuperblock,
    SUPPORTED_JOURNAL_INCOMPAT,
};

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::units::{BlockSize, Tid};
use core::mem::size_of;
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// First four bytes of every block of the journal.
pub const JBD2_MAGIC: u32 = 0xC03B_3998;
/// Bytes of a block header.
pub const HEADER_SIZE: usize = 12;
/// Bytes of the checksum at the end of descriptor and revoke blocks.
const TAIL_SIZE: usize = 4;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawHeader {
    h_magic: U32,
    h_blocktype: U32,
    h_sequence: U32,
}

const _: () = assert!(size_of::<RawHeader>() == HEADER_SIZE);

/// What a block of the journal is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BlockKind {
    /// Tags that name the data blocks after it.
    Descriptor,
    /// End of a transaction.
    Commit,
    /// Superblock of the first version, without features.
    SuperblockV1,
    /// Superblock.
    SuperblockV2,
    /// Blocks that older transactions must no longer write.
    Revoke,
}

impl BlockKind {
    const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Descriptor),
            2 => Some(Self::Commit),
            3 => Some(Self::SuperblockV1),
            4 => Some(Self::SuperblockV2),
            5 => Some(Self::Revoke),
            _ => None,
        }
    }

    const fn raw(self) -> u32 {
        match self {
            Self::Descriptor => 1,
            Self::Commit => 2,
            Self::SuperblockV1 => 3,
            Self::SuperblockV2 => 4,
            Self::Revoke => 5,
        }
    }
}

/// Header of a block of the journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// What the block is.
    pub kind: BlockKind,
    /// Its transaction; 0 in superblocks.
    pub tid: Tid,
}

impl BlockHeader {
    /// Reads a header; `None` if the block is not one of the journal (old data, or the end of the log).
    #[must_use]
    pub fn decode(block: &[u8]) -> Option<Self> {
        let (raw, _) = RawHeader::ref_from_prefix(block).ok()?;
        if raw.h_magic.get() != JBD2_MAGIC {
            return None;
        }
        let kind = BlockKind::from_raw(raw.h_blocktype.get())?;
        Some(Self {
            kind,
            tid: Tid::new(raw.h_sequence.get()),
        })
    }

    /// Writes the header.
    ///
    /// # Errors
    /// The block is too short.
    pub fn encode(self, block: &mut [u8]) -> Result<(), FormatError> {
        let len = block.len();
        let Ok((raw, _)) = RawHeader::mut_from_prefix(block) else {
            return Err(FormatError::Truncated {
                what: "journal block",
                len,
            });
        };
        raw.h_magic.set(JBD2_MAGIC);
        raw.h_blocktype.set(self.kind.raw());
        raw.h_sequence.set(self.tid.get());
        Ok(())
    }

    /// Reads a header that must be of this kind.
    fn expect(block: &[u8], kind: BlockKind) -> Result<Self, FormatError> {
        let found = Self::decode(block);
        match found {
            Some(h) if h.kind == kind => Ok(h),
            _ => Err(FormatError::JournalBlockKind {
                expected: kind,
                found: found.map(|h| h.kind),
            }),
        }
    }
}

/// How the journal is checksummed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JournalCsum {
    /// Not at all.
    None,
    /// crc32 of a whole transaction in its commit block; recognised, not written.
    V1,
    /// crc32c of every block, 16 bits of it in tags.
    V2,
    /// crc32c of every block, all of it in tags.
    V3,
}

/// What decides the layout of a journal's blocks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct JournalFormat {
    /// Block size, the filesystem's.
    pub block_size: BlockSize,
    /// Block numbers have 64 bits.
    pub bit64: bool,
    /// Checksums.
    pub csum: JournalCsum,
    /// Seed of the checksums: crc32c of the journal's UUID.
    pub seed: u32,
    /// The journal's UUID, which descriptors repeat in their first tag.
    pub uuid: [u8; 16],
}

impl JournalFormat {
    /// True if descriptor and revoke blocks end with a checksum.
    #[must_use]
    pub const fn has_block_csum(&self) -> bool {
        matches!(self.csum, JournalCsum::V2 | JournalCsum::V3)
    }

    /// Bytes of a descriptor or revoke block before its checksum.
    const fn usable(&self) -> usize {
        self.block_size.len() - if self.has_block_csum() { TAIL_SIZE } else { 0 }
    }

    /// Stores the checksum in the last four bytes of a descriptor or revoke block.
    fn stamp_tail(&self, block: &mut [u8]) {
        if !self.has_block_csum() {
            return;
        }
        if let Some((covered, tail)) = block.split_last_chunk_mut::<TAIL_SIZE>() {
            *tail = crc32c(crc32c(self.seed, covered), &[0; TAIL_SIZE]).to_be_bytes();
        }
    }

    /// Verifies the checksum in the last four bytes of a descriptor or revoke block.
    fn verify_tail(&self, block: &[u8], header: BlockHeader) -> Result<(), FormatError> {
        if !self.has_block_csum() {
            return Ok(());
        }
        let Some((covered, tail)) = block.split_last_chunk::<TAIL_SIZE>() else {
            return Err(FormatError::Truncated {
                what: "journal block",
                len: block.len(),
            });
        };
        let expected = crc32c(crc32c(self.seed, covered), &[0; TAIL_SIZE]);
        let found = u32::from_be_bytes(*tail);
        if expected != found {
            let BlockHeader { kind, tid } = header;
            return Err(FormatError::JournalBlockChecksum {
                kind,
                tid,
                expected,
                found,
            });
        }
        Ok(())
    }

    /// The block without what lies beyond the block size, or an error if it is shorter.
    fn whole<'a>(&self, block: &'a [u8]) -> Result<&'a [u8], FormatError> {
        let short = FormatError::Truncated {
            what: "journal block",
            len: block.len(),
        };
        block.get(..self.block_size.len()).ok_or(short)
    }

    /// As [`whole`](Self::whole), to write.
    fn whole_mut<'a>(&self, block: &'a mut [u8]) -> Result<&'a mut [u8], FormatError> {
        let short = FormatError::Truncated {
            what: "journal block",
            len: block.len(),
        };
        block.get_mut(..self.block_size.len()).ok_or(short)
    }
}

/// True if a data block begins like a block of the journal and must be escaped in the log.
#[must_use]
pub fn needs_escape(data: &[u8]) -> bool {
    data.first_chunk() == Some(&JBD2_MAGIC.to_be_bytes())
}

/// Escapes a copy of a data block for the log if it needs it; true if it did.
pub fn escape(copy: &mut [u8]) -> bool {
    let needed = needs_escape(copy);
    if let Some(head) = copy.first_chunk_mut::<4>().filter(|_| needed) {
        *head = [0; 4];
    }
    needed
}

/// Undoes [`escape`], for a block whose tag says so.
pub fn unescape(copy: &mut [u8]) {
    if let Some(head) = copy.first_chunk_mut::<4>() {
        *head = JBD2_MAGIC.to_be_bytes();
    }
}
