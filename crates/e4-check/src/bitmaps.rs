//! Pass 5: bitmaps and counts against what was found.
//!
//! Decision: per group and direction one problem, with the first block or inode and how many there are.

use crate::context::Check;
use crate::problem::{Problem, Sum};
use crate::report::Pass;
use e4_format::bitmap::{self, Bitmap};
use e4_format::{BgFlags, FormatError, FsBlock, GroupNo, InodeNo};

/// Checks all groups, then the sums of the superblock.
pub(crate) fn check(c: &mut Check<'_>) {
    let total = u64::from(c.sb.groups());
    let (mut free_blocks, mut free_inodes) = (0u64, 0u32);
    for group in c.sb.group_numbers() {
        if group.get() % 256 == 0 {
            c.tell(Pass::Bitmaps, group.get().into(), total);
        }
        check_blocks(c, group);
        check_inodes(c, group);
        let (blocks, inodes) = check_counts(c, group);
        free_blocks += u64::from(blocks);
        free_inodes += inodes;
    }
    check_sums(c, free_blocks, free_inodes);
    c.stats.blocks_used = c.sb.blocks_count() - free_blocks;
    c.stats.inodes_used = c.sb.inodes_count() - free_inodes;
    c.tell(Pass::Bitmaps, total, total);
}

/// Where two bitmaps differ: the first place and how many.
#[derive(Default)]
struct Difference {
    first: Option<u64>,
    count: u64,
}

impl Difference {
    fn add(&mut self, word: u64, bits: u64) {
        if bits != 0 {
            self.first
                .get_or_insert(word * 64 + u64::from(bits.trailing_zeros()));
            self.count += u64::from(bits.count_ones());
        }
    }
}

/// Word `n` of a bitmap of `bits` bits; bits behind the end are zero.
fn word(bytes: &[u8], n: u64, bits: u64) -> u64 {
    let at = usize::try_from(n * 8).unwrap_or(usize::MAX);
    let mut raw = [0; 8];
    for (to, from) in raw.iter_mut().zip(bytes.get(at..).unwrap_or_default()) {
        *to = *from;
    }
    let value = u64::from_le_bytes(raw);
    match bits.saturating_sub(n * 64) {
        left if left >= 64 => value,
        left => value & ((1 << left) - 1),
    }
}

fn padded(bytes: &[u8], bits: u32) -> bool {
    let all = u32::try_from(bytes.len() * 8).unwrap_or(u32::MAX);
    Bitmap::new(bytes, all).count_zeros(bits..all) == 0
}

fn check_blocks(c: &mut Check<'_>, group: GroupNo) {
    let Some(state) = c.groups.get(group.get() as usize).copied() else {
        return;
    };
    let blocks = c.sb.blocks_in_group(group);
    let uninit = c.sb.has_group_desc_csum() && state.has(BgFlags::BLOCK_UNINIT);
    let at = state.desc.block_bitmap;
    let mut bytes = vec![0; c.sb.block_size().len()];
    if uninit {
        bitmap::init_block_bitmap(&mut bytes, &c.sb, group, &state.desc);
    } else if state.block_bitmap {
        match c.disk.block(at) {
            Ok(found) => bytes = found,
            Err(problem) => return c.report(problem),
        }
        if let Err(FormatError::BlockBitmapChecksum {
            expected, found, ..
        }) = bitmap::verify_block_bitmap(&c.sb, group, &state.desc, &bytes)
        {
            let (expected, found) = (Sum(expected), Sum(found));
            c.report(Problem::BlockBitmapChecksum {
                group,
                block: at,
                expected,
                found,
            });
        }
        if !padded(&bytes, blocks) {
            c.report(Problem::BlockBitmapPadding { group });
        }
    } else {
        return;
    }
    let (mut missing, mut extra) = (Difference::default(), Difference::default());
    for n in 0..u64::from(blocks.div_ceil(64)) {
        let (marked, claimed) = (
            word(&bytes, n, blocks.into()),
            c.claims.word(group.get(), n),
        );
        missing.add(n, claimed & !marked);
        extra.add(n, marked & !claimed);
    }
    let first = c.sb.group_first_block(group).map_or(0, FsBlock::get);
    let at = |bit: u64| FsBlock::new(first + bit);
    if let Some(bit) = missing.first {
        let (block, count) = (at(bit), missing.count);
        c.report(if uninit {
            Problem::BlocksUninit {
                group,
                block,
                count,
            }
        } else {
            Problem::BlocksMarkedFree {
                group,
                block,
                count,
            }
        });
    }
    if let Some(bit) = extra.first {
        c.report(Problem::BlocksMarkedUsed {
            group,
            block: at(bit),
            count: extra.count,
        });
    }
}

