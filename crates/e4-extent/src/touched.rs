//! The part of a tree that an operation looks at, loaded into memory as values.
//!
//! Decisions:
//! - An arena of nodes plus, per level, the loaded nodes from left to right. Level 0 holds leaves, the
//!   last level the root alone. A node names its parent and its slot there, so changes are handed up
//!   level by level ([`crate::rebuild`]) and two loaded nodes can tell whether they are neighbours.
//! - A node is *wanted* if a requested block falls into its span. Neighbours loaded only to be merged
//!   with are *extra*, and a budget bounds them, because every loaded node may end up changed and has
//!   to be covered by journal credits.
//! - Every node is fully validated and confined to the span its parent gives it. Two index entries
//!   with one block can therefore not both load, so a hostile tree cannot make us change or free a
//!   node twice.

use alloc::vec::Vec;
use e4_format::extent::Extent;
use e4_format::{FileBlock, FsBlock};

use crate::error::TreeError;
use crate::node;
use crate::range::FileRange;
use crate::store::NodeRead;

/// A node of the new tree: one that exists, or the n-th still to be allocated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ptr {
    /// Exists in this block.
    Old(FsBlock),
    /// To be allocated.
    New(u32),
}

/// An index entry of the new tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Child {
    /// First block below.
    pub(crate) key: FileBlock,
    /// The node.
    pub(crate) ptr: Ptr,
}

/// What a node holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Body {
    /// A leaf.
    Leaf(Vec<Extent>),
    /// An index node.
    Index(Vec<Child>),
}

impl Body {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Leaf(extents) => extents.len(),
            Self::Index(children) => children.len(),
        }
    }

    /// The first block it describes.
    pub(crate) fn key(&self) -> Option<FileBlock> {
        match self {
            Self::Leaf(extents) => extents.first().map(|e| e.block),
            Self::Index(children) => children.first().map(|c| c.key),
        }
    }

    pub(crate) fn extents(&self) -> &[Extent] {
        match self {
            Self::Leaf(extents) => extents,
            Self::Index(_) => &[],
        }
    }

    pub(crate) fn children(&self) -> &[Child] {
        match self {
            Self::Leaf(_) => &[],
            Self::Index(children) => children,
        }
    }
}

/// Index into [`Touched::nodes`].
pub(crate) type Id = usize;

/// A loaded node.
#[derive(Debug)]
pub(crate) struct Node {
    /// `None` for the root.
    pub(crate) at: Option<FsBlock>,
    /// Parent and slot in it; `None` for the root.
    pub(crate) parent: Option<(Id, usize)>,
    /// The blocks it is responsible for.
    pub(crate) span: FileRange,
    /// Its entries, old ones until somebody changes them.
    pub(crate) body: Body,
    /// Entries it had when loaded.
    pub(crate) old_len: usize,
    /// True if `body` is no longer what was loaded.
    pub(crate) changed: bool,
    /// True if a requested block lies in its span.
    pub(crate) wanted: bool,
}

/// Left or right.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    Left,
    Right,
}

/// The loaded part of a tree.
#[derive(Debug)]
pub(crate) struct Touched {
    pub(crate) nodes: Vec<Node>,
    /// Loaded nodes of each level from left to right; the root's level is the last.
    pub(crate) levels: Vec<Vec<Id>>,
    /// How many more extra nodes may be loaded.
    pub(crate) extras_left: u32,
}

/// What [`Touched::load`] is to load.
pub(crate) struct Selection<'a> {
    /// Blocks the operation is about: sorted, disjoint.
    pub(crate) ranges: &'a [FileRange],
    /// Also load the leaf of the block before and behind each range.
    pub(crate) edges: bool,
    /// How many nodes may be loaded that hold no requested block.
    pub(crate) extras: u32,
    /// Stop after this many wanted leaves.
    pub(crate) leaves_max: u32,
}

