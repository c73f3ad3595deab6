//! Damaged and hostile directories: every operation ends, reads a bounded number of blocks and does
//! not panic; with checksums no damage makes a name disappear or change silently.

mod support;

use std::ops::ControlFlow;

use e4_dir::{Cursor, DirError, iterate};
use e4_format::dir;
use e4_format::htree::{self, DxEntry, DxKind, HashAlgorithm};
use e4_format::{FileBlock, FileType, FormatError};
use proptest::prelude::*;
use support::{MemDir, MemError, Rng, context, ino};

const HASHES: HashAlgorithm = HashAlgorithm::HalfMd4;

fn insert(dir: &mut MemDir, name: &[u8]) -> Result<(), MemError> {
    dir.reset();
    e4_dir::insert(dir, name, ino(20), FileType::Regular)
}

/// A directory of `count` names of 100 bytes: nine to a block.
fn directory(csum: bool, dir_index: bool, count: usize) -> MemDir {
    let mut cx = context(1024, csum, HASHES, false);
    cx.dir_index = dir_index;
    let mut dir = MemDir::initialised(cx);
    for i in 0..count {
        insert(&mut dir, &name(i)).expect("insert");
    }
    dir
}

fn name(i: usize) -> Vec<u8> {
    format!("{i:-<100}").into_bytes()
}

/// Lists in small steps: positions only grow, and there is an end.
fn list_bounded(dir: &MemDir) -> Result<usize, MemError> {
    let (mut at, mut count) = (Cursor::START, 0);
    while at != Cursor::END {
        dir.reads.set(0);
        let mut left = 3;
        let next = iterate(dir, at, &mut |_| {
            count += 1;
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })?;
        assert!(next > at, "{next:?} after {at:?}");
        let next = Cursor::from_bits(next.to_bits());
        assert!(next > at);
        at = next;
        assert_bounded(dir);
    }
    Ok(count)
}

/// No operation reads more than a few times the blocks of the directory.
fn assert_bounded(dir: &MemDir) {
    let bound = 16 + 6 * dir.blocks.len() as u64;
    assert!(
        dir.reads.get() <= bound,
        "{} reads of {}",
        dir.reads.get(),
        dir.blocks.len()
    );
}

/// Every operation once, on copies; their answers do not matter.
fn exercise(dir: &MemDir, count: usize, rng: &mut Rng) {
    let some = name(rng.below(count + 2));
    let _ = list_bounded(dir);
    dir.reads.set(0);
    let _ = e4_dir::lookup(dir, &some);
    assert_bounded(dir);
    dir.reads.set(0);
    let _ = e4_dir::is_empty(dir);
    assert_bounded(dir);
    for i in 0..4 {
        let mut d = dir.clone();
        d.reset();
        let _ = match i {
            0 => e4_dir::insert(&mut d, &rng.name(), ino(20), FileType::Regular),
            1 => e4_dir::remove(&mut d, &some).map(|_| ()),
            2 => e4_dir::replace(&mut d, &some, ino(30), FileType::Fifo).map(|_| ()),
            _ => e4_dir::set_dotdot(&mut d, ino(30)).map(|_| ()),
        };
        assert_bounded(&d);
    }
}

/// Damages bytes, rather those that matter: headers, tables, lengths.
fn damage(dir: &mut MemDir, rng: &mut Rng) {
    for _ in 0..=rng.below(3) {
        let block_at = match rng.below(3) {
            0 => 0,
            _ => u32::try_from(rng.below(dir.blocks.len())).unwrap(),
        };
        let blocks = u32::try_from(dir.blocks.len()).unwrap();
        let other = u32::try_from(rng.below(dir.blocks.len() + 1)).unwrap();
        let copy = dir.block(other.min(blocks - 1)).to_vec();
        let block = dir.block_mut(block_at);
        let len = block.len();
        let at = match rng.below(4) {
            0 => rng.below(64),
            1 => 4 * rng.below(len / 4),
            _ => rng.below(len),
        };
        match rng.below(8) {
            // A child that exists, which loops and shares.
            0 => block[at & !3..][..4].copy_from_slice(&other.to_le_bytes()),
            1 => *block = copy,
            2 => block[at & !3..][..4].fill(0),
            3 => block[at & !3..][..4].fill(0xFF),
            _ => block[at] ^= 1 << rng.below(8),
        }
    }
}

