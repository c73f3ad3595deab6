//! The workload: seeded operations on a few files, asynchronous writes in flight between them, every promise
//! written into the ledger.
//!
//! Decisions: positions and lengths are whole sectors. Now and then, and at the end, with nothing in flight,
//! what the files hold is compared with what was acknowledged, so that a wrong workload is not mistaken for a right
//! filesystem.

use super::ledger::{Ledger, Promise, UNIT};
use super::verdict::{Findings, Kind, kind_of, path, read};
use super::{Params, Planted, PlantedDisk, mount_options};
use crate::{Rng, SimDisk};
use core::ops::Range;
use e4::{AlignedBuf, FallocateMode, File, Filesystem, IoContext, IoEvent, OpenFlags};
use e4_device::Device;
use e4_sync::Arc;
use hashbrown::HashMap;

/// What the workload has to tell besides the ledger.
pub(super) struct Outcome {
    pub(super) operations: u64,
    pub(super) found: Findings,
}

/// Runs the workload; the filesystem is then dropped as a power cut drops it.
pub(super) fn run(params: &Params, disk: &Arc<SimDisk>, ledger: &Ledger) -> Outcome {
    let device: Arc<dyn Device> = match params.planted {
        Planted::Nothing => Arc::clone(disk) as Arc<dyn Device>,
        bug => Arc::new(PlantedDisk::new(Arc::clone(disk), bug)),
    };
    let mut outcome = Outcome {
        operations: 0,
        found: Findings::default(),
    };
    let result = Filesystem::open(device, &mount_options()).and_then(|fs| {
        let mut run = Run::new(params, ledger, fs)?;
        for _ in 0..params.operations {
            run.step()?;
            outcome.operations += 1;
        }
        run.compare(&mut outcome.found)
    });
    if let Err(error) = result {
        let n = outcome.operations;
        outcome
            .found
            .add(Kind::Operation, || format!("operation {n} failed: {error}"));
    }
    outcome
}

struct Actor {
    /// Its number in the ledger.
    id: u64,
    file: File,
    /// The same file, opened with `O_DSYNC`.
    dsync: File,
}

/// A write in flight.
struct InFlight {
    promise: Promise,
    end: u64,
    durable: bool,
}

struct Run<'a> {
    params: &'a Params,
    ledger: &'a Ledger,
    rng: Rng,
    // Before the filesystem: it collects what is in flight when it goes.
    context: IoContext,
    actors: Vec<Actor>,
    flying: HashMap<u64, InFlight>,
    next: u64,
    fs: Filesystem,
}

