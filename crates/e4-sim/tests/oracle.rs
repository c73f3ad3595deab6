//! The crash oracle against a toy filesystem that is right, and against every way we know to get it wrong.
//!
//! The toy: one preallocated file; a sector of flags says which of its blocks are written, the others read as
//! zeros. A green run of a planted bug is a failure of the oracle.

use e4_device::{AlignedBuf, Device, IoSlice, Op, QueueId, Request, Token, Wait};
use e4_sim::{
    Atomicity, Bound, Effect, Fault, Generation, History, OpKind, Rng, SimDisk, SimOptions, Tag,
    Times, Violation, When,
};

const FILE: u64 = 1;
const BLOCKS: u64 = 10;
const BLOCK: usize = 4096;
const Q: QueueId = QueueId(0);

/// What is wrong with the filesystem (or the disk).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// S44: the flag goes to disk before the data.
    FlipBeforeWrite,
    /// Flags are written without a flush between the data and them.
    NoFlushBeforeFlags,
    /// fsync returns before its last flush.
    NoFlushAfterFlags,
    /// A failed flush is simply repeated.
    RetryFailedFlush,
    /// S19: a failed data write is recorded all the same.
    RecordFailedWrite,
    /// Data land in the neighbour's block.
    WrongBlock,
    /// One flag is forgotten.
    ForgottenFlag,
    /// Punch leaves the flag on the disk.
    PunchForgotten,
    /// The disk claims to have flushed.
    LyingDisk,
}

struct Toy<'a> {
    disk: &'a SimDisk,
    history: &'a History,
    bug: Bug,
    flags: [bool; BLOCKS as usize],
    dead: bool,
}

fn place(block: u64) -> u64 {
    (8 + block) * BLOCK as u64
}

impl Toy<'_> {
    /// Writes several blocks at once, in whatever order the disk likes.
    fn write(&mut self, blocks: &[u64]) {
        if self.bug == Bug::FlipBeforeWrite {
            blocks.iter().for_each(|&b| self.flags[b as usize] = true);
            self.write_flags();
            self.flush();
        }
        let mut requests = Vec::new();
        let mut generations = Vec::new();
        for &block in blocks {
            let generation = self.history.write(FILE, block..block + 1);
            generations.push((block, generation));
            let mut buf = AlignedBuf::recycled(BLOCK);
            tag(block, generation).stamp(&mut buf);
            let target = match self.bug {
                Bug::WrongBlock if block == 3 => place(4),
                _ => place(block),
            };
            let op = Op::Write {
                at: target,
                data: IoSlice::Owned(buf),
            };
            let token = Token(block);
            requests.push(Request { token, op });
        }
        self.disk.submit(Q, &mut requests);
        let mut done = Vec::new();
        while done.len() < blocks.len() {
            self.disk.poll(Q, &mut done, Wait::One);
        }
        for (block, generation) in generations {
            let ok = done
                .iter()
                .all(|c| c.token != Token(block) || c.result.is_ok());
            if ok || self.bug == Bug::RecordFailedWrite {
                self.flags[block as usize] = true;
            }
            let blocks = block..block + 1;
            if ok {
                self.history.acknowledged(FILE, blocks, generation);
            } else {
                self.history.failed(FILE, blocks, generation);
            }
        }
    }

    fn punch(&mut self, block: u64) {
        let generation = self.history.zero(FILE, block..block + 1);
        if self.bug != Bug::PunchForgotten {
            self.flags[block as usize] = false;
        }
        self.history
            .acknowledged(FILE, block..block + 1, generation);
    }

    fn fsync(&mut self) {
        let mark = self.history.sync_begins(FILE);
        if self.bug != Bug::NoFlushBeforeFlags {
            self.flush();
        }
        self.write_flags();
        if self.bug != Bug::NoFlushAfterFlags {
            self.flush();
        }
        if !self.dead {
            self.history.synced(mark);
        }
    }

    fn flush(&mut self) {
        let mut done = self.disk.flush();
        if done.is_err() && self.bug == Bug::RetryFailedFlush {
            done = self.disk.flush();
        }
        self.dead |= done.is_err();
    }

    fn write_flags(&mut self) {
        if self.dead {
            return;
        }
        let mut sector = [0u8; 512];
        for (byte, flag) in sector.iter_mut().zip(self.flags) {
            *byte = u8::from(flag);
        }
        if self.bug == Bug::ForgottenFlag {
            sector[7] = 0;
        }
        self.dead |= self.disk.write_at(0, &sector).is_err();
    }
}

fn tag(block: u64, generation: Generation) -> Tag {
    Tag {
        file: FILE,
        block,
        generation: generation.0,
    }
}

/// What a reader sees after the crash.
fn read(dev: &dyn Device, block: u64) -> Vec<u8> {
    let mut flags = [0; 512];
    dev.read_at(0, &mut flags).expect("read_at");
    let mut content = vec![0; BLOCK];
    if flags[block as usize] == 1 {
        dev.read_at(place(block), &mut content).expect("read_at");
    }
    content
}