#[test]
fn damaged_directories_without_checksums() {
    let mut rng = Rng(11);
    for (dir_index, count) in [(true, 5), (false, 60), (true, 60), (true, 1500)] {
        let whole = directory(false, dir_index, count);
        assert_eq!(whole.indexed, dir_index && count > 5);
        for _ in 0..if count > 1000 { 400 } else { 3000 } {
            let mut dir = whole.clone();
            damage(&mut dir, &mut rng);
            exercise(&dir, count, &mut rng);
            dir.indexed = !dir.indexed;
            exercise(&dir, count, &mut rng);
        }
    }
}

#[test]
fn damage_under_checksums_hides_no_name() {
    let mut rng = Rng(12);
    for (dir_index, count) in [(true, 5), (false, 60), (true, 60), (true, 1500)] {
        let whole = directory(true, dir_index, count);
        let mut found = 0;
        for _ in 0..if count > 1000 { 300 } else { 2000 } {
            let mut dir = whole.clone();
            let at = rng.below(dir.blocks.len());
            let block = dir.block_mut(u32::try_from(at).unwrap());
            let byte = rng.below(block.len());
            block[byte] ^= 1 << rng.below(8);
            exercise(&dir, count, &mut rng);
            let i = rng.below(count);
            match e4_dir::lookup(&dir, &name(i)) {
                Ok(Some(target)) => {
                    assert_eq!(
                        (target.inode, target.file_type),
                        (ino(20), Some(FileType::Regular))
                    );
                    found += 1;
                }
                Ok(None) => panic!("{i} disappeared: byte {byte} of block {at}"),
                Err(MemError::Dir(e)) => assert!(e.is_damage(), "{e}"),
                Err(e) => panic!("{e:?}"),
            }
        }
        // Damage to an index, or elsewhere, does not keep names from being found.
        assert!(found > 0 || whole.blocks.len() == 1);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn arbitrary_blocks(
        blocks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1024), 1..4),
        indexed: bool,
        dir_index: bool,
        csum: bool,
    ) {
        let mut cx = context(1024, csum, HASHES, false);
        cx.dir_index = dir_index;
        let mut dir = MemDir::new(cx);
        dir.blocks = blocks.into_iter().map(std::rc::Rc::new).collect();
        dir.indexed = indexed;
        exercise(&dir, 3, &mut Rng(1));
    }
}

/// Rewrites the root of an index.
fn set_root(dir: &mut MemDir, pairs: &[(u32, u32)]) {
    let cx = dir.cx;
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(hash, b)| DxEntry {
            hash: *hash,
            block: FileBlock::new(*b),
        })
        .collect();
    let block = dir.block_mut(0);
    htree::write_table(block, DxKind::Root, &cx.format, &pairs).unwrap();
    htree::stamp(block, DxKind::Root, &cx.format, cx.csum_seed).unwrap();
}

fn edit_root(dir: &mut MemDir, edit: impl FnOnce(&mut [u8])) {
    let cx = dir.cx;
    let block = dir.block_mut(0);
    edit(block);
    htree::stamp(block, DxKind::Root, &cx.format, cx.csum_seed).unwrap();
}

/// The index is not used: names are found, `why` is what adding says.
fn index_refused(dir: &MemDir, why: &DirError) {
    dir.unusable.set(0);
    assert!(e4_dir::lookup(dir, &name(7)).expect("lookup").is_some());
    assert_eq!(e4_dir::lookup(dir, b"not there"), Ok(None));
    assert_eq!(dir.unusable.get(), 2);
    assert_eq!(list_bounded(dir), Ok(62));
    let mut d = dir.clone();
    assert_eq!(insert(&mut d, b"new"), Err(MemError::Dir(why.clone())));
    assert!(why.is_damage() && d.written.is_empty() && d.appended == 0);
    // What needs no index still works.
    d.reset();
    assert!(e4_dir::remove(&mut d, &name(7)).expect("remove").is_some());
    d.reset();
    assert!(
        e4_dir::replace(&mut d, &name(8), ino(9), FileType::Fifo)
            .expect("replace")
            .is_some()
    );
}

