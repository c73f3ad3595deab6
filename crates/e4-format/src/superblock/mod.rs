//! The superblock: what the whole image looks like.
//!
//! Decisions: [`Superblock::parse`] is the only way from bytes to a value, and after it no derived number
//! can overflow or ask for an absurd allocation: block size, group count, descriptor and inode sizes are
//! bounded against each other here. What only the device can refute (more blocks than it has) is
//! [`Superblock::check_device`]. Features that would make the other fields mean something else are refused
//! before those fields are looked at. Counters and times stay raw: nothing is derived from them.

mod geometry;
mod raw;
mod state;

pub use geometry::{BackupGroups, InodeLocation};
pub use raw::RawSuperblock;
pub use state::{ErrorRecord, ErrorsBehaviour, FsState};

use crate::csum::{CRC32C_INIT, crc32c};
use crate::error::FormatError;
use crate::features::{
    CompatFeatures, IncompatFeatures, REFUSED_RO_COMPAT, RoCompatFeatures, SUPPORTED_INCOMPAT,
    SUPPORTED_RO_COMPAT,
};
use crate::units::{BlockSize, FsBlock};

/// `s_magic`.
pub const SUPERBLOCK_MAGIC: u16 = 0xEF53;
/// Byte offset of the primary superblock in the image, whatever the block size.
pub const SUPERBLOCK_OFFSET: u64 = 1024;
/// Bytes of a superblock.
pub const SUPERBLOCK_SIZE: usize = 1024;

/// `s_checksum_type` for crc32c, the only one there is.
const CHECKSUM_CRC32C: u8 = 1;
const CSUM_OFFSET: usize = 0x3FC;
/// First inode not reserved, in images of revision 0 and as the smallest legal value since.
const GOOD_OLD_FIRST_INO: u32 = 11;
/// Extents address 48 bits.
const MAX_BLOCKS: u64 = 1 << 48;

/// A validated superblock. Keeps the raw one, so that fields it does not interpret survive a rewrite.
#[derive(Clone, Debug)]
pub struct Superblock {
    raw: RawSuperblock,
    block_size: BlockSize,
    blocks_count: u64,
    groups: u32,
    inode_size: u16,
    desc_size: u16,
    first_inode: u32,
    csum_seed: u32,
    metadata_csum: bool,
}

/// What a mount may do with an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Everything.
    ReadWrite,
    /// Reading only, because of these read-only-compatible features.
    ReadOnly {
        /// The features; `Display` gives their names.
        reason: RoCompatFeatures,
    },
}

impl Superblock {
    /// Reads and validates the superblock.
    ///
    /// # Errors
    /// Wrong magic or checksum, unsupported features (by name), or geometry that contradicts itself.
    pub fn parse(bytes: &[u8; SUPERBLOCK_SIZE]) -> Result<Self, FormatError> {
        let raw = RawSuperblock::from_disk(bytes);
        if raw.s_magic.get() != SUPERBLOCK_MAGIC {
            return Err(FormatError::SuperblockMagic {
                found: raw.s_magic.get(),
            });
        }
        if ro_compat_of(&raw).contains(RoCompatFeatures::METADATA_CSUM) {
            if raw.s_checksum_type != CHECKSUM_CRC32C {
                return Err(FormatError::SuperblockChecksumType {
                    found: raw.s_checksum_type,
                });
            }
            let expected = csum_of(bytes);
            if raw.s_checksum.get() != expected {
                let found = raw.s_checksum.get();
                return Err(FormatError::SuperblockChecksum { expected, found });
            }
        }
        Self::from_raw(raw)
    }

    /// Validates a superblock that was built in memory: everything [`parse`](Self::parse) checks but the
    /// checksum, which [`encode`](Self::encode) computes.
    ///
    /// # Errors
    /// As for `parse`.
    pub fn from_raw(raw: RawSuperblock) -> Result<Self, FormatError> {
        if raw.s_magic.get() != SUPERBLOCK_MAGIC {
            return Err(FormatError::SuperblockMagic {
                found: raw.s_magic.get(),
            });
        }
        if raw.s_rev_level.get() > 1 {
            return Err(FormatError::SuperblockRevision {
                found: raw.s_rev_level.get(),
            });
        }
        refuse_features(&raw)?;
        geometry::validate(raw)
    }

    /// The bytes to write, with a fresh checksum if the image has checksums.
    #[must_use]
    pub fn encode(&self) -> [u8; SUPERBLOCK_SIZE] {
        let mut bytes = self.raw.to_disk();
        if self.metadata_csum {
            let sum = csum_of(&bytes).to_le_bytes();
            if let Some(at) = bytes.get_mut(CSUM_OFFSET..) {
                at.copy_from_slice(&sum);
            }
        }
        bytes
    }

    /// The raw fields.
    #[must_use]
    pub const fn raw(&self) -> &RawSuperblock {
        &self.raw
    }

    /// The raw fields for changing counters, times and names. Geometry and seeds were derived at parse
    /// time and are not derived again: build a new value with [`from_raw`](Self::from_raw) for those.
    pub const fn raw_mut(&mut self) -> &mut RawSuperblock {
        &mut self.raw
    }

