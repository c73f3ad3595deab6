//! Inodes that wait to be truncated or deleted: the list through the inodes, and the orphan file.
//!
//! Invariant: the list ends at the first inode that was on it before.

use crate::context::Check;
use crate::journal::read_inode;
use crate::map::{self, Runs};
use crate::problem::Problem;
use e4_format::features::{CompatFeatures, RoCompatFeatures};
use e4_format::{FileType, FsBlock, InodeNo, csum_seed_for, orphan};

/// Blocks of an orphan file that are read; mke2fs makes 512 at most.
const MAX_BLOCKS: u64 = 1 << 16;

/// Finds all orphans, before the inodes are looked at.
pub(crate) fn load(c: &mut Check<'_>) {
    load_list(c);
    let present = c.sb.ro_compat().contains(RoCompatFeatures::ORPHAN_PRESENT);
    if present && !c.sb.compat().contains(CompatFeatures::ORPHAN_FILE) {
        c.report(Problem::OrphanMarkStale {});
    }
    if c.sb.compat().contains(CompatFeatures::ORPHAN_FILE) {
        load_file(c);
    }
    let count = c.orphans.len() as u64;
    if count > 0 {
        c.report(Problem::OrphansPending { count });
    }
}

fn is_possible(c: &Check<'_>, ino: InodeNo) -> bool {
    ino.get() >= c.sb.first_inode() && ino.get() <= c.sb.inodes_count()
}

fn load_list(c: &mut Check<'_>) {
    let mut next = c.sb.last_orphan().map_or(0, InodeNo::get);
    while let Some(ino) = InodeNo::new(next) {
        let inode = is_possible(c, ino).then(|| read_inode(c, ino)).flatten();
        let Some(inode) = inode.filter(|i| i.mode != 0) else {
            c.report(Problem::OrphanList { found: next });
            return;
        };
        if !c.orphans.insert(next) {
            c.report(Problem::OrphanLoop { inode: ino });
            return;
        }
        next = inode.dtime;
    }
}

fn load_file(c: &mut Check<'_>) {
    let Some(ino) = c.sb.orphan_file_inum() else {
        let inode = InodeNo::new(c.sb.first_inode()).unwrap_or(InodeNo::ROOT);
        c.report(Problem::OrphanFile { inode });
        return;
    };
    let inode = is_possible(c, ino).then(|| read_inode(c, ino)).flatten();
    let plain = inode.filter(|i| i.file_type() == Some(FileType::Regular) && i.links_count > 0);
    let Some(inode) = plain else {
        c.report(Problem::OrphanFile { inode: ino });
        return;
    };
    let mut runs = Runs::default();
    map::walk(&c.disk, &c.sb, ino, &inode, &mut runs);
    let blocks = runs.mapped();
    let whole = c.sb.block_size().blocks_for(inode.size) == blocks;
    if runs.problems || !whole || blocks == 0 || blocks > MAX_BLOCKS {
        c.report(Problem::OrphanFile { inode: ino });
        return;
    }
    let seed = csum_seed_for(&c.sb, ino, inode.generation);
    let seed = c.sb.has_metadata_csum().then_some(seed);
    let mut count = 0;
    for extent in &runs.extents {
        for n in 0..extent.len {
            let Some(block) = extent.start.checked_add(n.into()) else {
                continue;
            };
            count += load_block(c, ino, block, seed);
        }
    }
    // While mounted it says so all the time.
    if count == 0
        && !c.sb.needs_recovery()
        && c.sb.ro_compat().contains(RoCompatFeatures::ORPHAN_PRESENT)
    {
        c.report(Problem::OrphanMarkStale {});
    }
    if count > 0 && !c.sb.ro_compat().contains(RoCompatFeatures::ORPHAN_PRESENT) {
        c.report(Problem::OrphanMark { count });
    }
}

/// Reads one block of the orphan file; how many entries it has.
fn load_block(c: &mut Check<'_>, ino: InodeNo, block: FsBlock, seed: Option<u32>) -> u64 {
    let bytes = match c.disk.block(block) {
        Ok(bytes) => bytes,
        Err(problem) => {
            c.report(problem);
            return 0;
        }
    };
    if let Err(error) = orphan::verify(&bytes, block, seed) {
        c.report(Problem::OrphanBlock {
            inode: ino,
            block,
            error,
        });
    }
    let mut count = 0;
    for (_, entry) in orphan::orphans(&bytes) {
        count += 1;
        let used = is_possible(c, entry) && read_inode(c, entry).is_some_and(|i| i.mode != 0);
        if used {
            c.orphans.insert(entry.get());
        } else {
            c.report(Problem::OrphanEntry {
                inode: ino,
                block,
                found: entry.get(),
            });
        }
    }
    count
}
