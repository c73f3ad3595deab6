//! From parameters and a size to the numbers of the superblock.
//!
//! The numbers are those mke2fs chooses (seen from outside, over the sizes of the tests): inodes are
//! computed before a useless last group is dropped, tables fill whole blocks, the descriptor reserve
//! allows growing to 1024 times the size. Two differences: group 0 always holds all system inodes (at
//! least 16 inodes per group), and an inode density that overflows the bitmaps shrinks the groups once
//! by division instead of step by step.

use crate::error::MkfsError;
use crate::feature_list::Features;
use crate::params::{Params, Usage};
use e4_format::BlockSize;
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};

const MIN_INODES_PER_GROUP: u64 = 16;
const MIN_JOURNAL_BLOCKS: u64 = 1024;
const MAX_JOURNAL_BLOCKS: u64 = 10_240_000;
/// A last group with fewer usable blocks than this is left off.
const MIN_LAST_GROUP: u64 = 50;

/// The decided numbers.
#[derive(Clone, Debug)]
pub(crate) struct Geometry {
    pub(crate) block_size: BlockSize,
    pub(crate) blocks: u64,
    pub(crate) first_data_block: u32,
    pub(crate) blocks_per_group: u32,
    pub(crate) groups: u32,
    pub(crate) inode_size: u16,
    pub(crate) inodes_per_group: u32,
    pub(crate) desc_size: u16,
    pub(crate) reserved_gdt: u16,
    pub(crate) log_groups_per_flex: u8,
    pub(crate) reserved_blocks: u64,
    pub(crate) journal_blocks: Option<u64>,
    pub(crate) features: Features,
}

/// Decides everything; `device_bytes` is the size of the medium.
pub(crate) fn decide(
    params: &Params,
    device_bytes: u64,
    device_name: &str,
    notes: &mut Vec<String>,
) -> Result<Geometry, MkfsError> {
    let bytes = match params.size {
        Some(asked) if asked > device_bytes => {
            let device = device_name.to_owned();
            return Err(MkfsError::LargerThanDevice {
                asked,
                available: device_bytes,
                device,
            });
        }
        Some(asked) => asked,
        None => device_bytes & !4095,
    };
    let usage = params.usage.unwrap_or_else(|| Usage::for_size(bytes));
    let asked = params.block_size.unwrap_or_else(|| usage.block_size());
    let block_size = BlockSize::from_bytes(asked).ok_or(MkfsError::BlockSize { bytes: asked })?;
    let mut features = params.features;
    features.resolve(notes)?;
    let blocks = bytes >> block_size.log2();
    wide_blocks(blocks, &mut features, notes)?;
    let inode_size = inode_size(params, block_size)?;
    let wanted = wanted_inodes(params, usage, blocks << block_size.log2())?;
    let mut geo = Geometry {
        block_size,
        blocks,
        first_data_block: u32::from(block_size == BlockSize::KIB1),
        blocks_per_group: blocks_per_group(params, block_size, inode_size, blocks, wanted)?,
        groups: 0,
        inode_size,
        inodes_per_group: 0,
        desc_size: if features.incompat(IncompatFeatures::BIT64) {
            64
        } else {
            32
        },
        reserved_gdt: 0,
        log_groups_per_flex: flex_log(params, &features)?,
        reserved_blocks: 0,
        journal_blocks: None,
        features,
    };
    geo.settle_groups(params, wanted)?;
    geo.settle_large_file(notes);
    geo.settle_reserved(params)?;
    geo.settle_journal(params, notes)?;
    Ok(geo)
}

fn wide_blocks(
    blocks: u64,
    features: &mut Features,
    notes: &mut Vec<String>,
) -> Result<(), MkfsError> {
    if u32::try_from(blocks).is_ok() {
        return Ok(());
    }
    if !features.incompat(IncompatFeatures::BIT64) {
        return Err(MkfsError::Needs64Bit { blocks });
    }
    // The resize inode is block-mapped and cannot name the backups.
    features.drop_compat(
        CompatFeatures::RESIZE_INODE,
        "resize_inode",
        "32-bit block numbers",
        notes,
    )
}

