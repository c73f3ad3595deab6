//! The journal's device fails: everybody hears of it, nothing is retried, reads go on, nothing hangs, and what was
//! acknowledged durable is there after a remount.
//!
//! The heart is systematic: one scenario, the nth write (flush, read) of it fails, for every n.

use crate::world::{BLOCK, World, generation, tagged, watched, write};
use e4::{Error, FallocateMode, File, OpenFlags};
use e4_device::Device;
use e4_sim::explore::mount_options;
use e4_sim::{Atomicity, Bound, Effect, Fault, History, OpKind, Tag, Times, When};
use std::sync::Arc;

fn forever(op: OpKind) -> Fault {
    Fault {
        op,
        when: When::Always,
        effect: Effect::Fail { errno: 5 },
        times: Times::Forever,
    }
}

#[test]
fn a_failed_flush_is_never_repeated() {
    watched(|| {
        // The one before the commit record, the one after it.
        for nth in [1, 2] {
            let world = World::new();
            let file = world.preallocated("/f", 16);
            let other = world.preallocated("/g", 4);
            write(&file, 0, 1, 1).unwrap();
            file.fsync().unwrap();
            write(&file, 1, 1, 1).unwrap();
            world.disk.inject(Fault::nth(OpKind::Flush, nth));
            let error = file.fsync().expect_err("the flush has failed");
            assert!(matches!(error, Error::Journal(_)), "{error}");
            assert!(error.to_string().contains("flush"), "{error}");
            let flushes = world.disk.stats().flushes;
            refuses_everything(&world, &file, &other);
            assert_eq!(world.disk.stats().flushes, flushes, "a flush was retried");
            // Reads go on, of what was acknowledged, durable or not.
            assert_eq!([generation(&file, 0), generation(&file, 1)], [1, 1]);
            world
                .fs
                .clone()
                .unmount()
                .expect_err("nothing can be made durable any more");
            let log = world.disk.log();
            let point = log.crash_points().last().unwrap();
            for image in log.states_at(
                point,
                Bound {
                    torn: 0,
                    ..Bound::default()
                },
            ) {
                let name = image.describe();
                let fs = e4::Filesystem::open(Arc::new(image), &mount_options()).expect(&name);
                let file = fs.open_file("/f", OpenFlags::read()).unwrap();
                assert_eq!(generation(&file, 0), 1, "{name}");
                generation(&file, 1);
            }
        }
    });
}

/// After an abort every change is refused, at once and with the cause.
fn refuses_everything(world: &World, file: &File, other: &File) {
    let refusals = [
        write(file, 2, 1, 1).map(drop),
        other.fsync(),
        file.fsync(),
        file.fdatasync(),
        file.truncate(0),
        file.fallocate(FallocateMode::PunchHole, 0, BLOCK),
        file.fallocate(FallocateMode::Allocate, 0, 64 * BLOCK),
        world.fs.open_file("/new", OpenFlags::create()).map(drop),
        world.fs.mkdir("/dir", 0o755),
        world.fs.sync(),
    ];
    for (n, refusal) in refusals.into_iter().enumerate() {
        let error = refusal.expect_err(&format!("operation {n} was not refused"));
        assert!(
            error.to_string().contains("the journal was aborted"),
            "operation {n}: {error}"
        );
    }
}

#[test]
fn a_failed_write_to_the_log() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let other = world.preallocated("/g", 4);
        write(&file, 0, 1, 1).unwrap();
        file.fsync().unwrap();
        write(&file, 1, 1, 1).unwrap();
        world.disk.inject(forever(OpKind::Write));
        let error = file.fsync().expect_err("the log cannot be written");
        assert!(error.to_string().contains("cannot write"), "{error}");
        refuses_everything(&world, &file, &other);
        assert_eq!([generation(&file, 0), generation(&file, 1)], [1, 1]);
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!([generation(&file, 0), generation(&file, 1)], [1, 0]);
        world.must_be_sound();
    });
}

/// What a scenario was promised.
struct Promises {
    history: History,
    failed: bool,
}

impl Promises {
    /// A write of some blocks; the promise it makes is recorded.
    fn write(&mut self, file: &File, block: u64, count: u64, durable: bool) {
        let generation = self.history.write(1, block..block + count);
        let mut buf = tagged(block, count, generation.0);
        for (n, bytes) in buf.chunks_exact_mut(BLOCK as usize).enumerate() {
            Tag {
                file: 1,
                block: block + n as u64,
                generation: generation.0,
            }
            .stamp(bytes);
        }
        match file.write(block * BLOCK, buf).wait().0 {
            Ok(_) if durable => self.history.durable(1, block..block + count, generation),
            Ok(_) => self
                .history
                .acknowledged(1, block..block + count, generation),
            Err(_) => {
                self.failed = true;
                self.history.failed(1, block..block + count, generation);
            }
        }
    }

    fn zero(&mut self, from: u64, to: u64, act: impl FnOnce() -> e4::Result<()>) {
        let generation = self.history.zero(1, from..to);
        match act() {
            Ok(()) => self.history.acknowledged(1, from..to, generation),
            Err(_) => {
                self.failed = true;
                self.history.failed(1, from..to, generation);
            }
        }
    }

