//! Group descriptors, 32 bytes or (with `64bit`) 64 and more.
//!
//! Decisions: decoded into plain values; encoding patches the bytes of the descriptor in place, so that
//! what lies behind the known fields of a large descriptor survives. The location fields are checked
//! against the filesystem on decode (`flex_bg` allows any group, never outside the image); the free
//! counts are bounded by what a group can have.

use crate::csum::{crc16, crc32c};
use crate::error::FormatError;
use crate::features::RoCompatFeatures;
use crate::superblock::Superblock;
use crate::units::{FsBlock, GroupNo};
use core::mem::{offset_of, size_of};
use zerocopy::little_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawGroupDescLo {
    bg_block_bitmap_lo: U32,
    bg_inode_bitmap_lo: U32,
    bg_inode_table_lo: U32,
    bg_free_blocks_count_lo: U16,
    bg_free_inodes_count_lo: U16,
    bg_used_dirs_count_lo: U16,
    bg_flags: U16,
    bg_exclude_bitmap_lo: U32,
    bg_block_bitmap_csum_lo: U16,
    bg_inode_bitmap_csum_lo: U16,
    bg_itable_unused_lo: U16,
    bg_checksum: U16,
}

#[derive(Clone, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RawGroupDescHi {
    bg_block_bitmap_hi: U32,
    bg_inode_bitmap_hi: U32,
    bg_inode_table_hi: U32,
    bg_free_blocks_count_hi: U16,
    bg_free_inodes_count_hi: U16,
    bg_used_dirs_count_hi: U16,
    bg_itable_unused_hi: U16,
    bg_exclude_bitmap_hi: U32,
    bg_block_bitmap_csum_hi: U16,
    bg_inode_bitmap_csum_hi: U16,
    bg_reserved: U32,
}

const _: () = {
    assert!(size_of::<RawGroupDescLo>() == 32);
    assert!(size_of::<RawGroupDescHi>() == 32);
    assert!(offset_of!(RawGroupDescLo, bg_inode_table_lo) == 0x8);
    assert!(offset_of!(RawGroupDescLo, bg_free_blocks_count_lo) == 0xC);
    assert!(offset_of!(RawGroupDescLo, bg_flags) == 0x12);
    assert!(offset_of!(RawGroupDescLo, bg_exclude_bitmap_lo) == 0x14);
    assert!(offset_of!(RawGroupDescLo, bg_block_bitmap_csum_lo) == 0x18);
    assert!(offset_of!(RawGroupDescLo, bg_itable_unused_lo) == 0x1C);
    assert!(offset_of!(RawGroupDescLo, bg_checksum) == CSUM_OFFSET);
    // The second half begins at byte 0x20 of the descriptor.
    assert!(offset_of!(RawGroupDescHi, bg_free_blocks_count_hi) == 0x2C - 0x20);
    assert!(offset_of!(RawGroupDescHi, bg_itable_unused_hi) == 0x32 - 0x20);
    assert!(offset_of!(RawGroupDescHi, bg_exclude_bitmap_hi) == 0x34 - 0x20);
    assert!(offset_of!(RawGroupDescHi, bg_block_bitmap_csum_hi) == 0x38 - 0x20);
    assert!(offset_of!(RawGroupDescHi, bg_reserved) == 0x3C - 0x20);
};

const CSUM_OFFSET: usize = 0x1E;

/// `bg_flags`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BgFlags(u16);

impl BgFlags {
    /// The inode bitmap and table were never written: no inode of the group is in use.
    pub const INODE_UNINIT: Self = Self(1);
    /// The block bitmap was never written: only the group's own metadata is in use.
    pub const BLOCK_UNINIT: Self = Self(2);
    /// The inode table was zeroed.
    pub const INODE_ZEROED: Self = Self(4);

