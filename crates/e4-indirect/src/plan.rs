//! A plan: the complete set of changes that one operation makes to a map, as a value.
//!
//! Making a plan reads indirect blocks and changes nothing. [`Plan::apply`] obtains every new block before it changes
//! anything, and hands them back if one cannot be had; after that only a store that is lost altogether can fail.
//!
//! A plan describes the map it was made from. Applying it to a changed map destroys the map; the caller's lock covers
//! both.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use e4_format::FsBlock;
use e4_format::indirect::{is_empty, pointer, set_pointer};

use crate::error::MapError;
use crate::store::{MapRead, MapStore, ROOT_LEN};

/// Where an indirect block is, or will be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Old(FsBlock),
    /// The so manieth new one.
    New(usize),
}

/// An indirect block of a plan.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Node {
    place: Place,
    bytes: Vec<u8>,
    changed: bool,
    freed: bool,
    /// Pointers to new blocks: their position, and which node they point to.
    links: Vec<(u32, NodeId)>,
}

/// Index of a node of a plan.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NodeId(usize);

/// Whose pointer is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Parent {
    Root,
    Node(NodeId),
}

/// What an operation does to a map.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    root: [u8; ROOT_LEN],
    root_changed: bool,
    root_links: Vec<(u32, NodeId)>,
    nodes: Vec<Node>,
    new: usize,
    /// Where new blocks are wanted.
    goal: FsBlock,
    old: BTreeMap<u64, NodeId>,
}

impl Plan {
    pub(crate) fn new<S: MapRead>(store: &S, goal: FsBlock) -> Self {
        Self {
            root: *store.root(),
            root_changed: false,
            root_links: Vec::new(),
            nodes: Vec::new(),
            new: 0,
            goal,
            old: BTreeMap::new(),
        }
    }

    /// Indirect blocks to be allocated.
    #[must_use]
    pub fn new_blocks(&self) -> usize {
        self.new
    }

    /// Indirect blocks that leave the map.
    #[must_use]
    pub fn freed_blocks(&self) -> usize {
        self.nodes.iter().filter(|n| n.freed).count()
    }

    /// Indirect blocks the plan knows: none but these is written, allocated or freed.
    #[must_use]
    pub fn touched_blocks(&self) -> usize {
        self.nodes.len()
    }

    fn bytes(&self, of: Parent) -> &[u8] {
        match of {
            Parent::Root => &self.root,
            Parent::Node(NodeId(i)) => self.nodes.get(i).map_or(&[], |n| &n.bytes),
        }
    }

    /// What a pointer says now.
    pub(crate) fn pointer(&self, of: Parent, n: u32) -> Option<FsBlock> {
        pointer(self.bytes(of), n)
    }

    pub(crate) fn is_empty(&self, id: NodeId) -> bool {
        is_empty(self.bytes(Parent::Node(id)))
    }

    pub(crate) fn set<E>(
        &mut self,
        of: Parent,
        n: u32,
        to: Option<FsBlock>,
    ) -> Result<(), MapError<E>> {
        let bytes = match of {
            Parent::Root => {
                self.root_changed = true;
                self.root.as_mut_slice()
            }
            Parent::Node(NodeId(i)) => match self.nodes.get_mut(i) {
                Some(node) => {
                    node.changed = true;
                    node.bytes.as_mut_slice()
                }
                None => &mut [],
            },
        };
        set_pointer(bytes, n, to).map_err(MapError::Encode)
    }

    /// The node that a pointer of `of` names or, if the plan makes it, will name.
    pub(crate) fn child<S: MapRead>(
        &mut self,
        store: &S,
        of: Parent,
        n: u32,
    ) -> Result<Option<NodeId>, MapError<S::Error>> {
        let links = match of {
            Parent::Root => &self.root_links,
            Parent::Node(NodeId(i)) => self.nodes.get(i).map_or(&self.root_links, |n| &n.links),
        };
        if let Some((_, id)) = links.iter().find(|(at, _)| *at == n) {
            return Ok(Some(*id));
        }
        match self.pointer(of, n) {
            Some(at) => self.load(store, at).map(Some),
            None => Ok(None),
        }
    }

