//! A block store in memory that watches its user, and the array a map is compared with.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use e4_format::indirect::{SLOTS, blocks_max, levels_below, pointer};
use e4_format::{FileBlock, FsBlock};
use e4_indirect::{MapRead, MapStore, ROOT_LEN, lookup, walk};

/// Where indirect blocks begin; data blocks lie below.
pub(crate) const NODE_BASE: u64 = 1 << 30;

/// The injected failure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Injected;

#[derive(Clone, PartialEq, Debug)]
pub(crate) struct MemStore {
    pub(crate) root: [u8; ROOT_LEN],
    pub(crate) nodes: BTreeMap<u64, Vec<u8>>,
    per: u32,
    next: u64,
    /// Allocated but not written yet.
    pending: Vec<u64>,
    /// How many blocks may still be allocated.
    pub(crate) blocks_left: Option<u64>,
}

impl MemStore {
    pub(crate) fn new(per: u32) -> Self {
        Self {
            root: [0; ROOT_LEN],
            nodes: BTreeMap::new(),
            per,
            next: NODE_BASE,
            pending: Vec::new(),
            blocks_left: None,
        }
    }

    /// Everything mapped, by walking the pointers and not by the code under test; every indirect block is met once, is
    /// not empty, and there are no others.
    pub(crate) fn contents(&self) -> BTreeMap<u32, u64> {
        let mut met = 0;
        let mut found = BTreeMap::new();
        let mut next = 0;
        for slot in 0..SLOTS {
            let at = pointer(&self.root, slot);
            self.below(at, levels_below(slot), &mut next, &mut met, &mut found);
        }
        assert_eq!(
            met,
            self.nodes.len(),
            "indirect blocks that nothing points to"
        );
        assert!(
            self.pending.is_empty(),
            "blocks allocated and never written"
        );
        found
    }

    fn below(
        &self,
        at: Option<FsBlock>,
        levels: u32,
        next: &mut u32,
        met: &mut usize,
        found: &mut BTreeMap<u32, u64>,
    ) {
        let Some(at) = at else {
            *next += self.per.pow(levels);
            return;
        };
        if levels == 0 {
            found.insert(*next, at.get());
            *next += 1;
            return;
        }
        let node = &self.nodes[&at.get()];
        *met += 1;
        assert!(node.iter().any(|b| *b != 0), "an empty indirect block");
        for n in 0..self.per {
            self.below(pointer(node, n), levels - 1, next, met, found);
        }
    }

    /// The map says the same as the array, whoever asks.
    pub(crate) fn check(&self, model: &Model) {
        assert_eq!(self.contents(), model.blocks);
        let mut walked = BTreeMap::new();
        walk(self, 0..u32::MAX, &mut |run| {
            let at = run.at.unwrap().get();
            walked.extend(run.blocks.clone().zip(at..));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(walked, model.blocks);
        let (mut at, end) = (0, blocks_max(self.per) + 3);
        while at < end {
            let run = lookup(self, FileBlock::new(at), end).unwrap();
            assert!(run.blocks.start == at && run.blocks.end > at && run.blocks.end <= end);
            for block in run.blocks.clone() {
                let want = run.at.map(|p| p.get() + u64::from(block - at));
                assert_eq!(model.blocks.get(&block).copied(), want, "block {block}");
            }
            at = run.blocks.end;
        }
    }
}

impl MapRead for MemStore {
    type Error = Injected;
    type Block = Vec<u8>;

    fn per_block(&self) -> u32 {
        self.per
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        &self.root
    }

    fn read(&self, at: FsBlock) -> Result<Vec<u8>, Injected> {
        self.nodes.get(&at.get()).cloned().ok_or(Injected)
    }
}

impl MapStore for MemStore {
    fn alloc_block(&mut self, _: FsBlock) -> Result<FsBlock, Injected> {
        if let Some(left) = &mut self.blocks_left {
            *left = left.checked_sub(1).ok_or(Injected)?;
        }
        self.next += 1;
        self.pending.push(self.next);
        Ok(FsBlock::new(self.next))
    }

    fn return_block(&mut self, at: FsBlock) {
        self.pending.retain(|p| *p != at.get());
    }

    fn write(&mut self, at: FsBlock, bytes: &[u8]) -> Result<(), Injected> {
        assert_eq!(bytes.len(), self.per as usize * 4);
        self.pending.retain(|p| *p != at.get());
        self.nodes.insert(at.get(), bytes.to_vec());
        Ok(())
    }

    fn set_root(&mut self, root: &[u8; ROOT_LEN]) -> Result<(), Injected> {
        self.root = *root;
        Ok(())
    }

    fn free_block(&mut self, at: FsBlock) -> Result<(), Injected> {
        assert!(self.nodes.remove(&at.get()).is_some(), "freed twice");
        Ok(())
    }
}

/// The array.
#[derive(Clone, Default)]
pub(crate) struct Model {
    pub(crate) blocks: BTreeMap<u32, u64>,
}

impl Model {
    pub(crate) fn insert(&mut self, block: u32, len: u32, at: u64) {
        for n in 0..len {
            assert!(self.blocks.insert(block + n, at + u64::from(n)).is_none());
        }
    }

    pub(crate) fn is_free(&self, block: u32, len: u32) -> bool {
        self.blocks.range(block..block + len).next().is_none()
    }
}
