//! What an extent tree lives in: the inode's 60 bytes and blocks that hold nodes.
//!
//! Decision: two traits, as capabilities. Whoever only looks things up gets a [`NodeRead`] and cannot
//! allocate; plans are made from a [`NodeRead`] too, so making one provably changes nothing.
//!
//! The store owns everything that is not the shape of the tree: checksums (it verifies them when it
//! loads a node and stamps them when it takes one), caching, the journal, and where nodes go.

use core::ops::Deref;
use e4_format::FsBlock;
use e4_format::extent::capacity_root;

/// Bytes of the root in the inode.
pub const ROOT_LEN: usize = 60;

/// Read access to a tree.
pub trait NodeRead {
    /// The store's own error.
    type Error;
    /// The bytes of a node: a whole block.
    type Node: Deref<Target = [u8]>;

    /// Entries that fit a node block: [`e4_format::extent::capacity_block`] of the block size. Tests
    /// use less; at least 3.
    fn node_entries(&self) -> u16;

    /// Entries that fit the root: [`capacity_root`]. Tests use less; at least 2.
    fn root_entries(&self) -> u16 {
        capacity_root()
    }

    /// The root as it stands in the inode.
    fn root(&self) -> &[u8; ROOT_LEN];

    /// The node in block `at`.
    ///
    /// The store has verified the checksum and passed the bytes through [`e4_format::extent::Node::parse`]
    /// when it loaded the block: lookups trust the order of the entries and check the header only.
    /// Operations that change the tree parse again.
    ///
    /// # Errors
    /// The store's own: outside the filesystem, device, checksum.
    fn read(&self, at: FsBlock) -> Result<Self::Node, Self::Error>;
}

/// Write access to a tree. Between two operations of this crate the tree is always consistent;
/// within one, a store that journals must not let the transaction close.
pub trait NodeStore: NodeRead {
    /// A block for a new node, near `goal`. Nothing has been changed yet when this is called.
    ///
    /// # Errors
    /// No space, or what kept the store from finding out.
    fn alloc_node(&mut self, goal: FsBlock) -> Result<FsBlock, Self::Error>;

    /// Takes back a block from [`NodeStore::alloc_node`] that was never written.
    fn return_node(&mut self, at: FsBlock);

    /// Makes `bytes` the beginning of block `at`: header and [`NodeRead::node_entries`] entries, unused
    /// ones zero. What lies behind them is the store's: zeros and the checksum, which it stamps.
    ///
    /// # Errors
    /// Only if the store is lost altogether, see [`crate::TreeError::Write`].
    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Replaces the root in the inode.
    ///
    /// # Errors
    /// As [`NodeStore::write`].
    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Self::Error>;

    /// Block `at` is no longer part of the tree: revoke it and free it. Called after everything
    /// else of an operation.
    ///
    /// # Errors
    /// As [`NodeStore::write`].
    fn free_node(&mut self, at: FsBlock) -> Result<(), Self::Error>;
}
