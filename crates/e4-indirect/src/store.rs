//! What a block map lives in: the inode's 60 bytes and indirect blocks.
//!
//! Decision: two traits, as capabilities, in the manner of extent trees: plans are made from a [`MapRead`], so making one
//! provably changes nothing.

use core::ops::Deref;
use e4_format::FsBlock;

/// Bytes of the pointers in the inode.
pub const ROOT_LEN: usize = 60;

/// Read access to a map.
pub trait MapRead {
    /// The store's own error.
    type Error;
    /// The bytes of an indirect block; the first [`MapRead::per_block`] pointers count.
    type Block: Deref<Target = [u8]>;

    /// Pointers in an indirect block: [`e4_format::indirect::pointers_per_block`]. Tests use less; at least 2.
    fn per_block(&self) -> u32;

    /// The pointers as they stand in the inode.
    fn root(&self) -> &[u8; ROOT_LEN];

    /// The indirect block `at`. The store has made sure that its pointers lie inside the filesystem.
    ///
    /// # Errors
    /// The store's own: outside the filesystem, device.
    fn read(&self, at: FsBlock) -> Result<Self::Block, Self::Error>;
}

/// Write access to a map. Between two operations of this crate the map is always consistent; within one, a store that
/// journals must not let the transaction close.
pub trait MapStore: MapRead {
    /// A block for a new indirect block, near `goal`. Nothing has been changed yet when this is called.
    ///
    /// # Errors
    /// No space, or what kept the store from finding out.
    fn alloc_block(&mut self, goal: FsBlock) -> Result<FsBlock, Self::Error>;

    /// Takes back a block from [`MapStore::alloc_block`] that was never written.
    fn return_block(&mut self, at: FsBlock);

    /// Makes `bytes` the beginning of block `at`, zeros the rest.
    ///
    /// # Errors
    /// Only if the store is lost altogether, see [`crate::MapError::Write`].
    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Self::Error>;

    /// Replaces the pointers in the inode.
    ///
    /// # Errors
    /// As [`MapStore::write`].
    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Self::Error>;

    /// Block `at` is no longer part of the map: revoke it and free it. Called after everything else of an operation.
    ///
    /// # Errors
    /// As [`MapStore::write`].
    fn free_block(&mut self, at: FsBlock) -> Result<(), Self::Error>;
}
