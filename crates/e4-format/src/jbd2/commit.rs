//! Commit blocks: a transaction counts if and only if its commit block is on disk.

use super::{BlockHeader, BlockKind, JournalCsum, JournalFormat};
use crate::csum::crc32c;
use crate::error::FormatError;
use crate::units::Tid;
use core::mem::{offset_of, size_of};
use zerocopy::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawCommit {
    h_magic: U32,
    h_blocktype: U32,
    h_sequence: U32,
    h_chksum_type: u8,
    h_chksum_size: u8,
    h_padding: [u8; 2],
    h_chksum: [U32; 8],
    h_commit_sec: U64,
    h_commit_nsec: U32,
}

const CSUM_OFFSET: usize = 0x10;

const _: () = {
    assert!(size_of::<RawCommit>() == 0x3C);
    assert!(offset_of!(RawCommit, h_chksum_type) == 0xC);
    assert!(offset_of!(RawCommit, h_chksum) == CSUM_OFFSET);
    assert!(offset_of!(RawCommit, h_commit_sec) == 0x30);
    assert!(offset_of!(RawCommit, h_commit_nsec) == 0x38);
};

/// The end of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CommitBlock {
    /// The transaction.
    pub tid: Tid,
    /// When it was committed, seconds since the epoch.
    pub sec: u64,
    /// And nanoseconds.
    pub nsec: u32,
    /// With checksums v1: crc32 of the transaction's blocks, as stored. `None` if the block holds none.
    pub v1_crc32: Option<u32>,
}

impl CommitBlock {
    /// Reads and verifies a commit block.
    ///
    /// # Errors
    /// Not a commit block, or a wrong checksum (v2, v3).
    pub fn decode(block: &[u8], format: &JournalFormat) -> Result<Self, FormatError> {
        const CRC32: (u8, u8) = (1, 4);
        let block = format.whole(block)?;
        let header = BlockHeader::expect(block, BlockKind::Commit)?;
        let Ok((raw, _)) = RawCommit::ref_from_prefix(block) else {
            return Err(FormatError::Truncated {
                what: "commit block",
                len: block.len(),
            });
        };
        let [stored, ..] = raw.h_chksum;
        if format.has_block_csum() {
            let (expected, found) = (csum_of(block, format), stored.get());
            if expected != found {
                let BlockHeader { kind, tid } = header;
                return Err(FormatError::JournalBlockChecksum {
                    kind,
                    tid,
                    expected,
                    found,
                });
            }
        }
        let v1 = format.csum == JournalCsum::V1 && (raw.h_chksum_type, raw.h_chksum_size) == CRC32;
        Ok(Self {
            tid: header.tid,
            sec: raw.h_commit_sec.get(),
            nsec: raw.h_commit_nsec.get(),
            v1_crc32: v1.then(|| stored.get()),
        })
    }

    /// Fills a block with the commit record and its checksum (v2, v3).
    ///
    /// # Errors
    /// The block is too short.
    pub fn encode(&self, block: &mut [u8], format: &JournalFormat) -> Result<(), FormatError> {
        let block = format.whole_mut(block)?;
        block.fill(0);
        BlockHeader {
            kind: BlockKind::Commit,
            tid: self.tid,
        }
        .encode(block)?;
        if let Ok((raw, _)) = RawCommit::mut_from_prefix(block) {
            raw.h_commit_sec.set(self.sec);
            raw.h_commit_nsec.set(self.nsec);
        }
        if format.has_block_csum() {
            let sum = csum_of(block, format);
            if let Some(to) = block
                .get_mut(CSUM_OFFSET..)
                .and_then(|b| b.first_chunk_mut())
            {
                *to = sum.to_be_bytes();
            }
        }
        Ok(())
    }
}

fn csum_of(block: &[u8], format: &JournalFormat) -> u32 {
    let head = block.get(..CSUM_OFFSET).unwrap_or_default();
    let tail = block.get(CSUM_OFFSET + 4..).unwrap_or_default();
    crc32c(crc32c(crc32c(format.seed, head), &[0; 4]), tail)
}
