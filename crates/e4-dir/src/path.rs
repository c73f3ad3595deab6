//! Walking an htree: from the root down to a leaf, and on to the leaf after it.
//!
//! Decisions: a path holds the blocks it came through, so what follows needs no second read. Depth
//! is fixed by the root before the descent begins, every child must lie inside the directory and
//! differ from all blocks above it, and a node's hashes must lie within what its parent promises:
//! no damage makes a descent longer than the depth. How many leaves are visited one after another
//! is the caller's to bound.

use e4_format::htree::{DxEntry, DxKind, DxNode, DxRootInfo, HashVersion};
use e4_format::{FileBlock, InodeNo};
use smallvec::SmallVec;

use crate::context::{DirContext, FIRST};
use crate::error::{DirError, in_block};
use crate::root;
use crate::store::{DirRead, Expect, read};

/// The root of an index, read and understood.
pub(crate) struct Index<B> {
    /// How its names hash.
    pub(crate) hash: HashVersion,
    info: DxRootInfo,
    block: B,
}

/// One index block on the way down, and which of its pairs was taken.
pub(crate) struct Level<B> {
    pub(crate) at: FileBlock,
    pub(crate) kind: DxKind,
    /// Pair taken.
    pub(crate) index: usize,
    /// No pair can be added.
    pub(crate) full: bool,
    /// The child of the pair taken.
    child: FileBlock,
    /// Hash of the pair taken; `None` for the first, which begins where its parent does.
    lower: Option<u32>,
    /// Hash of the pair after it.
    upper: Option<u32>,
    block: B,
}

/// The way from the root to a leaf.
pub(crate) struct Path<B> {
    pub(crate) info: DxRootInfo,
    pub(crate) levels: SmallVec<[Level<B>; 3]>,
}

impl<B: std::ops::Deref<Target = [u8]>> Index<B> {
    /// Reads block 0 of an indexed directory.
    pub(crate) fn open<S: DirRead<Block = B> + ?Sized>(store: &S) -> Result<Self, S::Error> {
        let block = read(store, FIRST, Expect::Root)?;
        let cx = store.context();
        let info = root::info(cx, &block)?;
        let stored = info.hash_version;
        let Some(hash) = cx.hash_version(stored) else {
            return Err(DirError::UnknownHash {
                block: FIRST,
                stored,
            }
            .into());
        };
        Ok(Self { hash, info, block })
    }

    /// Goes down to the first leaf that may hold names with this major hash.
    pub(crate) fn descend<S: DirRead<Block = B> + ?Sized>(
        self,
        store: &S,
        hash: u32,
    ) -> Result<Path<B>, S::Error> {
        let mut path = Path {
            info: self.info,
            levels: SmallVec::new(),
        };
        path.enter(store, FIRST, DxKind::Root, self.block, |n| n.search(hash))?;
        while path.levels.len() <= usize::from(path.info.indirect_levels) {
            path.step_down(store, |n| n.search(hash))?;
        }
        Ok(path)
    }
}

impl<B: std::ops::Deref<Target = [u8]>> Path<B> {
    /// The leaf this path leads to.
    pub(crate) fn leaf(&self) -> FileBlock {
        self.levels.last().map_or(FIRST, |l| l.child)
    }

    /// The smallest hash of the leaf, lowest bit for "continued".
    pub(crate) fn lower(&self) -> u32 {
        self.levels.iter().rev().find_map(|l| l.lower).unwrap_or(0)
    }

    /// The smallest hash of the leaf after it; `None` if this is the last one.
    pub(crate) fn upper(&self) -> Option<u32> {
        self.levels.iter().rev().find_map(|l| l.upper)
    }

    /// True if names with this major hash may also be in the leaf after this one.
    pub(crate) fn continues(&self, hash: u32) -> bool {
        self.upper().is_some_and(|u| u & !1 == hash)
    }

    /// `hash` moved to the nearest one that belongs into this leaf.
    pub(crate) fn clamp(&self, hash: u32) -> u32 {
        let (low, high) = self.bounds();
        hash.max(low).min(high)
    }

