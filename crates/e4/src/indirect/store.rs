//! What a block map lives in: the inode's pointers and blocks of the metadata cache.

use core::ops::Deref;

use e4_format::indirect::pointers_per_block;
use e4_format::{FileBlock, FsBlock, InodeNo, Superblock};
use e4_indirect::{INSERT_NODES_MAX, MapError, MapRead, MapStore, ROOT_LEN};
use e4_journal::{BlockData, Handle, MetaStore};
use e4_planted::planted;
use e4_sync::Arc;

use crate::alloc::{Account, CREDITS_PER_ALLOC};
use crate::error::{Error, Result};
use crate::inode::{CREDITS_PER_STORE, Core, InodeState};
use crate::meta::{self, NodeReadError};
use crate::mount::Shared;

/// Journal credits of inserting a run of at most one indirect block's worth of blocks, its blocks' bits and a store of
/// the inode included.
pub(crate) const CREDITS_PER_INSERT: u32 =
    INSERT_NODES_MAX * (1 + CREDITS_PER_ALLOC) + CREDITS_PER_ALLOC + CREDITS_PER_STORE + 1;

/// The bytes of an indirect block.
pub(crate) struct PointerBytes(BlockData);

impl Deref for PointerBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads an indirect block of an inode.
pub(crate) fn read_indirect(
    image: &Arc<str>,
    store: &MetaStore,
    sb: &Superblock,
    ino: InodeNo,
    at: FsBlock,
) -> Result<PointerBytes> {
    match meta::read_indirect_block(store, sb, at) {
        Ok(block) => Ok(PointerBytes(block.data())),
        Err(NodeReadError::Outside) => Err(Error::BlockMap {
            image: Arc::clone(image),
            ino,
            near: FileBlock::new(0),
            what: "an indirect block lies outside the filesystem",
        }),
        Err(NodeReadError::Format(source)) => Err(Error::InodeBlock {
            image: Arc::clone(image),
            ino,
            block: at,
            source,
        }),
        Err(NodeReadError::Journal(source)) => Err(source.into()),
    }
}

/// As [`read_indirect`], of a mounted filesystem: its own blocks are nobody's indirect blocks.
fn read_foreign(shared: &Shared, ino: InodeNo, at: FsBlock) -> Result<PointerBytes> {
    if shared.alloc.is_protected(at, 1) {
        return Err(Error::BlockMap {
            image: Arc::clone(&shared.image),
            ino,
            near: FileBlock::new(0),
            what: "an indirect block belongs to the filesystem itself, or does not exist",
        });
    }
    read_indirect(&shared.image, &shared.meta, &shared.sb, ino, at)
}

/// Read access to an inode's block map.
pub(crate) struct BlockMapView<'a> {
    shared: &'a Shared,
    ino: InodeNo,
    root: &'a [u8; ROOT_LEN],
}

impl<'a> BlockMapView<'a> {
    pub(crate) fn new(state: &'a InodeState, core: &'a Core) -> Self {
        Self {
            shared: &state.shared,
            ino: state.ino,
            root: &core.disk.i_block,
        }
    }
}

impl MapRead for BlockMapView<'_> {
    type Error = Error;
    type Block = PointerBytes;

    fn per_block(&self) -> u32 {
        pointers_per_block(self.shared.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        self.root
    }

    fn read(&self, at: FsBlock) -> Result<PointerBytes> {
        read_foreign(self.shared, self.ino, at)
    }
}

/// Write access to an inode's block map inside a handle. The caller holds the tree lock and stores the inode
/// afterwards.
pub(crate) struct BlockMapEdit<'a> {
    shared: &'a Shared,
    state: &'a InodeState,
    core: &'a mut Core,
    handle: &'a mut Handle,
    /// Blocks obtained and not needed after all.
    spare: Vec<FsBlock>,
}

impl<'a> BlockMapEdit<'a> {
    pub(crate) fn new(state: &'a InodeState, core: &'a mut Core, handle: &'a mut Handle) -> Self {
        core.status.forget();
        Self {
            shared: &state.shared,
            state,
            core,
            handle,
            spare: Vec::new(),
        }
    }

    fn sectors_per_block(&self) -> u64 {
        u64::from(self.shared.sb.block_size().bytes() / 512)
    }

    fn uncount(&mut self) {
        let sectors = self.sectors_per_block();
        self.core.disk.sectors = self.core.disk.sectors.saturating_sub(sectors);
    }

    /// Ends the edit: gives unused blocks back.
    pub(crate) fn finish(mut self) -> Result<()> {
        for at in core::mem::take(&mut self.spare) {
            self.uncount();
            self.shared.alloc.free(self.handle, at, 1)?;
        }
        Ok(())
    }
}

impl MapRead for BlockMapEdit<'_> {
    type Error = Error;
    type Block = PointerBytes;

    fn per_block(&self) -> u32 {
        pointers_per_block(self.shared.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.core.disk.i_block
    }

    fn read(&self, at: FsBlock) -> Result<PointerBytes> {
        read_foreign(self.shared, self.state.ino, at)
    }
}

impl MapStore for BlockMapEdit<'_> {
    fn alloc_block(&mut self, goal: FsBlock) -> Result<FsBlock> {
        let alloc = &self.shared.alloc;
        let run = alloc.alloc(self.handle, goal, 1, Account::Free)?;
        self.core.disk.sectors += self.sectors_per_block();
        Ok(run.start)
    }

    fn return_block(&mut self, at: FsBlock) {
        self.spare.push(at);
    }

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<()> {
        // Whatever the block held is of no interest: every byte is written.
        let block = self.handle.create(at)?;
        let mut guard = self.handle.modify(&block)?;
        if let Some(head) = guard.get_mut(..bytes.len()) {
            head.copy_from_slice(bytes);
        }
        guard.set_verified(meta::tag::INDIRECT);
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<()> {
        self.core.disk.i_block = *root;
        Ok(())
    }

    fn free_block(&mut self, at: FsBlock) -> Result<()> {
        if !planted!(ForgetRevoke) {
            self.handle.forget(at)?;
        }
        self.shared.alloc.free(self.handle, at, 1)?;
        self.uncount();
        Ok(())
    }
}

/// A map's error as ours: the store's own errors pass through, damage is named.
pub(crate) fn map_error(state: &InodeState, error: MapError<Error>) -> Error {
    let damaged = |near, what| Error::BlockMap {
        image: Arc::clone(&state.shared.image),
        ino: state.ino,
        near,
        what,
    };
    match error {
        MapError::Read { source, .. }
        | MapError::NoBlock { source }
        | MapError::Write { source, .. } => source,
        MapError::Twice { near, .. } => {
            damaged(near, "an indirect block belongs to two places of the map")
        }
        MapError::Overlap { at } => damaged(at, "a block would be mapped twice"),
        MapError::OutOfReach { block, .. } => damaged(block, "a block is out of reach"),
        MapError::Encode(_) => Error::NoSpace {
            image: Arc::clone(&state.shared.image),
            what: "blocks that a block map can name",
        },
        _ => damaged(FileBlock::new(0), "it cannot be changed"),
    }
}
