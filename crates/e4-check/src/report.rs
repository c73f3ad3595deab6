//! Options, progress, and the report.
//!
//! Invariant: memory for findings is bounded. Every problem is counted; only the first of each kind are
//! kept, and no more than the caller allows in all.

use crate::problem::{Problem, Severity};
use std::collections::BTreeMap;

/// Problems of one kind kept in the report; more are only counted.
const KEPT_PER_KIND: u64 = 1000;

/// How to check.
#[derive(Clone, Debug)]
pub struct Options {
    /// Replay the journal into memory first and judge the result; otherwise judge what is on disk.
    pub replay: bool,
    /// The most problems to keep in the report.
    pub max_problems: usize,
    /// What time it is, seconds since 1970: times ahead of it are problems. `None` asks the clock.
    pub now: Option<u64>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            replay: false,
            max_problems: 10_000,
            now: None,
        }
    }
}

/// What is being checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Pass {
    /// Superblock, descriptors, journal.
    Structure,
    /// Every inode and its map.
    Inodes,
    /// Who owns blocks that are claimed twice.
    Owners,
    /// Every directory.
    Directories,
    /// Connectivity and link counts.
    Links,
    /// Bitmaps and counts.
    Bitmaps,
}

/// How far the check is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// The current pass.
    pub pass: Pass,
    /// Groups or directories done in this pass.
    pub done: u64,
    /// Groups or directories of this pass.
    pub total: u64,
}

/// The verdict.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Verdict {
    /// Nothing is wrong.
    Clean,
    /// Nothing is wrong, but the next mount has work to do: a log to replay, orphans to delete.
    Dirty,
    /// Something is wrong.
    Damaged,
    /// Something is so wrong that the check could not be completed.
    Unusable,
}

/// What the image holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Stats {
    /// Bytes per block.
    pub block_size: u32,
    /// Blocks of the filesystem.
    pub blocks: u64,
    /// Blocks in use, by what was found.
    pub blocks_used: u64,
    /// Inodes of the filesystem.
    pub inodes: u32,
    /// Inodes in use, reserved ones included.
    pub inodes_used: u32,
    /// Regular files.
    pub regular_files: u32,
    /// Directories.
    pub directories: u32,
    /// Symlinks.
    pub symlinks: u32,
    /// Devices, pipes and sockets.
    pub special_files: u32,
    /// Directories with an htree.
    pub indexed_directories: u32,
    /// Files in more than one piece.
    pub fragmented_files: u32,
    /// Extents of all files.
    pub extents: u64,
    /// Blocks allocated but not written.
    pub unwritten_blocks: u64,
    /// Directory entries, `.` and `..` included.
    pub entries: u64,
}

/// What a check found.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
pub struct Report {
    /// The verdict.
    pub verdict: Verdict,
    /// What was found, in the order of the check.
    pub problems: Vec<Problem>,
    /// How many problems are not in `problems` because there were too many.
    pub omitted: u64,
    /// How often each kind was found.
    pub counts: BTreeMap<&'static str, u64>,
    /// What the image holds.
    pub stats: Stats,
}

impl Report {
    /// True if nothing is wrong; there may still be warnings.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.verdict <= Verdict::Dirty
    }

    /// True if a problem of this kind was found, kept or not.
    #[must_use]
    pub fn has(&self, kind: &str) -> bool {
        self.counts.contains_key(kind)
    }
}

/// Collects problems on the way.
#[derive(Debug)]
pub(crate) struct Collector {
    max: usize,
    problems: Vec<Problem>,
    omitted: u64,
    counts: BTreeMap<&'static str, u64>,
    worst: Severity,
    dirty: bool,
}

impl Collector {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            max,
            problems: Vec::new(),
            omitted: 0,
            counts: BTreeMap::new(),
            worst: Severity::Note,
            dirty: false,
        }
    }

    pub(crate) fn push(&mut self, problem: Problem) {
        self.worst = self.worst.max(problem.severity());
        self.dirty |= matches!(
            problem,
            Problem::JournalNeedsReplay { .. } | Problem::OrphansPending { .. }
        );
        let count = self.counts.entry(problem.kind()).or_insert(0);
        *count += 1;
        if *count <= KEPT_PER_KIND && self.problems.len() < self.max {
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    pub(crate) fn finish(self, stats: Stats) -> Report {
        let verdict = match self.worst {
            Severity::Fatal => Verdict::Unusable,
            Severity::Error => Verdict::Damaged,
            _ if self.dirty => Verdict::Dirty,
            _ => Verdict::Clean,
        };
        Report {
            verdict,
            problems: self.problems,
            omitted: self.omitted,
            counts: self.counts,
            stats,
        }
    }
}