    /// From the raw word; unknown bits are kept.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The raw word.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// True if every flag of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Sets flags.
    pub const fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    /// Clears flags.
    pub const fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

impl core::ops::BitOr for BgFlags {
    type Output = Self;
    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// What the filesystem knows about one group.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GroupDesc {
    /// Block of the block bitmap.
    pub block_bitmap: FsBlock,
    /// Block of the inode bitmap.
    pub inode_bitmap: FsBlock,
    /// First block of the inode table.
    pub inode_table: FsBlock,
    /// Free blocks.
    pub free_blocks_count: u32,
    /// Free inodes.
    pub free_inodes_count: u32,
    /// Directories.
    pub used_dirs_count: u32,
    /// What has been initialised.
    pub flags: BgFlags,
    /// Inodes at the end of the table never used yet. Trustworthy only with descriptor checksums.
    pub itable_unused: u32,
    /// crc32c of the block bitmap; the upper half only with descriptors of 64 bytes.
    pub block_bitmap_csum: u32,
    /// crc32c of the inode bitmap; the upper half only with descriptors of 64 bytes.
    pub inode_bitmap_csum: u32,
    /// Block of the snapshot exclude bitmap, unused.
    pub exclude_bitmap: FsBlock,
}

impl GroupDesc {
    /// Decodes and verifies one descriptor; `bytes` begins with it and may be longer.
    ///
    /// # Errors
    /// Too few bytes, a wrong checksum, or metadata outside the filesystem.
    pub fn decode(bytes: &[u8], sb: &Superblock, group: GroupNo) -> Result<Self, FormatError> {
        let bytes = exact(bytes, sb)?;
        if sb.has_group_desc_csum() {
            let found = bytes
                .get(CSUM_OFFSET..)
                .and_then(|b| b.first_chunk())
                .map_or(0, |b| u16::from_le_bytes(*b));
            let expected = csum_of(bytes, sb, group);
            if found != expected {
                return Err(FormatError::GroupDescChecksum {
                    group,
                    expected,
                    found,
                });
            }
        }
        let desc = Self::from_bytes(bytes)?;
        desc.validate(sb, group)?;
        Ok(desc)
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, FormatError> {
        let Ok((lo, rest)) = RawGroupDescLo::ref_from_prefix(bytes) else {
            return Err(FormatError::Truncated {
                what: "group descriptor",
                len: bytes.len(),
            });
        };
        let hi = RawGroupDescHi::ref_from_prefix(rest).ok().map(|(hi, _)| hi);
        let join32 = |lo: &U32, hi: Option<&U32>| {
            FsBlock::new(u64::from(hi.map_or(0, |h| h.get())) << 32 | u64::from(lo.get()))
        };
        let join16 = |lo: &U16, hi: Option<&U16>| {
            u32::from(hi.map_or(0, |h| h.get())) << 16 | u32::from(lo.get())
        };
        Ok(Self {
            block_bitmap: join32(&lo.bg_block_bitmap_lo, hi.map(|h| &h.bg_block_bitmap_hi)),
            inode_bitmap: join32(&lo.bg_inode_bitmap_lo, hi.map(|h| &h.bg_inode_bitmap_hi)),
            inode_table: join32(&lo.bg_inode_table_lo, hi.map(|h| &h.bg_inode_table_hi)),
            free_blocks_count: join16(
                &lo.bg_free_blocks_count_lo,
                hi.map(|h| &h.bg_free_blocks_count_hi),
            ),
            free_inodes_count: join16(
                &lo.bg_free_inodes_count_lo,
                hi.map(|h| &h.bg_free_inodes_count_hi),
            ),
            used_dirs_count: join16(
                &lo.bg_used_dirs_count_lo,
                hi.map(|h| &h.bg_used_dirs_count_hi),
            ),
            flags: BgFlags(lo.bg_flags.get()),
            itable_unused: join16(&lo.bg_itable_unused_lo, hi.map(|h| &h.bg_itable_unused_hi)),
            block_bitmap_csum: join16(
                &lo.bg_block_bitmap_csum_lo,
                hi.map(|h| &h.bg_block_bitmap_csum_hi),
            ),
            inode_bitmap_csum: join16(
                &lo.bg_inode_bitmap_csum_lo,
                hi.map(|h| &h.bg_inode_bitmap_csum_hi),
            ),
            exclude_bitmap: join32(
                &lo.bg_exclude_bitmap_lo,
                hi.map(|h| &h.bg_exclude_bitmap_hi),
            ),
        })
    }

    fn validate(&self, sb: &Superblock, group: GroupNo) -> Result<(), FormatError> {
        if !sb.contains_range(self.block_bitmap, 1) {
            return Err(FormatError::BlockBitmapLocation {
                group,
                block: self.block_bitmap,
            });
        }
        if !sb.contains_range(self.inode_bitmap, 1) {
            return Err(FormatError::InodeBitmapLocation {
                group,
                block: self.inode_bitmap,
            });
        }
        if !sb.contains_range(self.inode_table, u64::from(sb.inode_table_blocks())) {
            return Err(FormatError::InodeTableLocation {
                group,
                block: self.inode_table,
            });
        }
        let (found, limit) = (self.free_blocks_count, sb.blocks_in_group(group));
        if found > limit {
            return Err(FormatError::GroupFreeBlocks {
                group,
                found,
                limit,
            });
        }
        let limit = sb.inodes_per_group();
        if self.free_inodes_count > limit {
            let found = self.free_inodes_count;
            return Err(FormatError::GroupFreeInodes {
                group,
                found,
                limit,
            });
        }
        if self.used_dirs_count > limit {
            let found = self.used_dirs_count;
            return Err(FormatError::GroupUsedDirs {
                group,
                found,
                limit,
            });
        }
        if self.itable_unused > limit {
            let found = self.itable_unused;
            return Err(FormatError::GroupItableUnused {
                group,
                found,
                limit,
            });
        }
        Ok(())
    }

    /// Writes the descriptor and its checksum over `bytes`, which holds the whole descriptor (its old
    /// contents, or zeros).
    ///
    /// # Errors
    /// `bytes` is shorter than a descriptor.
    pub fn encode(
        &self,
        bytes: &mut [u8],
        sb: &Superblock,
        group: GroupNo,
    ) -> Result<(), FormatError> {
        let len = bytes.len();
        let short = FormatError::Truncated {
            what: "group descriptor",
            len,
        };
        let bytes = bytes.get_mut(..sb.desc_size()).ok_or(short.clone())?;
        let Ok((lo, rest)) = RawGroupDescLo::mut_from_prefix(bytes) else {
            return Err(short);
        };
        lo.bg_block_bitmap_lo.set(low32(self.block_bitmap));
        lo.bg_inode_bitmap_lo.set(low32(self.inode_bitmap));
        lo.bg_inode_table_lo.set(low32(self.inode_table));
        lo.bg_free_blocks_count_lo
            .set(low16(self.free_blocks_count));
        lo.bg_free_inodes_count_lo
            .set(low16(self.free_inodes_count));
        lo.bg_used_dirs_count_lo.set(low16(self.used_dirs_count));
        lo.bg_flags.set(self.flags.0);
        lo.bg_exclude_bitmap_lo.set(low32(self.exclude_bitmap));
        lo.bg_block_bitmap_csum_lo
            .set(low16(self.block_bitmap_csum));
        lo.bg_inode_bitmap_csum_lo
            .set(low16(self.inode_bitmap_csum));
        lo.bg_itable_unused_lo.set(low16(self.itable_unused));
        if let Ok((hi, _)) = RawGroupDescHi::mut_from_prefix(rest) {
            hi.bg_block_bitmap_hi.set(high32(self.block_bitmap));
            hi.bg_inode_bitmap_hi.set(high32(self.inode_bitmap));
            hi.bg_inode_table_hi.set(high32(self.inode_table));
            hi.bg_free_blocks_count_hi
                .set(high16(self.free_blocks_count));
            hi.bg_free_inodes_count_hi
                .set(high16(self.free_inodes_count));
            hi.bg_used_dirs_count_hi.set(high16(self.used_dirs_count));
            hi.bg_itable_unused_hi.set(high16(self.itable_unused));
            hi.bg_exclude_bitmap_hi.set(high32(self.exclude_bitmap));
            hi.bg_block_bitmap_csum_hi
                .set(high16(self.block_bitmap_csum));
            hi.bg_inode_bitmap_csum_hi
                .set(high16(self.inode_bitmap_csum));
        }
        let sum = if sb.has_group_desc_csum() {
            csum_of(bytes, sb, group)
        } else {
            0
        };
        if let Ok((lo, _)) = RawGroupDescLo::mut_from_prefix(bytes) {
            lo.bg_checksum.set(sum);
        }
        Ok(())
    }
}

fn exact<'a>(bytes: &'a [u8], sb: &Superblock) -> Result<&'a [u8], FormatError> {
    let short = FormatError::Truncated {
        what: "group descriptor",
        len: bytes.len(),
    };
    bytes.get(..sb.desc_size()).ok_or(short)
}

