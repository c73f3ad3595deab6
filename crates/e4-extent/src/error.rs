//! What a tree operation can fail with. One variant per detection site, carrying where.
//!
//! Decision: the store's own errors travel in three variants, because what they mean for the tree
//! differs: [`TreeError::Read`] and [`TreeError::NoNode`] are found before anything is changed and
//! leave the tree as it was (I-5, R7); [`TreeError::Write`] is found while changing it, which only a
//! store that has given up altogether (an aborted journal) may report.

use e4_format::{FileBlock, FormatError, FsBlock};

/// Why a node of the tree was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// The node itself, or its place below its parent.
    #[error(transparent)]
    Node(#[from] FormatError),
    /// A node below the root without entries.
    #[error("node has no entries")]
    Empty,
    /// The parent's key is not the node's first block (found by [`crate::verify`] only).
    #[error("parent says the node starts at {key}, it starts at {found}")]
    Key {
        /// In the parent.
        key: FileBlock,
        /// In the node.
        found: FileBlock,
    },
}

/// An error of a tree operation; `E` is the store's own.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TreeError<E> {
    /// The store could not read a node. The tree is unchanged.
    #[error("reading extent node {at}: {source}")]
    Read {
        /// The node's block.
        at: FsBlock,
        /// The store's error.
        source: E,
    },
    /// A node is not what it must be. The tree is unchanged.
    #[error("extent node {at:?} (near file block {near}): {damage}")]
    Damaged {
        /// The node's block; `None` for the root in the inode.
        at: Option<FsBlock>,
        /// The part of the file it should describe.
        near: FileBlock,
        /// Which rule it breaks.
        damage: Damage,
    },
    /// The store could not give a block for a new node. The tree is unchanged, blocks already given
    /// were handed back.
    #[error("no block for an extent node: {source}")]
    NoNode {
        /// The store's error.
        source: E,
    },
    /// The tree would need more levels than the format allows. The tree is unchanged.
    #[error("extent tree would be deeper than {max} levels")]
    WouldBeTooDeep {
        /// The largest allowed depth.
        max: u16,
    },
    /// The store failed while the tree was being changed; it must have latched the failure.
    #[error("writing extent node {at:?}: {source}")]
    Write {
        /// The node's block; `None` for the root in the inode.
        at: Option<FsBlock>,
        /// The store's error.
        source: E,
    },
    /// A node cannot be written down: the store gave a block no node can point to, or a bug here.
    /// The tree is unchanged.
    #[error("extent node cannot be encoded: {0}")]
    Encode(FormatError),
    /// The extent to insert overlaps a mapped block. The tree is unchanged.
    #[error("file block {at} is already mapped")]
    Overlap {
        /// First block of the mapped extent.
        at: FileBlock,
    },
    /// The extent to insert cannot exist (no blocks, too long, past the last block).
    #[error("extent of {len} blocks at {block} is not a valid extent")]
    BadExtent {
        /// Its first block.
        block: FileBlock,
        /// Its length.
        len: u32,
    },
    /// Ranges were not sorted and disjoint, or one was empty.
    #[error("range {index} is empty, or not after the one before it")]
    BadRanges {
        /// Index of the first offender.
        index: usize,
    },
}
