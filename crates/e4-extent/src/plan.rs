//! A plan: the complete set of changes that one operation makes to a tree, as a value.
//!
//! Making a plan reads nodes and changes nothing; so the number of nodes it allocates, changes and
//! frees is known *before* a journal handle is charged (S17: nobody estimates from yesterday's depth).
//!
//! Invariant I-5, R7: [`Plan::apply`] obtains every new node before it changes anything, and hands
//! them back if one cannot be had. After that only a store that is lost altogether can fail.
//!
//! A plan describes the tree it was made from. Applying it to a changed tree destroys the tree; the
//! caller's tree lock covers both.

use alloc::vec;
use alloc::vec::Vec;
use e4_format::extent::{ExtentIndex, write_index, write_leaf};
use e4_format::{FormatError, FsBlock};

use crate::credits::Credits;
use crate::error::TreeError;
use crate::node;
use crate::store::{NodeStore, ROOT_LEN};
use crate::touched::{Body, Child, Ptr};

/// One node to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct NodeWrite {
    pub(crate) at: Ptr,
    pub(crate) level: usize,
    pub(crate) body: Body,
}

/// What an operation does to a tree.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[must_use = "a plan changes nothing until it is applied"]
pub struct Plan {
    /// Bottom up.
    pub(crate) writes: Vec<NodeWrite>,
    /// The new root and the depth of the tree, if it changes.
    pub(crate) root: Option<(usize, Body)>,
    /// One per new node: where it is wanted.
    pub(crate) goals: Vec<FsBlock>,
    /// Nodes that leave the tree.
    pub(crate) freed: Vec<FsBlock>,
}

impl Plan {
    /// True if the tree stays as it is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.root.is_none() && self.freed.is_empty()
    }

    /// Nodes to be allocated.
    #[must_use]
    pub fn new_nodes(&self) -> u32 {
        count(self.goals.len())
    }

    /// Blocks that stop being nodes.
    #[must_use]
    pub fn freed_nodes(&self) -> &[FsBlock] {
        &self.freed
    }

    /// True if the root in the inode changes.
    #[must_use]
    pub fn changes_root(&self) -> bool {
        self.root.is_some()
    }

    /// What it needs of the journal, exactly.
    #[must_use]
    pub fn credits(&self) -> Credits {
        let new = self.new_nodes();
        Credits {
            dirtied: count(self.writes.len()).saturating_sub(new),
            allocated: new,
            freed: count(self.freed.len()),
        }
    }

    /// Carries the plan out.
    ///
    /// # Errors
    /// [`TreeError::NoNode`], [`TreeError::Encode`]: nothing was changed. [`TreeError::Write`]: see
    /// there.
    pub fn apply<S: NodeStore>(&self, store: &mut S) -> Result<(), TreeError<S::Error>> {
        let new = self.allocate(store)?;
        let capacity = store.node_entries();
        let mut bytes = vec![0; node::len_for(capacity)];
        // New nodes first: nothing points to them yet.
        for old in [false, true] {
            for write in self
                .writes
                .iter()
                .filter(|w| matches!(w.at, Ptr::Old(_)) == old)
            {
                let at = block_of(write.at, &new);
                encode(&write.body, write.level, capacity, &new, &mut bytes)
                    .map_err(TreeError::Encode)?;
                store.write(at, &bytes).map_err(|source| TreeError::Write {
                    at: Some(at),
                    source,
                })?;
            }
        }
        if let Some((depth, body)) = &self.root {
            let mut root = [0; ROOT_LEN];
            encode(body, *depth, store.root_entries(), &new, &mut root)
                .map_err(TreeError::Encode)?;
            store
                .set_root(&root)
                .map_err(|source| TreeError::Write { at: None, source })?;
        }
        for &at in &self.freed {
            store.free_node(at).map_err(|source| TreeError::Write {
                at: Some(at),
                source,
            })?;
        }
        Ok(())
    }

    /// All new nodes, or none.
    fn allocate<S: NodeStore>(&self, store: &mut S) -> Result<Vec<FsBlock>, TreeError<S::Error>> {
        let mut new = Vec::with_capacity(self.goals.len());
        for &goal in &self.goals {
            match store.alloc_node(goal) {
                Ok(at) => new.push(at),
                Err(source) => {
                    new.into_iter().rev().for_each(|at| store.return_node(at));
                    return Err(TreeError::NoNode { source });
                }
            }
        }
        // Anything else in a plan came out of valid nodes and can be written down again.
        let unfit = |&(_, at): &(usize, &FsBlock)| at.get() == 0 || at.get() >> 48 != 0;
        if let Some((entry, &leaf)) = new.iter().enumerate().find(unfit) {
            new.iter().rev().for_each(|&at| store.return_node(at));
            return Err(TreeError::Encode(FormatError::ExtentChild { entry, leaf }));
        }
        Ok(new)
    }
}

/// A count of nodes; a tree has fewer than 2^32 of them.
fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

fn block_of(ptr: Ptr, new: &[FsBlock]) -> FsBlock {
    match ptr {
        Ptr::Old(at) => at,
        Ptr::New(n) => new[n as usize],
    }
}

fn encode(
    body: &Body,
    level: usize,
    capacity: u16,
    new: &[FsBlock],
    bytes: &mut [u8],
) -> Result<(), FormatError> {
    match body {
        Body::Leaf(extents) => write_leaf(bytes, extents, capacity, 0),
        Body::Index(children) => {
            let resolve = |c: &Child| ExtentIndex {
                block: c.key,
                leaf: block_of(c.ptr, new),
            };
            let entries: Vec<ExtentIndex> = children.iter().map(resolve).collect();
            let depth = u16::try_from(level).unwrap_or(u16::MAX);
            write_index(bytes, &entries, depth, capacity, 0)
        }
    }
}
