//! Block and inode bitmaps of one group, over borrowed bytes.
//!
//! Decisions: the view never sees more than `bits` bits, so padding at the end of the block cannot be
//! handed out; scans go by 64-bit words. Setting a set bit is reported, not ignored: in a bitmap that is
//! corruption or a bug.

use crate::csum::crc32c;
use crate::error::FormatError;
use crate::group_desc::GroupDesc;
use crate::superblock::Superblock;
use crate::units::{FsBlock, GroupNo};
use core::ops::Range;

/// A bitmap to look at.
#[derive(Clone, Copy, Debug)]
pub struct Bitmap<'a> {
    bytes: &'a [u8],
    bits: u32,
}

/// A bitmap to change.
#[derive(Debug)]
pub struct BitmapMut<'a> {
    bytes: &'a mut [u8],
    bits: u32,
}

impl<'a> Bitmap<'a> {
    /// The first `bits` bits of `bytes` (fewer if `bytes` is shorter).
    #[must_use]
    pub fn new(bytes: &'a [u8], bits: u32) -> Self {
        let bits = bits.min(u32::try_from(bytes.len().saturating_mul(8)).unwrap_or(u32::MAX));
        Self { bytes, bits }
    }

    /// Number of bits.
    #[must_use]
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// True if the bit is set. Bits outside the bitmap count as set: they are nobody's to take.
    #[must_use]
    pub fn test(&self, bit: u32) -> bool {
        if bit >= self.bits {
            return true;
        }
        self.bytes
            .get((bit / 8) as usize)
            .is_none_or(|b| b & (1 << (bit % 8)) != 0)
    }

    /// 64 bits from `64 * word`, with bits beyond the end set.
    fn word(&self, word: u32) -> u64 {
        let at = word as usize * 8;
        let bits = self.bits.saturating_sub(word.saturating_mul(64));
        let value = match self.bytes.get(at..).and_then(|b| b.first_chunk::<8>()) {
            Some(b) => u64::from_le_bytes(*b),
            None => {
                let mut b = [0xFFu8; 8];
                let tail = self.bytes.get(at..).unwrap_or_default();
                for (to, from) in b.iter_mut().zip(tail) {
                    *to = *from;
                }
                u64::from_le_bytes(b)
            }
        };
        if bits >= 64 {
            value
        } else {
            value | (!0u64 << bits)
        }
    }

    /// Zero bits in `range`.
    #[must_use]
    pub fn count_zeros(&self, range: Range<u32>) -> u32 {
        let end = range.end.min(self.bits);
        let mut n = 0;
        let mut bit = range.start;
        while bit < end {
            let word = bit / 64;
            let stop = end.min((word + 1) * 64);
            let mut value = !self.word(word);
            value &= !0u64 << (bit % 64);
            if !stop.is_multiple_of(64) {
                value &= !(!0u64 << (stop % 64));
            }
            n += value.count_ones();
            bit = stop;
        }
        n
    }

    /// First zero bit in `range`.
    #[must_use]
    pub fn find_zero(&self, range: Range<u32>) -> Option<u32> {
        self.scan(range, false)
    }

    /// First set bit in `range`.
    #[must_use]
    pub fn find_one(&self, range: Range<u32>) -> Option<u32> {
        self.scan(range, true)
    }

    fn scan(&self, range: Range<u32>, one: bool) -> Option<u32> {
        let end = range.end.min(self.bits);
        let mut bit = range.start;
        while bit < end {
            let word = bit / 64;
            let value = self.word(word);
            let wanted = (if one { value } else { !value }) & (!0u64 << (bit % 64));
            if wanted != 0 {
                let hit = word * 64 + wanted.trailing_zeros();
                return (hit < end).then_some(hit);
            }
            bit = (word + 1) * 64;
        }
        None
    }

    /// The first run of zero bits in `range` with at least `min` bits, cut off at `max` bits and at the
    /// end of the range.
    #[must_use]
    pub fn find_zero_run(&self, range: Range<u32>, min: u32, max: u32) -> Option<Range<u32>> {
        let end = range.end.min(self.bits);
        let mut from = range.start;
        while let Some(start) = self.find_zero(from..end) {
            let stop = end.min(start.saturating_add(max.max(1)));
            let stop = self.find_one(start..stop).unwrap_or(stop);
            if stop - start >= min {
                return Some(start..stop);
            }
            from = stop;
        }
        None
    }

    /// The longest run of zero bits in `range`; the first of several.
    #[must_use]
    pub fn longest_zero_run(&self, range: Range<u32>) -> Option<Range<u32>> {
        let end = range.end.min(self.bits);
        let mut from = range.start;
        let mut best: Option<Range<u32>> = None;
        while let Some(run) = self.find_zero_run(from..end, 1, u32::MAX) {
            from = run.end;
            if best.as_ref().is_none_or(|b| run.len() > b.len()) {
                best = Some(run);
            }
        }
        best
    }
}

impl<'a> BitmapMut<'a> {
    /// The first `bits` bits of `bytes` (fewer if `bytes` is shorter).
    #[must_use]
    pub fn new(bytes: &'a mut [u8], bits: u32) -> Self {
        let bits = Bitmap::new(bytes, bits).bits;
        Self { bytes, bits }
    }

