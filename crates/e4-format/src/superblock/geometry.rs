//! Where things lie: sizes, groups and descriptor blocks, with every number bounded once.

use super::{CRC32C_INIT, GOOD_OLD_FIRST_INO, MAX_BLOCKS, RawSuperblock, Superblock, crc32c};
use crate::error::FormatError;
use crate::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use crate::units::{BlockSize, FsBlock, GroupNo, InodeNo};

const GOOD_OLD_INODE_SIZE: u16 = 128;
const DESC_SIZE_32: u16 = 32;
const DESC_SIZE_64_MIN: u16 = 64;
const DESC_SIZE_MAX: u16 = 1024;

/// Where an inode lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InodeLocation {
    /// Its group.
    pub group: GroupNo,
    /// Its number within the group, from 0: its bit in the inode bitmap.
    pub index: u32,
    /// Block of the group's inode table that holds it, from 0.
    pub table_block: u32,
    /// Byte within that block.
    pub offset: usize,
}

/// Which groups begin with a copy of superblock and descriptors.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackupGroups {
    /// All of them.
    All,
    /// 0, 1 and the powers of 3, 5 and 7 (`sparse_super`).
    Sparse,
    /// 0 and at most two more, 0 meaning none (`sparse_super2`).
    Two([u32; 2]),
}

/// Bounds and cross-checks every number of the superblock, then derives the rest.
pub(super) fn validate(raw: RawSuperblock) -> Result<Superblock, FormatError> {
    let block_size = block_size(&raw)?;
    let (inode_size, first_inode, desc_size) = record_sizes(&raw, block_size)?;
    let groups = group_count(&raw, block_size)?;
    let ro = RoCompatFeatures::from_bits(raw.s_feature_ro_compat.get());
    let incompat = IncompatFeatures::from_bits(raw.s_feature_incompat.get());
    let csum_seed = if incompat.contains(IncompatFeatures::CSUM_SEED) {
        raw.s_checksum_seed.get()
    } else {
        crc32c(CRC32C_INIT, &raw.s_uuid)
    };
    let sb = Superblock {
        blocks_count: blocks_count(&raw),
        block_size,
        groups,
        inode_size,
        desc_size,
        first_inode,
        csum_seed,
        metadata_csum: ro.contains(RoCompatFeatures::METADATA_CSUM),
        raw,
    };
    check_tables(&sb)?;
    Ok(sb)
}

fn block_size(raw: &RawSuperblock) -> Result<BlockSize, FormatError> {
    let log = raw.s_log_block_size.get();
    let bs = 1024u32
        .checked_shl(log)
        .filter(|_| log <= 6)
        .and_then(BlockSize::from_bytes);
    let bs = bs.ok_or(FormatError::BlockSize { log })?;
    // Without bigalloc a cluster is a block; anything else is damage.
    if raw.s_log_cluster_size.get() != log {
        let cluster = raw.s_log_cluster_size.get();
        return Err(FormatError::ClusterSize {
            block: log,
            cluster,
        });
    }
    Ok(bs)
}

fn record_sizes(raw: &RawSuperblock, bs: BlockSize) -> Result<(u16, u32, u16), FormatError> {
    let (inode_size, first_inode) = if raw.s_rev_level.get() == 0 {
        (GOOD_OLD_INODE_SIZE, GOOD_OLD_FIRST_INO)
    } else {
        (raw.s_inode_size.get(), raw.s_first_ino.get())
    };
    if inode_size < GOOD_OLD_INODE_SIZE
        || !inode_size.is_power_of_two()
        || u32::from(inode_size) > bs.bytes()
    {
        return Err(FormatError::InodeSize { found: inode_size });
    }
    if first_inode < GOOD_OLD_FIRST_INO || first_inode > raw.s_inodes_count.get() {
        return Err(FormatError::FirstInode { found: first_inode });
    }
    let incompat = IncompatFeatures::from_bits(raw.s_feature_incompat.get());
    let desc_size = if incompat.contains(IncompatFeatures::BIT64) {
        raw.s_desc_size.get()
    } else {
        DESC_SIZE_32
    };
    let legal = desc_size == DESC_SIZE_32
        || ((DESC_SIZE_64_MIN..=DESC_SIZE_MAX).contains(&desc_size) && desc_size.is_power_of_two());
    if !legal {
        return Err(FormatError::DescSize { found: desc_size });
    }
    Ok((inode_size, first_inode, desc_size))
}

