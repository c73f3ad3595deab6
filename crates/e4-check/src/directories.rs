//! Pass 3: every directory, block by block and entry by entry.
//!
//! Invariant: no more directory blocks are read than the image has (twice over), so directories that
//! share or repeat blocks cannot make the check endless.

use crate::context::Check;
use crate::htree::Index;
use crate::inodes::ever_used;
use crate::journal::read_inode;
use crate::map::{self, Runs};
use crate::names::Names;
use crate::problem::{EntryName, Problem, Sum, Type};
use crate::report::Pass;
use e4_format::dir::{self, DirEntry, DirFormat};
use e4_format::htree::{self, DxKind};
use e4_format::{
    Extent, FileBlock, FormatError, FsBlock, Inode, InodeFlags, InodeNo, csum_seed_for,
};

/// Byte of a record that holds the type.
const TYPE_BYTE: usize = 7;
/// Impossible names reported per block; more mean that it is no directory block at all.
const MAX_BAD_NAMES: usize = 64;

/// Checks all directories.
pub(crate) fn check(c: &mut Check<'_>) {
    let all: Vec<InodeNo> = c
        .inodes
        .used()
        .filter(|(_, s)| s.is_dir())
        .map(|(ino, _)| ino)
        .collect();
    for ino in &all {
        c.dirs.entry(ino.get()).or_default();
    }
    if let Some(root) = c.dirs.get_mut(&InodeNo::ROOT.get()) {
        root.parent = InodeNo::ROOT.get();
    }
    let mut budget = c.sb.blocks_count().saturating_mul(2) + 1024;
    let total = all.len() as u64;
    for (done, ino) in (0u64..).zip(all) {
        if done % 256 == 0 {
            c.tell(Pass::Directories, done, total);
        }
        check_one(c, ino, &mut budget);
    }
    c.tell(Pass::Directories, total, total);
}

/// A directory while it is looked at.
pub(crate) struct Dir {
    pub(crate) ino: InodeNo,
    pub(crate) runs: Runs,
    /// With the tail, and any inode number: numbers are judged here.
    pub(crate) format: DirFormat,
    seed: u32,
    indexed: bool,
    index: Option<Index>,
    names: Names,
}

fn check_one(c: &mut Check<'_>, ino: InodeNo, budget: &mut u64) {
    let Some(inode) = read_inode(c, ino) else {
        skip(c, ino);
        return;
    };
    let mut runs = Runs::default();
    map::walk(&c.disk, &c.sb, ino, &inode, &mut runs);
    runs.extents.sort_by_key(|e| e.block);
    let blocks: u64 = runs.extents.iter().map(|e| u64::from(e.len)).sum();
    match budget.checked_sub(blocks) {
        Some(left) => *budget = left,
        None => {
            skip(c, ino);
            return;
        }
    }
    report_holes(c, ino, &inode, &runs);
    let format = DirFormat {
        inodes_count: u32::MAX,
        ..c.sb.dir_format()
    };
    let mut dir = Dir {
        ino,
        runs,
        format,
        seed: csum_seed_for(&c.sb, ino, inode.generation),
        indexed: inode.flags.contains(InodeFlags::INDEX),
        index: None,
        names: Names::default(),
    };
    if dir.indexed {
        dir.index = Index::build(c, &dir);
    }
    let extents: Vec<Extent> = dir.runs.extents.clone();
    let mut next = 0u64;
    for extent in extents {
        for n in 0..extent.len {
            let logical = u64::from(extent.block.get()) + u64::from(n);
            // Overlapping extents were reported with the map.
            let Some(block) = extent
                .start
                .checked_add(n.into())
                .filter(|_| logical >= next)
            else {
                continue;
            };
            next = logical + 1;
            let logical = FileBlock::new(u32::try_from(logical).unwrap_or(u32::MAX));
            check_block(c, &mut dir, logical, block);
        }
    }
    if next == 0 {
        c.report(Problem::DotMissing { inode: ino });
    }
    if let Some(index) = dir.index.take() {
        index.finish(c, &dir);
    }
    let names = std::mem::take(&mut dir.names);
    names.report_duplicates(c, &dir);
}

fn skip(c: &mut Check<'_>, ino: InodeNo) {
    c.report(Problem::DirectorySkipped { inode: ino });
    c.dirs.entry(ino.get()).or_default().skipped = true;
}

