//! Walking the map of a file: extent tree or block map, every node and every run of data blocks.
//!
//! Invariants: depth strictly falls on the way down, no node is visited twice for one file, and the
//! visitor may refuse to descend (it does for nodes somebody else claimed already), so the work is
//! bounded by the image's size whatever the bytes.

use crate::problem::{Problem, Region, Sum};
use crate::reader::Reader;
use e4_format::extent::{DEPTH_MAX, Node, capacity_block, capacity_root, verify_extent_block};
use e4_format::{Extent, ExtentState, FileBlock, FormatError, FsBlock, Inode, InodeNo, Superblock};
use std::collections::HashSet;

/// Direct slots of a block map.
const DIRECT: usize = 12;

/// What a pass does with what it meets.
pub(crate) trait Visitor {
    /// A block of the map itself; false if it shall not be followed.
    fn node(&mut self, logical: FileBlock, block: FsBlock) -> bool;

    /// `len` data blocks in a row, inside the filesystem.
    fn data(&mut self, extent: Extent);

    /// Something is wrong with the map.
    fn problem(&mut self, problem: Problem);
}

/// Walks the map of an inode that has one.
pub(crate) fn walk(
    disk: &Reader<'_>,
    sb: &Superblock,
    ino: InodeNo,
    inode: &Inode,
    visitor: &mut dyn Visitor,
) {
    let mut walk = Walk {
        disk,
        sb,
        ino,
        inode,
        visitor,
        seen: HashSet::new(),
    };
    if inode.has_extents() {
        walk.extents();
    } else {
        walk.block_map();
    }
}

struct Walk<'a, 'd> {
    disk: &'a Reader<'d>,
    sb: &'a Superblock,
    ino: InodeNo,
    inode: &'a Inode,
    visitor: &'a mut dyn Visitor,
    seen: HashSet<u64>,
}

/// What a parent says about a child.
#[derive(Clone, Copy)]
struct Child {
    block: FsBlock,
    depth: u16,
    from: FileBlock,
    to: Option<FileBlock>,
}

impl Walk<'_, '_> {
    fn extents(&mut self) {
        let root = self.inode.i_block;
        let inode = self.ino;
        match Node::parse(&root) {
            Ok(node) => {
                self.check_room(Region(None), &node, capacity_root());
                self.follow(&node, None);
            }
            Err(error) => {
                let region = Region(None);
                self.visitor.problem(Problem::ExtentNode {
                    inode,
                    region,
                    error,
                });
            }
        }
    }

    /// The room a node states may be less than there is by the two entries a checksum could take.
    fn check_room(&mut self, region: Region, node: &Node<'_>, expected: u16) {
        let found = node.header().max;
        if found > expected || found + 2 < expected {
            let inode = self.ino;
            self.visitor.problem(Problem::ExtentRoom {
                inode,
                region,
                found,
                expected,
            });
        }
    }

    fn follow(&mut self, node: &Node<'_>, to: Option<FileBlock>) {
        for extent in node.extents() {
            self.extent(extent);
        }
        let Some(depth) = node.depth().checked_sub(1) else {
            return;
        };
        for (i, index) in node.indexes().enumerate() {
            let next = node.index(i + 1).map(|n| n.block).or(to);
            self.child(Child {
                block: index.leaf,
                depth,
                from: index.block,
                to: next,
            });
        }
    }

    fn extent(&mut self, extent: Extent) {
        if self.sb.contains_range(extent.start, extent.len.into()) {
            self.visitor.data(extent);
        } else {
            let (inode, logical, block) = (self.ino, extent.block, extent.start);
            self.visitor.problem(Problem::BlockOutside {
                inode,
                logical,
                block,
            });
        }
    }

    /// Asks the visitor about a block of the map and reads it.
    fn enter(&mut self, logical: FileBlock, block: FsBlock) -> Option<Vec<u8>> {
        if !self.sb.contains_range(block, 1) {
            let inode = self.ino;
            self.visitor.problem(Problem::BlockOutside {
                inode,
                logical,
                block,
            });
            return None;
        }
        if !self.visitor.node(logical, block) || !self.seen.insert(block.get()) {
            return None;
        }
        match self.disk.block(block) {
            Ok(bytes) => Some(bytes),
            Err(problem) => {
                self.visitor.problem(problem);
                None
            }
        }
    }