impl<'a> Run<'a> {
    fn new(params: &'a Params, ledger: &'a Ledger, fs: Filesystem) -> e4::Result<Run<'a>> {
        let mut run = Run {
            params,
            ledger,
            rng: Rng::new(params.seed),
            context: fs.io_context(),
            actors: Vec::new(),
            flying: HashMap::new(),
            next: 0,
            fs,
        };
        run.create()?;
        Ok(run)
    }

    fn step(&mut self) -> e4::Result<()> {
        let missing = (self.actors.len() as u64) < self.params.files;
        if missing && self.rng.chance(1, 6) {
            return self.create();
        }
        let n = self.rng.index(self.actors.len());
        match self.rng.below(100) {
            0..28 => self.write(n, false),
            28..36 => self.unaligned(n),
            36..46 => self.append(n),
            46..52 => self.write(n, true),
            52..58 => self.sync(n, true),
            58..63 => self.sync(n, false),
            63..64 => self.sync_all(),
            64..70 => self.punch(n),
            70..74 => self.truncate_down(n),
            74..77 => self.truncate_up(n),
            77..84 => self.fallocate(n),
            _ => {
                let least = self.rng.index(self.flying.len() + 1);
                self.collect(least)
            }
        }
    }

    fn block(&self) -> u64 {
        u64::from(self.params.block_size)
    }

    fn create(&mut self) -> e4::Result<()> {
        let id = self.ledger.create();
        let file = self.fs.open_file(&path(id), OpenFlags::create())?;
        let flags = OpenFlags {
            dsync: true,
            ..OpenFlags::read_write()
        };
        let dsync = self.fs.open_file(&path(id), flags)?;
        self.actors.push(Actor { id, file, dsync });
        let n = self.actors.len() - 1;
        if self.rng.chance(2, 3) {
            self.allocate(n, 0, self.params.file_blocks * self.block(), true)?;
        }
        Ok(())
    }

    /// Whole blocks, anywhere in the file; half of them in a few hot blocks.
    fn write(&mut self, n: usize, durable: bool) -> e4::Result<()> {
        let span = self.params.file_blocks;
        let (block, len) = if self.rng.chance(1, 2) {
            (self.rng.below(4.min(span)), 1)
        } else {
            (self.rng.below(span), 1 + self.rng.below(4))
        };
        let at = block * self.block();
        self.submit(n, at, len * self.block(), durable)
    }

    /// Sectors, not blocks.
    fn unaligned(&mut self, n: usize) -> e4::Result<()> {
        let sectors = self.params.file_blocks * self.block() / UNIT;
        let at = self.rng.below(sectors) * UNIT;
        let len = (1 + self.rng.below(3 * self.block() / UNIT)) * UNIT;
        let durable = self.rng.chance(1, 8);
        self.submit(n, at, len, durable)
    }

    /// At the end of the file as it will be.
    fn append(&mut self, n: usize) -> e4::Result<()> {
        let actor = &self.actors[n];
        let mine = self.flying.values().filter(|f| f.promise.file == actor.id);
        let end = mine
            .map(|f| f.end)
            .max()
            .unwrap_or(0)
            .max(actor.file.size());
        let limit = 2 * self.params.file_blocks * self.block();
        let at = if end < limit {
            end
        } else {
            self.rng.below(limit / UNIT) * UNIT
        };
        let len = if self.rng.chance(2, 3) {
            (1 + self.rng.below(3)) * self.block()
        } else {
            (1 + self.rng.below(5)) * UNIT
        };
        let durable = self.rng.chance(1, 5);
        self.submit(n, at, len, durable)
    }

    fn submit(&mut self, n: usize, at: u64, len: u64, durable: bool) -> e4::Result<()> {
        while self.flying.len() >= self.params.depth.max(1) {
            self.collect(1)?;
        }
        let mut buf = AlignedBuf::zeroed(len as usize);
        let actor = &self.actors[n];
        if at + len > actor.file.size() {
            self.ledger.size_possible(actor.id, at + len);
        }
        let promise = self.ledger.write(actor.id, at, &mut buf);
        let file = if durable { &actor.dsync } else { &actor.file };
        let flying = InFlight {
            promise,
            end: at + len,
            durable,
        };
        self.flying.insert(self.next, flying);
        self.context.write(file, at, buf, self.next)?;
        self.next += 1;
        // What waits must not wait for what sits in our own pocket.
        self.context.submit();
        Ok(())
    }

    /// Collects at least `least` writes.
    fn collect(&mut self, least: usize) -> e4::Result<()> {
        let mut events: Vec<IoEvent> = Vec::new();
        self.context.wait(least, &mut events);
        for event in events {
            let Some(flying) = self.flying.remove(&event.user_data) else {
                continue;
            };
            match event.result {
                Ok(_) if flying.durable => self.ledger.durable(flying.promise),
                Ok(_) => self.ledger.acknowledged(flying.promise),
                Err(error) => {
                    self.ledger.failed(flying.promise);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sizes an actor's file may have in a moment.
    fn sizes(&self, n: usize) -> Vec<u64> {
        let actor = &self.actors[n];
        let mine = self.flying.values().filter(|f| f.promise.file == actor.id);
        let ends: Vec<u64> = mine.map(|f| f.end).collect();
        let mut sizes = vec![actor.file.size()];
        sizes.extend(ends.into_iter().filter(|&end| end > actor.file.size()));
        sizes
    }

    fn sync(&mut self, n: usize, all: bool) -> e4::Result<()> {
        let begun = self
            .ledger
            .sync_begins(self.actors[n].id, self.sizes(n).into_iter());
        if all {
            self.actors[n].file.fsync()?;
        } else {
            self.actors[n].file.fdatasync()?;
        }
        self.ledger.synced(begun);
        Ok(())
    }

    fn sync_all(&mut self) -> e4::Result<()> {
        let begun: Vec<_> = (0..self.actors.len())
            .map(|n| {
                self.ledger
                    .sync_begins(self.actors[n].id, self.sizes(n).into_iter())
            })
            .collect();
        self.fs.sync()?;
        begun.into_iter().for_each(|b| self.ledger.synced(b));
        Ok(())
    }

    /// A range of sectors in the file, mostly of whole blocks.
    fn range(&mut self) -> Range<u64> {
        let unit = if self.rng.chance(1, 3) {
            UNIT
        } else {
            self.block()
        };
        let span = self.params.file_blocks * self.block() / unit;
        let start = self.rng.below(span);
        let len = 1 + self.rng.below((span / 3).max(1));
        start * unit..(start + len) * unit
    }

    fn punch(&mut self, n: usize) -> e4::Result<()> {
        let range = self.range();
        let actor = &self.actors[n];
        let promise = self.ledger.zero(actor.id, range.clone());
        let len = range.end - range.start;
        actor
            .file
            .fallocate(FallocateMode::PunchHole, range.start, len)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn truncate_down(&mut self, n: usize) -> e4::Result<()> {
        let size = self.range().start.min(self.actors[n].file.size());
        let actor = &self.actors[n];
        self.ledger.size_possible(actor.id, size);
        let promise = self.ledger.zero(actor.id, size..u64::MAX / UNIT * UNIT);
        actor.file.truncate(size)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn truncate_up(&mut self, n: usize) -> e4::Result<()> {
        let size = self.actors[n].file.size() + (1 + self.rng.below(12)) * UNIT;
        let actor = &self.actors[n];
        // It waits for what is in flight, which may end further on: then it is a truncation to less.
        let promise = self.ledger.zero(actor.id, size..u64::MAX / UNIT * UNIT);
        self.ledger.size_possible(actor.id, size);
        actor.file.truncate(size)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn fallocate(&mut self, n: usize) -> e4::Result<()> {
        let range = self.range();
        let extend = self.rng.chance(2, 3);
        self.allocate(n, range.start, range.end - range.start, extend)
    }

    fn allocate(&mut self, n: usize, at: u64, len: u64, extend: bool) -> e4::Result<()> {
        let actor = &self.actors[n];
        let mode = if extend {
            FallocateMode::Allocate
        } else {
            FallocateMode::AllocateKeepSize
        };
        if extend && at + len > actor.file.size() {
            self.ledger.size_possible(actor.id, at + len);
        }
        actor.file.fallocate(mode, at, len)
    }

    /// Collects everything and compares the files with what was acknowledged.
    fn compare(&mut self, found: &mut Findings) -> e4::Result<()> {
        self.collect(self.flying.len())?;
        for actor in &self.actors {
            let content = read(&self.fs, &path(actor.id))?.unwrap_or_default();
            let units = self.ledger.units(actor.id).max(content.len() as u64 / UNIT);
            for unit in 0..units {
                let from = (unit * UNIT) as usize;
                let absent = [0; UNIT as usize];
                let sector = content.get(from..from + UNIT as usize).unwrap_or(&absent);
                let judged = self.ledger.history.judge(actor.id, unit, sector, false);
                if let Err(violation) = judged {
                    let kind = kind_of(&violation);
                    found.add(Kind::Operation, || {
                        format!("while running ({kind:?}): {violation}")
                    });
                }
            }
        }
        Ok(())
    }
}