    /// Compatible features.
    #[must_use]
    pub fn compat(&self) -> CompatFeatures {
        CompatFeatures::from_bits(self.raw.s_feature_compat.get())
    }

    /// Incompatible features.
    #[must_use]
    pub fn incompat(&self) -> IncompatFeatures {
        incompat_of(&self.raw)
    }

    /// Read-only-compatible features.
    #[must_use]
    pub fn ro_compat(&self) -> RoCompatFeatures {
        ro_compat_of(&self.raw)
    }

    /// Replaces the compatible features.
    pub fn set_compat(&mut self, features: CompatFeatures) {
        self.raw.s_feature_compat.set(features.bits());
    }

    /// Sets or clears `needs_recovery`.
    pub fn set_needs_recovery(&mut self, needed: bool) {
        let mut f = self.incompat();
        if needed {
            f.insert(IncompatFeatures::RECOVER);
        } else {
            f.remove(IncompatFeatures::RECOVER);
        }
        self.raw.s_feature_incompat.set(f.bits());
    }

    /// Sets or clears `orphan_present`.
    pub fn set_orphan_present(&mut self, present: bool) {
        self.set_ro_compat(RoCompatFeatures::ORPHAN_PRESENT, present);
    }

    /// Sets `large_file`, when the first file reaches 2 GiB.
    pub fn set_large_file(&mut self) {
        self.set_ro_compat(RoCompatFeatures::LARGE_FILE, true);
    }

    fn set_ro_compat(&mut self, feature: RoCompatFeatures, on: bool) {
        let mut f = self.ro_compat();
        if on {
            f.insert(feature);
        } else {
            f.remove(feature);
        }
        self.raw.s_feature_ro_compat.set(f.bits());
    }

    /// True if metadata carries crc32c checksums.
    #[must_use]
    pub const fn has_metadata_csum(&self) -> bool {
        self.metadata_csum
    }

    /// True if group descriptors carry a checksum, crc32c or crc16, and with it trustworthy
    /// uninitialised flags and `itable_unused`.
    #[must_use]
    pub fn has_group_desc_csum(&self) -> bool {
        self.metadata_csum || self.ro_compat().contains(RoCompatFeatures::GDT_CSUM)
    }

    /// Seed of every metadata checksum but the superblock's own: stored with `metadata_csum_seed`, else
    /// derived from the UUID.
    #[must_use]
    pub const fn checksum_seed(&self) -> u32 {
        self.csum_seed
    }

    /// Checks the block count against the device, which bounds every allocation proportional to it.
    ///
    /// # Errors
    /// The image claims more blocks than fit into `bytes`.
    pub fn check_device(&self, bytes: u64) -> Result<(), FormatError> {
        let blocks = bytes >> self.block_size.log2();
        if self.blocks_count > blocks {
            return Err(FormatError::DeviceTooSmall {
                blocks: self.blocks_count,
                device: blocks,
            });
        }
        Ok(())
    }

    /// True if `len` blocks from `start` lie inside the filesystem and none is the first data block or
    /// before it (where the superblock is). Zero blocks do not.
    #[must_use]
    pub fn contains_range(&self, start: FsBlock, len: u64) -> bool {
        len > 0
            && start.get() > u64::from(self.first_data_block())
            && start
                .get()
                .checked_add(len)
                .is_some_and(|end| end <= self.blocks_count)
    }
}

/// Whether the features of an image allow mounting it, and how.
///
/// # Errors
/// Unsupported incompatible features (or bigalloc), all of them named.
pub fn check_mountable(sb: &Superblock) -> Result<Access, FormatError> {
    refuse_features(&sb.raw)?;
    let reason = sb.ro_compat().difference(SUPPORTED_RO_COMPAT);
    Ok(if reason.is_empty() {
        Access::ReadWrite
    } else {
        Access::ReadOnly { reason }
    })
}

fn refuse_features(raw: &RawSuperblock) -> Result<(), FormatError> {
    let names = incompat_of(raw).difference(SUPPORTED_INCOMPAT);
    if !names.is_empty() {
        return Err(FormatError::UnsupportedIncompat { names });
    }
    let ro = ro_compat_of(raw);
    let names = ro.difference(ro.difference(REFUSED_RO_COMPAT));
    if !names.is_empty() {
        return Err(FormatError::UnsupportedRoCompat { names });
    }
    Ok(())
}

fn incompat_of(raw: &RawSuperblock) -> IncompatFeatures {
    IncompatFeatures::from_bits(raw.s_feature_incompat.get())
}

fn ro_compat_of(raw: &RawSuperblock) -> RoCompatFeatures {
    RoCompatFeatures::from_bits(raw.s_feature_ro_compat.get())
}

fn csum_of(bytes: &[u8; SUPERBLOCK_SIZE]) -> u32 {
    crc32c(CRC32C_INIT, bytes.split_at(CSUM_OFFSET).0)
}