fn inode_size(params: &Params, bs: BlockSize) -> Result<u16, MkfsError> {
    let bytes = params.inode_size.unwrap_or(256);
    let max = bs.bytes().min(4096);
    match u16::try_from(bytes) {
        Ok(size) if bytes.is_power_of_two() && (128..=max).contains(&bytes) => Ok(size),
        _ => Err(MkfsError::InodeSize { bytes, max }),
    }
}

fn wanted_inodes(params: &Params, usage: Usage, bytes: u64) -> Result<u64, MkfsError> {
    let ratio = params
        .bytes_per_inode
        .unwrap_or_else(|| usage.bytes_per_inode());
    if !(1024..=(64 << 20)).contains(&ratio) {
        return Err(MkfsError::BytesPerInode { ratio });
    }
    let wanted = params.inodes.filter(|n| *n > 0).unwrap_or(bytes / ratio);
    if params.inodes.is_none() {
        // A default or a ratio is a wish; the format numbers 2^32 - 1 inodes.
        return Ok(wanted.clamp(1, u64::from(u32::MAX)));
    }
    let max = u64::from(u32::MAX).min(bytes / 128);
    if wanted > max {
        return Err(MkfsError::TooManyInodes { asked: wanted, max });
    }
    Ok(wanted)
}

fn blocks_per_group(
    params: &Params,
    bs: BlockSize,
    inode_size: u16,
    blocks: u64,
    wanted: u64,
) -> Result<u32, MkfsError> {
    let max = (bs.bytes() * 8).min(65528);
    if let Some(asked) = params.blocks_per_group {
        if !(256..=max).contains(&asked) || asked % 8 != 0 {
            return Err(MkfsError::BlocksPerGroup { blocks: asked, max });
        }
        return Ok(asked);
    }
    let cap = max_inodes_per_group(bs, inode_size);
    let groups = blocks.div_ceil(u64::from(max)).max(1);
    if wanted.div_ceil(groups) <= cap {
        return Ok(max);
    }
    let fitting = (u128::from(cap) * u128::from(blocks) / u128::from(wanted)) & !7;
    let fitting = u32::try_from(fitting).unwrap_or(max).min(max);
    if fitting < 256 {
        let max = u64::try_from(u128::from(cap) * u128::from(blocks) / 256).unwrap_or(u64::MAX);
        return Err(MkfsError::TooManyInodes { asked: wanted, max });
    }
    Ok(fitting)
}

/// Bits of a bitmap block, less a block's worth so that rounding up stays inside 16 bits.
fn max_inodes_per_group(bs: BlockSize, inode_size: u16) -> u64 {
    let per_block = u64::from(bs.bytes()) / u64::from(inode_size);
    (u64::from(bs.bytes()) * 8).min(65536 - per_block) & !7
}

fn flex_log(params: &Params, features: &Features) -> Result<u8, MkfsError> {
    if !features.incompat(IncompatFeatures::FLEX_BG) {
        return Ok(0);
    }
    let groups = params.flex_bg_size.unwrap_or(16);
    if !groups.is_power_of_two() {
        return Err(MkfsError::FlexBgSize { groups });
    }
    u8::try_from(groups.trailing_zeros()).map_err(|_| MkfsError::FlexBgSize { groups })
}

impl Geometry {
    /// Groups, inodes per group and descriptors; drops a last group too small to be of use.
    fn settle_groups(&mut self, params: &Params, wanted: u64) -> Result<(), MkfsError> {
        loop {
            let bpg = u64::from(self.blocks_per_group);
            let usable = self.blocks.saturating_sub(u64::from(self.first_data_block));
            let groups = usable.div_ceil(bpg);
            self.groups =
                u32::try_from(groups).map_err(|_| self.descriptors_too_large(u64::MAX))?;
            if self.groups == 0 {
                return Err(self.too_small());
            }
            self.settle_inodes(params, wanted)?;
            self.settle_descriptors(params)?;
            let last = usable - (groups - 1) * bpg;
            let overhead = self.group_overhead(self.has_super(self.groups - 1));
            if last == bpg || last >= overhead + MIN_LAST_GROUP {
                return Ok(());
            }
            if groups == 1 {
                if last > overhead + 8 {
                    return Ok(()); // A tiny image of a single group: small, but of use.
                }
                return Err(self.too_small());
            }
            self.blocks -= last;
        }
    }