#[test]
fn what_is_wrong_with_an_index_is_said() {
    let whole = directory(true, true, 60);
    let (block, blocks) = (
        FileBlock::new(0),
        u32::try_from(whole.blocks.len()).unwrap(),
    );

    let mut dir = whole.clone();
    edit_root(&mut dir, |b| b[0x1C] = 6);
    index_refused(&dir, &DirError::UnknownHash { block, stored: 6 });

    let mut dir = whole.clone();
    edit_root(&mut dir, |b| b[0x1E] = 2);
    let source = FormatError::DxDepth { found: 2, limit: 1 };
    index_refused(&dir, &DirError::Block { block, source });

    let mut dir = whole.clone();
    let child = FileBlock::new(blocks);
    set_root(&mut dir, &[(0, blocks)]);
    index_refused(
        &dir,
        &DirError::IndexChild {
            block,
            child,
            blocks,
        },
    );

    let mut dir = whole.clone();
    dir.block_mut(0)[0x21] ^= 1;
    let refused = insert(&mut dir.clone(), b"new");
    let Err(MemError::Dir(why @ DirError::Block { .. })) = refused else {
        panic!("{refused:?}")
    };
    index_refused(&dir, &why);
}

/// A directory with a node below its root.
fn two_levels(csum: bool) -> MemDir {
    let dir = directory(csum, true, 1500);
    assert_eq!(dir.block(0)[0x1E], 1);
    dir
}

#[test]
fn loops_and_wrong_ranges_of_inner_nodes() {
    let whole = two_levels(true);
    let cx = whole.cx;
    let root = htree::DxNode::parse(whole.block(0), DxKind::Root, &cx.format).unwrap();
    let node_at = root.entry(0).unwrap().block;
    let rewrite = |pairs: &[DxEntry]| {
        let mut dir = whole.clone();
        set_root(&mut dir, &[(0, node_at.get())]);
        let block = dir.block_mut(node_at.get());
        htree::init_node(block, &cx.format, pairs).unwrap();
        htree::stamp(block, DxKind::Node, &cx.format, cx.csum_seed).unwrap();
        insert(&mut dir, b"new").unwrap_err()
    };
    let own = rewrite(&[DxEntry {
        hash: 0,
        block: node_at,
    }]);
    assert_eq!(
        own,
        MemError::Dir(DirError::IndexLoop {
            block: node_at,
            child: node_at
        })
    );

    // The root sends the name to a node that begins before what the root says.
    let mut dir = whole.clone();
    let hash = cx.default_hash.unwrap().hash(b"new", cx.hash_seed).major;
    set_root(&mut dir, &[(0, node_at.get()), (hash, node_at.get())]);
    let failed = insert(&mut dir, b"new").unwrap_err();
    let MemError::Dir(DirError::IndexRange { block, lower, .. }) = failed else {
        panic!("{failed:?}")
    };
    assert_eq!((block, lower), (node_at, hash));
}

#[test]
fn a_leaf_that_is_a_node_is_not_written_to() {
    // Without checksums only the looks tell. The root leads to a leaf; there is a node instead.
    let mut dir = two_levels(false);
    let root = htree::DxNode::parse(dir.block(0), DxKind::Root, &dir.cx.format).unwrap();
    let node_at = root.entry(0).unwrap().block;
    edit_root(&mut dir, |b| b[0x1E] = 0);
    set_root(&mut dir, &[(0, node_at.get())]);
    let refused = insert(&mut dir, b"new").unwrap_err();
    assert_eq!(
        refused,
        MemError::Dir(DirError::LeafIsNode { block: node_at })
    );
    assert!(dir.written.is_empty());
}

#[test]
fn shared_leaves_end() {
    for csum in [true, false] {
        let mut dir = directory(csum, true, 60);
        let node = htree::DxNode::parse(dir.block(0), DxKind::Root, &dir.cx.format).unwrap();
        let leaf = node.entry(1).unwrap().block.get();
        // All pairs lead to one leaf and continue each other.
        let hash = dir
            .cx
            .default_hash
            .unwrap()
            .hash(&name(3), dir.cx.hash_seed)
            .major;
        let pairs: Vec<_> = (0..100)
            .map(|i| (if i == 0 { 0 } else { hash | 1 }, leaf))
            .collect();
        set_root(&mut dir, &pairs);
        dir.reads.set(0);
        let _ = e4_dir::lookup(&dir, &name(3));
        assert_bounded(&dir);
        let listed = list_bounded(&dir);
        assert!(
            matches!(listed, Err(MemError::Dir(DirError::LeavesShared { .. }))),
            "{listed:?}"
        );
        for i in 0..60 {
            let _ = insert(&mut dir.clone(), &name(i));
        }
    }
}

