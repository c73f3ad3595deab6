//! What can go wrong in a directory: one variant per place where it is noticed.
//!
//! Decisions: damage names the logical block of the directory and the rule it breaks; the inode is
//! the store's to add. Absence of a name is a value (`None`), never an error.

use e4_format::{FileBlock, FormatError, InodeNo};

/// An error of a directory operation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are named after what the message prints
pub enum DirError {
    /// No name has this length.
    #[error("a name of {len} bytes; 1 to 255 are possible")]
    NameLength { len: usize },
    /// `/` or NUL in a name.
    #[error("a name with byte {byte:#04x} at {at}")]
    NameByte { at: usize, byte: u8 },
    /// `.` and `..` are not inserted, removed or replaced: see [`init`](crate::init) and
    /// [`set_dotdot`](crate::set_dotdot).
    #[error("'.' and '..' cannot be inserted, removed or replaced")]
    DotName,
    /// An inode number this image does not have.
    #[error("inode {inode} of {count}")]
    InodeRange { inode: InodeNo, count: u32 },

    /// The name is taken.
    #[error("the name exists already, inode {inode}")]
    Exists { inode: InodeNo },
    /// No room, and the index cannot grow: all levels the format allows are full on the way.
    #[error("the index of the directory is full with {levels} levels below its root")]
    IndexFull { levels: u8 },
    /// The directory has as many blocks as an index can point to.
    #[error("the directory has {blocks} blocks, more than its index can point to")]
    TooManyBlocks { blocks: u32 },

    /// A directory that has no block at all, not even for `.` and `..`.
    #[error("the directory has no blocks")]
    NoBlocks,
    /// A directory that is to be initialised has blocks already.
    #[error("a new directory with {blocks} blocks")]
    NotNew { blocks: u32 },

    /// A rule of the format broken in one block.
    #[error("directory block {block}: {source}")]
    Block {
        block: FileBlock,
        #[source]
        source: FormatError,
    },
    /// The store handed out something that is not a block.
    #[error("directory block {block}: {found} bytes instead of {expected}")]
    BlockLength {
        block: FileBlock,
        found: usize,
        expected: usize,
    },
    /// Block 0 does not begin with `.` and `..`.
    #[error("directory block {block} does not begin with '.' and '..'")]
    Dots { block: FileBlock },
    /// Flagged as indexed in an image without `dir_index` whose checksums depend on it.
    #[error("an indexed directory in an image without dir_index")]
    IndexWithoutFeature,
    /// The root names a hash we do not know.
    #[error("directory block {block}: hash version {stored} is not known")]
    UnknownHash { block: FileBlock, stored: u8 },
    /// An index block leads out of the directory.
    #[error("directory block {block}: leads to block {child} of {blocks}")]
    IndexChild {
        block: FileBlock,
        child: FileBlock,
        blocks: u32,
    },
    /// An index block leads back to a block above it.
    #[error("directory block {block}: leads back to block {child}")]
    IndexLoop { block: FileBlock, child: FileBlock },
    /// Hashes of an index node lie outside what its parent says.
    #[error("directory block {block}: hash {hash:#010x} outside {lower:#010x} to {upper:#010x}")]
    IndexRange {
        block: FileBlock,
        hash: u32,
        lower: u32,
        upper: u32,
    },
    /// Where a leaf should be there is an index node.
    #[error("directory block {block}: an index node where a leaf should be")]
    LeafIsNode { block: FileBlock },
    /// A name is in a leaf that its hash does not lead to.
    #[error(
        "directory block {block}: hash {hash:#010x} of the entry at byte {offset} leads elsewhere"
    )]
    LeafHash {
        block: FileBlock,
        offset: usize,
        hash: u32,
    },
    /// A full block could not be divided, which its entry sizes rule out.
    #[error("directory block {block}: its entries cannot be divided")]
    SplitFailed { block: FileBlock },
    /// Following the index led through more leaves than there are blocks: some are shared.
    #[error("the index leads through {visited} leaves of a directory with {blocks} blocks")]
    LeavesShared { visited: u32, blocks: u32 },
    /// A hash cursor into a directory that has no hash order (any more).
    #[error("a position of an indexed directory in one that is not")]
    CursorMode,
}

impl DirError {
    /// True if the directory is damaged, as opposed to full, or asked for something impossible.
    #[must_use]
    pub const fn is_damage(&self) -> bool {
        match self {
            Self::NameLength { .. }
            | Self::NameByte { .. }
            | Self::DotName
            | Self::InodeRange { .. }
            | Self::Exists { .. }
            | Self::IndexFull { .. }
            | Self::TooManyBlocks { .. }
            | Self::NotNew { .. }
            | Self::CursorMode => false,
            Self::NoBlocks
            | Self::Block { .. }
            | Self::BlockLength { .. }
            | Self::Dots { .. }
            | Self::IndexWithoutFeature
            | Self::UnknownHash { .. }
            | Self::IndexChild { .. }
            | Self::IndexLoop { .. }
            | Self::IndexRange { .. }
            | Self::LeafIsNode { .. }
            | Self::LeafHash { .. }
            | Self::SplitFailed { .. }
            | Self::LeavesShared { .. } => true,
        }
    }
}

/// Puts the block into an error of the format.
pub(crate) const fn in_block(block: FileBlock) -> impl Fn(FormatError) -> DirError {
    move |source| DirError::Block { block, source }
}
