//! The journal's superblock, in its first block.
//!
//! Decisions: validated like the filesystem's, so that positions in the log can be computed with
//! afterwards. A journal with fast commits is accepted here; whoever recovers must refuse one that is
//! not empty, because the area of fast commits may hold changes that are nowhere else.

use super::{BlockHeader, BlockKind, JournalCsum, JournalFormat};
use crate::csum::{CRC32C_INIT, crc32c};
use crate::error::FormatError;
use crate::units::{BlockSize, Tid};
use core::fmt;
use core::mem::{offset_of, size_of};
use zerocopy::big_endian::U32;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Bytes of the journal's superblock.
const SIZE: usize = 1024;
const CSUM_OFFSET: usize = 0xFC;
/// `s_checksum_type` for crc32c.
const CHECKSUM_CRC32C: u8 = 4;
/// Length of the fast commit area if the superblock says 0.
const FC_BLOCKS_DEFAULT: u32 = 256;

/// The superblock of a journal, big-endian, with the kernel's field names.
#[allow(missing_docs)] // the kernel's names are the documentation
#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawJournalSuperblock {
    pub h_magic: U32,
    pub h_blocktype: U32,
    pub h_sequence: U32,
    pub s_blocksize: U32,
    pub s_maxlen: U32,
    pub s_first: U32,
    pub s_sequence: U32,
    pub s_start: U32,
    pub s_errno: U32,
    pub s_feature_compat: U32,
    pub s_feature_incompat: U32,
    pub s_feature_ro_compat: U32,
    pub s_uuid: [u8; 16],
    pub s_nr_users: U32,
    pub s_dynsuper: U32,
    pub s_max_transaction: U32,
    pub s_max_trans_data: U32,
    pub s_checksum_type: u8,
    pub s_padding2: [u8; 3],
    pub s_num_fc_blks: U32,
    pub s_head: U32,
    pub s_padding: [U32; 40],
    pub s_checksum: U32,
    pub s_users: [u8; 768],
}

const _: () = {
    assert!(size_of::<RawJournalSuperblock>() == SIZE);
    assert!(offset_of!(RawJournalSuperblock, s_blocksize) == 0xC);
    assert!(offset_of!(RawJournalSuperblock, s_sequence) == 0x18);
    assert!(offset_of!(RawJournalSuperblock, s_errno) == 0x20);
    assert!(offset_of!(RawJournalSuperblock, s_feature_incompat) == 0x28);
    assert!(offset_of!(RawJournalSuperblock, s_uuid) == 0x30);
    assert!(offset_of!(RawJournalSuperblock, s_nr_users) == 0x40);
    assert!(offset_of!(RawJournalSuperblock, s_checksum_type) == 0x50);
    assert!(offset_of!(RawJournalSuperblock, s_num_fc_blks) == 0x54);
    assert!(offset_of!(RawJournalSuperblock, s_head) == 0x58);
    assert!(offset_of!(RawJournalSuperblock, s_checksum) == CSUM_OFFSET);
    assert!(offset_of!(RawJournalSuperblock, s_users) == 0x100);
};

impl RawJournalSuperblock {
    /// All fields zero.
    #[must_use]
    pub fn zeroed() -> Self {
        Self::new_zeroed()
    }
}

