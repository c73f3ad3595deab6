//! The journal: its inode, its superblock, and whether it holds changes that are not in place.

use crate::context::Check;
use crate::map::{self, Runs};
use crate::problem::Problem;
use crate::replay;
use e4_format::features::CompatFeatures;
use e4_format::jbd2::JournalSuperblock;
use e4_format::{FileType, FsBlock, Inode, InodeNo};

/// A journal whose log can be read.
pub(crate) struct Journal {
    pub(crate) sb: JournalSuperblock,
    pub(crate) runs: Runs,
}

/// Checks the journal. With `replay`, and if there is something to replay, the reader shows the state
/// after replay from then on; true in that case.
pub(crate) fn check(c: &mut Check<'_>, replay: bool) -> bool {
    if !c.sb.compat().contains(CompatFeatures::HAS_JOURNAL) {
        if c.sb.needs_recovery() {
            c.report(Problem::JournalFlagWithoutJournal {});
        }
        if let Some(inode) = InodeNo::new(c.sb.raw().s_journal_inum.get()) {
            c.report(Problem::JournalUnclaimed { inode });
        }
        return false;
    }
    let Some(journal) = open(c) else { return false };
    if journal.sb.errno() != 0 {
        c.report(Problem::JournalAborted {
            errno: journal.sb.errno(),
        });
    }
    let found = journal.sb.raw().s_nr_users.get();
    if found > 1 {
        c.report(Problem::JournalUsers { found });
    }
    let bits = journal.sb.raw().s_feature_ro_compat.get();
    if bits != 0 {
        c.report(Problem::JournalReadOnlyFeatures { bits });
    }
    let tid = journal.sb.sequence();
    let Some(start) = journal.sb.start() else {
        if c.sb.needs_recovery() {
            c.report(Problem::NotUnmounted {});
        }
        return false;
    };
    if journal.sb.has_fast_commit() {
        c.report(Problem::JournalFastCommits {});
    }
    if !c.sb.needs_recovery() {
        c.report(Problem::JournalUnmarked { tid, start });
    }
    if !replay {
        if c.sb.needs_recovery() {
            c.report(Problem::JournalNeedsReplay { tid, start });
        }
        return false;
    }
    let overlay = replay::replay(c, &journal);
    c.disk.set_overlay(overlay);
    true
}

fn open(c: &mut Check<'_>) -> Option<Journal> {
    let Some(ino) = c.sb.journal_inum() else {
        let device = c.sb.raw().s_journal_dev.get();
        c.report(if device == 0 {
            Problem::JournalMissing {}
        } else {
            Problem::JournalExternal { device }
        });
        return None;
    };
    let inode = read_inode(c, ino);
    let plain = inode.filter(|i| i.file_type() == Some(FileType::Regular) && i.links_count > 0);
    let Some(inode) = plain else {
        c.report(Problem::JournalInode { inode: ino });
        return None;
    };
    let mut runs = Runs::default();
    map::walk(&c.disk, &c.sb, ino, &inode, &mut runs);
    let Some(first) = runs.physical(0).filter(|_| runs.mapped() > 0) else {
        c.report(Problem::JournalInode { inode: ino });
        return None;
    };
    let bytes = match c.disk.block(first) {
        Ok(bytes) => bytes,
        Err(problem) => {
            c.report(problem);
            return None;
        }
    };
    let sb = match JournalSuperblock::decode(&bytes, c.sb.block_size()) {
        Ok(sb) => sb,
        Err(error) => {
            c.report(Problem::JournalSuperblock {
                block: first,
                error,
            });
            return None;
        }
    };
    let blocks = runs.mapped();
    let expected = blocks << c.sb.block_size().log2();
    if inode.has_extents() && inode.size != expected {
        let found = inode.size;
        c.report(Problem::JournalSize {
            inode: ino,
            found,
            expected,
        });
    }
    if u64::from(sb.maxlen()) > blocks {
        c.report(Problem::JournalLength {
            inode: ino,
            found: sb.maxlen(),
            blocks,
        });
        return None;
    }
    Some(Journal { sb, runs })
}

/// Reads one inode before the inodes are checked; a wrong checksum is not reported here.
pub(crate) fn read_inode(c: &Check<'_>, ino: InodeNo) -> Option<Inode> {
    let place = c.sb.inode_location(ino)?;
    let group = c
        .groups
        .get(place.group.get() as usize)
        .filter(|g| g.inode_table)?;
    let block = group
        .desc
        .inode_table
        .checked_add(place.table_block.into())?;
    let bytes = c.disk.block(block).ok()?;
    Inode::decode(bytes.get(place.offset..)?, &c.lenient, ino).ok()
}

impl Journal {
    /// Where a block of the log lies.
    pub(crate) fn place(&self, log_block: u32) -> Option<FsBlock> {
        self.runs.physical(log_block)
    }
}
