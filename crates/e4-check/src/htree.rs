//! The index of a directory: root, inner nodes, and that it leads to every name.
//!
//! Invariant: each block is entered once, so an index that leads in circles ends.

use crate::context::Check;
use crate::directories::Dir;
use crate::problem::{EntryName, Problem, Sum};
use e4_format::htree::{DxKind, DxNode, DxRootInfo, HashVersion};
use e4_format::{FileBlock, InodeNo};
use std::collections::{BTreeMap, BTreeSet};

/// The upper bits of a child's number are kept for other uses.
const BLOCK_MASK: u32 = 0x0FFF_FFFF;

/// Hashes a leaf may hold: from `low` (its lowest bit left out) to `high`.
#[derive(Clone, Copy, Debug)]
struct Leaf {
    low: u32,
    high: u32,
}

/// The index of one directory.
pub(crate) struct Index {
    hash: HashVersion,
    seed: [u32; 4],
    leaves: BTreeMap<u32, Leaf>,
    nodes: BTreeSet<u32>,
}

impl Index {
    /// Reads the index; `None` (reported) if there is no usable root.
    pub(crate) fn build(c: &mut Check<'_>, dir: &Dir) -> Option<Self> {
        let inode = dir.ino;
        let bytes = c.disk.block(dir.runs.physical(0)?).ok()?;
        let info = match DxRootInfo::decode(&bytes) {
            Ok(info) => info,
            Err(error) => {
                c.report(Problem::HtreeRoot { inode, error });
                return None;
            }
        };
        let Some(hash) = c.sb.hash_version(info.hash_version) else {
            c.report(Problem::HtreeHash {
                inode,
                found: info.hash_version,
            });
            return None;
        };
        let seed = c.sb.hash_seed();
        let mut index = Self {
            hash,
            seed,
            leaves: BTreeMap::new(),
            nodes: BTreeSet::new(),
        };
        let whole = Leaf {
            low: 0,
            high: u32::MAX,
        };
        index.node(
            c,
            dir,
            FileBlock::new(0),
            &bytes,
            DxKind::Root,
            info.indirect_levels,
            whole,
        )?;
        Some(index)
    }

    #[allow(clippy::too_many_arguments)] // one node and its place in the tree
    fn node(
        &mut self,
        c: &mut Check<'_>,
        dir: &Dir,
        logical: FileBlock,
        bytes: &[u8],
        kind: DxKind,
        levels: u8,
        range: Leaf,
    ) -> Option<()> {
        let inode = dir.ino;
        let node = match DxNode::parse(bytes, kind, &dir.format) {
            Ok(node) => node,
            Err(error) => {
                c.report(Problem::HtreeNode {
                    inode,
                    logical,
                    error,
                });
                return None;
            }
        };
        for (i, entry) in node.entries().enumerate() {
            let low = if i == 0 { range.low } else { entry.hash };
            let high = node.entry(i + 1).map_or(range.high, |next| next.hash);
            self.child(c, dir, logical, entry.block, levels, Leaf { low, high });
        }
        Some(())
    }

    fn child(
        &mut self,
        c: &mut Check<'_>,
        dir: &Dir,
        logical: FileBlock,
        child: FileBlock,
        levels: u8,
        range: Leaf,
    ) {
        let inode = dir.ino;
        let child = FileBlock::new(child.get() & BLOCK_MASK);
        let Some(block) = dir
            .runs
            .physical(child.get())
            .filter(|b| c.is_data_block(*b))
        else {
            c.report(Problem::HtreeChild {
                inode,
                logical,
                child,
            });
            return;
        };
        let known = self.leaves.contains_key(&child.get()) || self.nodes.contains(&child.get());
        if known || child.get() == 0 {
            c.report(Problem::HtreeTwice {
                inode,
                logical: child,
            });
            return;
        }
        let Some(below) = levels.checked_sub(1) else {
            self.leaves.insert(child.get(), range);
            return;
        };
        self.nodes.insert(child.get());
        match c.disk.block(block) {
            Ok(bytes) => {
                self.node(c, dir, child, &bytes, DxKind::Node, below, range);
            }
            Err(problem) => c.report(problem),
        }
    }

    /// True if the index uses the block as an inner node.
    pub(crate) fn is_node(&self, logical: FileBlock) -> bool {
        self.nodes.contains(&logical.get())
    }

    /// A name has to be where the index leads for its hash.
    pub(crate) fn check_name(
        &self,
        c: &mut Check<'_>,
        inode: InodeNo,
        logical: FileBlock,
        name: &[u8],
    ) {
        let Some(leaf) = self.leaves.get(&logical.get()) else {
            return;
        };
        let hash = self.hash.hash(name, self.seed).major;
        // The lowest bit of a border says that the names with its hash began in the leaf before.
        let continues = leaf.high & 1 == 1 && hash == leaf.high & !1;
        let last = leaf.high == u32::MAX;
        if hash < leaf.low & !1 || (hash >= leaf.high && !continues && !last) {
            let (name, hash) = (EntryName::new(name), Sum(hash));
            c.report(Problem::HtreeRange {
                inode,
                logical,
                name,
                hash,
            });
        }
    }

    /// Reports blocks the index does not lead to.
    pub(crate) fn finish(self, c: &mut Check<'_>, dir: &Dir) {
        let all = dir.runs.extents.iter().flat_map(|e| e.block.get()..e.end());
        for n in all.filter(|n| *n != 0) {
            if !self.leaves.contains_key(&n) && !self.nodes.contains(&n) {
                let (inode, logical) = (dir.ino, FileBlock::new(n));
                c.report(Problem::HtreeUnreachable { inode, logical });
            }
        }
    }
}