    fn child(&mut self, child: Child) {
        let Child {
            block,
            depth,
            from,
            to,
        } = child;
        let Some(bytes) = self.enter(from, block) else {
            return;
        };
        let (inode, region) = (self.ino, Region(Some(block)));
        let node = match Node::parse(&bytes) {
            Ok(node) => node,
            Err(error) => {
                self.visitor.problem(Problem::ExtentNode {
                    inode,
                    region,
                    error,
                });
                return;
            }
        };
        if self.sb.has_metadata_csum() {
            let seed = self.inode.csum_seed(self.sb, inode);
            if let Err(FormatError::ExtentChecksum { expected, found }) =
                verify_extent_block(&bytes, seed)
            {
                let (expected, found) = (Sum(expected), Sum(found));
                self.visitor.problem(Problem::ExtentChecksum {
                    inode,
                    block,
                    expected,
                    found,
                });
            }
        }
        self.check_room(region, &node, capacity_block(self.sb.block_size()));
        if let Err(error) = node.check_place(depth, from, to) {
            self.visitor.problem(Problem::ExtentPlace {
                inode,
                block,
                error,
            });
            if node.depth() != depth {
                return;
            }
        }
        let first = node
            .extent(0)
            .map(|e| e.block)
            .or(node.index(0).map(|i| i.block));
        match first {
            None => self.visitor.problem(Problem::ExtentEmpty { inode, block }),
            Some(found) if found > from => {
                let expected = from;
                self.visitor.problem(Problem::ExtentStart {
                    inode,
                    block,
                    found,
                    expected,
                });
            }
            Some(_) => {}
        }
        debug_assert!(depth < DEPTH_MAX);
        self.follow(&node, to);
    }

    fn block_map(&mut self) {
        let slots = pointers(&self.inode.i_block);
        let per = self.sb.block_size().len() as u64 / 4;
        let mut logical = 0u64;
        let mut run = Run::default();
        for (n, slot) in slots.iter().enumerate() {
            let level = n.saturating_sub(DIRECT - 1);
            logical = self.subtree(*slot, level, per, logical, &mut run);
        }
        self.end_run(&mut run);
    }

    /// Follows one slot at `level` of indirection; returns the logical block behind all it could map.
    fn subtree(&mut self, slot: u32, level: usize, per: u64, logical: u64, run: &mut Run) -> u64 {
        let covers = per.saturating_pow(u32::try_from(level).unwrap_or(3));
        let end = logical.saturating_add(covers);
        let Some(first) = file_block(logical) else {
            return end;
        };
        if slot == 0 {
            return end;
        }
        let block = FsBlock::new(slot.into());
        if level == 0 {
            self.one(first, block, run);
            return end;
        }
        if let Some(bytes) = self.enter(first, block) {
            let mut at = logical;
            for below in pointers(&bytes) {
                at = self.subtree(below, level - 1, per, at, run);
            }
        }
        end
    }

    /// Adds one mapped block, in runs as long as they get.
    fn one(&mut self, logical: FileBlock, block: FsBlock, run: &mut Run) {
        if !self.sb.contains_range(block, 1) {
            let inode = self.ino;
            self.visitor.problem(Problem::BlockOutside {
                inode,
                logical,
                block,
            });
            return;
        }
        let continues = run.len > 0
            && run.logical + run.len == logical.get()
            && run.block + u64::from(run.len) == block.get();
        if continues {
            run.len += 1;
        } else {
            self.end_run(run);
            *run = Run {
                logical: logical.get(),
                block: block.get(),
                len: 1,
            };
        }
    }

    fn end_run(&mut self, run: &mut Run) {
        if run.len > 0 {
            self.visitor.data(Extent {
                block: FileBlock::new(run.logical),
                len: run.len,
                start: FsBlock::new(run.block),
                state: ExtentState::Written,
            });
        }
        *run = Run::default();
    }
}

#[derive(Default)]
struct Run {
    logical: u32,
    block: u64,
    len: u32,
}

fn file_block(logical: u64) -> Option<FileBlock> {
    u32::try_from(logical)
        .ok()
        .map(FileBlock::new)
        .filter(|b| *b <= FileBlock::MAX)
}

/// The block numbers of a block map, little-endian.
pub(crate) fn pointers(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(*b))
        .collect()
}

/// Collects the runs of a file that is small in pieces: the journal, the orphan file.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    pub(crate) extents: Vec<Extent>,
    pub(crate) problems: bool,
}

/// Pieces a system file may have; a longer list is damage.
const MAX_PIECES: usize = 1 << 20;

impl Visitor for Runs {
    fn node(&mut self, _: FileBlock, _: FsBlock) -> bool {
        self.extents.len() < MAX_PIECES
    }

    fn data(&mut self, extent: Extent) {
        self.extents.push(extent);
    }

    fn problem(&mut self, _: Problem) {
        self.problems = true;
    }
}

impl Runs {
    /// How many blocks are mapped without a gap from the first one on.
    pub(crate) fn mapped(&self) -> u64 {
        let mut end = 0;
        for e in &self.extents {
            if e.block.get() != end || e.state != ExtentState::Written {
                break;
            }
            end = e.end();
        }
        end.into()
    }

    /// Where a logical block lies.
    pub(crate) fn physical(&self, logical: u32) -> Option<FsBlock> {
        let i = self
            .extents
            .partition_point(|e| e.block.get() <= logical)
            .checked_sub(1)?;
        self.extents.get(i)?.physical(FileBlock::new(logical))
    }
}
