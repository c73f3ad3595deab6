//! The same random operations, on names and on open files, applied to e4 and to the kernel's ext4: each answer compared (data,
//! positions, error numbers), then the trees, then each other's images.
//!
//! Many short sequences, each in a directory of its own, on one pair of mounts that is renewed now and then. A sequence
//! that differs is shrunk by running parts of it again. `E4_OPS` sets the number of operations, `E4_SEED` the first
//! sequence.

mod handle;
mod kernel;
mod op;
mod ours;
mod tree;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use e4::Filesystem;
use e4_judges::{fsck, mke2fs, run as run_tool, scratch};

use crate::kernel::LoopMount;
use crate::workload::{Rng, open};
use handle::Do;
use kernel::Kernels;
use op::{Answer, Op, Said};
use ours::Ours;
use tree::Tree;

/// Operations in a sequence.
const LENGTH: usize = 60;

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
        let dir = scratch();
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

/// A difference between the two sides.
struct Difference {
    what: String,
}

/// The two sides of one comparison.
struct Both {
    pair: Pair,
    ours: Ours,
    mount: LoopMount,
    /// Sequences begun.
    count: u64,
    succeeded: u64,
    failed: u64,
}

impl Both {
    fn new(args: &[&str]) -> Option<Self> {
        let pair = Pair::new(args)?;
        let mount = LoopMount::new(&pair.kernels, false)?;
        without_zeroing_out(&pair.kernels);
        Some(Self {
            ours: Ours::new(&pair.ours),
            pair,
            mount,
            count: 0,
            succeeded: 0,
            failed: 0,
        })
    }

    /// Runs a sequence in a directory of its own, drawn by `next` until there is no more; then compares the trees.
    fn sequence(&mut self, mut next: impl FnMut(&Ours) -> Option<Op>) -> Result<(), Difference> {
        self.count += 1;
        let dir = format!("s{}", self.count);
        self.ours.enter(&format!("/{dir}"));
        let mut theirs = Kernels::enter(&self.mount.path(&dir));
        let mut found = Ok(());
        while let Some(op) = next(&self.ours) {
            let (mine, kernels) = (self.ours.apply(&op), theirs.apply(&op));
            if mine != kernels {
                let what = format!(
                    "{op:?}: e4 {}, the kernel {}",
                    short(&mine),
                    short(&kernels)
                );
                found = Err(Difference { what });
                break;
            }
            match mine {
                Ok(_) => self.succeeded += 1,
                Err(_) => self.failed += 1,
            }
        }
        if found.is_ok() {
            let (mine, kernels) = (tree::ours(&self.ours.fs), tree::kernels(self.mount.root()));
            if let Some(what) = tree::differences(&mine, &kernels) {
                found = Err(Difference {
                    what: format!("at the end the trees differ (e4 first)\n{what}"),
                });
            }
        }
        self.ours.leave();
        theirs.leave();
        found
    }

    /// The shortest part of a sequence that still shows a difference.
    fn shrink(&mut self, ops: Vec<Op>) -> (Vec<Op>, Option<String>) {
        let mut ops = ops;
        let mut seen = None;
        let mut part = ops.len().div_ceil(2);
        while part > 0 {
            let mut at = 0;
            while at < ops.len() {
                let mut fewer = ops.clone();
                fewer.drain(at..(at + part).min(ops.len()));
                let mut todo = fewer.clone().into_iter();
                match self.sequence(|_| todo.next()) {
                    Err(difference) => {
                        seen = Some(difference.what);
                        ops = fewer;
                    }
                    Ok(()) => at += part,
                }
            }
            part /= 2;
        }
        (ops, seen)
    }

    fn remount(mut self) -> Self {
        self.ours.fs.unmount().unwrap();
        drop(self.mount);
        self.mount = LoopMount::new(&self.pair.kernels, false).expect("it went a moment ago");
        without_zeroing_out(&self.pair.kernels);
        self.ours = Ours::new(&self.pair.ours);
        self
    }
}

/// The kernel may write zeros instead of splitting an unwritten extent, and then sees data where there is none.
fn without_zeroing_out(image: &Path) {
    let Some(out) = run_tool(
        "losetup",
        &["-nO", "NAME", "-j", &image.display().to_string()],
    ) else {
        return;
    };
    for name in String::from_utf8_lossy(&out.stdout).split_whitespace() {
        let name = name.trim_start_matches("/dev/");
        let knob = format!("/sys/fs/ext4/{name}/extent_max_zeroout_kb");
        std::fs::write(&knob, "0").unwrap_or_else(|e| panic!("{knob}: {e}"));
    }
}