fn blocks_count(raw: &RawSuperblock) -> u64 {
    let lo = u64::from(raw.s_blocks_count_lo.get());
    let bit64 = raw.s_feature_incompat.get() & IncompatFeatures::BIT64.bits() != 0;
    let hi = if bit64 {
        u64::from(raw.s_blocks_count_hi.get())
    } else {
        0
    };
    hi << 32 | lo
}

fn group_count(raw: &RawSuperblock, bs: BlockSize) -> Result<u32, FormatError> {
    let bits = bs.bytes() * 8;
    let first = raw.s_first_data_block.get();
    if first != u32::from(bs == BlockSize::KIB1) {
        return Err(FormatError::FirstDataBlock {
            found: first,
            block_size: bs.bytes(),
        });
    }
    let bpg = raw.s_blocks_per_group.get();
    // The bitmap of a group is one block, and its checksum covers whole bytes.
    if bpg == 0 || bpg > bits || !bpg.is_multiple_of(8) || raw.s_clusters_per_group.get() != bpg {
        return Err(FormatError::BlocksPerGroup {
            found: bpg,
            limit: bits,
        });
    }
    let ipg = raw.s_inodes_per_group.get();
    if ipg == 0 || ipg > bits || !ipg.is_multiple_of(8) {
        return Err(FormatError::InodesPerGroup {
            found: ipg,
            limit: bits,
        });
    }
    let blocks = blocks_count(raw);
    if blocks <= u64::from(first) || blocks > MAX_BLOCKS {
        return Err(FormatError::BlocksCount { found: blocks });
    }
    let groups = (blocks - u64::from(first)).div_ceil(u64::from(bpg));
    let inodes = raw.s_inodes_count.get();
    match u32::try_from(groups)
        .ok()
        .filter(|g| g.checked_mul(ipg) == Some(inodes))
    {
        Some(groups) => Ok(groups),
        None => Err(FormatError::InodesCount {
            inodes,
            groups,
            inodes_per_group: ipg,
        }),
    }
}

/// Descriptor table, its reserve and an inode table must fit where they have to lie.
fn check_tables(sb: &Superblock) -> Result<(), FormatError> {
    let reserved = sb.reserved_gdt_blocks();
    if reserved > sb.block_size.bytes() / 4 {
        return Err(FormatError::ReservedGdtBlocks { found: reserved });
    }
    let gdt = u64::from(sb.gdt_blocks());
    let end = u64::from(sb.first_data_block()) + 1 + gdt;
    if gdt >= u64::from(sb.blocks_per_group()) || end > sb.blocks_count {
        return Err(FormatError::GdtTooLarge { blocks: gdt });
    }
    if u64::from(sb.inode_table_blocks()) > sb.blocks_count {
        return Err(FormatError::InodesPerGroup {
            found: sb.inodes_per_group(),
            limit: sb.block_size.bytes() * 8,
        });
    }
    Ok(())
}

#[allow(clippy::missing_const_for_fn)]
impl Superblock {
    /// The block size.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Blocks of the filesystem, at most 2^48.
    #[must_use]
    pub fn blocks_count(&self) -> u64 {
        self.blocks_count
    }

    /// The block that begins group 0: 1 with 1 KiB blocks, else 0.
    #[must_use]
    pub fn first_data_block(&self) -> u32 {
        self.raw.s_first_data_block.get()
    }

