//! The engine of `stress`: writers with many operations in flight each, racing with truncate,
//! punch, preallocation and fsync, every sector stamped and judged.

use std::ops::Range;

use anyhow::{Context, Result};
use e4::{AlignedBuf, FallocateMode, File, Filesystem, IoContext, IoEvent, OpenFlags};
use e4_sim::Rng;
use e4_sync::atomic::{AtomicUsize, Ordering};
use e4_sync::{Arc, Duration, thread};

use super::ack_log::{AckLog, Begun};
use super::actors::{Actor, Arena, Tally, count};
use super::oracle::{Oracle, Reading};
use super::seed;
use super::stamp;
use super::stop::Stop;

/// Where writes go.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// Anywhere, of random length, again and again.
    Random,
    /// One unit after the other in this order, each once; then the run ends. One file only.
    Once(Arc<[u32]>),
}

/// Every unit of a file once, in random order: what fio's `randwrite` does.
#[must_use]
pub fn shuffled(units: u32, seed: u64) -> Arc<[u32]> {
    let mut order: Vec<u32> = (0..units).collect();
    seed::for_actor(seed, u64::MAX).shuffle(&mut order);
    order.into()
}

/// A run of `stress`.
#[derive(Clone, Debug)]
pub struct Race {
    /// Paths inside the image.
    pub paths: Vec<String>,
    /// Bytes of each.
    pub size: u64,
    /// Writing threads, each with a context of its own.
    pub writers: u32,
    /// Operations in flight per writer.
    pub iodepth: u32,
    /// Bytes of the smallest operation, and the unit of judgement.
    pub block: u64,
    /// Where they go.
    pub pattern: Pattern,
    /// Largest operation, in blocks.
    pub run_max: u32,
    /// Operations of a hundred that are reads.
    pub read_percent: u32,
    /// Acknowledge writes only once they are durable.
    pub dsync: bool,
    /// How long.
    pub time: Duration,
    /// Or until this many writes.
    pub writes: Option<u64>,
    /// What races.
    pub actors: Vec<Actor>,
    /// Repeats a run's operations (not the scheduler's choices).
    pub seed: u64,
}

impl Race {
    /// What all stamps of the run carry.
    #[must_use]
    pub fn run_id(&self) -> u32 {
        seed::run_id(self.seed)
    }

    /// Creates and preallocates the files.
    ///
    /// # Errors
    /// No space, or the image's.
    pub fn prepare(&self, fs: &Filesystem, log: Option<AckLog>) -> Result<Arena> {
        let mut files = Vec::new();
        for path in &self.paths {
            let flags = OpenFlags {
                dsync: self.dsync,
                truncate: true,
                ..OpenFlags::create()
            };
            let file = fs.open_file(path, flags).with_context(|| path.clone())?;
            file.fallocate(FallocateMode::Allocate, 0, self.size)
                .with_context(|| path.clone())?;
            files.push(file);
        }
        // What the log may be asked about must exist after the death of the process.
        fs.sync()?;
        let sizes = vec![self.size; files.len()];
        Ok(Arena {
            oracle: Oracle::new(self.run_id(), self.block, &sizes),
            files,
            sizes,
            log,
            stop: Stop::default(),
            tally: Tally::default(),
        })
    }

    /// Runs until the time is over, the writes are done, or too much went wrong. `watch` is called
    /// some ten times a second. Returns how long writing took.
    pub fn run(&self, fs: &Filesystem, arena: &Arena, watch: &mut dyn FnMut(&Tally)) -> Duration {
        const HOPELESS: u64 = 1000;
        let start = e4_sync::now();
        let cursor = AtomicUsize::new(0);
        thread::scope(|scope| {
            for (i, &actor) in self.actors.iter().enumerate() {
                let rng = seed::for_actor(self.seed, 1000 + i as u64);
                scope.spawn(move || arena.play(actor, rng));
            }
            for i in 0..self.writers {
                let rng = seed::for_actor(self.seed, u64::from(i));
                let writer = Writer::new(self, arena, &cursor, fs.io_context(), rng);
                scope.spawn(move || writer.run());
            }
            while start.elapsed() < self.time && !arena.stop.sleep(Duration::from_millis(100)) {
                watch(&arena.tally);
                if arena.tally.errors().0 + arena.tally.mismatches().0 > HOPELESS {
                    break;
                }
            }
            arena.stop.raise();
        });
        start.elapsed()
    }
}

/// One writing thread.
struct Writer<'a> {
    race: &'a Race,
    arena: &'a Arena,
    /// Of [`Pattern::Once`], shared by all writers.
    cursor: &'a AtomicUsize,
    ctx: IoContext,
    rng: Rng,
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
}

/// An operation in flight.
enum InFlight {
    Write {
        file: u32,
        units: Range<u32>,
        generation: u64,
    },
    Read {
        reading: Reading,
    },
}

/// An operation about to begin.
struct Planned {
    file: u32,
    units: Range<u32>,
    /// `None` for a read.
    generation: Option<u64>,
}