macro_rules! journal_features {
    ($(#[$doc:meta])* $name:ident, $letter:literal, $( $(#[$bdoc:meta])* $konst:ident = $bit:literal, $text:literal;)*) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
        pub struct $name(u32);

        impl $name {
            $( $(#[$bdoc])* pub const $konst: Self = Self($bit); )*

            /// From the raw word; unknown bits are kept.
            #[must_use]
            pub const fn from_bits(bits: u32) -> Self {
                Self(bits)
            }

            /// The raw word.
            #[must_use]
            pub const fn bits(self) -> u32 {
                self.0
            }

            /// True if every feature of `other` is set.
            #[must_use]
            pub const fn contains(self, other: Self) -> bool {
                self.0 & other.0 == other.0
            }

            /// Both sets together.
            #[must_use]
            pub const fn union(self, other: Self) -> Self {
                Self(self.0 | other.0)
            }

            /// The features of `self` that are not in `other`.
            #[must_use]
            pub const fn difference(self, other: Self) -> Self {
                Self(self.0 & !other.0)
            }
        }

        impl fmt::Display for $name {
            /// The names dumpe2fs prints.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let mut space = "";
                for bit in (0..32).filter(|n| self.0 & 1 << n != 0) {
                    f.write_str(space)?;
                    match 1u32 << bit {
                        $( $bit => f.write_str($text)?, )*
                        _ => write!(f, "FEATURE_{}{bit}", $letter)?,
                    }
                    space = " ";
                }
                Ok(())
            }
        }
    };
}

journal_features!(
    /// Features of a journal that may be ignored.
    JournalCompat, 'C',
    /// Commit blocks hold a crc32 of their transaction.
    CHECKSUM = 0x1, "journal_checksum";
);

journal_features!(
    /// Features of a journal without which it cannot be understood.
    JournalIncompat, 'I',
    /// There are revoke blocks.
    REVOKE = 0x1, "journal_incompat_revoke";
    /// Block numbers have 64 bits.
    BIT64 = 0x2, "journal_64bit";
    /// Commit blocks may reach the disk before what they commit.
    ASYNC_COMMIT = 0x4, "journal_async_commit";
    /// Checksums of the second version.
    CSUM_V2 = 0x8, "journal_checksum_v2";
    /// Checksums of the third version.
    CSUM_V3 = 0x10, "journal_checksum_v3";
    /// There is an area of fast commits.
    FAST_COMMIT = 0x20, "fast_commit";
);

/// Features of a journal that may be set.
pub const SUPPORTED_JOURNAL_INCOMPAT: JournalIncompat = JournalIncompat::REVOKE
    .union(JournalIncompat::BIT64)
    .union(JournalIncompat::ASYNC_COMMIT)
    .union(JournalIncompat::CSUM_V2)
    .union(JournalIncompat::CSUM_V3)
    .union(JournalIncompat::FAST_COMMIT);

/// A validated superblock of a journal.
#[derive(Clone, Debug)]
pub struct JournalSuperblock {
    raw: RawJournalSuperblock,
    format: JournalFormat,
    log_end: u32,
}

impl JournalSuperblock {
    /// Reads and validates the first block of a journal. `block_size` is the filesystem's.
    ///
    /// # Errors
    /// Not a superblock of a journal, a wrong checksum, unsupported features (by name), or positions
    /// that contradict each other.
    pub fn decode(block: &[u8], block_size: BlockSize) -> Result<Self, FormatError> {
        let Ok((raw, _)) = RawJournalSuperblock::ref_from_prefix(block) else {
            return Err(FormatError::Truncated {
                what: "journal superblock",
                len: block.len(),
            });
        };
        let sb = Self::from_raw(raw.clone(), block_size)?;
        if sb.format.has_block_csum() {
            let (expected, found) = (csum_of(raw.as_bytes()), raw.s_checksum.get());
            if expected != found {
                return Err(FormatError::JournalSuperblockChecksum { expected, found });
            }
        }
        Ok(sb)
    }

    /// Validates a superblock built in memory: everything [`decode`](Self::decode) checks but the
    /// checksum.
    ///
    /// # Errors
    /// As for `decode`.
    pub fn from_raw(raw: RawJournalSuperblock, block_size: BlockSize) -> Result<Self, FormatError> {
        let found = BlockHeader::decode(raw.as_bytes()).map(|h| h.kind);
        let v2 = match found {
            Some(BlockKind::SuperblockV2) => true,
            Some(BlockKind::SuperblockV1) => false,
            _ => {
                let expected = BlockKind::SuperblockV2;
                return Err(FormatError::JournalBlockKind { expected, found });
            }
        };
        if raw.s_blocksize.get() != block_size.bytes() {
            let (expected, found) = (block_size.bytes(), raw.s_blocksize.get());
            return Err(FormatError::JournalBlockSize { expected, found });
        }
        let incompat = if v2 { raw.s_feature_incompat.get() } else { 0 };
        let incompat = JournalIncompat(incompat);
        let names = incompat.difference(SUPPORTED_JOURNAL_INCOMPAT);
        if names != JournalIncompat(0) {
            return Err(FormatError::UnsupportedJournalIncompat { names });
        }
        let format = JournalFormat {
            block_size,
            bit64: incompat.contains(JournalIncompat::BIT64),
            csum: csum_version(&raw, v2)?,
            seed: crc32c(CRC32C_INIT, &raw.s_uuid),
            uuid: if v2 { raw.s_uuid } else { [0; 16] },
        };
        let fc = if !incompat.contains(JournalIncompat::FAST_COMMIT) {
            0
        } else if raw.s_num_fc_blks.get() == 0 {
            FC_BLOCKS_DEFAULT
        } else {
            raw.s_num_fc_blks.get()
        };
        let (first, maxlen, start) = (raw.s_first.get(), raw.s_maxlen.get(), raw.s_start.get());
        let log_end = maxlen.saturating_sub(fc);
        if first == 0 || first >= log_end {
            return Err(FormatError::JournalGeometry {
                first,
                maxlen,
                fast_commit: fc,
            });
        }
        if start != 0 && !(first..log_end).contains(&start) {
            return Err(FormatError::JournalStart {
                start,
                first,
                end: log_end,
            });
        }
        Ok(Self {
            raw,
            format,
            log_end,
        })
    }

    /// Writes the superblock into the first block of the journal, with a fresh checksum if the journal
    /// has checksums. Bytes behind it are left alone.
    ///
    /// # Errors
    /// The block is too short.
    pub fn encode(&self, block: &mut [u8]) -> Result<(), FormatError> {
        let len = block.len();
        let Some(to) = block.first_chunk_mut::<SIZE>() else {
            return Err(FormatError::Truncated {
                what: "journal superblock",
                len,
            });
        };
        let mut raw = self.raw.clone();
        if self.format.has_block_csum() {
            raw.s_checksum.set(csum_of(raw.as_bytes()));
        }
        to.copy_from_slice(raw.as_bytes());
        Ok(())
    }

    /// The raw fields.
    #[must_use]
    pub const fn raw(&self) -> &RawJournalSuperblock {
        &self.raw
    }

    /// What decides the layout of the other blocks.
    #[must_use]
    pub const fn format(&self) -> &JournalFormat {
        &self.format
    }

    /// Compatible features.
    #[must_use]
    pub fn compat(&self) -> JournalCompat {
        let v2 = self.raw.h_blocktype.get() == BlockKind::SuperblockV2.raw();
        JournalCompat(if v2 {
            self.raw.s_feature_compat.get()
        } else {
            0
        })
    }

    /// Incompatible features.
    #[must_use]
    pub fn incompat(&self) -> JournalIncompat {
        let v2 = self.raw.h_blocktype.get() == BlockKind::SuperblockV2.raw();
        JournalIncompat(if v2 {
            self.raw.s_feature_incompat.get()
        } else {
            0
        })
    }

    /// Sets the incompatible features, such as `revoke` when the first revoke block is written. The type
    /// of the checksums follows; checksums v2 and v3 replace those of v1.
    ///
    /// # Errors
    /// The new set is not valid; the old one stays.
    pub fn set_incompat(&mut self, features: JournalIncompat) -> Result<(), FormatError> {
        let mut raw = self.raw.clone();
        raw.s_feature_incompat.set(features.bits());
        let csum = JournalIncompat::CSUM_V2.union(JournalIncompat::CSUM_V3);
        if features.difference(csum) == features {
            raw.s_checksum_type = 0;
        } else {
            raw.s_checksum_type = CHECKSUM_CRC32C;
            let compat = JournalCompat(raw.s_feature_compat.get());
            raw.s_feature_compat
                .set(compat.difference(JournalCompat::CHECKSUM).0);
        }
        *self = Self::from_raw(raw, self.format.block_size)?;
        Ok(())
    }

    /// Blocks of the journal, this one and the area of fast commits included. The caller compares it
    /// with the size of the journal's inode.
    #[must_use]
    pub fn maxlen(&self) -> u32 {
        self.raw.s_maxlen.get()
    }

    /// First block of the log.
    #[must_use]
    pub fn first(&self) -> u32 {
        self.raw.s_first.get()
    }

    /// The block after the last one of the log: the end of the journal, or the area of fast commits.
    #[must_use]
    pub const fn log_end(&self) -> u32 {
        self.log_end
    }

    /// The first transaction expected in the log.
    #[must_use]
    pub fn sequence(&self) -> Tid {
        Tid::new(self.raw.s_sequence.get())
    }

    /// Where in the log that transaction begins; `None` if the log is empty.
    #[must_use]
    pub fn start(&self) -> Option<u32> {
        Some(self.raw.s_start.get()).filter(|s| *s != 0)
    }

    /// Moves the tail of the log: what recovery would begin with. `None` marks the log as empty.
    ///
    /// # Errors
    /// The position is outside the log.
    pub fn set_tail(&mut self, sequence: Tid, start: Option<u32>) -> Result<(), FormatError> {
        let at = start.unwrap_or(0);
        if start.is_some() && !(self.first()..self.log_end).contains(&at) {
            let (first, end) = (self.first(), self.log_end);
            return Err(FormatError::JournalStart {
                start: at,
                first,
                end,
            });
        }
        self.raw.s_sequence.set(sequence.get());
        self.raw.s_start.set(at);
        Ok(())
    }

    /// Where the log ended at a clean unmount; only a hint, 0 if unknown.
    #[must_use]
    pub fn head(&self) -> u32 {
        self.raw.s_head.get()
    }

    /// Sets the hint where the log ends.
    pub fn set_head(&mut self, head: u32) {
        self.raw.s_head.set(head);
    }

    /// The error the journal was aborted with, negative as the kernel stores it; 0 for none.
    #[must_use]
    pub fn errno(&self) -> i32 {
        self.raw.s_errno.get().cast_signed()
    }

    /// Sets or clears the error.
    pub fn set_errno(&mut self, errno: i32) {
        self.raw.s_errno.set(errno.cast_unsigned());
    }

    /// True if there is an area of fast commits, which nobody here replays.
    #[must_use]
    pub fn has_fast_commit(&self) -> bool {
        self.incompat().contains(JournalIncompat::FAST_COMMIT)
    }
}

fn csum_version(raw: &RawJournalSuperblock, v2: bool) -> Result<JournalCsum, FormatError> {
    if !v2 {
        return Ok(JournalCsum::None);
    }
    let compat = JournalCompat(raw.s_feature_compat.get());
    let incompat = JournalIncompat(raw.s_feature_incompat.get());
    let versions = (
        compat.contains(JournalCompat::CHECKSUM),
        incompat.contains(JournalIncompat::CSUM_V2),
        incompat.contains(JournalIncompat::CSUM_V3),
    );
    let version = match versions {
        (false, false, false) => return Ok(JournalCsum::None),
        (true, false, false) => return Ok(JournalCsum::V1),
        (false, true, false) => JournalCsum::V2,
        (false, false, true) => JournalCsum::V3,
        _ => return Err(FormatError::JournalChecksumVersions { compat, incompat }),
    };
    if raw.s_checksum_type != CHECKSUM_CRC32C {
        return Err(FormatError::JournalChecksumType {
            found: raw.s_checksum_type,
        });
    }
    Ok(version)
}

fn csum_of(bytes: &[u8]) -> u32 {
    let head = bytes.get(..CSUM_OFFSET).unwrap_or_default();
    let tail = bytes.get(CSUM_OFFSET + 4..).unwrap_or_default();
    crc32c(crc32c(crc32c(CRC32C_INIT, head), &[0; 4]), tail)
}