    /// Blocks per group, at most 8 per byte of a block; a multiple of 8.
    #[must_use]
    pub fn blocks_per_group(&self) -> u32 {
        self.raw.s_blocks_per_group.get()
    }

    /// Inodes per group, at most 8 per byte of a block; a multiple of 8.
    #[must_use]
    pub fn inodes_per_group(&self) -> u32 {
        self.raw.s_inodes_per_group.get()
    }

    /// Inodes of the filesystem: groups times inodes per group.
    #[must_use]
    pub fn inodes_count(&self) -> u32 {
        self.raw.s_inodes_count.get()
    }

    /// Bytes of an inode on disk: a power of two from 128 to the block size.
    #[must_use]
    pub fn inode_size(&self) -> usize {
        usize::from(self.inode_size)
    }

    /// Bytes of a group descriptor: 32, or a power of two from 64 to 1024.
    #[must_use]
    pub fn desc_size(&self) -> usize {
        usize::from(self.desc_size)
    }

    /// Number of groups, at least 1.
    #[must_use]
    pub fn groups(&self) -> u32 {
        self.groups
    }

    /// All groups in order.
    pub fn group_numbers(&self) -> impl Iterator<Item = GroupNo> + use<> {
        (0..self.groups).map(GroupNo::new)
    }

    /// The first inode number for ordinary files.
    #[must_use]
    pub fn first_inode(&self) -> u32 {
        self.first_inode
    }

    /// Groups per flex group, a power of two; 1 without `flex_bg` (or with a nonsensical value).
    #[must_use]
    pub fn groups_per_flex(&self) -> u32 {
        let log = u32::from(self.raw.s_log_groups_per_flex);
        if self.incompat().contains(IncompatFeatures::FLEX_BG) {
            1u32.checked_shl(log).unwrap_or(1)
        } else {
            1
        }
    }

    /// Descriptor blocks reserved for growth behind the table, at most a quarter per byte of a block.
    #[must_use]
    pub fn reserved_gdt_blocks(&self) -> u32 {
        u32::from(self.raw.s_reserved_gdt_blocks.get())
    }

    /// Descriptors per block, at least 1.
    #[must_use]
    pub fn descs_per_block(&self) -> u32 {
        self.block_size.bytes() / u32::from(self.desc_size)
    }

    /// Blocks of the descriptor table.
    #[must_use]
    pub fn gdt_blocks(&self) -> u32 {
        self.groups.div_ceil(self.descs_per_block())
    }

    /// Block `n` of the primary descriptor table; `None` past its end.
    #[must_use]
    pub fn gdt_block(&self, n: u32) -> Option<FsBlock> {
        self.gdt_block_in(GroupNo::new(0), n)
    }

    /// Block `n` of the copy of the descriptor table in `group`; `None` if there is none.
    #[must_use]
    pub fn gdt_block_in(&self, group: GroupNo, n: u32) -> Option<FsBlock> {
        if n >= self.gdt_blocks() || !self.has_super_backup(group) {
            return None;
        }
        let block = self
            .group_first_block(group)?
            .checked_add(1 + u64::from(n))?;
        (block.get() < self.blocks_count).then_some(block)
    }

    /// Block of the descriptor table that holds a group's descriptor, and the byte within it.
    #[must_use]
    pub fn desc_location(&self, group: GroupNo) -> Option<(u32, usize)> {
        if group.get() >= self.groups {
            return None;
        }
        let per = self.descs_per_block();
        let within = (group.get() % per) as usize * self.desc_size();
        Some((group.get() / per, within))
    }

    /// Blocks of one group's inode table.
    #[must_use]
    pub fn inode_table_blocks(&self) -> u32 {
        // At most 2^19 inodes of at most 2^16 bytes, in blocks no smaller than an inode.
        self.inodes_per_group().div_ceil(self.inodes_per_block())
    }