fn check_inodes(c: &mut Check<'_>, group: GroupNo) {
    let Some(state) = c.groups.get(group.get() as usize).copied() else {
        return;
    };
    let uninit = c.sb.has_group_desc_csum() && state.has(BgFlags::INODE_UNINIT);
    // Without the table nobody knows which inodes are in use.
    if uninit || !state.inode_bitmap || !state.inode_table {
        return;
    }
    let inodes = c.sb.inodes_per_group();
    let at = state.desc.inode_bitmap;
    let bytes = match c.disk.block(at) {
        Ok(bytes) => bytes,
        Err(problem) => return c.report(problem),
    };
    if let Err(FormatError::InodeBitmapChecksum {
        expected, found, ..
    }) = bitmap::verify_inode_bitmap(&c.sb, group, &state.desc, &bytes)
    {
        let (expected, found) = (Sum(expected), Sum(found));
        c.report(Problem::InodeBitmapChecksum {
            group,
            block: at,
            expected,
            found,
        });
    }
    if !padded(&bytes, inodes) {
        c.report(Problem::InodeBitmapPadding { group });
    }
    let mut used = vec![0u64; inodes.div_ceil(64) as usize];
    for (index, _) in c.inodes.used_in(group.get()) {
        if let Some(word) = used.get_mut((index / 64) as usize) {
            *word |= 1 << (index % 64);
        }
    }
    let (mut missing, mut extra) = (Difference::default(), Difference::default());
    for (n, used) in (0u64..).zip(used) {
        let marked = word(&bytes, n, inodes.into());
        missing.add(n, used & !marked);
        extra.add(n, marked & !used);
    }
    let number =
        |bit: u64| -> Option<InodeNo> { c.inodes.number(group.get(), u32::try_from(bit).ok()?) };
    let count = |d: &Difference| u32::try_from(d.count).unwrap_or(u32::MAX);
    let free = missing.first.and_then(number);
    let free = free.map(|inode| Problem::InodesMarkedFree {
        group,
        inode,
        count: count(&missing),
    });
    let lost = extra.first.and_then(number);
    let lost = lost.map(|inode| Problem::InodesMarkedUsed {
        group,
        inode,
        count: count(&extra),
    });
    free.into_iter().chain(lost).for_each(|p| c.report(p));
}

/// Compares the counts of a descriptor; what is free in fact.
fn check_counts(c: &mut Check<'_>, group: GroupNo) -> (u32, u32) {
    let blocks =
        c.sb.blocks_in_group(group)
            .saturating_sub(c.claims.count(group.get()));
    let (mut used, mut directories) = (0, 0);
    for (_, state) in c.inodes.used_in(group.get()) {
        used += 1;
        directories += u32::from(state.is_dir());
    }
    let inodes = c.sb.inodes_per_group() - used;
    let Some(state) = c.groups.get(group.get() as usize).copied() else {
        return (blocks, inodes);
    };
    let desc = state.desc;
    if desc.free_blocks_count != blocks {
        let found = desc.free_blocks_count;
        c.report(Problem::GroupFreeBlocks {
            group,
            found,
            expected: blocks,
        });
    }
    if !state.inode_table {
        return (blocks, desc.free_inodes_count);
    }
    if desc.free_inodes_count != inodes {
        let found = desc.free_inodes_count;
        c.report(Problem::GroupFreeInodes {
            group,
            found,
            expected: inodes,
        });
    }
    if desc.used_dirs_count != directories {
        let found = desc.used_dirs_count;
        c.report(Problem::GroupDirectories {
            group,
            found,
            expected: directories,
        });
    }
    (blocks, inodes)
}

fn check_sums(c: &mut Check<'_>, blocks: u64, inodes: u32) {
    let (found_blocks, found_inodes) = (c.sb.free_blocks_count(), c.sb.free_inodes_count());
    if found_blocks == blocks && found_inodes == inodes {
        return;
    }
    // While mounted the sums are kept in memory; a crash leaves those of the mount before.
    if c.sb.needs_recovery() {
        let blocks = found_blocks.abs_diff(blocks);
        let inodes = found_inodes.abs_diff(inodes);
        c.report(Problem::SuperblockCountsStale { blocks, inodes });
        return;
    }
    if found_blocks != blocks {
        c.report(Problem::SuperblockFreeBlocks {
            found: found_blocks,
            expected: blocks,
        });
    }
    if found_inodes != inodes {
        c.report(Problem::SuperblockFreeInodes {
            found: found_inodes,
            expected: inodes,
        });
    }
}