    /// The smallest and the largest major hash that belong into this leaf.
    pub(crate) fn bounds(&self) -> (u32, u32) {
        let low = self.lower() & !1;
        let high = match self.upper() {
            // Continued: names with that hash begin here. Else they begin there.
            Some(u) if u & 1 == 1 => u & !1,
            Some(u) => u.saturating_sub(2),
            None => !1,
        };
        (low, high.max(low))
    }

    /// Goes to the leaf after this one; false if this is the last.
    pub(crate) fn advance<S: DirRead<Block = B> + ?Sized>(
        &mut self,
        store: &S,
    ) -> Result<bool, S::Error> {
        let Some(i) = self.levels.iter().rposition(|l| l.upper.is_some()) else {
            return Ok(false);
        };
        self.levels.truncate(i + 1);
        if let Some(l) = self.levels.pop() {
            let next = l.index + 1;
            self.enter(store, l.at, l.kind, l.block, |_| next)?;
        }
        while self.levels.len() <= usize::from(self.info.indirect_levels) {
            self.step_down(store, |_| 0)?;
        }
        Ok(true)
    }

    /// Reads the node the path leads to and takes one of its pairs.
    fn step_down<S: DirRead<Block = B> + ?Sized>(
        &mut self,
        store: &S,
        choose: impl Fn(&DxNode<'_>) -> usize,
    ) -> Result<(), S::Error> {
        let at = self.leaf();
        let block = read(store, at, Expect::Node)?;
        self.enter(store, at, DxKind::Node, block, choose)
    }

    fn enter<S: DirRead<Block = B> + ?Sized>(
        &mut self,
        store: &S,
        at: FileBlock,
        kind: DxKind,
        block: B,
        choose: impl Fn(&DxNode<'_>) -> usize,
    ) -> Result<(), S::Error> {
        let node = DxNode::parse(&block, kind, &store.context().format).map_err(in_block(at))?;
        let (lower, upper) = (self.lower(), self.upper().unwrap_or(u32::MAX));
        let ends = [
            node.entry(1),
            node.entry(node.count() - 1).filter(|_| node.count() > 1),
        ];
        for hash in ends.into_iter().flatten().map(|e| e.hash) {
            if hash < lower || hash > upper {
                return Err(DirError::IndexRange {
                    block: at,
                    hash,
                    lower,
                    upper,
                }
                .into());
            }
        }
        let index = choose(&node);
        let Some(pair) = node.entry(index) else {
            return Err(DirError::NoBlocks.into()); // not reached: an index of the node's own
        };
        let level = Level {
            at,
            kind,
            index,
            full: node.is_full(),
            child: pair.block,
            lower: (index > 0).then_some(pair.hash),
            upper: node.entry(index + 1).map(|e| e.hash),
            block,
        };
        self.check_child(&level, store.blocks())?;
        self.levels.push(level);
        Ok(())
    }

    fn check_child(&self, level: &Level<B>, blocks: u32) -> Result<(), DirError> {
        let (block, child) = (level.at, level.child);
        if child.get() >= blocks {
            return Err(DirError::IndexChild {
                block,
                child,
                blocks,
            });
        }
        if child == block || self.levels.iter().any(|l| l.at == child) {
            return Err(DirError::IndexLoop { block, child });
        }
        Ok(())
    }
}

impl<B: std::ops::Deref<Target = [u8]>> Level<B> {
    /// All pairs of this block.
    pub(crate) fn pairs(&self, cx: &DirContext) -> Result<Vec<DxEntry>, DirError> {
        let node = DxNode::parse(&self.block, self.kind, &cx.format).map_err(in_block(self.at))?;
        Ok(node.entries().collect())
    }

    /// The inodes of `.` and `..`, if this is the root.
    pub(crate) fn dots(&self, cx: &DirContext) -> Result<(InodeNo, InodeNo), DirError> {
        root::dots(cx, &self.block, true)
    }
}
