//! Checks a whole directory against the rules of the format, through `e4-format` alone: every block
//! once in the tree, every name where its hash leads, order, continuation bits, checksums.

use std::collections::{BTreeMap, BTreeSet};

use e4_format::htree::{self, DxKind, DxNode, HashVersion};
use e4_format::{FileBlock, dir};

use super::MemDir;

/// Everything a directory holds but `.` and `..`: name to inode.
pub type Contents = BTreeMap<Vec<u8>, u32>;

/// Checks the directory and returns its names.
pub fn check(d: &MemDir) -> Contents {
    let mut contents = Contents::new();
    if d.indexed {
        Tree {
            d,
            contents: &mut contents,
            seen: BTreeSet::new(),
            leaves: Vec::new(),
        }
        .check();
    } else {
        for at in 0..d.blocks.len() {
            linear(d, u32::try_from(at).expect("u32"), &mut contents);
        }
    }
    contents
}

/// Checks one block of entries and returns where it begins in `contents`.
fn linear(d: &MemDir, at: u32, contents: &mut Contents) -> Vec<Vec<u8>> {
    let block = d.block(at);
    dir::verify(block, &d.cx.format, d.cx.csum_seed).unwrap_or_else(|e| panic!("block {at}: {e}"));
    let mut names = Vec::new();
    for (i, e) in dir::entries(block, &d.cx.format).enumerate() {
        let e = e.unwrap_or_else(|e| panic!("block {at}: {e}"));
        if at == 0 && !d.indexed && i < 2 {
            assert_eq!(e.name, [&b"."[..], b".."][i]);
            continue;
        }
        if let Some(inode) = e.inode {
            let before = contents.insert(e.name.to_vec(), inode.get());
            assert!(before.is_none(), "{:?} twice", e.name);
            names.push(e.name.to_vec());
        }
    }
    names
}

struct Tree<'a> {
    d: &'a MemDir,
    contents: &'a mut Contents,
    seen: BTreeSet<u32>,
    /// Separator before each leaf, and the hashes in it, sorted.
    leaves: Vec<(u32, Vec<u32>)>,
}

impl Tree<'_> {
    fn check(mut self) {
        let root = self.d.block(0);
        let (format, seed) = (&self.d.cx.format, self.d.cx.csum_seed);
        assert_eq!(htree::block_kind(root, format), Some(DxKind::Root));
        htree::verify(root, DxKind::Root, format, seed).expect("root");
        // The levels: the format's decoder refuses three.
        let levels = root[0x1E];
        assert!(levels <= if self.d.cx.large_dir { 2 } else { 1 });
        let stored = root[0x1C];
        assert!(stored < 3, "roots store the signed numbers");
        let algorithm = htree::HashAlgorithm::from_raw(stored).expect("hash");
        let hash = HashVersion {
            algorithm,
            unsigned: self.d.cx.unsigned_hash,
        };
        self.seen.insert(0);
        self.node(0, DxKind::Root, levels, 0, hash);
        let blocks = u32::try_from(self.d.blocks.len()).expect("u32");
        assert_eq!(
            self.seen.len(),
            self.d.blocks.len(),
            "unreferenced blocks of {blocks}"
        );
        for pair in self.leaves.windows(2) {
            let [(_, before), (separator, after)] = pair else {
                unreachable!()
            };
            let (bound, continued) = (separator & !1, separator & 1 == 1);
            assert!(
                before
                    .iter()
                    .all(|h| if continued { *h <= bound } else { *h < bound })
            );
            assert!(after.iter().all(|h| *h >= bound));
        }
        assert!(
            self.leaves.windows(2).all(|p| p[0].0 <= p[1].0),
            "separators out of order"
        );
    }

    fn node(&mut self, at: u32, kind: DxKind, levels: u8, lower: u32, hash: HashVersion) {
        let (format, seed) = (&self.d.cx.format, self.d.cx.csum_seed);
        let block = self.d.block(at);
        htree::verify(block, kind, format, seed).unwrap_or_else(|e| panic!("block {at}: {e}"));
        let node = DxNode::parse(block, kind, format).unwrap_or_else(|e| panic!("block {at}: {e}"));
        for (i, e) in node.entries().enumerate() {
            let child = e.block.get();
            assert!(self.seen.insert(child), "block {child} twice");
            assert!(FileBlock::new(child) != FileBlock::new(0));
            let lower = if i == 0 { lower } else { e.hash };
            if levels > 0 {
                self.node(child, DxKind::Node, levels - 1, lower, hash);
            } else {
                let names = linear(self.d, child, self.contents);
                let seed = self.d.cx.hash_seed;
                let mut hashes: Vec<u32> = names.iter().map(|n| hash.hash(n, seed).major).collect();
                hashes.sort_unstable();
                self.leaves.push((lower, hashes));
            }
        }
    }
}
