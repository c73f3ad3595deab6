//! What a directory lives in: numbered blocks and one flag.
//!
//! Decisions: two traits, as capabilities. Whoever only looks up gets a [`DirRead`] and can change
//! nothing. The store does not know what a block is for, so a reader hands it a [`Check`]; a store
//! that caches runs it once per load and kind ([`Check::tag`]), one that does not runs it on every
//! read. Operations stamp checksums themselves and write complete blocks.
//!
//! Invariant: an operation reads everything it needs, then appends, then writes. What fails before
//! the first write has changed nothing; [`DirStore::append`] is all or nothing for the same reason.

use core::ops::Deref;
use e4_format::htree::DxKind;
use e4_format::{FileBlock, dir, htree};

use crate::context::{DirContext, FIRST};
use crate::error::{DirError, in_block};
use crate::root;

/// Read access to a directory.
pub trait DirRead {
    /// The store's own error.
    type Error: From<DirError>;
    /// The bytes of a block; cheap to hold.
    type Block: Deref<Target = [u8]>;

    /// What the blocks look like.
    fn context(&self) -> &DirContext;

    /// The inode's flag `INDEX`.
    fn is_indexed(&self) -> bool;

    /// Blocks of the directory: its size divided by the block size.
    fn blocks(&self) -> u32;

    /// Block `at`, which has passed `check` since it was loaded or written. Only called with
    /// `at < blocks()`.
    ///
    /// # Errors
    /// The store's own (device, a hole), or what the check said.
    fn read(&self, at: FileBlock, check: Check<'_>) -> Result<Self::Block, Self::Error>;

    /// Called when the index of this directory cannot be used and a lookup or iteration goes
    /// through all blocks instead: the place to remember that the image needs a check.
    fn index_unusable(&self, why: &Self::Error) {
        let _ = why;
    }
}

/// Write access to a directory. All of one operation belongs into one transaction.
pub trait DirStore: DirRead {
    /// Sets or clears the inode's flag `INDEX`.
    fn set_indexed(&mut self, indexed: bool);

    /// Adds `count` blocks (at least 1) at the end, all or none. Their contents do not matter: each
    /// is written before the operation returns. Called before anything is changed.
    ///
    /// # Errors
    /// No space, or what kept the store from finding out; the directory is as long as before.
    fn append(&mut self, count: u32) -> Result<(), Self::Error>;

    /// Makes `bytes`, a complete block with its checksum, the contents of block `at`.
    ///
    /// # Errors
    /// Only if the store is lost altogether (the journal was aborted): an operation does not undo
    /// what it has already written.
    fn write(&mut self, at: FileBlock, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What a block is expected to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Expect {
    /// A block of entries.
    Linear,
    /// Block 0 of an indexed directory.
    Root,
    /// An inner node of an index.
    Node,
    /// Any of these, found out from its looks: when an indexed directory is read without its index.
    Any,
}

/// The check a block must pass before its bytes are believed: checksum and structure.
#[derive(Clone, Copy, Debug)]
pub struct Check<'a> {
    context: &'a DirContext,
    at: FileBlock,
    expect: Expect,
}

impl<'a> Check<'a> {
    /// A check of block `at`.
    #[must_use]
    pub const fn new(context: &'a DirContext, at: FileBlock, expect: Expect) -> Self {
        Self {
            context,
            at,
            expect,
        }
    }

    /// What the block is expected to be. Passing one does not imply passing another.
    #[must_use]
    pub const fn expect(&self) -> Expect {
        self.expect
    }

    /// A small number for [`Check::expect`], 1 to 4, for remembering which checks a block has
    /// passed.
    #[must_use]
    pub const fn tag(&self) -> u8 {
        match self.expect {
            Expect::Linear => 1,
            Expect::Root => 2,
            Expect::Node => 3,
            Expect::Any => 4,
        }
    }

    /// Checks the bytes.
    ///
    /// # Errors
    /// The rule they break.
    pub fn run(&self, bytes: &[u8]) -> Result<(), DirError> {
        let (at, cx) = (self.at, self.context);
        let (found, expected) = (bytes.len(), cx.block_len());
        if found != expected {
            return Err(DirError::BlockLength {
                block: at,
                found,
                expected,
            });
        }
        match self.expect {
            Expect::Linear => check_linear(cx, at, bytes),
            Expect::Root => {
                htree::verify(bytes, DxKind::Root, &cx.format, cx.csum_seed)
                    .map_err(in_block(at))?;
                root::check(cx, bytes)
            }
            Expect::Node => {
                htree::verify(bytes, DxKind::Node, &cx.format, cx.csum_seed)
                    .map_err(in_block(at))?;
                htree::DxNode::parse(bytes, DxKind::Node, &cx.format).map_err(in_block(at))?;
                Ok(())
            }
            Expect::Any => match index_kind(cx, at, bytes) {
                Some(_) => Ok(()), // holds no entries but `.` and `..`, and those are looked at below
                None => check_linear(cx, at, bytes),
            },
        }
    }
}

fn check_linear(cx: &DirContext, at: FileBlock, bytes: &[u8]) -> Result<(), DirError> {
    dir::verify(bytes, &cx.format, cx.csum_seed).map_err(in_block(at))?;
    for e in dir::entries(bytes, &cx.format) {
        e.map_err(in_block(at))?;
    }
    Ok(())
}

/// What an index block in an indexed directory is, by its looks; `None` for a block of entries.
/// Only block 0 is a root. Without checksums an empty leaf looks like a node; neither has entries.
pub(crate) fn index_kind(cx: &DirContext, at: FileBlock, bytes: &[u8]) -> Option<DxKind> {
    match htree::block_kind(bytes, &cx.format) {
        Some(DxKind::Root) if at != FIRST => None,
        Some(DxKind::Node) if at == FIRST => None,
        kind => kind,
    }
}

/// Reads a block, or says that there is none.
pub(crate) fn read<S: DirRead + ?Sized>(
    store: &S,
    at: FileBlock,
    expect: Expect,
) -> Result<S::Block, S::Error> {
    if at.get() >= store.blocks() {
        return Err(DirError::NoBlocks.into());
    }
    store.read(at, Check::new(store.context(), at, expect))
}

/// Reads block `at` of a directory whose index is not used.
pub(crate) fn read_any<S: DirRead + ?Sized>(
    store: &S,
    at: FileBlock,
) -> Result<S::Block, S::Error> {
    read(
        store,
        at,
        if store.is_indexed() {
            Expect::Any
        } else {
            Expect::Linear
        },
    )
}

/// Stamps a block of entries.
pub(crate) fn seal_linear(
    cx: &DirContext,
    at: FileBlock,
    block: &mut [u8],
) -> Result<(), DirError> {
    dir::stamp(block, &cx.format, cx.csum_seed).map_err(in_block(at))
}

/// Stamps an index block.
pub(crate) fn seal_index(
    cx: &DirContext,
    at: FileBlock,
    kind: DxKind,
    block: &mut [u8],
) -> Result<(), DirError> {
    htree::stamp(block, kind, &cx.format, cx.csum_seed).map_err(in_block(at))
}