impl Touched {
    /// Loads every node on the way to the selected blocks. The second value is the first block not
    /// covered if `leaves_max` cut the work short.
    pub(crate) fn load<S: NodeRead>(
        store: &S,
        selection: &Selection<'_>,
    ) -> Result<(Self, Option<FileBlock>), TreeError<S::Error>> {
        let (depth, body) = load_root(store)?;
        let levels = (0..=depth).map(|_| Vec::new()).collect();
        let mut touched = Self {
            nodes: Vec::new(),
            levels,
            extras_left: selection.extras,
        };
        let old_len = body.len();
        touched.nodes.push(Node {
            at: None,
            parent: None,
            span: FileRange::ALL,
            body,
            old_len,
            changed: false,
            wanted: true,
        });
        if let Some(top) = touched.levels.last_mut() {
            top.push(0);
        }
        let mut walk = Walk {
            selection,
            next_range: 0,
            leaves_left: selection.leaves_max,
            cut: None,
        };
        touched.descend(store, 0, usize::from(depth), &mut walk)?;
        Ok((touched, walk.cut))
    }

    /// The level of the root: the number of levels below it.
    pub(crate) fn depth(&self) -> usize {
        self.levels.len().saturating_sub(1)
    }

    pub(crate) fn node(&self, id: Id) -> &Node {
        &self.nodes[id]
    }

    /// Loads the selected children of `id`, which is at `level`, left to right.
    fn descend<S: NodeRead>(
        &mut self,
        store: &S,
        id: Id,
        level: usize,
        walk: &mut Walk<'_>,
    ) -> Result<(), TreeError<S::Error>> {
        if level == 0 {
            return Ok(());
        }
        let span = self.nodes[id].span;
        let mut slot_from = 0;
        while walk.cut.is_none() {
            let Some(range) = walk.range() else { break };
            if range.start >= span.end {
                break;
            }
            let children = self.nodes[id].body.children();
            let slot = slot_holding(children, range.start.max(span.start)).max(slot_from);
            if slot >= children.len() {
                break;
            }
            let below = child_span(children, slot, span);
            if range.start < below.end {
                self.visit(store, (id, slot), level - 1, walk)?;
            }
            slot_from = slot + 1;
            walk.pass(below.end);
        }
        Ok(())
    }

    /// Loads one selected child and what is selected below it.
    fn visit<S: NodeRead>(
        &mut self,
        store: &S,
        (parent, slot): (Id, usize),
        level: usize,
        walk: &mut Walk<'_>,
    ) -> Result<(), TreeError<S::Error>> {
        let span = child_span(
            self.nodes[parent].body.children(),
            slot,
            self.nodes[parent].span,
        );
        let wanted = walk.wants(span);
        if wanted && level == 0 {
            if walk.leaves_left == 0 {
                walk.cut = Some(span.start);
                return Ok(());
            }
            walk.leaves_left -= 1;
        }
        if !wanted && self.extras_left == 0 {
            return Ok(());
        }
        let id = self.load_child(store, (parent, slot), level, wanted)?;
        self.levels[level].push(id);
        self.descend(store, id, level, walk)
    }

    /// Reads a child into the arena, without giving it a place in its level.
    fn load_child<S: NodeRead>(
        &mut self,
        store: &S,
        (parent, slot): (Id, usize),
        level: usize,
        wanted: bool,
    ) -> Result<Id, TreeError<S::Error>> {
        if !wanted {
            self.extras_left = self.extras_left.saturating_sub(1);
        }
        let above = &self.nodes[parent];
        let span = child_span(above.body.children(), slot, above.span);
        let child = above.body.children()[slot];
        let confined = FileRange::new(child.key, span.end);
        let Ptr::Old(at) = child.ptr else {
            unreachable!("loading happens before anything is planned")
        };
        let body = load_node(store, at, level, confined)?;
        let old_len = body.len();
        self.nodes.push(Node {
            at: Some(at),
            parent: Some((parent, slot)),
            span,
            body,
            old_len,
            changed: false,
            wanted,
        });
        Ok(self.nodes.len() - 1)
    }

    /// True if `right` follows `left` in the tree, with no node between them.
    pub(crate) fn adjacent(&self, left: Id, right: Id) -> bool {
        let (Some((lp, ls)), Some((rp, rs))) = (self.nodes[left].parent, self.nodes[right].parent)
        else {
            return false;
        };
        if lp == rp {
            return ls + 1 == rs;
        }
        rs == 0 && ls + 1 == self.nodes[lp].body.len() && self.adjacent(lp, rp)
    }

