//! The same random operations on names applied to e4 and to the kernel's ext4: each result compared, then whole trees,
//! then each other's images.
//!
//! `E4_OPS` sets the number of operations, `E4_SEED` the sequence.

mod kernel;
mod op;
mod ours;
mod tree;

use std::path::{Path, PathBuf};

use e4::Filesystem;
use e4_judges::{fsck, mke2fs};

use crate::kernel::LoopMount;
use crate::workload::{Rng, open};
use op::Op;
use tree::Tree;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

/// Two images made alike: ours and the kernel's.
struct Pair {
    _dir: tempfile::TempDir,
    ours: PathBuf,
    kernels: PathBuf,
}

impl Pair {
    fn new(args: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let (ours, kernels) = (dir.path().join("ours.img"), dir.path().join("kernels.img"));
        if !mke2fs(&ours, 64 << 20, args) {
            return None;
        }
        std::fs::copy(&ours, &kernels).unwrap();
        Some(Self {
            _dir: dir,
            ours,
            kernels,
        })
    }
}

fn run(what: &str, args: &[&str], seed: u64, ops: u64) {
    let Some(pair) = Pair::new(args) else { return };
    let Some(mount) = LoopMount::new(&pair.kernels, false) else {
        return;
    };
    let fs = open(&pair.ours);
    let mut rng = Rng(seed * 2 + 1);
    let mut done = [0_u64; 2];
    for n in 0..ops {
        let op = Op::random(&mut rng, &fs);
        let theirs = kernel::apply(mount.root(), &op);
        let mine = ours::apply(&fs, &op);
        assert_eq!(
            mine, theirs,
            "{what}, seed {seed}, operation {n}: {op:?}: left e4, right the kernel"
        );
        done[usize::from(mine.is_ok())] += 1;
        if n % 500 == 499 {
            let (mine, theirs) = (tree::ours(&fs), tree::kernels(mount.root()));
            tree::assert_same(&mine, &theirs, &format!("{what}, seed {seed}, after {n}"));
        }
    }
    println!("{what}: {} succeeded, {} failed alike", done[1], done[0]);
    assert!(done[1] * 3 > ops, "too few operations succeed");
    let last = tree::ours(&fs);
    fs.unmount().unwrap();
    drop(mount);
    judge(&pair.ours, &last, what);
    judge(&pair.kernels, &last, &format!("{what}, the kernel's image"));
}

/// Clean by e2fsck, and the same tree through both.
fn judge(image: &Path, want: &Tree, what: &str) {
    fsck(image, what);
    if let Some(mount) = LoopMount::new(image, true) {
        let seen = tree::kernels(mount.root());
        tree::assert_same(want, &seen, &format!("{what}, read by the kernel"));
        drop(mount);
        let fs: Filesystem = open(image);
        tree::assert_same(&tree::ours(&fs), &seen, &format!("{what}, read by e4"));
        tree::assert_times_match(&fs, image, what);
        fs.unmount().unwrap();
    }
}

#[test]
fn like_the_kernel() {
    rustix::process::umask(rustix::fs::Mode::empty());
    let (seed, ops) = (number("E4_SEED", 1), number("E4_OPS", 2500));
    let variants: [(&str, &[&str]); 4] = [
        ("1 KiB", &["-b", "1024"]),
        ("4 KiB, orphan file", &["-b", "4096", "-O", "orphan_file"]),
        ("1 KiB, 128-byte inodes", &["-b", "1024", "-I", "128"]),
        ("1 KiB, no index", &["-b", "1024", "-O", "^dir_index"]),
    ];
    for (i, (what, args)) in variants.into_iter().enumerate() {
        run(what, args, seed * 1000 + i as u64, ops);
    }
}

#[test]
fn a_difference_is_noticed() {
    let a = Tree::from([("x".to_owned(), "mode 1".to_owned())]);
    let b = Tree::from([("x".to_owned(), "mode 2".to_owned())]);
    assert!(tree::differences(&a, &b).is_some());
    assert!(tree::differences(&a, &Tree::new()).is_some());
    assert!(tree::differences(&a, &a).is_none());
}