impl<'a> Writer<'a> {
    fn new(
        race: &'a Race,
        arena: &'a Arena,
        cursor: &'a AtomicUsize,
        ctx: IoContext,
        rng: Rng,
    ) -> Self {
        let depth = race.iodepth as usize;
        Self {
            race,
            arena,
            cursor,
            ctx,
            rng,
            slots: (0..depth).map(|_| None).collect(),
            free: (0..depth).rev().collect(),
        }
    }

    fn run(mut self) {
        let mut events = Vec::new();
        let mut planned = Vec::new();
        while !self.arena.stop.is_raised() {
            self.plan(&mut planned);
            for operation in planned.drain(..) {
                self.begin(operation);
            }
            self.ctx.submit();
            self.ctx.wait(1, &mut events);
            events.drain(..).for_each(|event| self.finish(event));
            let done = self.arena.tally.writes.load(Ordering::Relaxed);
            if self.race.writes.is_some_and(|limit| done >= limit) {
                self.arena.stop.raise();
            }
        }
        self.ctx.wait(usize::MAX, &mut events);
        events.drain(..).for_each(|event| self.finish(event));
    }

    /// Chooses as many operations as there are free slots and announces them.
    fn plan(&mut self, planned: &mut Vec<Planned>) {
        let mut begun = Vec::new();
        for _ in 0..self.free.len() {
            let file = self.rng.below(self.arena.files.len() as u64) as u32;
            let Some(units) = self.units(file) else {
                // Nothing is left to write; what is in flight may still come back.
                if self.free.len() == self.slots.len() && planned.is_empty() {
                    self.arena.stop.raise();
                }
                break;
            };
            let generation = if self.rng.chance(u64::from(self.race.read_percent), 100) {
                None
            } else {
                let generation = self.arena.oracle.begin_write(file, &units);
                if self.arena.log.is_some() {
                    begun.push(Begun {
                        file,
                        units: units.clone(),
                        generation,
                        zeros: false,
                    });
                }
                Some(generation)
            };
            planned.push(Planned {
                file,
                units,
                generation,
            });
        }
        if let (Some(log), false) = (&self.arena.log, begun.is_empty()) {
            log.begin(&begun);
        }
    }

    fn units(&mut self, file: u32) -> Option<Range<u32>> {
        if let Pattern::Once(order) = &self.race.pattern {
            let next = self.cursor.fetch_add(1, Ordering::Relaxed);
            return order.get(next).map(|&unit| unit..unit + 1);
        }
        let all = self.arena.oracle.units_in(file);
        let max = self.race.run_max.min(all).max(1);
        let len = match self.rng.below(10) {
            0..7 => 1,
            7..9 => 1 + self.rng.below(u64::from(max.min(16))) as u32,
            _ => 1 + self.rng.below(u64::from(max)) as u32,
        }
        .min(max);
        let first = self.rng.below(u64::from(all - len) + 1) as u32;
        Some(first..first + len)
    }

    fn begin(&mut self, operation: Planned) {
        let Some(slot) = self.free.pop() else { return };
        let Planned {
            file,
            units,
            generation,
        } = operation;
        let handle: &File = &self.arena.files[file as usize];
        let unit = self.arena.oracle.unit();
        let at = u64::from(units.start) * unit;
        let mut buf = AlignedBuf::recycled(units.len() * unit as usize);
        let token = slot as u64;
        let (what, begun, in_flight) = match generation {
            Some(generation) => {
                stamp::fill(&mut buf, self.arena.oracle.run(), file, at, generation);
                let begun = self.ctx.write(handle, at, buf, token);
                (
                    "write",
                    begun,
                    InFlight::Write {
                        file,
                        units,
                        generation,
                    },
                )
            }
            None => {
                let reading = self.arena.oracle.begin_read(file, units);
                let begun = self.ctx.read(handle, at, buf, token);
                ("read", begun, InFlight::Read { reading })
            }
        };
        match begun {
            Ok(()) => self.slots[slot] = Some(in_flight),
            Err(error) => {
                self.arena.tally.error(what, &error);
                self.free.push(slot);
            }
        }
    }

    fn finish(&mut self, event: IoEvent) {
        let slot = event.user_data as usize;
        let tally = &self.arena.tally;
        let Some(in_flight) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        match (in_flight, event.result) {
            (
                InFlight::Write {
                    file,
                    units,
                    generation,
                },
                Ok(bytes),
            ) => {
                if bytes as u64 != units.len() as u64 * self.arena.oracle.unit() {
                    // Whole or an error is the promise; the oracle keeps both contents possible.
                    tally.trouble(format!("write: short, {bytes} bytes of {units:?}"));
                    return;
                }
                let end = self.arena.oracle.complete(file, &units, generation);
                if let Some(log) = &self.arena.log {
                    log.complete(file, &units, generation, end);
                }
                count(&tally.writes);
                tally.written.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            (InFlight::Read { reading }, Ok(bytes)) => {
                let buf = event.buf.as_deref().unwrap_or_default();
                let data = &buf[..bytes.min(buf.len())];
                self.arena
                    .oracle
                    .judge(&reading, data)
                    .iter()
                    .for_each(|m| tally.mismatch(m));
                count(&tally.reads);
            }
            (InFlight::Write { .. }, Err(error)) => tally.error("write", &error),
            (InFlight::Read { .. }, Err(error)) => tally.error("read", &error),
        }
    }
}
