//! From a tree to places: every inode number, every block, and the size of it all.
//!
//! Decisions:
//! - Directories, then attribute blocks lie at the front, one after the other; then come the contents of files and
//!   long links in path order, each file's extent tree (if it needs blocks) right before it.
//! - A small file is not split by what the formatter put in the way (a copy of the superblock, the journal): it goes
//!   behind it. A large one goes around it.
//! - The size is found by trying: from the content's blocks upwards until a draft of the filesystem has room.

pub(crate) mod directory;
pub(crate) mod extents;
mod fit;
pub(crate) mod measure;
pub(crate) mod order;
pub(crate) mod place;

pub(crate) use fit::layout;

use directory::{Blocks, Style};
use e4_format::{Extent, FsBlock};
use e4_mkfs::Draft;
use order::Order;
use std::ops::Range;

/// Files of at most this many blocks lie in one piece.
const UNSPLIT: u64 = 64;

/// The places of one inode's blocks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Placed {
    /// Its data, in [`Layout::extents`].
    pub(crate) extents: Range<u32>,
    /// Blocks of its extent tree, in [`Layout::tree_blocks`].
    pub(crate) tree: Range<u32>,
    /// Its attribute block, in [`Layout::xattr_blocks`].
    pub(crate) xattr: Option<u32>,
    /// Its attributes in the inode, in [`Layout::inline_xattrs`].
    pub(crate) inline: Option<u32>,
    /// Its directory blocks, in [`Layout::directories`].
    pub(crate) directory: Option<u32>,
}

/// An attribute block and who shares it.
#[derive(Clone, Debug)]
pub(crate) struct XattrBlock {
    pub(crate) bytes: Vec<u8>,
    pub(crate) shared: u32,
    pub(crate) at: FsBlock,
}

/// Everything decided, nothing written.
#[derive(Debug)]
pub(crate) struct Layout {
    pub(crate) draft: Draft,
    pub(crate) order: Order,
    pub(crate) style: Style,
    /// Root, lost+found, then [`Order::nodes`].
    pub(crate) placed: Vec<Placed>,
    pub(crate) extents: Vec<Extent>,
    pub(crate) tree_blocks: Vec<FsBlock>,
    pub(crate) directories: Vec<Blocks>,
    pub(crate) xattr_blocks: Vec<XattrBlock>,
    pub(crate) inline_xattrs: Vec<Vec<u8>>,
}

impl Layout {
    pub(crate) fn extents_of(&self, placed: &Placed) -> &[Extent] {
        let Range { start, end } = placed.extents;
        let range = start as usize..end as usize;
        self.extents.get(range).unwrap_or_default()
    }

    pub(crate) fn tree_of(&self, placed: &Placed) -> &[FsBlock] {
        let Range { start, end } = placed.tree;
        let range = start as usize..end as usize;
        self.tree_blocks.get(range).unwrap_or_default()
    }
}
