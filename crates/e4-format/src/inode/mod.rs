//! Inodes.
//!
//! Decisions: decoded into values with their real units: sizes in bytes, blocks in 512-byte sectors
//! whatever the inode's own unit, times as seconds and nanoseconds. Encoding patches the bytes of the
//! whole on-disk inode in place: attributes behind `extra_isize` and fields we do not interpret stay. An
//! inode of nothing but zeros has no valid checksum on disk and needs none: it was never used.

mod mode;
mod raw;
mod time;

pub use mode::{FileType, InodeFlags, MapKind};
pub use time::Timestamp;

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::features::{IncompatFeatures, RoCompatFeatures};
use crate::superblock::Superblock;
use crate::units::{FsBlock, InodeNo};
use raw::{GOOD_OLD_SIZE, RawInode, RawInodeExtra, fits};
use zerocopy::FromBytes;

/// Largest file size that a signed 64-bit offset can express.
const MAX_SIZE: u64 = i64::MAX as u64;
const CSUM_LO: usize = 0x7C;
const CSUM_HI: usize = 0x82;

/// One inode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Inode {
    /// Type and permissions.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the inode.
    pub ctime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// Creation; the epoch if the inode has no room for it.
    pub crtime: Timestamp,
    /// Deletion time in seconds, or the next inode on the list of orphans.
    pub dtime: u32,
    /// Hard links.
    pub links_count: u16,
    /// Space used, in 512-byte sectors.
    pub sectors: u64,
    /// Flags. Without [`InodeFlags::HUGE_FILE`], which only says how `sectors` is stored.
    pub flags: InodeFlags,
    /// `i_block`: the root of the extent tree, a block map, a short symlink or a device number.
    pub i_block: [u8; 60],
    /// Generation, for handles; part of every checksum below this inode.
    pub generation: u32,
    /// Block of extended attributes.
    pub file_acl: Option<FsBlock>,
    /// Change counter; the upper half only if the inode has room for it.
    pub version: u64,
    /// Bytes beyond the first 128 in use for fields; 0 with 128-byte inodes.
    pub extra_isize: u16,
    /// Project.
    pub projid: u32,
}

impl Inode {
    /// An inode of nothing but zeros except `extra_isize`, for filling in.
    #[must_use]
    pub fn empty(sb: &Superblock) -> Self {
        Self {
            mode: 0,
            uid: 0,
            gid: 0,
            size: 0,
            atime: Timestamp::EPOCH,
            ctime: Timestamp::EPOCH,
            mtime: Timestamp::EPOCH,
            crtime: Timestamp::EPOCH,
            dtime: 0,
            links_count: 0,
            sectors: 0,
            flags: InodeFlags::EMPTY,
            i_block: [0; 60],
            generation: 0,
            file_acl: None,
            version: 0,
            extra_isize: sb.new_inode_extra_isize(),
            projid: 0,
        }
    }

    /// Decodes and verifies one inode; `bytes` begins with it and may be longer.
    ///
    /// # Errors
    /// Too few bytes, a wrong checksum, an impossible size of the extra fields or of the file.
    pub fn decode(bytes: &[u8], sb: &Superblock, ino: InodeNo) -> Result<Self, FormatError> {
        let short = FormatError::Truncated {
            what: "inode",
            len: bytes.len(),
        };
        let Some(bytes) = bytes.get(..sb.inode_size()) else {
            return Err(short);
        };
        let Ok((raw, rest)) = RawInode::ref_from_prefix(bytes) else {
            return Err(short);
        };
        let extra_isize = extra_isize_of(bytes, ino)?;
        if sb.has_metadata_csum() {
            verify(bytes, sb, ino, extra_isize)?;
        }
        // A copy with zeros where the inode has no room, so that every field can simply be read.
        let mut extra = RawInodeExtra::zeroed();
        extra.take(rest, extra_isize);
        Self::from_raw(raw, &extra, sb, ino).map(|inode| Self {
            extra_isize,
            ..inode
        })
    }