fn report_holes(c: &mut Check<'_>, ino: InodeNo, inode: &Inode, runs: &Runs) {
    let end = c.sb.block_size().blocks_for(inode.size);
    let mut next = 0u64;
    let mut holes = Vec::new();
    for e in &runs.extents {
        let start = u64::from(e.block.get());
        if start > next {
            holes.push((next, start.min(end).saturating_sub(next)));
        }
        next = next.max(e.end().into());
    }
    if end > next {
        holes.push((next, end - next));
    }
    for (at, count) in holes.into_iter().filter(|(_, n)| *n > 0) {
        let logical = FileBlock::new(u32::try_from(at).unwrap_or(u32::MAX));
        c.report(Problem::DirectoryHole {
            inode: ino,
            logical,
            count,
        });
    }
}

fn check_block(c: &mut Check<'_>, dir: &mut Dir, logical: FileBlock, block: FsBlock) {
    if !c.is_data_block(block) {
        return;
    }
    let bytes = match c.disk.block(block) {
        Ok(bytes) => bytes,
        Err(problem) => {
            c.report(problem);
            return;
        }
    };
    let kind = dir.kind(logical, &bytes);
    check_csum(c, dir, kind, logical, block, &bytes);
    // Roots and nodes keep their checksum elsewhere: their records cover the whole block.
    let format = DirFormat {
        csum_tail: dir.format.csum_tail && kind.is_none(),
        ..dir.format
    };
    let mut bytes = bytes;
    let mut resume = 0;
    let mut position = 0;
    for _ in 0..MAX_BAD_NAMES {
        let mut bad_name = None;
        for entry in dir::entries(&bytes, &format) {
            match entry {
                Ok(e) if e.offset < resume => {}
                Ok(e) => {
                    check_entry(c, dir, logical, position, &e, &bytes);
                    position += 1;
                    resume = e.offset + 1;
                }
                Err(FormatError::DirName { offset }) => {
                    c.report(Problem::DirectoryName {
                        inode: dir.ino,
                        logical,
                        block,
                        offset,
                    });
                    bad_name = Some(offset);
                }
                Err(error) => {
                    let inode = dir.ino;
                    c.report(Problem::DirectoryRecord {
                        inode,
                        logical,
                        block,
                        error,
                    });
                }
            }
        }
        // Unused, the record is no obstacle to looking at those behind it.
        match bad_name.and_then(|at| bytes.get_mut(at..at + 4)) {
            Some(number) => number.fill(0),
            None => break,
        }
    }
    if logical.get() == 0 && position < 2 {
        c.report(Problem::DotDotMissing { inode: dir.ino });
    }
}

impl Dir {
    /// What a block of this directory is: what the index says, or what it looks like.
    fn kind(&self, logical: FileBlock, bytes: &[u8]) -> Option<DxKind> {
        if !self.indexed {
            return None;
        }
        if logical.get() == 0 {
            return Some(DxKind::Root);
        }
        match &self.index {
            Some(index) => index.is_node(logical).then_some(DxKind::Node),
            None => htree::block_kind(bytes, &self.format).filter(|k| *k == DxKind::Node),
        }
    }
}

fn check_csum(
    c: &mut Check<'_>,
    dir: &Dir,
    kind: Option<DxKind>,
    logical: FileBlock,
    block: FsBlock,
    bytes: &[u8],
) {
    let inode = dir.ino;
    // What looks like an empty record has a type of 0, too, or its checksum is not found.
    let node = dir.format.csum_tail && kind == Some(DxKind::Node);
    let typed = node && bytes.get(TYPE_BYTE) != Some(&0);
    if kind.is_some() && (typed || htree::block_kind(bytes, &dir.format) != kind) {
        c.report(Problem::HtreeDisguise { inode, logical });
    }
    let verdict = match kind {
        Some(kind) => htree::verify(bytes, kind, &dir.format, dir.seed),
        None => dir::verify(bytes, &dir.format, dir.seed),
    };
    match verdict {
        Ok(()) => {}
        Err(
            FormatError::DirChecksum { expected, found }
            | FormatError::DxChecksum { expected, found },
        ) => {
            let (expected, found) = (Sum(expected), Sum(found));
            c.report(Problem::DirectoryChecksum {
                inode,
                logical,
                block,
                expected,
                found,
            });
        }
        Err(FormatError::DirTail) => c.report(Problem::DirectoryTail {
            inode,
            logical,
            block,
        }),
        Err(error) => c.report(Problem::HtreeNode {
            inode,
            logical,
            error,
        }),
    }
}