fn short(answer: &Answer) -> String {
    match answer {
        Ok(Said::Bytes(bytes)) => {
            let mut hasher = DefaultHasher::new();
            bytes.hash(&mut hasher);
            let data = bytes.iter().position(|&b| b != 0);
            let hash = hasher.finish();
            format!(
                "{} bytes, hash {hash:x}, first not zero {data:?}",
                bytes.len()
            )
        }
        other => format!("{other:?}"),
    }
}

/// Without the bytes of writes.
fn listed(ops: &[Op]) -> String {
    let line = |op: &Op| match op {
        Op::Write(path, at, data) => format!("Write({path:?}, {at}, {} bytes)", data.len()),
        Op::On(slot, Do::Write(at, data)) => {
            format!("On({slot}, Write({at}, {} bytes))", data.len())
        }
        other => format!("{other:?}"),
    };
    ops.iter().map(|op| format!("  {}\n", line(op))).collect()
}

/// Draws and runs one sequence; a difference is shrunk and told.
fn try_seed(both: &mut Both, seed: u64) -> Result<(), String> {
    let mut rng = Rng(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for _ in 0..4 {
        rng.below(2);
    }
    let mut ops: Vec<Op> = Vec::new();
    let outcome = both.sequence(|ours| {
        if ops.len() >= LENGTH {
            return None;
        }
        ops.push(Op::random(&mut rng, ours));
        ops.last().cloned()
    });
    let Err(difference) = outcome else {
        return Ok(());
    };
    let (few, seen) = both.shrink(ops);
    Err(format!(
        "{}\nagain: E4_SEED={} E4_OPS=1 cargo test -p e4 --test oracles like_the_kernel\nshrunk to:\n{}{}",
        difference.what,
        seed / 4 * 4,
        listed(&few),
        seen.unwrap_or_default()
    ))
}

fn run(what: &str, args: &[&str], seed: u64, ops: u64) {
    let Some(mut both) = Both::new(args) else {
        return;
    };
    let sequences = ops.div_ceil(LENGTH as u64);
    for n in 0..sequences {
        if let Err(difference) = try_seed(&mut both, seed + 4 * n) {
            panic!("{what}: {difference}");
        }
        if n % 64 == 63 {
            both = both.remount();
        }
    }
    println!(
        "{what}: {} succeeded, {} failed alike",
        both.succeeded, both.failed
    );
    assert!(
        both.succeeded * 2 > both.failed,
        "too few operations succeed"
    );
    let Both {
        pair, ours, mount, ..
    } = both;
    let last = tree::ours(&ours.fs);
    ours.fs.unmount().unwrap();
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
    let (seed, ops) = (number("E4_SEED", 1), number("E4_OPS", 100_000));
    let variants: [(&str, &[&str]); 4] = [
        ("1 KiB", &["-b", "1024"]),
        ("4 KiB, orphan file", &["-b", "4096", "-O", "orphan_file"]),
        ("1 KiB, 128-byte inodes", &["-b", "1024", "-I", "128"]),
        ("1 KiB, no index", &["-b", "1024", "-O", "^dir_index"]),
    ];
    for (i, (what, args)) in variants.into_iter().enumerate() {
        // Each variant's sequences are its own.
        run(what, args, seed / 4 * 4 + i as u64, ops.div_ceil(4));
    }
}

#[test]
fn a_planted_difference_is_found_and_shrunk() {
    rustix::process::umask(rustix::fs::Mode::empty());
    let Some(mut both) = Both::new(&["-b", "1024"]) else {
        return;
    };
    both.ours.wrong = true;
    let found = (1..300).find_map(|seed| try_seed(&mut both, seed).err());
    let found = found.expect("rename without replacing replaces, and nobody noticed");
    assert!(found.contains("NoReplace"), "{found}");
    let shrunk = found.split("shrunk to:").nth(1).unwrap();
    assert!(shrunk.lines().count() < 12, "{found}");
}

#[test]
fn a_difference_is_noticed() {
    let a = Tree::from([("x".to_owned(), "mode 1".to_owned())]);
    let b = Tree::from([("x".to_owned(), "mode 2".to_owned())]);
    assert!(tree::differences(&a, &b).is_some());
    assert!(tree::differences(&a, &Tree::new()).is_some());
    assert!(tree::differences(&a, &a).is_none());
}