    /// Inodes per block, at least 1.
    #[must_use]
    pub fn inodes_per_block(&self) -> u32 {
        self.block_size.bytes() / u32::from(self.inode_size)
    }

    /// First block of a group; `None` if there is no such group.
    #[must_use]
    pub fn group_first_block(&self, group: GroupNo) -> Option<FsBlock> {
        if group.get() >= self.groups {
            return None;
        }
        let at = u64::from(group.get()) * u64::from(self.blocks_per_group());
        Some(FsBlock::new(at + u64::from(self.first_data_block())))
    }

    /// Blocks of a group; the last one may be short. 0 if there is no such group.
    #[must_use]
    pub fn blocks_in_group(&self, group: GroupNo) -> u32 {
        let Some(first) = self.group_first_block(group) else {
            return 0;
        };
        let left = self.blocks_count.saturating_sub(first.get());
        let bpg = self.blocks_per_group();
        u32::try_from(left).map_or(bpg, |left| left.min(bpg))
    }

    /// Group of a block and the block's number within it, its bit in the block bitmap. `None` outside
    /// the groups: past the end, or the boot block of an image with 1 KiB blocks.
    #[must_use]
    pub fn group_of_block(&self, block: FsBlock) -> Option<(GroupNo, u32)> {
        if block.get() >= self.blocks_count {
            return None;
        }
        let at = block
            .get()
            .checked_sub(u64::from(self.first_data_block()))?;
        let bpg = u64::from(self.blocks_per_group());
        let group = u32::try_from(at / bpg).ok()?;
        let bit = u32::try_from(at % bpg).ok()?;
        Some((GroupNo::new(group), bit))
    }

    /// Where an inode lies; `None` if the number is beyond the image.
    #[must_use]
    pub fn inode_location(&self, ino: InodeNo) -> Option<InodeLocation> {
        if ino.get() > self.inodes_count() {
            return None;
        }
        let n = ino.get() - 1;
        let index = n % self.inodes_per_group();
        let per = self.inodes_per_block();
        Some(InodeLocation {
            group: GroupNo::new(n / self.inodes_per_group()),
            index,
            table_block: index / per,
            offset: (index % per) as usize * self.inode_size(),
        })
    }

    /// Which groups carry backups.
    #[must_use]
    pub fn backup_groups(&self) -> BackupGroups {
        if self.compat().contains(CompatFeatures::SPARSE_SUPER2) {
            let [a, b] = &self.raw.s_backup_bgs;
            BackupGroups::Two([a.get(), b.get()])
        } else if self.ro_compat().contains(RoCompatFeatures::SPARSE_SUPER) {
            BackupGroups::Sparse
        } else {
            BackupGroups::All
        }
    }

    /// True if `group` begins with a superblock and a descriptor table (group 0 has the primary ones).
    #[must_use]
    pub fn has_super_backup(&self, group: GroupNo) -> bool {
        let n = group.get();
        if n == 0 || n >= self.groups {
            return n == 0;
        }
        match self.backup_groups() {
            BackupGroups::All => true,
            BackupGroups::Two(two) => two.contains(&n),
            BackupGroups::Sparse => n == 1 || [3, 5, 7].iter().any(|b| is_power_of(n, *b)),
        }
    }

    /// Blocks at the start of a group taken by superblock, descriptor table and its reserve; 0 without
    /// a copy there. At most the blocks of the group.
    #[must_use]
    pub fn super_and_gdt_blocks(&self, group: GroupNo) -> u32 {
        if self.has_super_backup(group) {
            let blocks = 1 + self.gdt_blocks() + self.reserved_gdt_blocks();
            blocks.min(self.blocks_in_group(group))
        } else {
            0
        }
    }
}

fn is_power_of(mut n: u32, base: u32) -> bool {
    while n > 1 && n.is_multiple_of(base) {
        n /= base;
    }
    n == 1
}