    fn settle_inodes(&mut self, params: &Params, wanted: u64) -> Result<(), MkfsError> {
        let per_block = u64::from(self.block_size.bytes()) / u64::from(self.inode_size);
        let groups = u64::from(self.groups);
        let cap = max_inodes_per_group(self.block_size, self.inode_size)
            .min((u64::from(u32::MAX) / groups) & !7);
        let even = wanted.div_ceil(groups).max(MIN_INODES_PER_GROUP);
        // Fill whole table blocks, then keep the bitmap in whole bytes.
        let filled = (even.div_ceil(per_block) * per_block) & !7;
        let per_group = filled.max(MIN_INODES_PER_GROUP);
        if even > cap && params.inodes.is_some() {
            return Err(MkfsError::TooManyInodes {
                asked: wanted,
                max: cap * groups,
            });
        }
        self.inodes_per_group = u32::try_from(per_group.min(cap)).unwrap_or(8);
        Ok(())
    }

    fn settle_descriptors(&mut self, params: &Params) -> Result<(), MkfsError> {
        let per_block = u64::from(self.block_size.bytes()) / u64::from(self.desc_size);
        let desc_blocks = u64::from(self.groups).div_ceil(per_block);
        // Room for the bitmaps and a table besides, in every group that has a copy.
        let max = u64::from(self.blocks_per_group) * 3 / 4;
        if desc_blocks > max {
            return Err(self.descriptors_too_large(desc_blocks));
        }
        self.reserved_gdt = 0;
        if !self.features.compat(CompatFeatures::RESIZE_INODE) {
            return Ok(());
        }
        let limit = match params.resize_limit {
            Some(blocks) if blocks <= self.blocks => {
                return Err(MkfsError::ResizeLimit {
                    blocks,
                    size: self.blocks,
                });
            }
            Some(blocks) => blocks,
            None => self.blocks.saturating_mul(1024),
        };
        let limit = limit.min(u64::from(u32::MAX)) - u64::from(self.first_data_block);
        let groups = limit.div_ceil(u64::from(self.blocks_per_group));
        let reserve = groups.div_ceil(per_block).saturating_sub(desc_blocks);
        let reserve = reserve
            .min(u64::from(self.block_size.bytes()) / 4)
            .min(max - desc_blocks);
        self.reserved_gdt = u16::try_from(reserve).unwrap_or(0);
        Ok(())
    }

    /// The resize inode is as long as its map reaches, which with 4 KiB blocks makes a large file.
    fn settle_large_file(&mut self, notes: &mut Vec<String>) {
        let large = RoCompatFeatures::LARGE_FILE;
        if self.features.compat(CompatFeatures::RESIZE_INODE)
            && resize_inode_bytes(self.block_size) > u64::from(i32::MAX.cast_unsigned())
            && !self.features.ro_compat(large)
        {
            self.features.ro_compat.insert(large);
            notes.push("large_file added: the resize inode is a large file".to_owned());
        }
    }

