//! Writing the image: old superblock away, zeroing, bitmaps, system files, descriptors and copies, and
//! at last the superblock.

use crate::error::MkfsError;
use crate::geometry::Geometry;
use crate::medium::Disk;
use crate::params::{Medium, Params};
use crate::plan::{GroupPlan, Plan};
use crate::superblock::{Identity, backup_of, put_journal_backup};
use crate::{Stage, system_files};
use e4_format::bitmap::{BitmapMut, block_bitmap_csum, inode_bitmap_csum, pad};
use e4_format::superblock::{SUPERBLOCK_OFFSET, Superblock};
use e4_format::{BgFlags, FsBlock, GroupDesc, GroupNo};

/// Directories of a fresh image: the root and lost+found, both in group 0.
const DIRECTORIES: u32 = 2;
/// Old superblocks (and those of other filesystems) at the start of the medium are destroyed up to here.
const WIPE: usize = 4096;

/// What a group holds besides blocks. Its used inodes are the first ones of its table.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct GroupUsage {
    /// Inodes in use.
    pub inodes: u32,
    /// Directories among them.
    pub directories: u32,
}

/// What was written.
pub(crate) struct Written {
    pub(crate) superblock: Superblock,
    pub(crate) bytes: u64,
}

/// Writes everything.
pub(crate) fn write(
    mut disk: Disk<'_>,
    geo: &Geometry,
    mut sb: Superblock,
    plan: &Plan,
    params: &Params,
    id: &Identity,
) -> Result<Written, MkfsError> {
    if params.medium == Medium::Unknown {
        disk.write_bytes(0, &[0; WIPE])?;
        disk.flush()?;
        zero_unknown(&mut disk, &sb, plan)?;
    }
    let system = system_files::write(&mut disk, geo, &sb, plan, params, id)?;
    let at = plan.groups.first().map_or(0, |g| g.inode_table);
    disk.write(at, &system.table)?;
    if let Some(journal) = system.journal {
        put_journal_backup(sb.raw_mut(), &journal.i_block, journal.size);
    }
    let usage = [GroupUsage {
        inodes: system_files::used_inodes(plan),
        directories: DIRECTORIES,
    }];
    finish(disk, sb, plan, &usage)
}

/// Writes what sums everything up: bitmaps, descriptors, copies and, last, the superblock.
pub(crate) fn finish(
    mut disk: Disk<'_>,
    mut sb: Superblock,
    plan: &Plan,
    usage: &[GroupUsage],
) -> Result<Written, MkfsError> {
    let table = write_groups(&mut disk, &mut sb, plan, usage)?;
    sb.raw_mut()
        .s_overhead_blocks
        .set(u32::try_from(plan.overhead).unwrap_or(0));
    let kib = (disk.written() + descriptor_bytes(&sb, &table)) / 1024;
    sb.raw_mut().s_kbytes_written.set(kib);
    write_descriptors(&mut disk, &sb, &table)?;
    disk.flush()?;
    disk.write_bytes(SUPERBLOCK_OFFSET, &sb.encode())?;
    disk.flush()?;
    Ok(Written {
        superblock: sb,
        bytes: disk.written(),
    })
}

fn zero_unknown(disk: &mut Disk<'_>, sb: &Superblock, plan: &Plan) -> Result<(), MkfsError> {
    let total = plan.groups.len() as u64;
    for (done, group) in (0u64..).zip(&plan.groups) {
        disk.progress(Stage::Zeroing, done, total);
        disk.zero(group.inode_table, sb.inode_table_blocks().into())?;
    }
    for run in plan.journal.iter().flat_map(|j| &j.data) {
        disk.zero(run.start, run.len)?;
    }
    disk.progress(Stage::Zeroing, total, total);
    Ok(())
}

/// Writes the bitmaps that need writing, sums up the free counts, and returns the descriptor table.
fn write_groups(
    disk: &mut Disk<'_>,
    sb: &mut Superblock,
    plan: &Plan,
    usage: &[GroupUsage],
) -> Result<Vec<u8>, MkfsError> {
    let mut table = vec![0; sb.gdt_blocks() as usize * sb.block_size().len()];
    let (mut free_blocks, mut free_inodes) = (0u64, 0u32);
    let total = u64::from(sb.groups());
    for (group, place) in sb.group_numbers().zip(&plan.groups) {
        if group.get() % 1024 == 0 {
            disk.progress(Stage::Groups, group.get().into(), total);
        }
        let own = usage.get(group.get() as usize).copied().unwrap_or_default();
        let desc = write_group(disk, sb, plan, group, (*place, own))?;
        free_blocks += u64::from(desc.free_blocks_count);
        free_inodes += desc.free_inodes_count;
        let Some((block, offset)) = sb.desc_location(group) else {
            continue;
        };
        let at = block as usize * sb.block_size().len() + offset;
        let bytes = table.get_mut(at..).unwrap_or_default();
        desc.encode(bytes, sb, group)
            .map_err(|source| MkfsError::Format {
                what: "a group descriptor",
                source,
            })?;
    }
    sb.set_free_blocks_count(free_blocks);
    sb.set_free_inodes_count(free_inodes);
    disk.progress(Stage::Groups, total, total);
    Ok(table)
}

