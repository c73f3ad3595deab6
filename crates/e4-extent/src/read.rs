//! Looking things up: which extent maps a block, where the next one begins.
//!
//! Decisions: a lookup allocates nothing and costs one binary search per level. It checks headers, depths
//! and that every entry it uses lies where the parent says, and trusts the order inside nodes, which the
//! store has verified on load ([`NodeRead::read`]). Iteration keeps one leaf and descends again for the next one.

use core::ops::Deref;

use e4_format::extent::{Extent, Node};
use e4_format::{FileBlock, FormatError, FsBlock};
use smallvec::SmallVec;

use crate::error::{Damage, TreeError};
use crate::range::FileRange;
use crate::store::{NodeRead, ROOT_LEN};

/// What a file block maps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mapping {
    /// Not mapped. The range contains the block; nothing in it is mapped. In a tree whose index keys
    /// are exact, as ours are, it is the whole hole.
    Hole(FileRange),
    /// Mapped by this extent.
    Extent(Extent),
}

impl Mapping {
    /// The blocks that share this answer.
    #[must_use]
    pub const fn blocks(&self) -> FileRange {
        match self {
            Self::Hole(range) => *range,
            Self::Extent(extent) => FileRange::of(extent),
        }
    }
}

/// The leaf responsible for a block.
struct Leaf<B> {
    /// Its bytes; `None` if the root is the leaf.
    bytes: Option<B>,
    /// What it may map. A first leaf also answers for what lies before its key.
    span: FileRange,
    at: Option<FsBlock>,
}

impl<B: Deref<Target = [u8]>> Leaf<B> {
    fn node<'a, E>(&'a self, root: &'a [u8; ROOT_LEN]) -> Result<Node<'a>, TreeError<E>> {
        let view = Node::view(self.bytes.as_deref().unwrap_or(root));
        view.map_err(|e| self.damaged(e.into()))
    }

    fn damaged<E>(&self, damage: Damage) -> TreeError<E> {
        TreeError::Damaged {
            at: self.at,
            near: self.span.start,
            damage,
        }
    }

    /// The extent in a slot, if it lies in the leaf's span.
    fn extent<E>(&self, node: &Node<'_>, slot: usize) -> Result<Option<Extent>, TreeError<E>> {
        let Some(extent) = node.extent(slot) else {
            return Ok(None);
        };
        if extent.block >= self.span.start && extent.end() <= self.span.end.get() {
            return Ok(Some(extent));
        }
        Err(self.damaged(outside(extent.block, self.span)))
    }
}

fn outside(found: FileBlock, span: FileRange) -> Damage {
    FormatError::ExtentOutsideParent {
        found,
        from: span.start,
        to: Some(span.end),
    }
    .into()
}

/// Descends to the leaf responsible for `block`, telling `visit` every node on the way.
fn descend<S: NodeRead>(
    store: &S,
    block: FileBlock,
    mut visit: impl FnMut(FsBlock),
) -> Result<Leaf<S::Node>, TreeError<S::Error>> {
    let mut leaf: Leaf<S::Node> = Leaf {
        bytes: None,
        span: FileRange::ALL,
        at: None,
    };
    let mut level: Option<u16> = None;
    loop {
        let node = leaf.node(store.root())?;
        let depth = node.depth();
        if let Some(limit) = level.filter(|&l| l != depth) {
            return Err(leaf.damaged(
                FormatError::ExtentDepth {
                    found: depth,
                    limit,
                }
                .into(),
            ));
        }
        if node.is_leaf() {
            return Ok(leaf);
        }
        let slot = node.search(block).unwrap_or(0);
        let Some(child) = node.index(slot) else {
            return Err(leaf.damaged(Damage::Empty));
        };
        let end = node
            .index(slot + 1)
            .map_or(leaf.span.end, |next| next.block);
        if child.block < leaf.span.start || end > leaf.span.end {
            return Err(leaf.damaged(outside(child.block, leaf.span)));
        }
        visit(child.leaf);
        let source = |source| TreeError::Read {
            at: child.leaf,
            source,
        };
        leaf = Leaf {
            bytes: Some(store.read(child.leaf).map_err(source)?),
            span: FileRange::new(child.block, end),
            at: Some(child.leaf),
        };
        level = Some(depth - 1);
    }
}