    /// For looking.
    #[must_use]
    pub fn view(&self) -> Bitmap<'_> {
        Bitmap {
            bytes: self.bytes,
            bits: self.bits,
        }
    }

    /// Sets a bit; true if it was clear before. A bit outside the bitmap is false.
    pub fn set(&mut self, bit: u32) -> bool {
        self.put(bit, true)
    }

    /// Clears a bit; true if it was set before. A bit outside the bitmap is false.
    pub fn clear(&mut self, bit: u32) -> bool {
        self.put(bit, false)
    }

    fn put(&mut self, bit: u32, on: bool) -> bool {
        if bit >= self.bits {
            return false;
        }
        let Some(b) = self.bytes.get_mut((bit / 8) as usize) else {
            return false;
        };
        let mask = 1 << (bit % 8);
        let was = *b & mask != 0;
        *b = if on { *b | mask } else { *b & !mask };
        was != on
    }

    /// Sets all bits of `range`; how many were clear before.
    pub fn set_range(&mut self, range: Range<u32>) -> u32 {
        self.put_range(range, true)
    }

    /// Clears all bits of `range`; how many were set before.
    pub fn clear_range(&mut self, range: Range<u32>) -> u32 {
        self.put_range(range, false)
    }

    fn put_range(&mut self, range: Range<u32>, on: bool) -> u32 {
        let end = range.end.min(self.bits);
        let mut changed = 0;
        let mut bit = range.start;
        while bit < end {
            let whole = bit.is_multiple_of(8) && end - bit >= 8;
            match self.bytes.get_mut((bit / 8) as usize) {
                Some(b) if whole => {
                    changed += if on { b.count_zeros() } else { b.count_ones() };
                    *b = if on { 0xFF } else { 0 };
                    bit += 8;
                }
                _ => {
                    changed += u32::from(self.put(bit, on));
                    bit += 1;
                }
            }
        }
        changed
    }
}

/// Sets the bits of a bitmap block from `bits` to its end, which belong to nothing.
pub fn pad(bytes: &mut [u8], bits: u32) {
    let all = u32::try_from(bytes.len().saturating_mul(8)).unwrap_or(u32::MAX);
    BitmapMut::new(bytes, all).set_range(bits..all);
}

/// Fills in the block bitmap of a group flagged `BLOCK_UNINIT`: everything free but superblock and
/// descriptors, the group's own bitmaps and inode table where they lie in the group, and the padding.
///
/// With `flex_bg` a group that holds *other* groups' metadata is never flagged so.
pub fn init_block_bitmap(bytes: &mut [u8], sb: &Superblock, group: GroupNo, desc: &GroupDesc) {
    bytes.fill(0);
    let blocks = sb.blocks_in_group(group);
    let mut map = BitmapMut::new(bytes, blocks);
    map.set_range(0..sb.super_and_gdt_blocks(group));
    let mut own = |start: FsBlock, len: u32| {
        for n in 0..u64::from(len) {
            let bit = start.checked_add(n).and_then(|b| sb.group_of_block(b));
            if let Some((_, bit)) = bit.filter(|(g, _)| *g == group) {
                map.set(bit);
            }
        }
    };
    own(desc.block_bitmap, 1);
    own(desc.inode_bitmap, 1);
    own(desc.inode_table, sb.inode_table_blocks());
    pad(bytes, blocks);
}

/// Fills in the inode bitmap of a group flagged `INODE_UNINIT`: everything free but the padding.
pub fn init_inode_bitmap(bytes: &mut [u8], sb: &Superblock) {
    bytes.fill(0);
    pad(bytes, sb.inodes_per_group());
}

/// crc32c of a block bitmap as descriptors hold it: the upper half is zero with 32-byte descriptors.
#[must_use]
pub fn block_bitmap_csum(sb: &Superblock, bytes: &[u8]) -> u32 {
    csum_of(sb, bytes, sb.blocks_per_group())
}

/// crc32c of an inode bitmap as descriptors hold it: the upper half is zero with 32-byte descriptors.
#[must_use]
pub fn inode_bitmap_csum(sb: &Superblock, bytes: &[u8]) -> u32 {
    csum_of(sb, bytes, sb.inodes_per_group())
}

fn csum_of(sb: &Superblock, bytes: &[u8], bits: u32) -> u32 {
    let covered = bytes.get(..(bits / 8) as usize).unwrap_or(bytes);
    let c = crc32c(sb.checksum_seed(), covered);
    if sb.desc_size() >= 64 { c } else { c & 0xFFFF }
}

/// Verifies a block bitmap read from disk. Not for groups flagged `BLOCK_UNINIT`, whose bitmap on disk
/// means nothing.
///
/// # Errors
/// The checksum of the descriptor differs.
pub fn verify_block_bitmap(
    sb: &Superblock,
    group: GroupNo,
    desc: &GroupDesc,
    bytes: &[u8],
) -> Result<(), FormatError> {
    let expected = block_bitmap_csum(sb, bytes);
    let found = desc.block_bitmap_csum;
    if sb.has_metadata_csum() && expected != found {
        return Err(FormatError::BlockBitmapChecksum {
            group,
            expected,
            found,
        });
    }
    Ok(())
}

/// Verifies an inode bitmap read from disk. Not for groups flagged `INODE_UNINIT`.
///
/// # Errors
/// The checksum of the descriptor differs.
pub fn verify_inode_bitmap(
    sb: &Superblock,
    group: GroupNo,
    desc: &GroupDesc,
    bytes: &[u8],
) -> Result<(), FormatError> {
    let expected = inode_bitmap_csum(sb, bytes);
    let found = desc.inode_bitmap_csum;
    if sb.has_metadata_csum() && expected != found {
        return Err(FormatError::InodeBitmapChecksum {
            group,
            expected,
            found,
        });
    }
    Ok(())
}
