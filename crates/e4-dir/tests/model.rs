//! Random operations against a map, for every hash, signedness, block size, with and without
//! checksums.

mod support;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use e4_dir::{Cursor, DirContext, DirError, credits_for_insert, iterate};
use e4_format::FileType;
use e4_format::htree::HashAlgorithm;
use support::checker::check;
use support::{INODES, MemDir, MemError, Rng, context, ino, list};

const TYPES: [FileType; 7] = [
    FileType::Regular,
    FileType::Directory,
    FileType::CharDevice,
    FileType::BlockDevice,
    FileType::Fifo,
    FileType::Socket,
    FileType::Symlink,
];

type Model = BTreeMap<Vec<u8>, (u32, FileType)>;

struct Run {
    dir: MemDir,
    model: Model,
    /// The names of the model, for picking one.
    names: Vec<Vec<u8>>,
    rng: Rng,
}

impl Run {
    fn new(cx: DirContext, seed: u64) -> Self {
        let dir = MemDir::initialised(cx);
        Self {
            dir,
            model: Model::new(),
            names: Vec::new(),
            rng: Rng(seed),
        }
    }

    fn known(&mut self) -> Vec<u8> {
        let i = self.rng.below(self.names.len());
        self.names[i].clone()
    }

    fn some_name(&mut self) -> Vec<u8> {
        if self.names.is_empty() || self.rng.below(2) == 0 {
            self.rng.name()
        } else {
            self.known()
        }
    }

    fn insert(&mut self, name: Vec<u8>) {
        let inode = 1 + u32::try_from(self.rng.below(INODES as usize)).unwrap();
        let kind = TYPES[self.rng.below(TYPES.len())];
        let bound = credits_for_insert(&self.dir);
        let plan = e4_dir::plan_insert(&self.dir, &name, ino(inode), kind);
        self.dir.reset();
        let done = e4_dir::insert(&mut self.dir, &name, ino(inode), kind);
        if let Some((there, _)) = self.model.get(&name) {
            assert_eq!(
                done,
                Err(MemError::Dir(DirError::Exists { inode: ino(*there) }))
            );
            assert!(self.dir.written.is_empty() && self.dir.appended == 0);
            return;
        }
        done.expect("insert");
        let exact = plan.expect("plan").cost();
        let written = u32::try_from(self.dir.written.len()).unwrap();
        assert_eq!(
            (exact.written, exact.appended),
            (written, self.dir.appended)
        );
        assert!(
            written <= bound.written && exact.appended <= bound.appended,
            "{exact:?} {bound:?}"
        );
        self.model.insert(name.clone(), (inode, kind));
        self.names.push(name);
    }

    fn remove(&mut self, name: &[u8]) {
        self.dir.reset();
        let gone = e4_dir::remove(&mut self.dir, name).expect("remove");
        let expected = self.model.remove(name);
        assert_eq!(
            gone.map(|t| (t.inode.get(), t.file_type)),
            expected.map(|(i, k)| (i, Some(k)))
        );
        assert_eq!(self.dir.written.len(), usize::from(expected.is_some()));
        if expected.is_some() {
            let i = self.names.iter().position(|n| n == name).expect("name");
            self.names.swap_remove(i);
        }
    }

    fn replace(&mut self, name: &[u8]) {
        let inode = 1 + u32::try_from(self.rng.below(INODES as usize)).unwrap();
        let kind = TYPES[self.rng.below(TYPES.len())];
        self.dir.reset();
        let old = e4_dir::replace(&mut self.dir, name, ino(inode), kind).expect("replace");
        let expected = self.model.get(name).copied();
        assert_eq!(
            old.map(|t| (t.inode.get(), t.file_type)),
            expected.map(|(i, k)| (i, Some(k)))
        );
        if expected.is_some() {
            self.model.insert(name.to_vec(), (inode, kind));
        }
    }

    fn lookup(&self, name: &[u8]) {
        let found = e4_dir::lookup(&self.dir, name).expect("lookup");
        let expected = self.model.get(name).map(|(i, k)| (*i, Some(*k)));
        assert_eq!(found.map(|t| (t.inode.get(), t.file_type)), expected);
    }

    fn step(&mut self, growing: bool) {
        match self.rng.below(if growing { 8 } else { 20 }) {
            0 | 8 => {
                let name = self.some_name();
                self.lookup(&name);
            }
            1 => {
                let name = self.some_name();
                self.replace(&name);
            }
            2 => {
                let name = self.some_name();
                self.remove(&name);
            }
            9.. => {
                if !self.names.is_empty() {
                    let name = self.known();
                    self.remove(&name);
                }
            }
            3 => {
                let name = self.some_name();
                self.insert(name);
            }
            _ => {
                let name = self.rng.name();
                self.insert(name);
            }
        }
    }

    fn check_all(&self) {
        let contents = check(&self.dir);
        let expected = self
            .model
            .iter()
            .map(|(n, (i, _))| (n.clone(), *i))
            .collect();
        assert!(contents == expected, "contents differ");
        let mut names = list(&self.dir);
        names.retain(|n| n != b"." && n != b"..");
        names.sort();
        assert!(names.iter().eq(self.model.keys()), "listing differs");
        for name in self.model.keys() {
            self.lookup(name);
        }
        assert_eq!(
            e4_dir::is_empty(&self.dir).expect("is_empty"),
            self.model.is_empty()
        );
        assert_eq!(
            self.dir.unusable.get(),
            0,
            "an index of our own was not usable"
        );
        let dot = |name: &[u8]| e4_dir::lookup(&self.dir, name).unwrap().unwrap().inode;
        assert_eq!((dot(b".").get(), dot(b"..").get()), (11, 2));
    }

