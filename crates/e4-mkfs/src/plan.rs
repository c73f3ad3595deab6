//! Where everything goes: superblock copies, bitmaps and inode tables, then the system files.
//!
//! Decisions: the layout is complete before the first byte is written, so running out of room costs
//! nothing. Within a flex group the block bitmaps come first, then the inode bitmaps, then the inode
//! tables, each kind together, as mke2fs does; the journal lies in the middle of the image. No bitmap is
//! held in memory (see [`SpaceMap`]).

use crate::error::MkfsError;
use crate::geometry::{Geometry, orphan_file_blocks};
use crate::space::{Run, SpaceMap};
use e4_format::features::CompatFeatures;
use e4_format::superblock::Superblock;
use e4_format::{FsBlock, GroupNo};

/// Bytes that `lost+found` is given in advance, so that a repair need not allocate.
const LOST_AND_FOUND_BYTES: u64 = 16384;
/// Direct blocks of a block-mapped inode.
const DIRECT_BLOCKS: u64 = 12;

/// Where a group's own metadata lies.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GroupPlan {
    pub(crate) block_bitmap: u64,
    pub(crate) inode_bitmap: u64,
    pub(crate) inode_table: u64,
}

/// A system file: its blocks, and those that hold its map.
#[derive(Clone, Debug, Default)]
pub(crate) struct FilePlan {
    pub(crate) data: Vec<Run>,
    pub(crate) map: Vec<Run>,
}

impl FilePlan {
    pub(crate) fn data_blocks(&self) -> u64 {
        self.data.iter().map(|r| r.len).sum()
    }

    pub(crate) fn all_blocks(&self) -> u64 {
        self.data_blocks() + self.map.iter().map(|r| r.len).sum::<u64>()
    }
}

/// The whole layout.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) space: SpaceMap,
    pub(crate) groups: Vec<GroupPlan>,
    pub(crate) root: FilePlan,
    pub(crate) lost_and_found: FilePlan,
    /// The double indirect block of the resize inode.
    pub(crate) resize_dind: Option<u64>,
    pub(crate) journal: Option<FilePlan>,
    pub(crate) orphan_file: Option<FilePlan>,
    /// Blocks that can never hold files: copies, bitmaps, tables, journal.
    pub(crate) overhead: u64,
}

fn first_of(sb: &Superblock, group: u32) -> u64 {
    sb.group_first_block(GroupNo::new(group))
        .map_or(0, FsBlock::get)
}

fn end_of(sb: &Superblock, group: u32) -> u64 {
    first_of(sb, group) + u64::from(sb.blocks_in_group(GroupNo::new(group)))
}

/// Lays everything out. Without `directories` the root and lost+found get no blocks: whoever fills
/// the image places them.
pub(crate) fn plan(geo: &Geometry, sb: &Superblock, directories: bool) -> Result<Plan, MkfsError> {
    let first = u64::from(sb.first_data_block());
    let mut space = SpaceMap::new(first, sb.blocks_count());
    let mut overhead = first;
    for group in 0..sb.groups() {
        let len = u64::from(sb.super_and_gdt_blocks(GroupNo::new(group)));
        if first_of(sb, group) + len > end_of(sb, group) {
            return Err(MkfsError::NoRoom {
                what: "the descriptor table",
                blocks: len,
            });
        }
        space.mark(first_of(sb, group), len);
        overhead += len;
    }
    let groups = place_group_metadata(sb, &mut space)?;
    overhead += u64::from(sb.groups()) * (2 + u64::from(sb.inode_table_blocks()));

    let one = |space: &mut SpaceMap, what| {
        space
            .take(first, 1)
            .ok_or(MkfsError::NoRoom { what, blocks: 1 })
    };
    let (mut root, mut lost_and_found) = (FilePlan::default(), FilePlan::default());
    if directories {
        root = place_file(geo, &mut space, first, 1, "the root directory")?;
        let len = lost_and_found_blocks(geo);
        lost_and_found = place_file(geo, &mut space, first, len, "lost+found")?;
    }
    let resize_dind = if geo.features.compat(CompatFeatures::RESIZE_INODE) {
        Some(one(&mut space, "the resize inode")?.start)
    } else {
        None
    };
    let journal = match geo.journal_blocks {
        Some(len) => {
            let goal = journal_goal(sb, &space);
            let file = place_file(geo, &mut space, goal, len, "the journal")?;
            overhead += len;
            Some(file)
        }
        None => None,
    };
    let orphan_file = if geo.features.compat(CompatFeatures::ORPHAN_FILE) {
        let len = orphan_file_blocks(sb.blocks_count());
        Some(place_file(geo, &mut space, first, len, "the orphan file")?)
    } else {
        None
    };
    Ok(Plan {
        space,
        groups,
        root,
        lost_and_found,
        resize_dind,
        journal,
        orphan_file,
        overhead,
    })
}

