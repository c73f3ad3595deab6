//! Group descriptors: checksums, places, and that no two pieces of metadata share a block.
//!
//! Decision: a descriptor with a wrong checksum or an impossible count is still used for what it says
//! about places; a piece of metadata at an impossible place is left out of all later passes.

use crate::context::Check;
use crate::problem::{Metadata, Problem};
use crate::report::Pass;
use e4_format::features::IncompatFeatures;
use e4_format::{BgFlags, FormatError, FsBlock, GroupDesc, GroupNo, Superblock};

/// A group, as far as its descriptor can be used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupState {
    pub(crate) desc: GroupDesc,
    pub(crate) block_bitmap: bool,
    pub(crate) inode_bitmap: bool,
    pub(crate) inode_table: bool,
}

impl GroupState {
    fn unusable() -> Self {
        Self {
            desc: placeholder(FsBlock::new(0)),
            block_bitmap: false,
            inode_bitmap: false,
            inode_table: false,
        }
    }

    pub(crate) fn has(&self, flag: BgFlags) -> bool {
        self.desc.flags.contains(flag)
    }
}

fn placeholder(at: FsBlock) -> GroupDesc {
    GroupDesc {
        block_bitmap: at,
        inode_bitmap: at,
        inode_table: at,
        free_blocks_count: 0,
        free_inodes_count: 0,
        used_dirs_count: 0,
        flags: BgFlags::default(),
        itable_unused: 0,
        block_bitmap_csum: 0,
        inode_bitmap_csum: 0,
        exclude_bitmap: FsBlock::new(0),
    }
}

/// Reads and checks all descriptors and marks all metadata as such.
pub(crate) fn check(c: &mut Check<'_>) {
    let total = u64::from(c.sb.groups());
    for group in c.sb.group_numbers() {
        let len = u64::from(c.sb.super_and_gdt_blocks(group));
        if let Some(first) = c.sb.group_first_block(group) {
            claim_metadata(c, group, Metadata::SuperOrDescriptors, first, len);
        }
    }
    let mut table = Vec::new();
    for group in c.sb.group_numbers() {
        let Some((n, offset)) = c.sb.desc_location(group) else {
            continue;
        };
        if offset == 0 {
            c.tell(Pass::Structure, group.get().into(), total);
            table = read_table(c, n);
        }
        let state = match table.get(offset..) {
            Some(bytes) if bytes.len() >= c.sb.desc_size() => decode(c, group, bytes),
            _ => GroupState::unusable(),
        };
        c.groups.push(state);
    }
    for group in c.sb.group_numbers() {
        place(c, group);
    }
    check_copies(c);
    c.tell(Pass::Structure, total, total);
}

/// Block `n` of the descriptor table, the primary one or the first readable copy.
fn read_table(c: &mut Check<'_>, n: u32) -> Vec<u8> {
    let copies = c.sb.group_numbers().filter(|g| c.sb.has_super_backup(*g));
    for group in copies.take(4).collect::<Vec<_>>() {
        let Some(block) = c.sb.gdt_block_in(group, n) else {
            continue;
        };
        match c.disk.block(block) {
            Ok(bytes) => return bytes,
            Err(problem) => c.report(problem),
        }
    }
    Vec::new()
}

/// Decodes a descriptor; what is impossible is reported and replaced until the rest decodes.
fn decode(c: &mut Check<'_>, group: GroupNo, bytes: &[u8]) -> GroupState {
    let mut state = GroupState {
        block_bitmap: true,
        inode_bitmap: true,
        inode_table: true,
        ..GroupState::unusable()
    };
    match GroupDesc::decode(bytes, &c.sb, group) {
        Ok(desc) => return GroupState { desc, ..state },
        Err(FormatError::GroupDescChecksum {
            expected, found, ..
        }) => {
            c.report(Problem::GroupChecksum {
                group,
                expected,
                found,
            });
        }
        Err(_) => {}
    }
    let Some(mut bytes) = bytes.get(..c.sb.desc_size()).map(<[u8]>::to_vec) else {
        return state;
    };
    // Each round replaces one field; there are seven.
    for _ in 0..8 {
        let error = match GroupDesc::decode(&bytes, &c.lenient, group) {
            Ok(desc) => return GroupState { desc, ..state },
            Err(error) => error,
        };
        let outside = |what, block| Problem::GroupMetadataOutside { group, what, block };
        let count = |what, found, limit| Problem::GroupCount {
            group,
            what,
            found,
            limit,
        };
        let (problem, lo, hi, len) = match error {
            FormatError::BlockBitmapLocation { block, .. } => {
                state.block_bitmap = false;
                (outside(Metadata::BlockBitmap, block), 0x00, 0x20, 4)
            }
            FormatError::InodeBitmapLocation { block, .. } => {
                state.inode_bitmap = false;
                (outside(Metadata::InodeBitmap, block), 0x04, 0x24, 4)
            }
            FormatError::InodeTableLocation { block, .. } => {
                state.inode_table = false;
                (outside(Metadata::InodeTable, block), 0x08, 0x28, 4)
            }
            FormatError::GroupFreeBlocks { found, limit, .. } => {
                (count("free blocks", found, limit), 0x0C, 0x2C, 2)
            }
            FormatError::GroupFreeInodes { found, limit, .. } => {
                (count("free inodes", found, limit), 0x0E, 0x2E, 2)
            }
            FormatError::GroupUsedDirs { found, limit, .. } => {
                (count("directories", found, limit), 0x10, 0x30, 2)
            }
            FormatError::GroupItableUnused { found, limit, .. } => {
                (count("never used inodes", found, limit), 0x1C, 0x32, 2)
            }
            _ => return GroupState::unusable(),
        };
        c.report(problem);
        replace(&mut bytes, &c.lenient, group, lo, len);
        replace(&mut bytes, &c.lenient, group, hi, len);
    }
    GroupState::unusable()
}