#[test]
fn a_leaf_with_foreign_names_is_not_split() {
    let mut dir = directory(true, true, 60);
    let cx = dir.cx;
    let node = htree::DxNode::parse(dir.block(0), DxKind::Root, &cx.format).unwrap();
    let (first, last) = (
        node.entry(0).unwrap(),
        node.entry(node.count() - 1).unwrap(),
    );
    // The first and the last leaf change places.
    dir.blocks
        .swap(first.block.get() as usize, last.block.get() as usize);
    let mut refused = 0;
    for i in 100..400 {
        match insert(&mut dir, &name(i)) {
            Ok(()) => {}
            Err(MemError::Dir(DirError::LeafHash { .. })) => {
                assert!(dir.written.is_empty() && dir.appended == 0);
                refused += 1;
            }
            Err(e) => panic!("{e:?}"),
        }
    }
    assert!(refused > 0);
    // All are listed all the same, once each.
    assert_eq!(list_bounded(&dir), Ok(2 + 60 + 300 - refused));
}

#[test]
fn duplicate_names_do_not_hold_up_a_listing() {
    let mut dir = directory(true, true, 0);
    let cx = dir.cx;
    let block = dir.block_mut(0);
    for _ in 0..5 {
        assert!(dir::insert(block, &cx.format, b"twin", ino(20), FileType::Regular).unwrap());
    }
    dir::stamp(block, &cx.format, cx.csum_seed).unwrap();
    assert!(list_bounded(&dir).unwrap() >= 3);
}

#[test]
fn block_zero_without_dots() {
    for count in [3, 60] {
        let mut dir = directory(true, true, count);
        let cx = dir.cx;
        let csum = dir.indexed;
        let block = dir.block_mut(0);
        block[8] = b'x';
        if csum {
            htree::stamp(block, DxKind::Root, &cx.format, cx.csum_seed).unwrap();
        } else {
            dir::stamp(block, &cx.format, cx.csum_seed).unwrap();
        }
        let dots = MemError::Dir(DirError::Dots {
            block: FileBlock::new(0),
        });
        assert_eq!(
            e4_dir::set_dotdot(&mut dir.clone(), ino(3)),
            Err(dots.clone())
        );
        assert_eq!(e4_dir::is_empty(&dir), Err(dots));
        assert_eq!(e4_dir::lookup(&dir, b"."), Ok(None));
        if count == 60 {
            // What is left of the root is no place for names.
            assert_eq!(e4_dir::lookup(&dir, b"x"), Ok(None));
        }
    }
}

#[test]
fn the_flag_without_the_feature() {
    let mut dir = directory(true, true, 60);
    dir.cx.dir_index = false;
    assert!(e4_dir::lookup(&dir, &name(3)).unwrap().is_some());
    assert_eq!(list_bounded(&dir), Ok(62));
    let refused = insert(&mut dir, b"new");
    assert_eq!(refused, Err(MemError::Dir(DirError::IndexWithoutFeature)));

    let mut dir = directory(false, true, 60);
    dir.cx.dir_index = false;
    insert(&mut dir, b"new").expect("linear from now on");
    assert!(!dir.indexed);
    assert_eq!(support::checker::check(&dir).len(), 61);
    assert_eq!(list_bounded(&dir), Ok(63));
}

#[test]
fn a_hash_position_in_a_directory_without_hashes() {
    let dir = directory(true, false, 60);
    let mut seen = None;
    let at = iterate(&directory(true, true, 60), Cursor::START, &mut |e| {
        seen = Some(e.next);
        if e.name == b"." || e.name == b".." {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    assert_eq!(at.ok(), seen);
    let other = iterate(&dir, seen.unwrap(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(other, Err(MemError::Dir(DirError::CursorMode)));
}