/// Blocks of `lost+found` in a fresh image.
pub(crate) fn lost_and_found_blocks(geo: &Geometry) -> u64 {
    (LOST_AND_FOUND_BYTES / u64::from(geo.block_size.bytes())).clamp(2, DIRECT_BLOCKS)
}

fn place_group_metadata(
    sb: &Superblock,
    space: &mut SpaceMap,
) -> Result<Vec<GroupPlan>, MkfsError> {
    let table = u64::from(sb.inode_table_blocks());
    let per_flex = sb.groups_per_flex();
    let mut groups = vec![GroupPlan::default(); sb.groups() as usize];
    for (n, chunk) in groups.chunks_mut(per_flex as usize).enumerate() {
        let group = u32::try_from(n)
            .unwrap_or(u32::MAX)
            .saturating_mul(per_flex);
        let goal = first_of(sb, group);
        let mut take = |len, what| {
            space
                .take(goal, len)
                .map(|r| r.start)
                .ok_or(MkfsError::NoRoom { what, blocks: len })
        };
        for place in chunk.iter_mut() {
            place.block_bitmap = take(1, "a block bitmap")?;
        }
        for place in chunk.iter_mut() {
            place.inode_bitmap = take(1, "an inode bitmap")?;
        }
        for place in chunk.iter_mut() {
            place.inode_table = take(table, "an inode table")?;
        }
        // Without flex_bg a group's metadata may not leave it.
        let inside = goal..end_of(sb, group);
        let stays = |p: &GroupPlan| {
            inside.contains(&p.block_bitmap)
                && inside.contains(&p.inode_bitmap)
                && inside.contains(&p.inode_table)
                && p.inode_table + table <= inside.end
        };
        if per_flex == 1 && !chunk.iter().all(stays) {
            return Err(MkfsError::NoRoom {
                what: "an inode table in its group",
                blocks: table,
            });
        }
    }
    Ok(groups)
}

/// Takes `len` blocks for a system file, and the blocks its map will need.
fn place_file(
    geo: &Geometry,
    space: &mut SpaceMap,
    goal: u64,
    len: u64,
    what: &'static str,
) -> Result<FilePlan, MkfsError> {
    let no_room = MkfsError::NoRoom { what, blocks: len };
    let Some(data) = space.take_pieces(goal, len) else {
        return Err(no_room);
    };
    let map_blocks = crate::mapping::map_blocks(geo, &data);
    let map = if map_blocks == 0 {
        Vec::new()
    } else {
        let from = data.first().map_or(goal, |r| r.start);
        space.take_pieces(from, map_blocks).ok_or(no_room)?
    };
    Ok(FilePlan { data, map })
}

/// The middle of the image: its flex group if there are several, else the emptiest of the middle group
/// and its neighbours (a copy of the superblock would cut a small journal in two).
fn journal_goal(sb: &Superblock, space: &SpaceMap) -> u64 {
    let middle = FsBlock::new(sb.blocks_count() / 2);
    let middle = sb.group_of_block(middle).map_or(0, |(g, _)| g.get());
    let per_flex = sb.groups_per_flex();
    if per_flex > 1 && middle >= per_flex {
        return first_of(sb, middle & !(per_flex - 1));
    }
    let free = |g: u32| {
        let (from, to) = (first_of(sb, g), end_of(sb, g));
        to - from - space.used_count(from, to)
    };
    let near = middle.saturating_sub(1)..=(middle + 1).min(sb.groups() - 1);
    let best = near.reduce(|a, b| if free(b) > free(a) { b } else { a });
    first_of(sb, best.unwrap_or(middle))
}