    fn sync(&mut self, file: &File) {
        let mark = self.history.sync_begins(1);
        match file.fsync() {
            Ok(()) => self.history.synced(mark),
            Err(_) => self.failed = true,
        }
    }

    /// Whether every block may be what it is.
    fn judge(&self, file: &File, durable_only: bool, what: &str) {
        for block in 0..48 {
            let mut bytes = vec![0; BLOCK as usize];
            match file.read_at(block * BLOCK, &mut bytes) {
                Ok(_) => {
                    let judged = self.history.judge(1, block, &bytes, durable_only);
                    judged.unwrap_or_else(|violation| panic!("{what}: {violation}"));
                }
                Err(error) => panic!("{what}: block {block}: {error}"),
            }
        }
    }
}

/// A bit of everything; goes on after errors as a stubborn user would.
fn scenario(world: &World, promises: &mut Promises) {
    let Ok(file) = world.fs.open_file("/f", OpenFlags::read_write()) else {
        promises.failed = true;
        return;
    };
    let dsync = OpenFlags {
        dsync: true,
        ..OpenFlags::read_write()
    };
    let durable = world.fs.open_file("/f", dsync).unwrap();
    for round in 0..3 {
        promises.write(&file, round, 1, false);
        promises.write(&file, 10 + round * 3, 2, false);
        promises.sync(&file);
        promises.write(&durable, 20 + round, 1, true);
        promises.write(&file, 1, 1, false);
        promises.zero(11, 12, || {
            file.fallocate(FallocateMode::PunchHole, 11 * BLOCK, BLOCK)
        });
        promises.write(&file, 30 + round * 4, 3, false);
        promises.failed |= world
            .fs
            .open_file(&format!("/new{round}"), OpenFlags::create())
            .is_err();
        let cut = 38 - round * 4;
        promises.zero(cut, u64::MAX, || file.truncate(cut * BLOCK));
        promises.sync(&file);
    }
}

/// Runs the scenario with a fault; judges it running, remounted, and in crash states. Returns whether any
/// operation failed, and how many operations of the kind there were.
fn survives(fault: Fault, what: &str) -> (bool, u64) {
    let world = World::new();
    let file = world.preallocated("/f", 24);
    world.disk.settle();
    let op = fault.op;
    let count = || match (op, world.disk.stats()) {
        (OpKind::Read, stats) => stats.reads,
        (OpKind::Write, stats) => stats.writes,
        (OpKind::Flush, stats) => stats.flushes,
    };
    let before = count();
    world.disk.inject(fault);
    let history = History::with_clock(Atomicity::Block, world.disk.clock());
    let mut promises = Promises {
        history,
        failed: false,
    };
    scenario(&world, &mut promises);
    let operations = count() - before;
    world.disk.clear_faults();
    promises.judge(&file, false, &format!("{what}, running"));
    drop(file);
    let log = world.disk.log();
    let point = log.crash_points().last().unwrap();
    let bound = Bound {
        exhaustive: 2,
        reorderings: 4,
        torn: 0,
        seed: 3,
    };
    for image in log.states_at(point, bound) {
        let name = format!("{what}, {}", image.describe());
        remounted(Arc::new(image), &promises, &name);
    }
    drop(world.fs);
    remounted(Arc::clone(&world.disk) as Arc<dyn Device>, &promises, what);
    (promises.failed, operations)
}

fn remounted(device: Arc<dyn Device>, promises: &Promises, what: &str) {
    let fs = e4::Filesystem::open(Arc::clone(&device), &mount_options())
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    promises.judge(&fs.open_file("/f", OpenFlags::read()).unwrap(), true, what);
    fs.unmount()
        .unwrap_or_else(|error| panic!("{what}: {error}"));
    let report = e4_check::check(&*device, &e4_check::Options::default(), &mut |_| {});
    assert!(report.is_clean(), "{what}: {:?}", report.problems);
}

/// The nth operation of a kind, for every n; once, and from then on.
fn every_one(op: OpKind, least: u64) {
    watched(move || {
        let never = Fault {
            when: When::Nth(u64::MAX),
            ..Fault::nth(op, 1)
        };
        let (failed, operations) = survives(never, "no fault");
        assert!(!failed, "it fails by itself");
        assert!(operations >= least, "only {operations} operations");
        for times in [Times::Once, Times::Forever] {
            let mut noticed = 0;
            for nth in 1..=operations {
                let fault = Fault {
                    times,
                    ..Fault::nth(op, nth)
                };
                let (failed, _) = survives(fault, &format!("{op:?} {nth} fails {times:?}"));
                noticed += u64::from(failed);
                if !failed {
                    eprintln!("{op:?} {nth} fails {times:?}: nobody needed to hear of it");
                }
            }
            eprintln!("{op:?} {times:?}: {noticed} of {operations} noticed");
            assert!(noticed >= least, "only {noticed} noticed");
        }
    });
}

#[test]
fn every_write_fails_in_turn() {
    every_one(OpKind::Write, 20);
}

#[test]
fn every_flush_fails_in_turn() {
    every_one(OpKind::Flush, 10);
}