/// One run and the judgement of all its crash states: the first violation, and the number of states.
fn run(bug: Bug, seed: u64) -> (Option<Violation>, usize) {
    let disk = SimDisk::new(&SimOptions::new(64 * BLOCK as u64, seed));
    disk.write_at(0, &[0; 512]).expect("make");
    disk.settle();
    let history = History::with_clock(Atomicity::Sector, disk.clock());
    let mut rng = Rng::new(seed);
    plan_faults(&disk, bug, &mut rng);
    let mut toy = Toy {
        disk: &disk,
        history: &history,
        bug,
        flags: [false; BLOCKS as usize],
        dead: false,
    };
    for _ in 0..12 {
        if toy.dead {
            break;
        }
        match rng.below(6) {
            0 => toy.punch(rng.below(BLOCKS)),
            1 | 2 => toy.fsync(),
            _ => {
                let mut blocks: Vec<u64> = (0..BLOCKS).collect();
                rng.shuffle(&mut blocks);
                blocks.truncate(1 + rng.index(4));
                toy.write(&blocks);
            }
        }
    }
    if !toy.dead {
        toy.fsync();
    }
    judge(&disk, &history, seed)
}

fn plan_faults(disk: &SimDisk, bug: Bug, rng: &mut Rng) {
    let n = 1 + rng.below(4);
    match bug {
        // The right filesystem has to survive all of these.
        Bug::None | Bug::RetryFailedFlush | Bug::RecordFailedWrite => {
            if rng.chance(1, 2) || bug == Bug::RetryFailedFlush {
                disk.inject(Fault::nth(OpKind::Flush, n));
            }
            if rng.chance(1, 2) || bug == Bug::RecordFailedWrite {
                disk.inject(Fault {
                    when: When::Touching(place(0)..place(BLOCKS)),
                    times: Times::Count(3),
                    ..Fault::nth(OpKind::Write, 0)
                });
            }
        }
        Bug::LyingDisk => disk.inject(Fault {
            op: OpKind::Flush,
            when: When::Always,
            effect: Effect::Lie,
            times: Times::Forever,
        }),
        _ => {}
    }
}

fn judge(disk: &SimDisk, history: &History, seed: u64) -> (Option<Violation>, usize) {
    let log = disk.log();
    let bound = Bound::new(6, seed);
    let mut states = 0;
    for point in log.crash_points() {
        for state in log.states_at(point, bound) {
            states += 1;
            for block in 0..BLOCKS {
                let content = read(&state, block);
                let verdict = history
                    .at(point.position)
                    .judge(FILE, block, &content, true);
                if let Err(violation) = verdict {
                    return (Some(violation), states);
                }
            }
        }
    }
    (None, states)
}

#[test]
fn the_right_one_passes() {
    let mut states = 0;
    for seed in 0..60 {
        let (violation, count) = run(Bug::None, seed);
        assert_eq!(violation, None, "seed {seed}");
        states += count;
    }
    eprintln!("{states} crash states judged");
    assert!(states > 5_000);
}

fn caught(bug: Bug, expected: impl Fn(&Violation) -> bool) {
    let violations: Vec<Violation> = (0..60).filter_map(|seed| run(bug, seed).0).collect();
    assert!(
        violations.iter().any(expected),
        "{bug:?} is not caught for what it is: {violations:?}"
    );
    eprintln!(
        "{bug:?}: {} of 60 seeds, {}",
        violations.len(),
        violations[0]
    );
}

#[test]
fn flip_before_write_leaks_the_disk() {
    caught(Bug::FlipBeforeWrite, |v| {
        matches!(v, Violation::Stale { .. })
    });
}

#[test]
fn flags_that_overtake_the_data_leak_the_disk() {
    caught(Bug::NoFlushBeforeFlags, |v| {
        matches!(v, Violation::Stale { .. })
    });
}

#[test]
fn fsync_without_its_last_flush_loses_data() {
    caught(Bug::NoFlushAfterFlags, |v| {
        matches!(v, Violation::Lost { .. })
    });
}

#[test]
fn a_repeated_flush_loses_data() {
    caught(Bug::RetryFailedFlush, |v| {
        matches!(
            v,
            Violation::Stale { .. } | Violation::Lost { .. } | Violation::Outdated { .. }
        )
    });
}

#[test]
fn a_failed_write_that_is_recorded_leaks_the_disk() {
    caught(Bug::RecordFailedWrite, |v| {
        matches!(v, Violation::Stale { .. })
    });
}

#[test]
fn data_in_the_wrong_block() {
    caught(Bug::WrongBlock, |v| {
        matches!(v, Violation::Misplaced { .. })
    });
}

#[test]
fn a_forgotten_flag_loses_data() {
    caught(Bug::ForgottenFlag, |v| {
        matches!(v, Violation::Lost { block: 7, .. })
    });
}

#[test]
fn a_forgotten_punch_resurrects_data() {
    caught(Bug::PunchForgotten, |v| {
        matches!(v, Violation::Outdated { .. })
    });
}

#[test]
fn a_disk_that_lies() {
    caught(Bug::LyingDisk, |v| {
        matches!(v, Violation::Stale { .. } | Violation::Lost { .. })
    });
}
