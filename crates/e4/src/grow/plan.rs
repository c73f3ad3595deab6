//! What growing means, as a pure plan: the superblock afterwards and the descriptors of the groups that come.
//!
//! Decisions:
//! - The metadata of groups that come together and share a flex group is packed into the first of them, as mke2fs does;
//!   where it does not fit, and without `flex_bg`, each group holds its own.
//! - A last group too short to hold its own metadata and 50 blocks more is left out, as mke2fs and resize2fs do.
//! - Descriptor blocks beyond the table come from the reserve of the resize inode only.

use e4_format::bitmap::{self, BitmapMut};
use e4_format::features::{CompatFeatures, IncompatFeatures};
use e4_format::superblock::BackupGroups;
use e4_format::{BgFlags, FormatError, FsBlock, GroupDesc, GroupNo, Superblock};

/// Blocks the last group must have besides its metadata.
const LAST_GROUP_MIN: u64 = 50;

/// Why a filesystem cannot be as large as that.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Limit {
    /// How many blocks it can have.
    pub(crate) most: u64,
    /// What keeps it from having more.
    pub(crate) why: &'static str,
}

/// A block that lies behind the present end, and what is to be in it.
pub(crate) struct Fresh {
    pub(crate) at: FsBlock,
    pub(crate) bytes: Vec<u8>,
}

/// One step of growth.
pub(crate) struct Plan {
    /// The geometry afterwards.
    pub(crate) sb: Superblock,
    pub(crate) groups: Vec<GroupDesc>,
    /// Bitmaps that nobody would make up.
    pub(crate) fresh: Vec<Fresh>,
    /// Runs to be zeroed: inode tables of an image that does not say which parts were never used.
    pub(crate) zeros: Vec<(FsBlock, u32)>,
}

/// Groups with a backup of superblock and descriptors, from `from` on; never group 0.
pub(crate) fn backups(sb: &Superblock, from: u32) -> impl Iterator<Item = GroupNo> {
    sb.group_numbers()
        .skip(from.max(1) as usize)
        .filter(|group| sb.has_super_backup(*group))
}

/// How far the filesystem can grow on any device.
pub(crate) fn limit(sb: &Superblock) -> Limit {
    let bpg = u64::from(sb.blocks_per_group());
    let first = u64::from(sb.first_data_block());
    let resize = sb.compat().contains(CompatFeatures::RESIZE_INODE);
    let tables = sb.gdt_blocks() + if resize { sb.reserved_gdt_blocks() } else { 0 };
    let by_table = first + u64::from(tables) * u64::from(sb.descs_per_block()) * bpg;
    let by_inodes = first + u64::from(u32::MAX / sb.inodes_per_group()) * bpg;
    let mut limit = Limit {
        most: by_table,
        why: match resize {
            true => {
                "the descriptor blocks that mkfs reserved (its option -E resize=) are used up then"
            }
            false => "it was made without resize_inode, so no descriptor blocks are reserved",
        },
    };
    if by_inodes < limit.most {
        limit = Limit {
            most: by_inodes,
            why: "inode numbers have 32 bits",
        };
    }
    if !sb.incompat().contains(IncompatFeatures::BIT64) && limit.most > u64::from(u32::MAX) {
        limit = Limit {
            most: u64::from(u32::MAX),
            why: "it was made without 64bit, so block numbers have 32 bits",
        };
    }
    limit
}

/// Features under which e4 does not grow a filesystem.
pub(crate) fn refusal(sb: &Superblock) -> Option<&'static str> {
    if sb.state().has_errors() {
        return Some("growing an image that has errors noted (check it first)");
    }
    match sb.backup_groups() {
        BackupGroups::Two(_) => Some("growing an image with sparse_super2"),
        BackupGroups::All if sb.compat().contains(CompatFeatures::RESIZE_INODE) => {
            Some("growing an image with resize_inode and without sparse_super")
        }
        _ => None,
    }
}

/// The superblock with so many blocks; the caller has looked at the limits.
pub(crate) fn resized(sb: &Superblock, blocks: u64) -> Result<Superblock, FormatError> {
    let blocks = whole_groups(sb, blocks);
    let mut raw = sb.raw().clone();
    let first = u64::from(sb.first_data_block());
    let bpg = u64::from(sb.blocks_per_group());
    let groups = u32::try_from((blocks - first).div_ceil(bpg)).unwrap_or(u32::MAX);
    let (lo, hi) = (blocks as u32, (blocks >> 32) as u32);
    raw.s_blocks_count_lo.set(lo);
    if sb.incompat().contains(IncompatFeatures::BIT64) {
        raw.s_blocks_count_hi.set(hi);
    }
    raw.s_inodes_count
        .set(groups.saturating_mul(sb.inodes_per_group()));
    let tables = groups.div_ceil(sb.descs_per_block());
    let taken = tables.saturating_sub(sb.gdt_blocks());
    let reserved = sb.reserved_gdt_blocks().saturating_sub(taken);
    raw.s_reserved_gdt_blocks
        .set(u16::try_from(reserved).unwrap_or(u16::MAX));
    // Root's share stays the same share.
    let share = u128::from(sb.reserved_blocks_count()) * u128::from(blocks);
    let share = u64::try_from(share / u128::from(sb.blocks_count())).unwrap_or(0);
    raw.s_r_blocks_count_lo.set(share as u32);
    if sb.incompat().contains(IncompatFeatures::BIT64) {
        raw.s_r_blocks_count_hi.set((share >> 32) as u32);
    }
    Superblock::from_raw(raw)
}