/// Checks one record; `position` counts the records of the block.
fn check_entry(
    c: &mut Check<'_>,
    dir: &mut Dir,
    logical: FileBlock,
    position: usize,
    entry: &DirEntry<'_>,
    block: &[u8],
) {
    let this = dir.ino;
    if logical.get() == 0 && position < 2 {
        check_dots(c, dir, position, entry, block);
        return;
    }
    let Some(child) = entry.inode else { return };
    c.stats.entries += 1;
    if entry.name == b"." || entry.name == b".." {
        let name = EntryName::new(entry.name);
        c.report(Problem::DotTwice {
            inode: this,
            logical,
            name,
        });
        return;
    }
    dir.names.add(entry.name, logical, entry.offset);
    if let Some(index) = &dir.index {
        index.check_name(c, this, logical, entry.name);
    }
    let name = || EntryName::new(entry.name);
    let n = child.get();
    if n == InodeNo::ROOT.get() {
        c.report(Problem::EntryRoot {
            inode: this,
            name: name(),
        });
        return;
    }
    if n > c.sb.inodes_count() || n < c.sb.first_inode() {
        c.report(Problem::EntryInode {
            inode: this,
            name: name(),
            found: n,
        });
        return;
    }
    let state = c.inodes.get(child);
    if !state.is_used() {
        report_unused(c, this, name(), child);
        return;
    }
    check_type_byte(c, dir, entry, block);
    // Type 0 means that the entry does not say.
    let says = block.get(entry.offset + TYPE_BYTE) != Some(&0);
    if let Some(expected) = state.file_type()
        && dir.format.file_type
        && says
        && entry.file_type != Some(expected)
    {
        let (found, expected) = (Type(entry.file_type), Type(Some(expected)));
        c.report(Problem::EntryType {
            inode: this,
            name: name(),
            found,
            expected,
        });
    }
    refer(c, child);
    if state.is_dir() {
        let known = c.dirs.entry(n).or_default();
        if known.parent == 0 {
            known.parent = this.get();
        } else {
            c.report(Problem::DirectoryLinkedTwice {
                inode: this,
                name: name(),
                child: n,
            });
        }
    }
}

/// Without `filetype` the byte is the upper half of the name's length, and zero.
fn check_type_byte(c: &mut Check<'_>, dir: &Dir, entry: &DirEntry<'_>, block: &[u8]) {
    let set = block.get(entry.offset + TYPE_BYTE) != Some(&0);
    if set && !dir.format.file_type {
        let name = EntryName::new(entry.name);
        c.report(Problem::EntryTypeSet {
            inode: dir.ino,
            name,
        });
    }
}

fn refer(c: &mut Check<'_>, ino: InodeNo) {
    if let Some(state) = c.inodes.get_mut(ino) {
        state.refs = state.refs.saturating_add(1);
    }
}

fn report_unused(c: &mut Check<'_>, dir: InodeNo, name: EntryName, child: InodeNo) {
    let Some(place) = c.sb.inode_location(child) else {
        return;
    };
    let readable = c
        .groups
        .get(place.group.get() as usize)
        .is_some_and(|g| g.inode_table);
    let child = child.get();
    if !readable {
        return; // Nothing is known about the inodes of that group.
    }
    c.report(if place.index >= ever_used(c, place.group) {
        Problem::EntryUninit {
            inode: dir,
            name,
            child,
        }
    } else {
        Problem::EntryUnused {
            inode: dir,
            name,
            child,
        }
    });
}

/// The first two records of a directory are `.` and `..`.
fn check_dots(c: &mut Check<'_>, dir: &Dir, position: usize, entry: &DirEntry<'_>, block: &[u8]) {
    let this = dir.ino;
    let wanted: &[u8] = if position == 0 { b"." } else { b".." };
    // The byte behind the name has to be zero as well.
    let terminator = block.get(entry.offset + dir::RECORD_HEADER + wanted.len());
    let target = entry
        .inode
        .filter(|_| entry.name == wanted && terminator == Some(&0));
    let Some(target) = target else {
        c.report(if position == 0 {
            Problem::DotMissing { inode: this }
        } else {
            Problem::DotDotMissing { inode: this }
        });
        return;
    };
    c.stats.entries += 1;
    check_type_byte(c, dir, entry, block);
    // Type 0 means that the entry does not say.
    let says = block.get(entry.offset + TYPE_BYTE) != Some(&0);
    let directory = Some(e4_format::FileType::Directory);
    if dir.format.file_type && says && entry.file_type != directory {
        let (found, expected) = (
            Type(entry.file_type),
            Type(Some(e4_format::FileType::Directory)),
        );
        let name = EntryName::new(wanted);
        c.report(Problem::EntryType {
            inode: this,
            name,
            found,
            expected,
        });
    }
    if position == 0 {
        if target != this {
            c.report(Problem::DotWrong {
                inode: this,
                found: target.get(),
            });
        }
        refer(c, this);
    } else {
        c.dirs.entry(this.get()).or_default().dotdot = target.get();
        if target.get() <= c.sb.inodes_count() {
            refer(c, target);
        }
    }
}
