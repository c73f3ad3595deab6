//! What an extent tree lives in: the inode's root and blocks of the metadata cache.

use core::ops::Deref;

use e4_extent::{Damage, NodeRead, NodeStore, ROOT_LEN, Rooms, Shape, TreeError};
use e4_format::extent::{Node, capacity_block, capacity_root, stamp_extent_block};
use e4_format::{FileBlock, FsBlock, InodeNo, Superblock};
use e4_journal::{BlockData, Handle, MetaStore};
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use crate::alloc::Account;
use crate::data::charge::Tree;
use crate::error::{Error, Result};
use crate::inode::{Core, InodeState};
use crate::meta::{self, NodeReadError};
use crate::mount::Shared;

/// The bytes of a node.
pub(crate) struct NodeBytes(BlockData);

impl Deref for NodeBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// Reads a node of the tree of an inode, given with its checksum seed.
pub(crate) fn read_node(
    image: &Arc<str>,
    store: &MetaStore,
    sb: &Superblock,
    (ino, seed): (InodeNo, u32),
    at: FsBlock,
) -> Result<NodeBytes> {
    match meta::read_extent_node(store, sb, seed, at) {
        Ok(block) => Ok(NodeBytes(block.data())),
        Err(NodeReadError::Outside) => Err(Error::ExtentTree {
            image: Arc::clone(image),
            ino,
            near: FileBlock::new(0),
            what: "a node lies outside the filesystem",
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

/// Read access to an inode's tree.
pub(crate) struct TreeView<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) ino: InodeNo,
    pub(crate) seed: u32,
    pub(crate) root: &'a [u8; ROOT_LEN],
}

impl<'a> TreeView<'a> {
    pub(crate) fn new(state: &'a InodeState, core: &'a Core) -> Self {
        Self {
            shared: &state.shared,
            ino: state.ino,
            seed: state.seed,
            root: &core.disk.i_block,
        }
    }
}

impl NodeRead for TreeView<'_> {
    type Error = Error;
    type Node = NodeBytes;

    fn node_entries(&self) -> u16 {
        capacity_block(self.shared.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        self.root
    }

    fn read(&self, at: FsBlock) -> Result<NodeBytes> {
        let shared = self.shared;
        read_node(
            &shared.image,
            &shared.meta,
            &shared.sb,
            (self.ino, self.seed),
            at,
        )
    }
}

/// Write access to an inode's tree inside a handle. The caller holds the tree lock and stores the
/// inode afterwards.
pub(crate) struct TreeEdit<'a> {
    shared: &'a Shared,
    state: &'a InodeState,
    core: &'a mut Core,
    handle: &'a mut Handle,
    account: Account,
    /// Blocks obtained and not needed after all; used for the next node, or freed by `finish`.
    spare: Vec<FsBlock>,
    /// Nodes obtained through the account.
    taken: u32,
}

impl<'a> TreeEdit<'a> {
    pub(crate) fn new(
        state: &'a InodeState,
        core: &'a mut Core,
        handle: &'a mut Handle,
        account: Account,
    ) -> Self {
        core.edits += 1;
        if !planted!(StaleStatusCache) {
            core.status.forget();
        }
        Self {
            shared: &state.shared,
            state,
            core,
            handle,
            account,
            spare: Vec::new(),
            taken: 0,
        }
    }

    fn sectors_per_block(&self) -> u64 {
        u64::from(self.shared.sb.block_size().bytes() / 512)
    }

    /// Ends the edit: gives unused blocks back. Returns how many nodes came from the account.
    pub(crate) fn finish(mut self) -> Result<u32> {
        for at in std::mem::take(&mut self.spare) {
            let sectors = self.sectors_per_block();
            self.core.disk.sectors = self.core.disk.sectors.saturating_sub(sectors);
            self.shared.alloc.free(self.handle, at, 1)?;
        }
        Ok(self.taken)
    }
}

impl NodeRead for TreeEdit<'_> {
    type Error = Error;
    type Node = NodeBytes;

    fn node_entries(&self) -> u16 {
        capacity_block(self.shared.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.core.disk.i_block
    }

    fn read(&self, at: FsBlock) -> Result<NodeBytes> {
        let shared = self.shared;
        let whose = (self.state.ino, self.state.seed);
        read_node(&shared.image, &shared.meta, &shared.sb, whose, at)
    }
}

impl NodeStore for TreeEdit<'_> {
    fn alloc_node(&mut self, goal: FsBlock) -> Result<FsBlock> {
        if let Some(at) = self.spare.pop() {
            return Ok(at);
        }
        let goal = if goal.get() == 0 {
            self.shared.alloc.goal_of_inode(self.state.ino)
        } else {
            goal
        };
        let run = self
            .shared
            .alloc
            .alloc(self.handle, goal, 1, self.account)?;
        if self.account == Account::Promised {
            self.taken += 1;
        }
        self.core.disk.sectors += self.sectors_per_block();
        Ok(run.start)
    }

    fn return_node(&mut self, at: FsBlock) {
        self.spare.push(at);
    }

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<()> {
        // Whatever the block held is of no interest: every byte of a node is written.
        let block = self.handle.create(at)?;
        let mut guard = self.handle.modify(&block)?;
        if let Some(head) = guard.get_mut(..bytes.len()) {
            head.copy_from_slice(bytes);
        }
        if self.shared.sb.has_metadata_csum() && !planted!(StaleNodeChecksum) {
            stamp_extent_block(&mut guard, self.state.seed).map_err(|source| {
                Error::InodeBlock {
                    image: Arc::clone(&self.shared.image),
                    ino: self.state.ino,
                    block: at,
                    source,
                }
            })?;
        }
        guard.set_verified(meta::tag::EXTENT_NODE);
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<()> {
        self.core.disk.i_block = *root;
        Ok(())
    }

    fn free_node(&mut self, at: FsBlock) -> Result<()> {
        if !planted!(ForgetRevoke) {
            self.handle.forget(at)?;
        }
        self.shared.alloc.free(self.handle, at, 1)?;
        self.core.disk.sectors = self
            .core
            .disk
            .sectors
            .saturating_sub(self.sectors_per_block());
        Ok(())
    }
}

/// The shape of an inode's tree, for estimates.
pub(crate) fn shape(state: &InodeState, core: &Core) -> Result<Shape> {
    let view = TreeView::new(state, core);
    let depth = e4_extent::depth(&view).map_err(|e| tree_error(state, e))?;
    Ok(Shape {
        depth,
        node_entries: view.node_entries(),
        root_entries: capacity_root(),
    })
}

/// Shape and number of leaves; the latter is counted from the index nodes when it is not known.
pub(crate) fn tree(state: &InodeState, core: &Core) -> Result<Tree> {
    let shape = shape(state, core)?;
    let mut leaves = state.leaves.load(Ordering::Acquire);
    if leaves == 0 {
        let counted = count(&TreeView::new(state, core), shape.depth)?;
        leaves = counted.leaves.max(1);
        // Published before the leaves are: whoever sees those finds these.
        state.index.store(counted.index, Ordering::Relaxed);
        state.leaves.store(leaves, Ordering::Release);
    }
    let rooms = *state.rooms.lock();
    Ok(Tree {
        shape,
        leaves,
        rooms,
        index: state.index.load(Ordering::Relaxed),
    })
}

/// Looks how full the leaves are, if that is not known. Reads every leaf. False if nothing was learned.
pub(crate) fn learn_rooms(state: &InodeState, core: &Core) -> Result<bool> {
    let view = TreeView::new(state, core);
    let shape = shape(state, core)?;
    if shape.depth == 0 || state.rooms.lock().is_known() {
        return Ok(false);
    }
    let mut rooms = Rooms::of_nodes(shape.node_entries);
    for at in walk(&view, shape.depth)?.0 {
        let bytes = view.read(at)?;
        let entries = Node::view(&bytes).map_or(u16::MAX, |node| node.header().entries);
        rooms.add(shape.node_entries.saturating_sub(entries));
    }
    *state.rooms.lock() = rooms;
    Ok(true)
}

/// How many nodes a tree has below its root.
struct Count {
    leaves: u32,
    index: u32,
}

fn count(view: &TreeView<'_>, depth: u16) -> Result<Count> {
    if depth == 0 {
        return Ok(Count {
            leaves: 1,
            index: 0,
        });
    }
    let (leaves, index) = walk(view, depth)?;
    Ok(Count {
        leaves: u32::try_from(leaves.len()).unwrap_or(u32::MAX),
        index,
    })
}

/// Where the leaves of a tree are, for a depth above 0, and how many index nodes it has. Reads only those.
fn walk(view: &TreeView<'_>, depth: u16) -> Result<(Vec<FsBlock>, u32)> {
    let entries = |bytes: &[u8]| -> Vec<FsBlock> {
        Node::view(bytes).map_or_else(|_| Vec::new(), |n| n.indexes().map(|i| i.leaf).collect())
    };
    let mut level = entries(view.root);
    let mut index = 0_u32;
    for _ in 1..depth {
        let mut next = Vec::new();
        for at in level {
            index = index.saturating_add(1);
            next.extend(entries(&view.read(at)?));
        }
        level = next;
    }
    Ok((level, index))
}

/// A tree error as ours: the store's own errors pass through, damage is named.
pub(crate) fn tree_error(state: &InodeState, error: TreeError<Error>) -> Error {
    let image = || Arc::clone(&state.shared.image);
    let damaged = |near, what| Error::ExtentTree {
        image: image(),
        ino: state.ino,
        near,
        what,
    };
    state.shared.damaged(match error {
        TreeError::Read { source, .. }
        | TreeError::NoNode { source }
        | TreeError::Write { source, .. } => source,
        TreeError::Damaged {
            at: Some(block),
            damage: Damage::Node(source),
            ..
        } => Error::InodeBlock {
            image: image(),
            ino: state.ino,
            block,
            source,
        },
        TreeError::Damaged { near, damage, .. } => damaged(
            near,
            match damage {
                Damage::Node(_) => "the root is damaged",
                Damage::Empty => "a node below the root has no entries",
                _ => "a node is not where its parent says",
            },
        ),
        TreeError::WouldBeTooDeep { .. } => {
            damaged(FileBlock::new(0), "would need too many levels")
        }
        TreeError::Overlap { at } => damaged(at, "a block would be mapped twice"),
        TreeError::BadExtent { block, .. } => damaged(block, "an extent does not fit the format"),
        _ => damaged(FileBlock::new(0), "a node cannot be encoded"),
    })
}
