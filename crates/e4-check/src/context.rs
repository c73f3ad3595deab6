//! What the passes share.

use crate::claims::Claims;
use crate::groups::GroupState;
use crate::inode_table::InodeTable;
use crate::problem::Problem;
use crate::ranges::RangeSet;
use crate::reader::Reader;
use crate::report::{Collector, Pass, Progress, Stats};
use e4_format::{FsBlock, Superblock};
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is known of a directory's place.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct DirState {
    /// The directory with the (first) entry for this one; 0 if none was seen.
    pub(crate) parent: u32,
    /// Where `..` leads; 0 if there is none.
    pub(crate) dotdot: u32,
    /// Its contents could not be looked at.
    pub(crate) skipped: bool,
}

/// An attribute block in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct XattrUse {
    /// Inodes that use it.
    pub(crate) users: u32,
    /// Users by its own count; `None` if it could not be read.
    pub(crate) refcount: Option<u32>,
}

/// The state of a check.
pub(crate) struct Check<'a> {
    pub(crate) disk: Reader<'a>,
    pub(crate) sb: Superblock,
    /// The same superblock without checksums, for decoding what failed its checksum.
    pub(crate) lenient: Superblock,
    pub(crate) found: Collector,
    pub(crate) stats: Stats,
    pub(crate) groups: Vec<GroupState>,
    /// Superblocks, descriptors, bitmaps, inode tables.
    pub(crate) system: RangeSet,
    pub(crate) claims: Claims,
    /// Metadata that the list of bad blocks names: block, blocks.
    pub(crate) bad_metadata: Vec<(u64, u64)>,
    pub(crate) inodes: InodeTable,
    pub(crate) dirs: BTreeMap<u32, DirState>,
    pub(crate) xattrs: HashMap<u64, XattrUse>,
    /// Inodes that wait to be truncated or deleted.
    pub(crate) orphans: HashSet<u32>,
    pub(crate) progress: &'a mut dyn FnMut(Progress),
}

impl Check<'_> {
    pub(crate) fn report(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    pub(crate) fn tell(&mut self, pass: Pass, done: u64, total: u64) {
        (self.progress)(Progress { pass, done, total });
    }

    /// True if the block exists and may belong to a file.
    pub(crate) fn is_data_block(&self, block: FsBlock) -> bool {
        self.sb.contains_range(block, 1) && !self.system.contains(block.get())
    }
}
