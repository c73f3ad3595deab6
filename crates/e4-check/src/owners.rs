//! Pass 2: who claims the blocks that are claimed more than once. Runs only if there are such blocks.

use crate::context::Check;
use crate::inodes;
use crate::map::{self, Visitor};
use crate::problem::Problem;
use crate::ranges::RangeSet;
use crate::report::Pass;
use e4_format::{Extent, FileBlock, FsBlock, Inode, InodeNo};

/// Names every inode that shares blocks with another.
pub(crate) fn check(c: &mut Check<'_>) {
    if c.claims.is_exhausted() {
        let blocks = c.sb.blocks_count();
        c.report(Problem::TooManyClaimedTwice { blocks });
    }
    if c.claims.twice().is_empty() {
        return;
    }
    let total = u64::from(c.sb.groups());
    // Every node of every map was claimed in pass 1; more visits than blocks mean a tangle.
    let mut budget = c.sb.blocks_count();
    inodes::each(c, Pass::Owners, total, &mut |c, ino, bytes| {
        if !c.inodes.get(ino).is_used() {
            return;
        }
        let Ok(inode) = Inode::decode(bytes, &c.lenient, ino) else {
            return;
        };
        if let Some((first, count)) = shared(c, ino, &inode, &mut budget) {
            let block = FsBlock::new(first);
            c.report(Problem::BlockClaimedTwice {
                inode: ino,
                block,
                count,
            });
        }
    });
    c.tell(Pass::Owners, total, total);
}

/// The first block of an inode that is claimed twice, and how many there are.
fn shared(c: &Check<'_>, ino: InodeNo, inode: &Inode, budget: &mut u64) -> Option<(u64, u64)> {
    let mut shared = Shared {
        twice: c.claims.twice(),
        first: None,
        count: 0,
        budget,
    };
    if let Some(block) = inode.file_acl {
        shared.look(block.get(), 1);
    }
    if inode.has_extents() || has_block_map(inode) {
        map::walk(&c.disk, &c.sb, ino, inode, &mut shared);
    }
    Some((shared.first?, shared.count))
}

/// True for what keeps block numbers in `i_block`: neither short symlinks nor devices.
fn has_block_map(inode: &Inode) -> bool {
    use e4_format::FileType;
    match inode.file_type() {
        Some(FileType::Regular | FileType::Directory) => true,
        Some(FileType::Symlink) => inode.fast_symlink().is_none(),
        _ => false,
    }
}

struct Shared<'a> {
    twice: &'a RangeSet,
    first: Option<u64>,
    count: u64,
    budget: &'a mut u64,
}

impl Shared<'_> {
    fn look(&mut self, start: u64, len: u64) {
        for (first, count) in self.twice.overlap(start, len) {
            self.first.get_or_insert(first);
            self.count += count;
        }
    }
}

impl Visitor for Shared<'_> {
    fn node(&mut self, _: FileBlock, block: FsBlock) -> bool {
        self.look(block.get(), 1);
        match self.budget.checked_sub(1) {
            Some(left) => {
                *self.budget = left;
                true
            }
            None => false,
        }
    }

    fn data(&mut self, extent: Extent) {
        self.look(extent.start.get(), extent.len.into());
    }

    fn problem(&mut self, _: Problem) {}
}
