//! Pass 4: every directory hangs below the root, `..` leads to the parent, links are counted right.

use crate::context::Check;
use crate::inodes::is_quota;
use crate::problem::Problem;
use crate::report::Pass;
use e4_format::features::RoCompatFeatures;
use e4_format::{FsBlock, InodeNo};
use std::collections::BTreeMap;

/// More links than this a directory does not count; with `dir_nlink` it says 1 then.
const LINK_MAX: u32 = 65000;

/// Checks connectivity and link counts.
pub(crate) fn check(c: &mut Check<'_>) {
    c.tell(Pass::Links, 0, 1);
    // Where directories could not be read, nobody knows what they name.
    let blind = c.dirs.values().any(|d| d.skipped);
    check_parents(c, blind);
    check_loops(c);
    check_counts(c, blind);
    check_bad_blocks(c);
    c.tell(Pass::Links, 1, 1);
}

fn check_parents(c: &mut Check<'_>, blind: bool) {
    let mut problems = Vec::new();
    for (n, dir) in &c.dirs {
        let Some(inode) = InodeNo::new(*n) else {
            continue;
        };
        if c.orphans.contains(n) {
            continue;
        }
        match InodeNo::new(dir.parent) {
            None if blind => {}
            None => problems.push(Problem::DirectoryLost { inode }),
            Some(expected) if dir.dotdot != 0 && dir.dotdot != dir.parent => {
                problems.push(Problem::DotDotWrong {
                    inode,
                    found: dir.dotdot,
                    expected,
                });
            }
            Some(_) => {}
        }
    }
    problems.into_iter().for_each(|p| c.report(p));
}

/// Directories that are their own ancestors are below no root.
fn check_loops(c: &mut Check<'_>) {
    // In which walk towards the root a directory was passed first.
    let mut walks: BTreeMap<u32, u32> = BTreeMap::new();
    let mut loops = Vec::new();
    for start in c.dirs.keys() {
        let mut at = *start;
        while at != InodeNo::ROOT.get() && at != 0 {
            match walks.insert(at, *start) {
                Some(walk) if walk == *start => {
                    loops.extend(InodeNo::new(at));
                    break;
                }
                Some(walk) => {
                    // Somebody came by before: what is above is known.
                    walks.insert(at, walk);
                    break;
                }
                None => at = c.dirs.get(&at).map_or(0, |d| d.parent),
            }
        }
    }
    loops
        .into_iter()
        .for_each(|inode| c.report(Problem::DirectoryLoop { inode }));
}

/// Inodes that need no entry: reserved ones and those of the filesystem itself.
fn is_hidden(c: &Check<'_>, ino: InodeNo) -> bool {
    let n = ino.get();
    (n < c.sb.first_inode() && n != InodeNo::ROOT.get())
        || c.sb.journal_inum() == Some(ino)
        || c.sb.orphan_file_inum() == Some(ino)
        || c.orphans.contains(&n)
        || is_quota(c, n)
}

/// Inodes with a name that lie in blocks listed as bad.
fn check_bad_blocks(c: &mut Check<'_>) {
    let per_block = u64::from(c.sb.inodes_per_block());
    let table = u64::from(c.sb.inode_table_blocks());
    let mut problems = Vec::new();
    for (start, count) in &c.bad_metadata {
        for (group, state) in (0..).zip(&c.groups) {
            let first = state.desc.inode_table.get();
            let (from, to) = (first.max(*start), (first + table).min(start + count));
            for block in from..to {
                let indexes = (block - first) * per_block..(block - first + 1) * per_block;
                let inodes =
                    indexes.filter_map(|index| c.inodes.number(group, u32::try_from(index).ok()?));
                let named = inodes.filter(|ino| c.inodes.get(*ino).refs > 0);
                problems.extend(named.map(|inode| Problem::InodeInBadBlock {
                    inode,
                    block: FsBlock::new(block),
                }));
            }
        }
    }
    problems.into_iter().for_each(|p| c.report(p));
}

fn check_counts(c: &mut Check<'_>, blind: bool) {
    let nlink = c.sb.ro_compat().contains(RoCompatFeatures::DIR_NLINK);
    let mut problems = Vec::new();
    for (inode, state) in c.inodes.used() {
        if is_hidden(c, inode) {
            continue;
        }
        if state.is_dir() {
            let lost = c.dirs.get(&inode.get()).is_some_and(|d| d.parent == 0);
            if lost || (nlink && state.links == 1 && state.refs > LINK_MAX) {
                continue;
            }
        } else if state.refs == 0 {
            if !blind {
                problems.push(Problem::InodeLost {
                    inode,
                    links: state.links,
                });
            }
            continue;
        }
        let expected = if state.is_dir() && state.refs > LINK_MAX {
            1
        } else {
            state.refs
        };
        if u32::from(state.links) != expected && !blind {
            problems.push(Problem::LinkCount {
                inode,
                found: state.links,
                expected,
            });
        }
    }
    problems.into_iter().for_each(|p| c.report(p));
}
