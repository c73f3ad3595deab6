//! Long random sequences against a model of every block.

use std::collections::HashMap;

use super::image::{Fs, Rng, SHAPES, Usage, assert_clean, make};
use crate::alloc::{Account, Run};
use crate::error::Error;

/// What the model knows of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Block {
    Free,
    Used,
    /// Freed, not committed.
    Pending,
}

struct World {
    fs: Fs,
    blocks: Vec<Block>,
    /// Ours, by start.
    runs: HashMap<u64, Run>,
    promised: u64,
    rng: Rng,
    steps: HashMap<&'static str, u32>,
}

impl World {
    fn new(bytes: &[u8], seed: u64) -> Self {
        let fs = Fs::open(bytes);
        let state = |used: &bool| if *used { Block::Used } else { Block::Free };
        let blocks = fs.fresh.blocks.iter().map(state).collect();
        let (runs, steps) = (HashMap::new(), HashMap::new());
        Self {
            fs,
            blocks,
            runs,
            promised: 0,
            rng: Rng(seed),
            steps,
        }
    }

    fn count(&self, wanted: Block) -> u64 {
        self.blocks.iter().filter(|b| **b == wanted).count() as u64
    }

    fn set(&mut self, run: Run, from: Block, to: Block) {
        for block in run.start.get()..run.start.get() + u64::from(run.len) {
            let state = &mut self.blocks[usize::try_from(block).unwrap()];
            assert_eq!(*state, from, "block {block}");
            *state = to;
        }
    }

    fn step(&mut self) {
        let what = match self.rng.below(100) {
            0..45 => self.take(),
            45..85 => self.give(),
            85..90 => self.give_part(),
            90..95 => self.promise(),
            95..99 => {
                self.fs.commit();
                self.blocks
                    .iter_mut()
                    .filter(|b| **b == Block::Pending)
                    .for_each(|b| *b = Block::Free);
                "commit"
            }
            _ => self.compare(),
        };
        *self.steps.entry(what).or_default() += 1;
        assert_eq!(
            self.fs.alloc().free_blocks(),
            self.count(Block::Free) - self.promised
        );
        assert_eq!(
            self.fs.alloc().has_pending(),
            self.count(Block::Pending) > 0
        );
    }

    fn take(&mut self) -> &'static str {
        let goal = self.rng.below(self.blocks.len() as u64 + 5);
        let want = match self.rng.below(4) {
            0 => 1,
            1 => 1 + self.rng.below(20),
            2 => 1 + self.rng.below(300),
            _ => 1 + self.rng.below(5000),
        };
        let want = u32::try_from(want).unwrap();
        let account = if self.promised > 0 && self.rng.below(3) == 0 {
            Account::Promised
        } else {
            Account::Free
        };
        let room = match account {
            Account::Promised => self.promised,
            Account::Free => self.count(Block::Free) - self.promised,
        };
        match self.fs.take_from(goal, want, account) {
            Ok(run) => {
                assert!(run.len >= 1 && u64::from(run.len) <= room.min(want.into()));
                self.set(run, Block::Free, Block::Used);
                self.runs.insert(run.start.get(), run);
                if account == Account::Promised {
                    self.promised -= u64::from(run.len);
                }
                "alloc"
            }
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                assert_eq!(room, 0, "no space although there is some");
                "no space"
            }
        }
    }

    fn pick(&mut self) -> Option<Run> {
        let nth = usize::try_from(self.rng.below(self.runs.len().max(1) as u64)).unwrap();
        let start = *self.runs.keys().nth(nth)?;
        self.runs.remove(&start)
    }

    fn give(&mut self) -> &'static str {
        // Now and then much at once, so that the image does not stay full.
        let n = if self.rng.below(20) == 0 {
            self.runs.len() / 2
        } else {
            1
        };
        for _ in 0..n {
            let Some(run) = self.pick() else { break };
            self.fs.give(run).unwrap();
            self.set(run, Block::Used, Block::Pending);
        }
        "free"
    }

    fn give_part(&mut self) -> &'static str {
        let Some(run) = self.pick() else {
            return "free";
        };
        let cut = u32::try_from(self.rng.below(run.len.into())).unwrap();
        let head = Run {
            start: run.start,
            len: cut,
        };
        let tail = Run {
            start: e4_format::FsBlock::new(run.start.get() + u64::from(cut)),
            len: run.len - cut,
        };
        self.fs.give(tail).unwrap();
        self.set(tail, Block::Used, Block::Pending);
        if cut > 0 {
            self.runs.insert(head.start.get(), head);
        }
        "free part"
    }

    fn promise(&mut self) -> &'static str {
        if self.promised > 0 && self.rng.below(2) == 0 {
            self.fs.alloc().release_promise(self.promised);
            self.promised = 0;
            return "release";
        }
        let n = 1 + self.rng.below(40);
        let there = self.count(Block::Free) - self.promised;
        assert_eq!(self.fs.alloc().promise(n), there >= n);
        self.promised += if there >= n { n } else { 0 };
        "promise"
    }

    /// The bitmaps on the device say what the model says.
    fn compare(&mut self) -> &'static str {
        let usage = Usage::read(&self.fs.image());
        self.blocks
            .iter_mut()
            .filter(|b| **b == Block::Pending)
            .for_each(|b| *b = Block::Free);
        for (at, (used, model)) in usage.blocks.iter().zip(&self.blocks).enumerate() {
            assert_eq!(*used, *model == Block::Used, "block {at}");
        }
        "compare"
    }

    fn finish(mut self) -> u32 {
        self.fs.alloc().release_promise(self.promised);
        while let Some(run) = self.pick() {
            self.fs.give(run).unwrap();
        }
        let fresh = self.fs.fresh.clone();
        let image = self.fs.close();
        assert_eq!(Usage::read(&image), fresh);
        assert_clean(&image);
        self.steps.values().sum()
    }
}

#[test]
fn random_sequences_agree_with_the_model() {
    for (i, (name, args, mib)) in SHAPES.iter().enumerate() {
        let Some(bytes) = make(args, *mib) else {
            return;
        };
        let mut world = World::new(&bytes, 31 + i as u64);
        for _ in 0..1500 {
            world.step();
        }
        let steps = world.steps.clone();
        let total = world.finish();
        eprintln!("allocator, {name}: {total} steps {steps:?}, clean");
    }
}