fn write_group(
    disk: &mut Disk<'_>,
    sb: &Superblock,
    plan: &Plan,
    group: GroupNo,
    (place, own): (GroupPlan, GroupUsage),
) -> Result<GroupDesc, MkfsError> {
    let first = sb.group_first_block(group).map_or(0, FsBlock::get);
    let blocks = sb.blocks_in_group(group);
    let end = first + u64::from(blocks);
    let used = plan.space.used_count(first, end);
    let ipg = sb.inodes_per_group();
    let used_inodes = own.inodes.min(ipg);
    let lazy = sb.has_group_desc_csum();
    let mut desc = GroupDesc {
        block_bitmap: FsBlock::new(place.block_bitmap),
        inode_bitmap: FsBlock::new(place.inode_bitmap),
        inode_table: FsBlock::new(place.inode_table),
        free_blocks_count: blocks - u32::try_from(used).unwrap_or(blocks),
        free_inodes_count: ipg - used_inodes,
        used_dirs_count: own.directories,
        flags: if lazy {
            BgFlags::INODE_ZEROED
        } else {
            BgFlags::default()
        },
        itable_unused: if lazy { ipg - used_inodes } else { 0 },
        block_bitmap_csum: 0,
        inode_bitmap_csum: 0,
        exclude_bitmap: FsBlock::new(0),
    };
    let edge = group.get() == 0 || group.get() + 1 == sb.groups();
    if lazy && !edge && used == own_blocks(sb, group, place) {
        desc.flags.insert(BgFlags::BLOCK_UNINIT);
    } else {
        let mut bytes = vec![0; sb.block_size().len()];
        let mut map = BitmapMut::new(&mut bytes, blocks);
        for run in plan.space.used_in(first, end) {
            let bit = |at: u64| u32::try_from(at - first).unwrap_or(blocks);
            map.set_range(bit(run.start)..bit(run.end()));
        }
        pad(&mut bytes, blocks);
        if sb.has_metadata_csum() {
            desc.block_bitmap_csum = block_bitmap_csum(sb, &bytes);
        }
        disk.write(place.block_bitmap, &bytes)?;
    }
    if lazy && used_inodes == 0 {
        desc.flags.insert(BgFlags::INODE_UNINIT);
    } else {
        let mut bytes = vec![0; sb.block_size().len()];
        BitmapMut::new(&mut bytes, ipg).set_range(0..used_inodes);
        pad(&mut bytes, ipg);
        if sb.has_metadata_csum() {
            desc.inode_bitmap_csum = inode_bitmap_csum(sb, &bytes);
        }
        disk.write(place.inode_bitmap, &bytes)?;
    }
    Ok(desc)
}

/// Blocks in use that a reader infers for a group without a block bitmap: its copies and its own
/// bitmaps and inode table as far as they lie in it.
fn own_blocks(sb: &Superblock, group: GroupNo, place: GroupPlan) -> u64 {
    let first = sb.group_first_block(group).map_or(0, FsBlock::get);
    let end = first + u64::from(sb.blocks_in_group(group));
    let inside = |start: u64, len: u64| (start + len).min(end).saturating_sub(start.max(first));
    u64::from(sb.super_and_gdt_blocks(group))
        + inside(place.block_bitmap, 1)
        + inside(place.inode_bitmap, 1)
        + inside(place.inode_table, sb.inode_table_blocks().into())
}

fn copies(sb: &Superblock) -> impl Iterator<Item = GroupNo> + '_ {
    sb.group_numbers().filter(|g| sb.has_super_backup(*g))
}

fn descriptor_bytes(sb: &Superblock, table: &[u8]) -> u64 {
    copies(sb).count() as u64 * (table.len() + sb.block_size().len()) as u64
}

/// Writes the descriptor tables, and the superblocks of all groups but 0.
fn write_descriptors(disk: &mut Disk<'_>, sb: &Superblock, table: &[u8]) -> Result<(), MkfsError> {
    let total = copies(sb).count() as u64;
    for (done, group) in (0u64..).zip(copies(sb)) {
        disk.progress(Stage::Descriptors, done, total);
        let Some(first) = sb.group_first_block(group) else {
            continue;
        };
        disk.write(first.get() + 1, table)?;
        if group.get() != 0 {
            let mut block = vec![0; sb.block_size().len()];
            if let Some(at) = block.first_chunk_mut::<1024>() {
                *at = backup_of(sb, group.get());
            }
            disk.write(first.get(), &block)?;
        }
    }
    disk.progress(Stage::Descriptors, total, total);
    Ok(())
}