/// Without a last group that is too short; never less than it has.
fn whole_groups(sb: &Superblock, blocks: u64) -> u64 {
    let first = u64::from(sb.first_data_block());
    let bpg = u64::from(sb.blocks_per_group());
    let rest = (blocks - first) % bpg;
    let own =
        1 + u64::from(sb.gdt_blocks() + sb.reserved_gdt_blocks() + 2 + sb.inode_table_blocks());
    let last = (blocks - first) / bpg;
    if rest == 0 || rest >= own + LAST_GROUP_MIN || last < u64::from(sb.groups()) {
        return blocks;
    }
    (blocks - rest).max(sb.blocks_count())
}

/// Plans the step from `old` to `sb`.
pub(crate) fn plan(old: &Superblock, sb: Superblock) -> Result<Plan, FormatError> {
    let mut plan = Plan {
        sb,
        groups: Vec::new(),
        fresh: Vec::new(),
        zeros: Vec::new(),
    };
    let sb = plan.sb.clone();
    let per_flex = sb.groups_per_flex().max(1);
    let mut next = old.groups();
    while next < sb.groups() {
        let end = ((next / per_flex + 1) * per_flex).min(sb.groups());
        plan.flex(&sb, next, end)?;
        next = end;
    }
    let overhead: u64 = (old.groups()..sb.groups())
        .map(|n| sb.super_and_gdt_blocks(GroupNo::new(n)) + 2 + sb.inode_table_blocks())
        .map(u64::from)
        .sum();
    let noted = sb.raw().s_overhead_blocks.get();
    if noted != 0 {
        let overhead = u32::try_from(u64::from(noted) + overhead).unwrap_or(0);
        plan.sb.raw_mut().s_overhead_blocks.set(overhead);
    }
    Ok(plan)
}

impl Plan {
    /// The groups `first .. end` of one flex group.
    fn flex(&mut self, sb: &Superblock, first: u32, end: u32) -> Result<(), FormatError> {
        let count = end - first;
        let table = sb.inode_table_blocks();
        let start = |n: u32| {
            let group = GroupNo::new(n);
            let at = sb.group_first_block(group).map_or(0, FsBlock::get);
            at + u64::from(sb.super_and_gdt_blocks(group))
        };
        let bits = sb.blocks_in_group(GroupNo::new(first));
        let base = sb.super_and_gdt_blocks(GroupNo::new(first));
        let packed = u64::from(base) + u64::from(count) * u64::from(2 + table);
        let pack = count > 1 && packed <= u64::from(bits);
        for n in first..end {
            let i = u64::from(n - first);
            let (at, step) = match pack {
                true => (start(first), u64::from(count)),
                false => (start(n), 1),
            };
            let i = if pack { i } else { 0 };
            let group = GroupNo::new(n);
            let used_here = match (pack, n == first) {
                (true, true) => packed,
                (true, false) => u64::from(sb.super_and_gdt_blocks(group)),
                (false, _) => u64::from(sb.super_and_gdt_blocks(group) + 2 + table),
            };
            let here = sb.blocks_in_group(group);
            let used = u32::try_from(used_here).unwrap_or(here).min(here);
            let desc = GroupDesc {
                block_bitmap: FsBlock::new(at + i),
                inode_bitmap: FsBlock::new(at + step + i),
                inode_table: FsBlock::new(at + 2 * step + i * u64::from(table)),
                free_blocks_count: here - used,
                free_inodes_count: sb.inodes_per_group(),
                used_dirs_count: 0,
                flags: BgFlags::default(),
                itable_unused: 0,
                block_bitmap_csum: 0,
                inode_bitmap_csum: 0,
                exclude_bitmap: FsBlock::new(0),
            };
            let foreign = pack && n == first;
            self.group(sb, group, desc, (used, foreign))?;
        }
        Ok(())
    }

