//! Where attributes live: behind the fields of the inode, and in a block that several inodes may share.
//!
//! Decisions:
//! - A block is shared by whoever stores the same attributes: equal blocks are found by their hash in memory, as far as this
//!   mount has seen them. Its reference count, and the memory of hashes, belong to one lock (rank 88): a block is
//!   only changed in place by the last inode that has it.
//! - Lists are changed whole: read, edit, write. They are at most a block long.

use e4_format::xattr::{self, REFCOUNT_MAX, Xattr};
use e4_format::{FormatError, FsBlock, InodeNo};
use e4_journal::{Handle, JournalError, Verify, VerifyTag};
use e4_sync::Arc;
use hashbrown::HashMap;

use super::{Attr, Key};
use crate::alloc::{Account, CREDITS_PER_ALLOC};
use crate::error::{Error, Result};
use crate::inode::{Core, InodeState};
use crate::meta;
use crate::mount::Shared;

/// Journal credits of changing attributes: a new block, the old one, its revoke. The inode itself is the caller's.
pub(crate) const CREDITS_PER_XATTR: u32 = 2 * CREDITS_PER_ALLOC + 3;

const TAG: VerifyTag = VerifyTag::new(6);
/// Hashes remembered at most.
const KNOWN_MAX: usize = 4096;

/// What rank 88 guards: blocks by their hash.
#[derive(Default)]
pub(crate) struct XattrBlocks {
    known: HashMap<u32, FsBlock>,
}

/// The attributes of an inode, by place.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Lists {
    /// In the inode.
    pub(crate) body: Vec<Attr>,
    /// In the block.
    pub(crate) block: Vec<Attr>,
    /// Bytes there are in the inode.
    pub(crate) room: usize,
}

impl Lists {
    pub(crate) fn all(&self) -> impl Iterator<Item = &Attr> {
        self.body.iter().chain(&self.block)
    }

    pub(super) fn find(&self, key: Key<'_>) -> Option<&Attr> {
        self.all().find(|attr| attr.is(key))
    }

    pub(super) fn without(&self, key: Key<'_>) -> Self {
        let keep = |list: &[Attr]| list.iter().filter(|a| !a.is(key)).cloned().collect();
        Self {
            body: keep(&self.body),
            block: keep(&self.block),
            room: self.room,
        }
    }

    pub(super) fn stored(list: &[Attr]) -> usize {
        list.iter().map(|attr| attr.view().stored_len()).sum()
    }

    fn views(list: &[Attr]) -> impl Iterator<Item = Xattr<'_>> + Clone {
        list.iter().map(Attr::view)
    }

    /// Writes those of the inode into its bytes.
    pub(crate) fn write_body(&self, bytes: &mut [u8], extra: u16) -> Result<(), FormatError> {
        xattr::write_in_inode(bytes, extra, Self::views(&self.body))
    }
}

fn collect<'a>(
    found: impl Iterator<Item = Result<Xattr<'a>, FormatError>>,
) -> Result<Vec<Attr>, FormatError> {
    found
        .map(|attr| {
            attr.map(|attr| Attr {
                namespace: attr.namespace,
                name: attr.name.to_vec(),
                value: attr.value.to_vec(),
            })
        })
        .collect()
}

impl Shared {
    /// Reads the attributes of an inode.
    pub(crate) fn load_lists(&self, state: &InodeState, core: &Core) -> Result<Lists> {
        let extra = core.disk.extra_isize;
        let body =
            self.with_inode_bytes(state.ino, |bytes| collect(xattr::in_inode(bytes, extra)))?;
        let block = match core.disk.file_acl {
            None => Vec::new(),
            Some(at) => {
                let block = self.read_xattr_block(state.ino, at)?;
                let data = block.data();
                xattr::in_block(&data, &self.sb, at)
                    .and_then(collect)
                    .map_err(|source| meta::format_error(&self.image, source))?
            }
        };
        Ok(Lists {
            body,
            block,
            room: xattr::inode_room(self.sb.inode_size(), extra),
        })
    }

    fn read_xattr_block(&self, ino: InodeNo, at: FsBlock) -> Result<e4_journal::Block> {
        if self.alloc.is_protected(at, 1) {
            return Err(Error::BadInode {
                image: Arc::clone(&self.image),
                ino: ino.get(),
                what: "has an attribute block that cannot be one",
            });
        }
        let check = |at: FsBlock, bytes: &[u8]| xattr::in_block(bytes, &self.sb, at).map(drop);
        match self.meta.read(at, Verify::new(TAG, &check)) {
            Ok(block) => Ok(block),
            Err(JournalError::Verify { source, .. }) => {
                Err(self.damaged(meta::format_error(&self.image, source)))
            }
            Err(other) => Err(other.into()),
        }
    }