    fn from_raw(
        raw: &RawInode,
        extra: &RawInodeExtra,
        sb: &Superblock,
        ino: InodeNo,
    ) -> Result<Self, FormatError> {
        let mode = raw.i_mode.get();
        let mut size = u64::from(raw.i_size_lo.get());
        // Elsewhere the upper half once meant an ACL block; directories stay below 4 GiB.
        if FileType::of_mode(mode) == Some(FileType::Regular) {
            size |= u64::from(raw.i_size_high.get()) << 32;
        }
        if size > MAX_SIZE {
            return Err(FormatError::InodeSizeTooLarge { ino, size });
        }
        let flags = InodeFlags::from_bits(raw.i_flags.get());
        let acl_hi = if sb.incompat().contains(IncompatFeatures::BIT64) {
            u64::from(raw.l_i_file_acl_high.get())
        } else {
            0
        };
        let mut domain_flags = flags;
        domain_flags.remove(InodeFlags::HUGE_FILE);
        let acl = acl_hi << 32 | u64::from(raw.i_file_acl_lo.get());
        Ok(Self {
            mode,
            uid: u32::from(raw.l_i_uid_high.get()) << 16 | u32::from(raw.i_uid.get()),
            gid: u32::from(raw.l_i_gid_high.get()) << 16 | u32::from(raw.i_gid.get()),
            size,
            atime: Timestamp::decode(raw.i_atime.get(), extra.i_atime_extra.get()),
            ctime: Timestamp::decode(raw.i_ctime.get(), extra.i_ctime_extra.get()),
            mtime: Timestamp::decode(raw.i_mtime.get(), extra.i_mtime_extra.get()),
            crtime: Timestamp::decode(extra.i_crtime.get(), extra.i_crtime_extra.get()),
            dtime: raw.i_dtime.get(),
            links_count: raw.i_links_count.get(),
            sectors: sectors_of(raw, flags, sb),
            flags: domain_flags,
            i_block: raw.i_block,
            generation: raw.i_generation.get(),
            file_acl: (acl != 0).then(|| FsBlock::new(acl)),
            version: u64::from(extra.i_version_hi.get()) << 32 | u64::from(raw.l_i_version.get()),
            extra_isize: 0,
            projid: extra.i_projid.get(),
        })
    }

    /// Writes the inode and its checksum over `bytes`, which holds the whole on-disk inode (its old
    /// contents, or zeros). Times beyond what the inode has room for become the nearest one it can
    /// hold; sizes without an encoding are errors.
    ///
    /// # Errors
    /// `bytes` is too short, `extra_isize` does not fit, or a value has no encoding in this image.
    pub fn encode(
        &self,
        bytes: &mut [u8],
        sb: &Superblock,
        ino: InodeNo,
    ) -> Result<(), FormatError> {
        let short = FormatError::Truncated {
            what: "inode",
            len: bytes.len(),
        };
        let Some(bytes) = bytes.get_mut(..sb.inode_size()) else {
            return Err(short);
        };
        let room = bytes.len() - GOOD_OLD_SIZE;
        if usize::from(self.extra_isize) > room || !self.extra_isize.is_multiple_of(4) {
            let found = self.extra_isize;
            return Err(FormatError::InodeExtraSize { ino, found, room });
        }
        let regular = FileType::of_mode(self.mode) == Some(FileType::Regular);
        if self.size > MAX_SIZE || (!regular && self.size > u64::from(u32::MAX)) {
            return Err(FormatError::InodeSizeTooLarge {
                ino,
                size: self.size,
            });
        }
        let Ok((raw, rest)) = RawInode::mut_from_prefix(bytes) else {
            return Err(short);
        };
        self.put_base(raw, sb, ino)?;
        let mut extra = RawInodeExtra::zeroed();
        self.put_extra(&mut extra);
        // The length itself is always there, even if it says 0.
        extra.give(rest, self.extra_isize.max(2));
        let sum = if sb.has_metadata_csum() {
            csum_of(bytes, sb, ino, self.extra_isize)
        } else {
            return Ok(());
        };
        put_csum(bytes, sum, self.extra_isize);
        Ok(())
    }

    fn put_base(
        &self,
        raw: &mut RawInode,
        sb: &Superblock,
        ino: InodeNo,
    ) -> Result<(), FormatError> {
        let halves = |n: u32| (low16(n), low16(n >> 16));
        raw.i_mode.set(self.mode);
        let (lo, hi) = halves(self.uid);
        raw.i_uid.set(lo);
        raw.l_i_uid_high.set(hi);
        let (lo, hi) = halves(self.gid);
        raw.i_gid.set(lo);
        raw.l_i_gid_high.set(hi);
        raw.i_size_lo.set(low32(self.size));
        raw.i_size_high.set(low32(self.size >> 32));
        // A time whose extra word has no room must not wrap into another century.
        let seconds = |t: Timestamp, end| t.clamp_storable(fits(self.extra_isize, end)).encode().0;
        raw.i_ctime.set(seconds(self.ctime, 0x88));
        raw.i_mtime.set(seconds(self.mtime, 0x8C));
        raw.i_atime.set(seconds(self.atime, 0x90));
        raw.i_dtime.set(self.dtime);
        raw.i_links_count.set(self.links_count);
        raw.i_block = self.i_block;
        raw.i_generation.set(self.generation);
        raw.l_i_version.set(low32(self.version));
        let acl = self.file_acl.map_or(0, FsBlock::get);
        if acl >> 48 != 0 {
            return Err(FormatError::InodeAclLocation {
                ino,
                block: FsBlock::new(acl),
            });
        }
        raw.i_file_acl_lo.set(low32(acl));
        raw.l_i_file_acl_high.set(low16(low32(acl >> 32)));
        self.put_sectors(raw, sb, ino)
    }