    /// The neighbour of `id` at `level`, loaded if it is not yet, or `None` at the end of the tree or
    /// of the budget. Valid while no level above has been changed.
    pub(crate) fn neighbour<S: NodeRead>(
        &mut self,
        store: &S,
        id: Id,
        level: usize,
        side: Side,
    ) -> Result<Option<Id>, TreeError<S::Error>> {
        let Some((parent, slot)) = self.nodes[id].parent else {
            return Ok(None);
        };
        let place = self.place_of(id, level);
        let loaded = match side {
            Side::Left => place.checked_sub(1).and_then(|p| self.levels[level].get(p)),
            Side::Right => self.levels[level].get(place + 1),
        };
        if let Some(&other) = loaded {
            let (left, right) = if side == Side::Left {
                (other, id)
            } else {
                (id, other)
            };
            if self.adjacent(left, right) {
                return Ok(Some(other));
            }
        }
        let in_parent = match side {
            Side::Left => slot.checked_sub(1),
            Side::Right => (slot + 1 < self.nodes[parent].body.len()).then_some(slot + 1),
        };
        let target = match in_parent {
            Some(beside) => (parent, beside),
            None => {
                let Some(uncle) = self.neighbour(store, parent, level + 1, side)? else {
                    return Ok(None);
                };
                let last = self.nodes[uncle].body.len().saturating_sub(1);
                (uncle, if side == Side::Left { last } else { 0 })
            }
        };
        if self.extras_left == 0 {
            return Ok(None);
        }
        let new = self.load_child(store, target, level, false)?;
        let place = if side == Side::Left { place } else { place + 1 };
        self.levels[level].insert(place, new);
        Ok(Some(new))
    }

    /// Position of a loaded node within its level.
    fn place_of(&self, id: Id, level: usize) -> usize {
        let start = self.nodes[id].span.start;
        self.levels[level].partition_point(|&other| self.nodes[other].span.start < start)
    }
}

/// Progress through the selected ranges.
struct Walk<'a> {
    selection: &'a Selection<'a>,
    next_range: usize,
    leaves_left: u32,
    cut: Option<FileBlock>,
}

impl Walk<'_> {
    /// The next range to look for, widened by its edges if those are selected.
    fn range(&self) -> Option<FileRange> {
        let range = self.selection.ranges.get(self.next_range)?;
        Some(if self.selection.edges {
            range.widened()
        } else {
            *range
        })
    }

    /// Everything before `end` has been seen.
    fn pass(&mut self, end: FileBlock) {
        while self.range().is_some_and(|r| r.end <= end) {
            self.next_range += 1;
        }
    }

    /// True if a requested block (not just an edge) lies in `span`.
    fn wants(&self, span: FileRange) -> bool {
        // The first range may reach the span with its edge only; then the one behind it decides.
        let near = self
            .selection
            .ranges
            .get(self.next_range..)
            .unwrap_or_default();
        near.iter().take(2).any(|r| r.overlaps(span))
    }
}

/// The slot whose child is responsible for `block`.
pub(crate) fn slot_holding(children: &[Child], block: FileBlock) -> usize {
    children
        .partition_point(|c| c.key <= block)
        .saturating_sub(1)
}

/// The blocks the child in `slot` is responsible for. The first child also answers for what lies
/// before its key: an insertion there lowers the key.
pub(crate) fn child_span(children: &[Child], slot: usize, span: FileRange) -> FileRange {
    let start = if slot == 0 {
        span.start
    } else {
        children[slot].key
    };
    FileRange::new(
        start,
        children.get(slot + 1).map_or(span.end, |next| next.key),
    )
}

/// Reads and validates the root; its depth and its entries.
pub(crate) fn load_root<S: NodeRead>(store: &S) -> Result<(u16, Body), TreeError<S::Error>> {
    let damaged = |damage| TreeError::Damaged {
        at: None,
        near: FileBlock::new(0),
        damage,
    };
    node::decode(store.root()).map_err(damaged)
}

/// Reads and validates a node that must lie within `confined`.
pub(crate) fn load_node<S: NodeRead>(
    store: &S,
    at: FsBlock,
    level: usize,
    confined: FileRange,
) -> Result<Body, TreeError<S::Error>> {
    let damaged = |damage| TreeError::Damaged {
        at: Some(at),
        near: confined.start,
        damage,
    };
    let bytes = store
        .read(at)
        .map_err(|source| TreeError::Read { at, source })?;
    node::decode_at(&bytes, level, confined).map_err(damaged)
}
