//! What a directory lives in: metadata blocks mapped by its extent tree or block map.

use core::ops::Deref;

use e4_dir::{Check, DirContext, DirError, DirRead, DirStore};
use e4_extent::FileRange;
use e4_format::{FileBlock, FormatError, FsBlock, InodeFlags, MapKind};
use e4_journal::{BlockData, Handle, JournalError, Verify, VerifyTag};
use e4_sync::Arc;

use crate::error::{Error, Result};
use crate::inode::{Core, InodeState};
use crate::mount::Shared;

/// The store's error: a directory's own, or anything else.
#[derive(Debug)]
pub(crate) enum DirStoreError {
    Dir(DirError),
    Other(Error),
}

impl From<DirError> for DirStoreError {
    fn from(error: DirError) -> Self {
        Self::Dir(error)
    }
}

impl From<Error> for DirStoreError {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<JournalError> for DirStoreError {
    fn from(error: JournalError) -> Self {
        Self::Other(error.into())
    }
}

/// Names the directory in an error.
pub(crate) fn dir_error(state: &InodeState, error: DirStoreError) -> Error {
    match error {
        DirStoreError::Dir(DirError::IndexFull { .. } | DirError::TooManyBlocks { .. }) => {
            Error::NoSpace {
                image: Arc::clone(&state.shared.image),
                what: "directory index",
            }
        }
        DirStoreError::Dir(source) => state.shared.damaged(Error::Directory {
            image: Arc::clone(&state.shared.image),
            ino: state.ino,
            source,
        }),
        DirStoreError::Other(other) => other,
    }
}

/// The bytes of a directory block.
pub(crate) struct DirBytes(BlockData);

impl Deref for DirBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Tags of directory blocks in the metadata cache: the kinds of check, above the other kinds.
const DIR_TAG: u16 = 16;

fn blocks_of(shared: &Shared, core: &Core) -> u32 {
    let blocks = core.disk.size >> shared.sb.block_size().log2();
    u32::try_from(blocks).unwrap_or(u32::MAX)
}

fn place(state: &InodeState, core: &Core, at: FileBlock) -> Result<FsBlock> {
    let pieces = state.map(core, at.get()..at.get().saturating_add(1))?;
    pieces
        .first()
        .and_then(crate::extent::Piece::physical)
        .ok_or_else(|| Error::DirectoryHole {
            image: Arc::clone(&state.shared.image),
            ino: state.ino,
            block: at,
        })
}

fn read_block(
    state: &InodeState,
    core: &Core,
    at: FileBlock,
    check: Check<'_>,
) -> Result<DirBytes, DirStoreError> {
    let block = place(state, core, at)?;
    let refused = core::cell::RefCell::new(None);
    let run = |_: FsBlock, bytes: &[u8]| {
        check.run(bytes).map_err(|e| {
            *refused.borrow_mut() = Some(e);
            // Replaced by the directory's own error below.
            FormatError::Truncated {
                what: "directory block",
                len: bytes.len(),
            }
        })
    };
    let tag = VerifyTag::new(DIR_TAG + u16::from(check.tag()));
    match state.shared.meta.read(block, Verify::new(tag, &run)) {
        Ok(block) => Ok(DirBytes(block.data())),
        Err(other) => Err(match refused.into_inner() {
            Some(error) => DirStoreError::Dir(error),
            None => other.into(),
        }),
    }
}

fn context_of(state: &InodeState, core: &Core) -> Result<DirContext> {
    match core.disk.map_kind() {
        MapKind::Extents | MapKind::Indirect => {}
        MapKind::Inline | MapKind::None => {
            return Err(Error::Unsupported {
                image: Arc::clone(&state.shared.image),
                what: format!("inode {}: a directory inside its inode", state.ino),
            });
        }
    }
    Ok(DirContext::new(&state.shared.sb, state.seed))
}

/// Read access to a directory.
pub(crate) struct DirView<'a> {
    state: &'a InodeState,
    core: &'a Core,
    context: DirContext,
}