    fn load<S: MapRead>(&mut self, store: &S, at: FsBlock) -> Result<NodeId, MapError<S::Error>> {
        if let Some(id) = self.old.get(&at.get()) {
            return Ok(*id);
        }
        let read = store.read(at);
        let bytes = read.map_err(|source| MapError::Read { at, source })?;
        let len = store.per_block() as usize * 4;
        let mut own = bytes.get(..len).unwrap_or(&bytes).to_vec();
        own.resize(len, 0);
        let id = NodeId(self.nodes.len());
        self.old.insert(at.get(), id);
        self.nodes.push(Node {
            place: Place::Old(at),
            bytes: own,
            changed: false,
            freed: false,
            links: Vec::new(),
        });
        Ok(id)
    }

    /// True if the node was loaded before.
    pub(crate) fn knows(&self, at: FsBlock) -> bool {
        self.old.contains_key(&at.get())
    }

    /// Adds a new indirect block below a pointer that is a hole.
    pub(crate) fn add(&mut self, per: u32, of: Parent, n: u32) -> NodeId {
        let id = NodeId(self.nodes.len());
        self.nodes.push(Node {
            place: Place::New(self.new),
            bytes: vec![0; per as usize * 4],
            changed: true,
            freed: false,
            links: Vec::new(),
        });
        self.new += 1;
        match of {
            Parent::Root => {
                self.root_changed = true;
                self.root_links.push((n, id));
            }
            Parent::Node(NodeId(i)) => {
                if let Some(node) = self.nodes.get_mut(i) {
                    node.changed = true;
                    node.links.push((n, id));
                }
            }
        }
        id
    }

    /// The node leaves the map; the pointer to it is the caller's.
    pub(crate) fn free(&mut self, id: NodeId) {
        if let Some(node) = self.nodes.get_mut(id.0) {
            node.freed = true;
        }
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// [`MapError::NoBlock`], [`MapError::Encode`]: nothing was changed. [`MapError::Write`]: see there.
    pub fn apply<S: MapStore>(mut self, store: &mut S) -> Result<(), MapError<S::Error>> {
        let mut new = Vec::with_capacity(self.new);
        for _ in 0..self.new {
            match store.alloc_block(self.goal) {
                Ok(at) => new.push(at),
                Err(source) => {
                    new.into_iter().rev().for_each(|at| store.return_block(at));
                    return Err(MapError::NoBlock { source });
                }
            }
        }
        if let Err(error) = self.link(&new) {
            new.into_iter().rev().for_each(|at| store.return_block(at));
            return Err(MapError::Encode(error));
        }
        // New blocks first: nothing points to them yet.
        for old in [false, true] {
            for node in self.nodes.iter().filter(|n| n.changed && !n.freed) {
                if matches!(node.place, Place::Old(_)) != old {
                    continue;
                }
                let Some(at) = place(node.place, &new) else {
                    continue;
                };
                let written = store.write(at, &node.bytes);
                written.map_err(|source| MapError::Write {
                    at: Some(at),
                    source,
                })?;
            }
        }
        if self.root_changed {
            let written = store.set_root(&self.root);
            written.map_err(|source| MapError::Write { at: None, source })?;
        }
        for node in self.nodes.iter().filter(|n| n.freed) {
            if let Place::Old(at) = node.place {
                let freed = store.free_block(at);
                freed.map_err(|source| MapError::Write {
                    at: Some(at),
                    source,
                })?;
            }
        }
        Ok(())
    }

    /// Puts the numbers of new blocks where they belong.
    fn link(&mut self, new: &[FsBlock]) -> Result<(), e4_format::FormatError> {
        let places: Vec<_> = self.nodes.iter().map(|n| place(n.place, new)).collect();
        let at = |id: &NodeId| places.get(id.0).copied().flatten();
        for (n, id) in &self.root_links {
            set_pointer(&mut self.root, *n, at(id))?;
        }
        for node in &mut self.nodes {
            for (n, id) in &node.links {
                set_pointer(&mut node.bytes, *n, at(id))?;
            }
        }
        Ok(())
    }
}

fn place(place: Place, new: &[FsBlock]) -> Option<FsBlock> {
    match place {
        Place::Old(at) => Some(at),
        Place::New(n) => new.get(n).copied(),
    }
}