    /// Decides what of a group has to be written, and flags the rest.
    fn group(
        &mut self,
        sb: &Superblock,
        group: GroupNo,
        mut desc: GroupDesc,
        (used, foreign): (u32, bool),
    ) -> Result<(), FormatError> {
        let lazy = sb.has_group_desc_csum();
        let last = group.get() + 1 == sb.groups();
        if lazy && !last && !foreign {
            desc.flags.insert(BgFlags::BLOCK_UNINIT);
        } else {
            let bits = sb.blocks_in_group(group);
            let mut bytes = vec![0; sb.block_size().len()];
            BitmapMut::new(&mut bytes, bits).set_range(0..used);
            bitmap::pad(&mut bytes, bits);
            if sb.has_metadata_csum() {
                desc.block_bitmap_csum = bitmap::block_bitmap_csum(sb, &bytes);
            }
            self.fresh.push(Fresh {
                at: desc.block_bitmap,
                bytes,
            });
        }
        if lazy {
            desc.flags.insert(BgFlags::INODE_UNINIT);
            desc.itable_unused = sb.inodes_per_group();
        } else {
            let mut bytes = vec![0; sb.block_size().len()];
            bitmap::init_inode_bitmap(&mut bytes, sb);
            self.fresh.push(Fresh {
                at: desc.inode_bitmap,
                bytes,
            });
            self.zeros.push((desc.inode_table, sb.inode_table_blocks()));
        }
        self.groups.push(desc);
        Ok(())
    }
}

/// True if the image keeps descriptor blocks in reserve.
pub(crate) fn has_reserve(sb: &Superblock) -> bool {
    sb.compat().contains(CompatFeatures::RESIZE_INODE)
}

/// Journal blocks of the step besides those of the last group and the superblock.
pub(crate) fn credits(old: &Superblock, new: &Superblock) -> u32 {
    let first = (old.groups() - 1) / old.descs_per_block();
    let tables = new.gdt_blocks() - first;
    let taken = new.gdt_blocks() > old.gdt_blocks();
    let backed = backups(new, old.groups()).next().is_some();
    let resize = match (has_reserve(old), taken, backed) {
        (false, _, _) | (true, false, false) => 0,
        (true, true, false) => 2,
        (true, _, true) => 2 + new.reserved_gdt_blocks(),
    };
    tables + resize
}

#[cfg(test)]
mod tests {
    use super::*;
    use e4_format::features::RoCompatFeatures;

    fn image(blocks: u64) -> Superblock {
        let device = e4_device::MemoryDevice::new(blocks * 4096);
        let params = e4_mkfs::Params {
            block_size: Some(4096),
            ..e4_mkfs::Params::default()
        };
        e4_mkfs::format(&device, &params, &mut |_| {}).unwrap();
        let mut bytes = [0; 1024];
        e4_device::Device::read_at(&device, 1024, &mut bytes).unwrap();
        Superblock::parse(&bytes).unwrap()
    }

    #[test]
    fn a_last_group_too_short_is_left_out() {
        let sb = image(32_768);
        assert!(sb.ro_compat().contains(RoCompatFeatures::SPARSE_SUPER));
        assert_eq!(whole_groups(&sb, 32_768 + 100), 32_768);
        assert_eq!(whole_groups(&sb, 2 * 32_768), 2 * 32_768);
        assert_eq!(whole_groups(&sb, 40_000), 40_000);
    }

    #[test]
    fn blocks_lie_where_nothing_else_does() {
        let old = image(32_768);
        for blocks in [40_000, 65_536, 20 * 32_768 + 9000, 600 * 32_768] {
            let plan = plan(&old, resized(&old, blocks).unwrap()).unwrap();
            let sb = &plan.sb;
            let mut taken = Vec::new();
            for (number, desc) in (old.groups()..).zip(&plan.groups) {
                let group = GroupNo::new(number);
                let first = sb.group_first_block(group).unwrap().get();
                taken.push((first, u64::from(sb.super_and_gdt_blocks(group))));
                taken.push((desc.block_bitmap.get(), 1));
                taken.push((desc.inode_bitmap.get(), 1));
                taken.push((desc.inode_table.get(), u64::from(sb.inode_table_blocks())));
            }
            taken.retain(|(_, len)| *len > 0);
            taken.sort_unstable();
            for pair in taken.windows(2) {
                assert!(pair[0].0 + pair[0].1 <= pair[1].0, "{blocks}: {pair:?}");
            }
            assert!(
                taken.iter().all(|(at, len)| {
                    *at >= old.blocks_count() && at + len <= sb.blocks_count()
                })
            );
            let free: u64 = plan
                .groups
                .iter()
                .map(|d| u64::from(d.free_blocks_count))
                .sum();
            let used: u64 = taken.iter().map(|(_, len)| len).sum();
            assert_eq!(free + used, sb.blocks_count() - 32_768, "{blocks}");
        }
    }
}