    /// Writes what has changed between two states of an inode's attributes ([`CREDITS_PER_XATTR`]). The caller stores
    /// the inode. Nothing has changed on an error but damage.
    pub(crate) fn store_lists(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
        old: &Lists,
        new: &Lists,
    ) -> Result<()> {
        if old.block != new.block {
            let goal = self.alloc.goal_of_inode(state.ino);
            let before = core.disk.file_acl;
            let after = self.exchange_block(handle, (state.ino, goal), before, &new.block)?;
            let per_block = u64::from(self.sb.block_size().bytes() / 512);
            match (before, after) {
                (None, Some(_)) => core.disk.sectors += per_block,
                (Some(_), None) => {
                    core.disk.sectors = core.disk.sectors.saturating_sub(per_block);
                }
                _ => {}
            }
            core.disk.file_acl = after;
        }
        if old.body != new.body {
            let extra = core.disk.extra_isize;
            self.edit_inode(handle, state.ino, |bytes| new.write_body(bytes, extra))?;
        }
        Ok(())
    }

    /// Lets an inode have a block with these attributes instead of the one it has.
    pub(crate) fn exchange_block(
        &self,
        handle: &mut Handle,
        (ino, goal): (InodeNo, FsBlock),
        before: Option<FsBlock>,
        attrs: &[Attr],
    ) -> Result<Option<FsBlock>> {
        let mut blocks = self.xattr_blocks.lock();
        if attrs.is_empty() {
            if let Some(at) = before {
                self.release_block(handle, &mut blocks, ino, at)?;
            }
            return Ok(None);
        }
        let mut sorted: Vec<Xattr<'_>> = Lists::views(attrs).collect();
        sorted.sort_by(Xattr::cmp_in_block);
        let encode = |at: FsBlock, bytes: &mut [u8]| {
            xattr::write_block(bytes, &self.sb, at, 1, sorted.iter().copied())
                .map_err(|source| meta::format_error(&self.image, source))
        };
        let mut wanted = vec![0; self.sb.block_size().len()];
        encode(FsBlock::new(0), &mut wanted)?;
        if let Some(at) = self.share_block(handle, &blocks, ino, &wanted, before)? {
            if let Some(old) = before {
                self.release_block(handle, &mut blocks, ino, old)?;
            }
            return Ok(Some(at));
        }
        let mine = match before {
            Some(at) => xattr::block_refcount(&self.read_xattr_block(ino, at)?.data()) == 1,
            None => false,
        };
        let at = match before.filter(|_| mine) {
            Some(at) => {
                blocks.known.retain(|_, known| *known != at);
                at
            }
            None => self.alloc.alloc(handle, goal, 1, Account::Free)?.start,
        };
        let block = handle.create(at)?;
        let mut guard = handle.modify(&block)?;
        encode(at, &mut guard)?;
        guard.set_verified(TAG);
        drop(guard);
        if let Some(old) = before.filter(|_| !mine) {
            self.release_block(handle, &mut blocks, ino, old)?;
        }
        let hash = xattr::block_hash(&wanted);
        if hash != 0 {
            if blocks.known.len() >= KNOWN_MAX {
                blocks.known.clear();
            }
            blocks.known.insert(hash, at);
        }
        Ok(Some(at))
    }

    /// One more reference to a block that holds the same as `wanted`, if one is known.
    fn share_block(
        &self,
        handle: &mut Handle,
        blocks: &XattrBlocks,
        ino: InodeNo,
        wanted: &[u8],
        not: Option<FsBlock>,
    ) -> Result<Option<FsBlock>> {
        let known = blocks.known.get(&xattr::block_hash(wanted));
        let Some(&at) = known.filter(|at| Some(**at) != not) else {
            return Ok(None);
        };
        let block = self.read_xattr_block(ino, at)?;
        let count = {
            let data = block.data();
            if !xattr::same_attributes(&data, wanted) {
                return Ok(None);
            }
            xattr::block_refcount(&data)
        };
        if count >= REFCOUNT_MAX {
            return Ok(None);
        }
        let mut guard = handle.modify(&block)?;
        xattr::set_block_refcount(&mut guard, &self.sb, at, count + 1)
            .map_err(|source| meta::format_error(&self.image, source))?;
        Ok(Some(at))
    }

    /// An inode has this block no more.
    fn release_block(
        &self,
        handle: &mut Handle,
        blocks: &mut XattrBlocks,
        ino: InodeNo,
        at: FsBlock,
    ) -> Result<()> {
        let block = self.read_xattr_block(ino, at)?;
        let count = xattr::block_refcount(&block.data());
        if count > 1 {
            let mut guard = handle.modify(&block)?;
            return xattr::set_block_refcount(&mut guard, &self.sb, at, count - 1)
                .map_err(|source| meta::format_error(&self.image, source));
        }
        blocks.known.retain(|_, known| *known != at);
        handle.forget(at)?;
        self.alloc.free(handle, at, 1)
    }

    /// The inode goes: so does its block. The caller stores the inode.
    pub(crate) fn drop_xattrs(
        &self,
        handle: &mut Handle,
        ino: InodeNo,
        core: &mut Core,
    ) -> Result<()> {
        if let Some(at) = core.disk.file_acl.take() {
            self.release_block(handle, &mut self.xattr_blocks.lock(), ino, at)?;
        }
        Ok(())
    }
}
