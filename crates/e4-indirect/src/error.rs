//! What an operation on a map can fail with. One variant per detection site, carrying where.

use e4_format::{FileBlock, FormatError, FsBlock};

/// An error of an operation on a map; `E` is the store's own.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError<E> {
    /// The store could not read an indirect block. The map is unchanged.
    #[error("reading indirect block {at}: {source}")]
    Read {
        /// The block.
        at: FsBlock,
        /// The store's error.
        source: E,
    },
    /// The map points to one indirect block from two places. The map is unchanged.
    #[error("indirect block {at} (near file block {near}) belongs to two places of the map")]
    Twice {
        /// The block.
        at: FsBlock,
        /// One of the places.
        near: FileBlock,
    },
    /// The store could not give a new indirect block. The map is unchanged, blocks already given were handed back.
    #[error("no block for an indirect block: {source}")]
    NoBlock {
        /// The store's error.
        source: E,
    },
    /// The store failed while the map was being changed; it must have latched the failure.
    #[error("writing indirect block {at:?}: {source}")]
    Write {
        /// The block; `None` for the pointers in the inode.
        at: Option<FsBlock>,
        /// The store's error.
        source: E,
    },
    /// A pointer cannot be written down: the block lies beyond 2^32. The map is unchanged.
    #[error("a block map cannot be encoded: {0}")]
    Encode(FormatError),
    /// A block to insert is mapped already. The map is unchanged.
    #[error("file block {at} is already mapped")]
    Overlap {
        /// The first such block.
        at: FileBlock,
    },
    /// The blocks to insert are none, or lie beyond the last block a map reaches.
    #[error("{len} blocks at {block} are not in reach of a block map")]
    OutOfReach {
        /// The first block.
        block: FileBlock,
        /// How many.
        len: u32,
    },
}
