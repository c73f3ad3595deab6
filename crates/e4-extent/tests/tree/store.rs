//! A node store in memory that watches its user: it counts, fails on demand, and refuses nonsense.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

use e4_extent::{NodeRead, NodeStore, ROOT_LEN, Shape};
use e4_format::FsBlock;
use e4_format::extent::{
    Extent, ExtentIndex, Node, capacity_block, capacity_root, write_index, write_leaf,
};
use e4_format::units::BlockSize;

/// Where node blocks begin; data blocks of the tests lie below.
pub(crate) const NODE_BASE: u64 = 1 << 30;

/// The injected failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Injected;

#[derive(Clone, Debug)]
pub(crate) struct MemStore {
    pub(crate) root: [u8; ROOT_LEN],
    pub(crate) nodes: BTreeMap<u64, Arc<[u8]>>,
    pub(crate) node_entries: u16,
    pub(crate) root_entries: u16,
    next: u64,
    /// Allocated but not written yet.
    pending: Vec<u64>,
    pub(crate) reads: Cell<u64>,
    pub(crate) writes: u64,
    pub(crate) allocs: u64,
    pub(crate) frees: u64,
    /// Fail the read with this number.
    pub(crate) fail_read: Option<u64>,
    /// How many nodes may still be allocated.
    pub(crate) nodes_left: Option<u64>,
}

impl MemStore {
    pub(crate) fn new(node_entries: u16, root_entries: u16) -> Self {
        let mut root = [0; ROOT_LEN];
        write_leaf(&mut root, &[], root_entries, 0).unwrap();
        Self {
            root,
            nodes: BTreeMap::new(),
            node_entries,
            root_entries,
            next: NODE_BASE,
            pending: Vec::new(),
            reads: Cell::new(0),
            writes: 0,
            allocs: 0,
            frees: 0,
            fail_read: None,
            nodes_left: None,
        }
    }

    pub(crate) fn of(block_size: BlockSize) -> Self {
        Self::new(capacity_block(block_size), capacity_root())
    }

    pub(crate) fn shape(&self) -> Shape {
        Shape {
            depth: e4_extent::depth(self).unwrap(),
            node_entries: self.node_entries,
            root_entries: self.root_entries,
        }
    }

    /// Builds the tree of `extents` with `fill` entries in each node, not using the crate under test.
    pub(crate) fn build(
        node_entries: u16,
        root_entries: u16,
        extents: &[Extent],
        fill: usize,
    ) -> Self {
        let mut store = Self::new(node_entries, root_entries);
        let mut bytes = vec![0; 12 + 12 * usize::from(node_entries)];
        if extents.len() <= usize::from(root_entries) {
            write_leaf(&mut store.root, extents, root_entries, 0).unwrap();
            return store;
        }
        let mut level = Vec::new();
        for leaf in extents.chunks(fill) {
            write_leaf(&mut bytes, leaf, node_entries, 0).unwrap();
            level.push(ExtentIndex {
                block: leaf[0].block,
                leaf: store.put(&bytes),
            });
        }
        let mut depth = 1;
        while level.len() > usize::from(root_entries) {
            let mut above = Vec::new();
            for node in level.chunks(fill.max(2)) {
                write_index(&mut bytes, node, depth, node_entries, 0).unwrap();
                above.push(ExtentIndex {
                    block: node[0].block,
                    leaf: store.put(&bytes),
                });
            }
            level = above;
            depth += 1;
        }
        write_index(&mut store.root, &level, depth, root_entries, 0).unwrap();
        store
    }

    fn put(&mut self, bytes: &[u8]) -> FsBlock {
        let at = self.next;
        self.next += 1;
        self.nodes.insert(at, bytes.into());
        FsBlock::new(at)
    }

    pub(crate) fn reset_counts(&mut self) {
        self.reads.set(0);
        (self.writes, self.allocs, self.frees) = (0, 0, 0);
    }

    /// True if the bytes of the tree are the same.
    pub(crate) fn same_tree(&self, other: &Self) -> bool {
        self.root == other.root && self.nodes == other.nodes && self.pending == other.pending
    }
}

impl NodeRead for MemStore {
    type Error = Injected;
    type Node = Arc<[u8]>;

    fn node_entries(&self) -> u16 {
        self.node_entries
    }

    fn root_entries(&self) -> u16 {
        self.root_entries
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.root
    }

    fn read(&self, at: FsBlock) -> Result<Arc<[u8]>, Injected> {
        let n = self.reads.get();
        self.reads.set(n + 1);
        if self.fail_read == Some(n) {
            return Err(Injected);
        }
        self.nodes.get(&at.get()).cloned().ok_or(Injected)
    }
}

impl NodeStore for MemStore {
    fn alloc_node(&mut self, _goal: FsBlock) -> Result<FsBlock, Injected> {
        if let Some(left) = &mut self.nodes_left {
            *left = left.checked_sub(1).ok_or(Injected)?;
        }
        let at = self.next;
        self.next += 1;
        self.allocs += 1;
        self.pending.push(at);
        Ok(FsBlock::new(at))
    }

    fn return_node(&mut self, at: FsBlock) {
        let i = self
            .pending
            .iter()
            .position(|&p| p == at.get())
            .expect("returned twice");
        self.pending.remove(i);
        self.allocs -= 1;
    }

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Injected> {
        Node::parse(bytes).expect("a valid node is written");
        assert_eq!(bytes.len(), 12 + 12 * usize::from(self.node_entries));
        match self.pending.iter().position(|&p| p == at.get()) {
            Some(i) => drop(self.pending.remove(i)),
            None => {
                assert!(
                    self.nodes.contains_key(&at.get()),
                    "write to a block that is no node"
                );
                self.writes += 1;
            }
        }
        self.nodes.insert(at.get(), bytes.into());
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Injected> {
        assert!(
            self.pending.is_empty(),
            "the root changes after all nodes are written"
        );
        Node::parse(root).expect("a valid root is written");
        self.root = *root;
        Ok(())
    }

    fn free_node(&mut self, at: FsBlock) -> Result<(), Injected> {
        assert!(
            self.nodes.remove(&at.get()).is_some(),
            "freed twice, or no node"
        );
        self.frees += 1;
        Ok(())
    }
}