/// Checksum over seed, group number and the descriptor. crc32c takes the checksum field as zero, crc16
/// leaves it out.
fn csum_of(desc: &[u8], sb: &Superblock, group: GroupNo) -> u16 {
    let number = group.get().to_le_bytes();
    let head = desc.get(..CSUM_OFFSET).unwrap_or_default();
    let tail = desc.get(CSUM_OFFSET + 2..).unwrap_or_default();
    if sb.has_metadata_csum() {
        let c = crc32c(sb.checksum_seed(), &number);
        let c = crc32c(crc32c(c, head), &[0, 0]);
        low16(crc32c(c, tail))
    } else if sb.ro_compat().contains(RoCompatFeatures::GDT_CSUM) {
        let c = crc16(crc16(!0, &sb.uuid()), &number);
        crc16(crc16(c, head), tail)
    } else {
        0
    }
}

fn low32(block: FsBlock) -> u32 {
    let [a, b, c, d, ..] = block.get().to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn high32(block: FsBlock) -> u32 {
    low32(FsBlock::new(block.get() >> 32))
}

fn low16(n: u32) -> u16 {
    let [a, b, ..] = n.to_le_bytes();
    u16::from_le_bytes([a, b])
}

fn high16(n: u32) -> u16 {
    low16(n >> 16)
}