    fn put_sectors(
        &self,
        raw: &mut RawInode,
        sb: &Superblock,
        ino: InodeNo,
    ) -> Result<(), FormatError> {
        let shift = sb.block_size().log2() - 9;
        let too_many = FormatError::InodeSectors {
            ino,
            sectors: self.sectors,
        };
        let mut flags = self.flags;
        flags.remove(InodeFlags::HUGE_FILE);
        let limit = if sb.ro_compat().contains(RoCompatFeatures::HUGE_FILE) {
            48
        } else {
            32
        };
        let mut count = self.sectors;
        if count >> limit != 0 {
            let whole = count.trailing_zeros() >= shift;
            count >>= shift;
            if limit == 32 || !whole || count >> 48 != 0 {
                return Err(too_many);
            }
            flags.insert(InodeFlags::HUGE_FILE);
        }
        raw.i_flags.set(flags.bits());
        raw.i_blocks_lo.set(low32(count));
        raw.l_i_blocks_high.set(low16(low32(count >> 32)));
        Ok(())
    }

    fn put_extra(&self, extra: &mut RawInodeExtra) {
        extra.i_extra_isize.set(self.extra_isize);
        extra.i_atime_extra.set(self.atime.encode().1);
        extra.i_ctime_extra.set(self.ctime.encode().1);
        extra.i_mtime_extra.set(self.mtime.encode().1);
        let (secs, more) = self.crtime.encode();
        extra.i_crtime.set(secs);
        extra.i_crtime_extra.set(more);
        extra.i_version_hi.set(low32(self.version >> 32));
        extra.i_projid.set(self.projid);
    }

    /// Type of the file; `None` for an unused inode or damage.
    #[must_use]
    pub const fn file_type(&self) -> Option<FileType> {
        FileType::of_mode(self.mode)
    }

    /// True if `i_block` is the root of an extent tree.
    #[must_use]
    pub const fn has_extents(&self) -> bool {
        self.flags.contains(InodeFlags::EXTENTS)
    }

    /// How its contents are found. A symbolic link whose target is in the inode has none, like a device.
    #[must_use]
    pub fn map_kind(&self) -> MapKind {
        match self.file_type() {
            Some(FileType::Regular | FileType::Directory | FileType::Symlink) => {}
            _ => return MapKind::None,
        }
        if self.flags.contains(InodeFlags::INLINE_DATA) {
            MapKind::Inline
        } else if self.has_extents() {
            MapKind::Extents
        } else if self.fast_symlink().is_some() {
            MapKind::None
        } else {
            MapKind::Indirect
        }
    }

    /// The target of a symlink stored in `i_block`; `None` for anything else, longer ones included.
    #[must_use]
    pub fn fast_symlink(&self) -> Option<&[u8]> {
        if self.file_type() != Some(FileType::Symlink) || self.has_extents() {
            return None;
        }
        // The 60th byte is a NUL.
        let len = usize::try_from(self.size)
            .ok()
            .filter(|n| *n < self.i_block.len())?;
        self.i_block.get(..len)
    }

    /// The device of a device file, as Linux numbers devices: minor in bits 0-7 and 20-31, major in bits 8-19. `None`
    /// for anything else.
    #[must_use]
    pub fn rdev(&self) -> Option<u32> {
        match self.file_type() {
            Some(FileType::CharDevice | FileType::BlockDevice) => {}
            _ => return None,
        }
        let word = |at: usize| {
            let b = self.i_block.get(at..).and_then(|b| b.first_chunk());
            b.map_or(0, |b| u32::from_le_bytes(*b))
        };
        // The first word is the 16-bit form of old: major in the upper byte, minor in the lower.
        Some(match word(0) {
            0 => word(4),
            old => old & 0xFFFF,
        })
    }

    /// Makes `rdev` (see [`Inode::rdev`]) the device of a device file.
    pub fn set_rdev(&mut self, rdev: u32) {
        self.i_block = [0; 60];
        let major = rdev >> 8 & 0xFFF;
        let minor = rdev & 0xFF | rdev >> 12 & !0xFF;
        let at = if major < 256 && minor < 256 { 0 } else { 4 };
        if let Some(to) = self.i_block.get_mut(at..at + 4) {
            to.copy_from_slice(&rdev.to_le_bytes());
        }
    }