/// Replaces `len` bytes at `at` by those of a descriptor that passes: counts of zero, metadata at the
/// first possible block.
fn replace(bytes: &mut [u8], sb: &Superblock, group: GroupNo, at: usize, len: usize) {
    let mut valid = vec![0; bytes.len()];
    let first = FsBlock::new(u64::from(sb.first_data_block()) + 1);
    if placeholder(first).encode(&mut valid, sb, group).is_err() {
        return;
    }
    if let (Some(to), Some(from)) = (bytes.get_mut(at..at + len), valid.get(at..at + len)) {
        to.copy_from_slice(from);
    }
}

/// Claims a group's own metadata, checks where it lies.
fn place(c: &mut Check<'_>, group: GroupNo) {
    let Some(state) = c.groups.get(group.get() as usize).copied() else {
        return;
    };
    let lazy = c.sb.has_group_desc_csum();
    let uninit = state.has(BgFlags::INODE_UNINIT) || state.has(BgFlags::BLOCK_UNINIT);
    if !lazy && (uninit || state.desc.itable_unused != 0) {
        c.report(Problem::GroupUninitFlag { group });
    }
    let table = u64::from(c.sb.inode_table_blocks());
    let mut usable = state;
    for (ok, what, at, len) in [
        (
            &mut usable.block_bitmap,
            Metadata::BlockBitmap,
            state.desc.block_bitmap,
            1,
        ),
        (
            &mut usable.inode_bitmap,
            Metadata::InodeBitmap,
            state.desc.inode_bitmap,
            1,
        ),
        (
            &mut usable.inode_table,
            Metadata::InodeTable,
            state.desc.inode_table,
            table,
        ),
    ] {
        if !*ok {
            continue;
        }
        *ok = claim_metadata(c, group, what, at, len);
        let home = c.sb.group_of_block(at).map(|(g, _)| g);
        let end = at
            .checked_add(len - 1)
            .and_then(|b| c.sb.group_of_block(b))
            .map(|(g, _)| g);
        let flex = c.sb.incompat().contains(IncompatFeatures::FLEX_BG);
        if !flex && (home != Some(group) || end != Some(group)) {
            c.report(Problem::GroupMetadataElsewhere {
                group,
                what,
                block: at,
            });
        }
    }
    if let Some(to) = c.groups.get_mut(group.get() as usize) {
        *to = usable;
    }
}

/// Marks blocks as metadata; false if some of them were already.
fn claim_metadata(
    c: &mut Check<'_>,
    group: GroupNo,
    what: Metadata,
    start: FsBlock,
    len: u64,
) -> bool {
    let end = c.sb.blocks_count();
    let len = len.min(end.saturating_sub(start.get()));
    let fresh = c.system.insert(start.get(), len);
    if !fresh {
        c.report(Problem::GroupMetadataOverlap {
            group,
            what,
            block: start,
        });
    }
    c.claims.claim(start.get(), len);
    fresh
}

/// Compares the places in every copy of the descriptor table with those in use.
fn check_copies(c: &mut Check<'_>) {
    let copies: Vec<GroupNo> =
        c.sb.group_numbers()
            .skip(1)
            .filter(|g| c.sb.has_super_backup(*g))
            .collect();
    for copy in copies {
        for n in 0..c.sb.gdt_blocks() {
            let Some(block) = c.sb.gdt_block_in(copy, n) else {
                continue;
            };
            let bytes = match c.disk.block(block) {
                Ok(bytes) => bytes,
                Err(problem) => {
                    c.report(problem);
                    continue;
                }
            };
            let per = c.sb.descs_per_block();
            let first = n * per;
            let differs = (0..per)
                .zip(bytes.chunks(c.sb.desc_size()))
                .find_map(|(i, bytes)| {
                    let described = GroupNo::new(first + i);
                    let state = c.groups.get(described.get() as usize)?;
                    let desc = GroupDesc::decode(bytes, &c.lenient, described).ok();
                    let same = desc.is_some_and(|d| {
                        d.block_bitmap == state.desc.block_bitmap
                            && d.inode_bitmap == state.desc.inode_bitmap
                            && d.inode_table == state.desc.inode_table
                    });
                    (!same).then_some(described)
                });
            if let Some(described) = differs {
                c.report(Problem::BackupDescriptorsDiffer {
                    group: copy,
                    block,
                    described,
                });
                break;
            }
        }
    }
}