impl<'a> DirView<'a> {
    pub(crate) fn new(state: &'a InodeState, core: &'a Core) -> Result<Self> {
        Ok(Self {
            state,
            core,
            context: context_of(state, core)?,
        })
    }
}

impl DirRead for DirView<'_> {
    type Error = DirStoreError;
    type Block = DirBytes;

    fn context(&self) -> &DirContext {
        &self.context
    }

    fn is_indexed(&self) -> bool {
        self.core.disk.flags.contains(InodeFlags::INDEX)
    }

    fn blocks(&self) -> u32 {
        blocks_of(&self.state.shared, self.core)
    }

    fn read(&self, at: FileBlock, check: Check<'_>) -> Result<DirBytes, DirStoreError> {
        read_block(self.state, self.core, at, check)
    }
}

/// Write access to a directory inside a handle. The caller stores the inode afterwards.
pub(crate) struct DirEdit<'a> {
    state: &'a InodeState,
    core: &'a mut Core,
    handle: &'a mut Handle,
    context: DirContext,
}

impl<'a> DirEdit<'a> {
    pub(crate) fn new(
        state: &'a InodeState,
        core: &'a mut Core,
        handle: &'a mut Handle,
    ) -> Result<Self> {
        let context = context_of(state, core)?;
        Ok(Self {
            state,
            core,
            handle,
            context,
        })
    }
}

impl DirEdit<'_> {
    /// Unmaps appended blocks again: an append is all or nothing. What it touches is part of the transaction already.
    fn take_back(&mut self, first: u32, end: u32) -> Result<()> {
        if first == end {
            return Ok(());
        }
        let mut rest = Some(FileRange::new(FileBlock::new(first), FileBlock::new(end)));
        while let Some(range) = rest.filter(|range| !range.is_empty()) {
            rest = self.state.remove(self.core, self.handle, range)?;
        }
        // The tree may have got a node that it keeps.
        let shared = &self.state.shared;
        shared.store_core(self.handle, self.state, self.core, true)
    }
}

impl DirRead for DirEdit<'_> {
    type Error = DirStoreError;
    type Block = DirBytes;

    fn context(&self) -> &DirContext {
        &self.context
    }

    fn is_indexed(&self) -> bool {
        self.core.disk.flags.contains(InodeFlags::INDEX)
    }

    fn blocks(&self) -> u32 {
        blocks_of(&self.state.shared, self.core)
    }

    fn read(&self, at: FileBlock, check: Check<'_>) -> Result<DirBytes, DirStoreError> {
        read_block(self.state, self.core, at, check)
    }
}

impl DirStore for DirEdit<'_> {
    fn set_indexed(&mut self, indexed: bool) {
        if indexed {
            self.core.disk.flags.insert(InodeFlags::INDEX);
        } else {
            self.core.disk.flags.remove(InodeFlags::INDEX);
        }
    }

    fn append(&mut self, count: u32) -> Result<(), DirStoreError> {
        let first = self.blocks();
        let mut at = first;
        while at < first + count {
            let run = at..first + count;
            match self.state.insert_dir_run(self.core, self.handle, run) {
                Ok(next) => at = next,
                Err(error) => {
                    self.take_back(first, at)?;
                    return Err(error.into());
                }
            }
        }
        self.core.disk.size += u64::from(count) << self.state.shared.sb.block_size().log2();
        self.state.set_size(self.core.disk.size);
        Ok(())
    }

    fn write(&mut self, at: FileBlock, bytes: &[u8]) -> Result<(), DirStoreError> {
        let place = place(self.state, self.core, at)?;
        let block = self.handle.create(place)?;
        let mut guard = self.handle.modify(&block)?;
        if let Some(slot) = guard.get_mut(..bytes.len()) {
            slot.copy_from_slice(bytes);
        }
        // Verified again as whatever it is read as: `create` forgot its old tag.
        Ok(())
    }
}