/// What `block` maps to.
///
/// # Errors
/// A node that cannot be read, or is damaged.
pub fn lookup<S: NodeRead>(store: &S, block: FileBlock) -> Result<Mapping, TreeError<S::Error>> {
    let leaf = descend(store, block, |_| {})?;
    let node = leaf.node(store.root())?;
    let (start, behind) = match node.search(block) {
        Some(slot) => {
            let before = leaf.extent(&node, slot)?;
            if let Some(extent) = before.filter(|e| e.contains(block)) {
                return Ok(Mapping::Extent(extent));
            }
            (before.map_or(leaf.span.start.get(), |e| e.end()), slot + 1)
        }
        // In front of the leaf's first extent; for the first leaf that is the start of the file.
        None if leaf.span.start > block => (0, 0),
        None => (leaf.span.start.get(), 0),
    };
    let end = leaf
        .extent(&node, behind)?
        .map_or(leaf.span.end, |e| e.block);
    // Whatever the bytes say, the answer is about the block that was asked for.
    Ok(Mapping::Hole(FileRange::new(
        FileBlock::new(start.min(block.get())),
        end.max(FileBlock::new(block.get().saturating_add(1))),
    )))
}

/// The nodes below the root on the way to `block`, top down: what a submitter pins.
///
/// # Errors
/// As [`lookup`].
pub fn path<S: NodeRead>(
    store: &S,
    block: FileBlock,
) -> Result<SmallVec<[FsBlock; 5]>, TreeError<S::Error>> {
    let mut nodes = SmallVec::new();
    descend(store, block, |at| nodes.push(at))?;
    Ok(nodes)
}

/// The depth of the tree: 0 if the root is a leaf.
///
/// # Errors
/// A damaged root.
pub fn depth<S: NodeRead>(store: &S) -> Result<u16, TreeError<S::Error>> {
    match Node::view(store.root()) {
        Ok(root) => Ok(root.depth()),
        Err(e) => Err(TreeError::Damaged {
            at: None,
            near: FileBlock::new(0),
            damage: Damage::Node(e),
        }),
    }
}

/// The first extent that ends behind `from`: the one that maps it, or the next one.
///
/// # Errors
/// As [`lookup`].
pub fn next_extent<S: NodeRead>(
    store: &S,
    from: FileBlock,
) -> Result<Option<Extent>, TreeError<S::Error>> {
    iterate(store, FileRange::new(from, FileRange::ALL.end))
        .next()
        .transpose()
}

/// The extents that map blocks of `range`, in order, uncut.
pub fn iterate<S: NodeRead>(store: &S, range: FileRange) -> Extents<'_, S> {
    Extents {
        store,
        at: range.start,
        end: range.end,
        leaf: None,
    }
}

/// Iterator of [`iterate`]. After an error it is exhausted.
pub struct Extents<'s, S: NodeRead> {
    store: &'s S,
    /// Everything before this has been delivered.
    at: FileBlock,
    end: FileBlock,
    /// The leaf responsible for `at`, and the next entry of it.
    leaf: Option<(Leaf<S::Node>, usize)>,
}

impl<S: NodeRead> Extents<'_, S> {
    fn step(&mut self) -> Result<Option<Extent>, TreeError<S::Error>> {
        while self.at < self.end {
            let (leaf, next) = match self.leaf.take() {
                Some((leaf, next)) => (leaf, Some(next)),
                None => (descend(self.store, self.at, |_| {})?, None),
            };
            let near = self.at;
            let node = leaf.node(self.store.root())?;
            let mut slot = next.unwrap_or_else(|| node.search(near).unwrap_or(0));
            while let Some(extent) = leaf.extent(&node, slot)? {
                slot += 1;
                if extent.end() > near.get() {
                    if extent.block >= self.end {
                        self.at = self.end;
                        return Ok(None);
                    }
                    self.at = FileBlock::new(extent.end());
                    self.leaf = Some((leaf, slot));
                    return Ok(Some(extent));
                }
            }
            // A leaf that was just found responsible for `at` ends behind it. Should a hostile tree say
            // otherwise, this goes on all the same.
            let least = near.get().saturating_add(u32::from(next.is_none()));
            self.at = leaf.span.end.max(FileBlock::new(least));
        }
        Ok(None)
    }
}

impl<S: NodeRead> Iterator for Extents<'_, S> {
    type Item = Result<Extent, TreeError<S::Error>>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.at = self.end;
            self.leaf = None;
        }
        step.transpose()
    }
}