    /// Seed of the checksums of everything below this inode.
    #[must_use]
    pub fn csum_seed(&self, sb: &Superblock, ino: InodeNo) -> u32 {
        csum_seed_for(sb, ino, self.generation)
    }
}

/// Seed of the checksums of extent blocks, directory blocks and orphan file blocks of an inode.
#[must_use]
pub fn csum_seed_for(sb: &Superblock, ino: InodeNo, generation: u32) -> u32 {
    let c = crc32c(sb.checksum_seed(), &ino.get().to_le_bytes());
    crc32c(c, &generation.to_le_bytes())
}

fn extra_isize_of(bytes: &[u8], ino: InodeNo) -> Result<u16, FormatError> {
    let room = bytes.len() - GOOD_OLD_SIZE;
    let stored = bytes.get(GOOD_OLD_SIZE..).and_then(|b| b.first_chunk());
    let found = stored.map_or(0, |b| u16::from_le_bytes(*b));
    if usize::from(found) > room || found % 4 != 0 {
        return Err(FormatError::InodeExtraSize { ino, found, room });
    }
    Ok(found)
}

fn sectors_of(raw: &RawInode, flags: InodeFlags, sb: &Superblock) -> u64 {
    let lo = u64::from(raw.i_blocks_lo.get());
    if !sb.ro_compat().contains(RoCompatFeatures::HUGE_FILE) {
        return lo;
    }
    let count = u64::from(raw.l_i_blocks_high.get()) << 32 | lo;
    // 48 bits shifted by at most 7.
    let shift = if flags.contains(InodeFlags::HUGE_FILE) {
        sb.block_size().log2() - 9
    } else {
        0
    };
    count << shift
}

fn has_csum_hi(extra_isize: u16) -> bool {
    fits(extra_isize, CSUM_HI + 2)
}

/// crc32c over number, generation and the inode with its checksum fields as zeros.
fn csum_of(bytes: &[u8], sb: &Superblock, ino: InodeNo, extra_isize: u16) -> u32 {
    let part = |from: usize, to: usize| bytes.get(from..to).unwrap_or_default();
    let generation = part(0x64, 0x68)
        .first_chunk()
        .map_or(0, |b| u32::from_le_bytes(*b));
    let c = csum_seed_for(sb, ino, generation);
    let c = crc32c(crc32c(c, part(0, CSUM_LO)), &[0, 0]);
    let c = if has_csum_hi(extra_isize) {
        let c = crc32c(c, part(CSUM_LO + 2, CSUM_HI));
        crc32c(crc32c(c, &[0, 0]), part(CSUM_HI + 2, bytes.len()))
    } else {
        crc32c(c, part(CSUM_LO + 2, bytes.len()))
    };
    if has_csum_hi(extra_isize) {
        c
    } else {
        c & 0xFFFF
    }
}

fn verify(
    bytes: &[u8],
    sb: &Superblock,
    ino: InodeNo,
    extra_isize: u16,
) -> Result<(), FormatError> {
    let half = |at: usize| {
        let b = bytes.get(at..).and_then(|b| b.first_chunk());
        b.map_or(0, |b| u32::from(u16::from_le_bytes(*b)))
    };
    let hi = if has_csum_hi(extra_isize) {
        half(CSUM_HI) << 16
    } else {
        0
    };
    let found = hi | half(CSUM_LO);
    let expected = csum_of(bytes, sb, ino, extra_isize);
    if found == expected || bytes.iter().all(|b| *b == 0) {
        return Ok(());
    }
    Err(FormatError::InodeChecksum {
        ino,
        expected,
        found,
    })
}

fn put_csum(bytes: &mut [u8], sum: u32, extra_isize: u16) {
    let [a, b, c, d] = sum.to_le_bytes();
    if let Some(at) = bytes.get_mut(CSUM_LO..CSUM_LO + 2) {
        at.copy_from_slice(&[a, b]);
    }
    if has_csum_hi(extra_isize)
        && let Some(at) = bytes.get_mut(CSUM_HI..CSUM_HI + 2)
    {
        at.copy_from_slice(&[c, d]);
    }
}

fn low32(n: u64) -> u32 {
    let [a, b, c, d, ..] = n.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn low16(n: u32) -> u16 {
    let [a, b, ..] = n.to_le_bytes();
    u16::from_le_bytes([a, b])
}