    fn settle_reserved(&mut self, params: &Params) -> Result<(), MkfsError> {
        let percent = params.reserved_percent;
        if !(0.0..=50.0).contains(&percent) {
            return Err(MkfsError::ReservedPercent { percent });
        }
        // At most 2^48 blocks times at most one half: exact in a double.
        #[allow(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss
        )]
        let reserved = (self.blocks as f64 * percent / 100.0) as u64;
        self.reserved_blocks = reserved;
        Ok(())
    }

    fn settle_journal(
        &mut self,
        params: &Params,
        notes: &mut Vec<String>,
    ) -> Result<(), MkfsError> {
        if !self.features.compat(CompatFeatures::HAS_JOURNAL) {
            return Ok(());
        }
        if let Some(mib) = params.journal_mib {
            let blocks = mib.saturating_mul(1 << 20) >> self.block_size.log2();
            let max = MAX_JOURNAL_BLOCKS.min(self.blocks / 2);
            if !(MIN_JOURNAL_BLOCKS..=max).contains(&blocks) {
                return Err(MkfsError::JournalSize {
                    blocks,
                    min: MIN_JOURNAL_BLOCKS,
                    max,
                });
            }
            self.journal_blocks = Some(blocks);
            return Ok(());
        }
        self.journal_blocks = default_journal_blocks(self.blocks);
        if self.journal_blocks.is_none() {
            let needs = "2048 blocks or more";
            let bits = &mut self.features;
            bits.drop_compat(CompatFeatures::HAS_JOURNAL, "has_journal", needs, notes)?;
            bits.drop_compat(
                CompatFeatures::ORPHAN_FILE,
                "orphan_file",
                "has_journal",
                notes,
            )?;
        }
        Ok(())
    }

    /// The groups of `sparse_super2` backups: the first and the last after group 0.
    pub(crate) fn backup_bgs(&self) -> [u32; 2] {
        if !self.features.compat(CompatFeatures::SPARSE_SUPER2) {
            return [0, 0];
        }
        match self.groups {
            0 | 1 => [0, 0],
            2 => [1, 0],
            n => [1, n - 1],
        }
    }

    fn has_super(&self, group: u32) -> bool {
        let power = |base: u32| {
            let mut n = group;
            while n > 1 && n.is_multiple_of(base) {
                n /= base;
            }
            n == 1
        };
        if group == 0 || self.features.compat(CompatFeatures::SPARSE_SUPER2) {
            return group == 0 || self.backup_bgs().contains(&group);
        }
        !self.features.ro_compat(RoCompatFeatures::SPARSE_SUPER) || [3, 5, 7].into_iter().any(power)
    }

    fn desc_blocks(&self) -> u64 {
        let per_block = u64::from(self.block_size.bytes()) / u64::from(self.desc_size);
        u64::from(self.groups).div_ceil(per_block)
    }

    fn group_overhead(&self, with_super: bool) -> u64 {
        let table = u64::from(self.inodes_per_group) * u64::from(self.inode_size);
        let copy = 1 + self.desc_blocks() + u64::from(self.reserved_gdt);
        2 + self.block_size.blocks_for(table) + if with_super { copy } else { 0 }
    }

    fn too_small(&self) -> MkfsError {
        MkfsError::TooSmall {
            blocks: self.blocks,
            block_size: self.block_size.bytes(),
        }
    }

    fn descriptors_too_large(&self, desc_blocks: u64) -> MkfsError {
        MkfsError::DescriptorsTooLarge {
            blocks: self.blocks,
            block_size: self.block_size.bytes(),
            desc_blocks,
            max: u64::from(self.blocks_per_group) * 3 / 4,
        }
    }
}

/// Journal length in blocks by length of the filesystem in blocks, as mke2fs chooses it; `None` if the
/// filesystem is too small for one.
pub(crate) fn default_journal_blocks(blocks: u64) -> Option<u64> {
    const KI: u64 = 1024;
    Some(match blocks {
        n if n < 2 * KI => return None,
        n if n < 32 * KI => KI,
        n if n < 256 * KI => 4 * KI,
        n if n < 512 * KI => 8 * KI,
        n if n < 4096 * KI => 16 * KI,
        n if n < 8192 * KI => 32 * KI,
        n if n < 16384 * KI => 64 * KI,
        n if n < 32768 * KI => 128 * KI,
        _ => 256 * KI,
    })
}

/// Length of the resize inode in bytes: all that direct, indirect and double indirect blocks can map.
pub(crate) fn resize_inode_bytes(block_size: BlockSize) -> u64 {
    let per = u64::from(block_size.bytes()) / 4;
    (12 + per + per * per) << block_size.log2()
}

/// Orphan file length in blocks: one per 4096 blocks, within bounds.
pub(crate) fn orphan_file_blocks(blocks: u64) -> u64 {
    (blocks / 4096).clamp(32, 512)
}

#[cfg(test)]
mod tests;