    fn run(&mut self, steps: usize) {
        for growing in [true, false, true] {
            for i in 0..steps {
                self.step(growing);
                if i % (steps / 3) == 0 {
                    self.check_all();
                }
            }
            self.check_all();
        }
    }
}

#[test]
fn random_operations_every_hash_and_block_size() {
    let algorithms = [
        HashAlgorithm::Legacy,
        HashAlgorithm::HalfMd4,
        HashAlgorithm::Tea,
    ];
    let mut seed = 0;
    for algorithm in algorithms {
        for unsigned in [false, true] {
            for block_size in [1024, 2048, 4096] {
                for csum in [false, true] {
                    seed += 1;
                    let mut run = Run::new(context(block_size, csum, algorithm, unsigned), seed);
                    run.run(2500);
                    assert!(run.dir.indexed, "seed {seed}");
                }
            }
        }
    }
}

#[test]
fn random_operations_large_blocks() {
    for (block_size, csum) in [(8192, true), (65536, false), (65536, true)] {
        let mut run = Run::new(context(block_size, csum, HashAlgorithm::HalfMd4, false), 77);
        run.run(4000);
        assert!(run.dir.indexed);
    }
}

#[test]
fn random_operations_without_an_index() {
    for csum in [false, true] {
        let mut cx = context(1024, csum, HashAlgorithm::HalfMd4, false);
        cx.dir_index = false;
        let mut run = Run::new(cx, 5);
        run.run(500);
        assert!(!run.dir.indexed && run.dir.blocks.len() > 10);
        // With the feature but a hash we do not know: the same.
        cx = DirContext {
            dir_index: true,
            default_hash: None,
            ..cx
        };
        let mut run = Run::new(cx, 6);
        run.run(500);
        assert!(!run.dir.indexed && run.dir.blocks.len() > 10);
    }
}

#[test]
fn types_are_not_stored_without_the_feature() {
    let mut cx = context(1024, true, HashAlgorithm::Tea, false);
    cx.format.file_type = false;
    let mut dir = MemDir::initialised(cx);
    for i in 0..500u32 {
        dir.reset();
        e4_dir::insert(
            &mut dir,
            format!("{i}").as_bytes(),
            ino(20 + i),
            FileType::Fifo,
        )
        .unwrap();
    }
    assert!(dir.indexed);
    let found = e4_dir::lookup(&dir, b"77").unwrap().unwrap();
    assert_eq!((found.inode, found.file_type), (ino(97), None));
    check(&dir);
}

/// Goes through a directory a few entries at a time; `bits` through the 63-bit form.
fn list_in_steps(
    dir: &mut MemDir,
    step: usize,
    bits: bool,
    mut between: impl FnMut(&mut MemDir),
) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let mut at = Cursor::START;
    while at != Cursor::END {
        let mut left = step;
        let next = iterate(dir, at, &mut |e| {
            all.push(e.name.to_vec());
            left -= 1;
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        at = next.expect("iterate");
        if bits {
            at = Cursor::from_bits(at.to_bits());
        }
        between(dir);
    }
    all
}

#[test]
fn a_listing_sees_what_stays_exactly_once_while_others_come_and_go() {
    for (dir_index, bits, before) in [
        (true, true, 3),
        (true, false, 30),
        (true, true, 400),
        (false, true, 30),
        (false, false, 200),
    ] {
        let mut cx = context(1024, true, HashAlgorithm::HalfMd4, false);
        cx.dir_index = dir_index;
        let mut run = Run::new(cx, 9 + before);
        for i in 0..before {
            run.insert(format!("stays {i}").into_bytes());
        }
        let (mut n, mut rng) = (0, Rng(1));
        let mut all = list_in_steps(&mut run.dir.clone(), 3, bits, |dir| {
            for _ in 0..5 {
                // Not for ever: in order of blocks the directory would grow ahead of its reader.
                if n < 1500 {
                    n += 1;
                    dir.reset();
                    let name = format!("comes {n}, with a long tail that fills the blocks");
                    e4_dir::insert(dir, name.as_bytes(), ino(20), FileType::Regular).unwrap();
                }
                let name = format!(
                    "comes {}, with a long tail that fills the blocks",
                    rng.below(n)
                );
                dir.reset();
                e4_dir::remove(dir, name.as_bytes()).unwrap();
            }
        });
        all.retain(|n| n.starts_with(b"stays"));
        assert_eq!(all.len(), usize::try_from(before).unwrap(), "once each");
        all.sort();
        all.dedup();
        assert_eq!(all.len(), usize::try_from(before).unwrap());
    }
}

#[test]
fn positions_in_steps_of_one_list_everything() {
    for count in [0, 1, 5, 40, 700] {
        for dir_index in [true, false] {
            let mut cx = context(1024, false, HashAlgorithm::Legacy, true);
            cx.dir_index = dir_index;
            let mut run = Run::new(cx, count);
            for _ in 0..count {
                let name = run.rng.name();
                run.insert(name);
            }
            let mut all = list_in_steps(&mut run.dir, 1, true, |_| {});
            assert_eq!(&all[..2], [b".".to_vec(), b"..".to_vec()]);
            let mut names = all.split_off(2);
            names.sort();
            assert!(names.iter().eq(run.model.keys()));
        }
    }
}
