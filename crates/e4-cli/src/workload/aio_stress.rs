//! The classic aio-stress, re-implemented from its description: its letters and its access pattern,
//! with what it lacks: contents that can be verified, counted write errors, a seed.
//!
//! Model: every *file* is opened once per *context*; context j of a file of size s works on bytes
//! [j*C, s - j*C). Each (file, context) pair is an *entry*; entries are dealt round-robin to
//! threads. A turn builds up to `-i` requests for each runnable entry until `-b` is reached and submits
//! them at once. An entry that has sent (end - start) / record requests is finished with its stage; when all
//! are, the thread waits, optionally fsyncs, and goes on to the next stage. Unless told otherwise, the
//! first thread to finish a stage ends it for the others (stonewalling).
//!
//! Random offsets are start + (1..range) MiB + (1..1 MiB, rounded up to the alignment), moved back one
//! record if past the end: so the first MiB of a region is never a random target, and offsets are
//! aligned but not record aligned.
//!
//! Differences, on purpose: every thread has a real context of its own (threads are real
//! concurrency); blocks are stamped instead of zero or `b`, unless verification is off; failed
//! writes count as errors.

use std::ops::Range;

use e4::{AlignedBuf, Error, File, Filesystem, IoContext, IoEvent};
use e4_sim::Rng;
use e4_sync::atomic::{AtomicBool, Ordering};
use e4_sync::{Duration, Instant, thread};

use super::actors::{Actor, Arena, count};
use super::latency::Latencies;
use super::oracle::Reading;
use super::seed;
use super::stamp;

/// A stage, in the order in which they run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Stage {
    /// `-o 0`
    Write,
    /// `-o 1`
    Read,
    /// `-o 2`
    RandomWrite,
    /// `-o 3`
    RandomRead,
}

impl Stage {
    /// All, in order.
    pub const ALL: [Self; 4] = [Self::Write, Self::Read, Self::RandomWrite, Self::RandomRead];

    /// The name in the output.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Read => "read",
            Self::RandomWrite => "random write",
            Self::RandomRead => "random read",
        }
    }

    fn writes(self) -> bool {
        matches!(self, Self::Write | Self::RandomWrite)
    }

    fn random(self) -> bool {
        matches!(self, Self::RandomWrite | Self::RandomRead)
    }
}

/// The options of section "usage" of the classic tool, in bytes and counts.
#[derive(Clone, Debug)]
pub struct Options {
    /// `-r`
    pub record: u64,
    /// `-a`: alignment of random offsets.
    pub align: u64,
    /// `-d`: buffers per entry.
    pub depth: u64,
    /// `-i`: requests per entry and turn.
    pub per_turn: u64,
    /// `-b`: most requests per submission.
    pub batch: u64,
    /// `-I`: most turns per stage.
    pub turns_max: Option<u64>,
    /// `-c`: contexts per file.
    pub contexts: u64,
    /// `-C`: offset between contexts.
    pub context_offset: u64,
    /// `-t`
    pub threads: u64,
    /// `-o`, sorted.
    pub stages: Vec<Stage>,
    /// False with `-n`.
    pub fsync_stages: bool,
    /// False with `-x`.
    pub stonewall: bool,
    /// Stamp what is written, judge what is read.
    pub verify: bool,
    /// For the random offsets.
    pub seed: u64,
    /// What races with the stages.
    pub actors: Vec<Actor>,
}

/// One (file, context) pair.
#[derive(Clone, Copy, Debug)]
struct Entry {
    file: u32,
    context: u64,
    start: u64,
    end: u64,
}

impl Entry {
    fn total(&self, record: u64) -> u64 {
        (self.end - self.start) / record
    }
}

/// What an entry or a thread did in a stage.
#[derive(Clone, Debug, Default)]
struct Done {
    requests: u64,
    bytes: u64,
    time: Duration,
    submit: Latencies,
    complete: Latencies,
}

impl Done {
    fn mib_per_second(&self) -> f64 {
        self.mib() / self.time.as_secs_f64().max(1e-9)
    }

    fn mib(&self) -> f64 {
        self.bytes as f64 / f64::from(1 << 20)
    }

    fn line(&self, what: &str) -> String {
        format!(
            "{what} ({:.2} MB/s) {:.2} MB in {:.2}s, {} requests",
            self.mib_per_second(),
            self.mib(),
            self.time.as_secs_f64(),
            self.requests
        )
    }
}

/// What a run printed and counted.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Lines as the classic tool prints them.
    pub lines: Vec<String>,
    /// Requests done, all stages.
    pub requests: u64,
    /// Submission latencies.
    pub submit: Latencies,
    /// Completion latencies.
    pub complete: Latencies,
    /// True if `-I` ended a stage early.
    pub cut_short: bool,
}

/// Runs all stages, with the actors racing from the first to the last.
#[must_use]
pub fn run(fs: &Filesystem, arena: &Arena, options: &Options) -> Report {
    let entries = entries(arena, options);
    let mut report = Report::default();
    thread::scope(|scope| {
        for (i, &actor) in options.actors.iter().enumerate() {
            let rng = seed::for_actor(options.seed, 1000 + i as u64);
            scope.spawn(move || arena.play(actor, rng));
        }
        for &stage in &options.stages {
            if !report.cut_short {
                run_stage(fs, arena, options, stage, &entries, &mut report);
            }
        }
        arena.stop.raise();
    });
    report
}

fn run_stage(
    fs: &Filesystem,
    arena: &Arena,
    options: &Options,
    stage: Stage,
    entries: &[Entry],
    report: &mut Report,
) {
    let threads = options.threads.clamp(1, entries.len().max(1) as u64);
    let shared = Shared {
        stage,
        arena,
        options,
        over: AtomicBool::new(false),
        cut: AtomicBool::new(false),
    };
    let start = e4_sync::now();
    let results = thread::scope(|scope| {
        let spawn = |t: u64| {
            let mine: Vec<Entry> = entries
                .iter()
                .copied()
                .skip(t as usize)
                .step_by(threads as usize)
                .collect();
            let rng = seed::for_actor(options.seed, t * 4 + stage as u64);
            let worker = Worker::new(&shared, fs.io_context(), mine, rng);
            scope.spawn(move || worker.run())
        };
        let workers: Vec<_> = (0..threads).map(spawn).collect();
        // A thread that panicked takes the run with it when the scope ends.
        workers
            .into_iter()
            .filter_map(|w| w.join().ok())
            .collect::<Vec<_>>()
    });
    let time = start.elapsed();
    report.cut_short = shared.cut.load(Ordering::Acquire);
    summarize(report, stage, time, &results);
}

fn entries(arena: &Arena, options: &Options) -> Vec<Entry> {
    let mut entries = Vec::new();
    for context in 0..options.contexts {
        for (file, &size) in (0u32..).zip(&arena.sizes) {
            let start = context * options.context_offset;
            let end = size.saturating_sub(context * options.context_offset);
            if start + options.record <= end {
                entries.push(Entry {
                    file,
                    context,
                    start,
                    end,
                });
            }
        }
    }
    entries
}

/// Requests a stage sends in all, if nothing cuts it short.
#[must_use]
pub fn requests_per_stage(arena: &Arena, options: &Options) -> u64 {
    entries(arena, options)
        .iter()
        .map(|e| e.total(options.record))
        .sum()
}

fn summarize(report: &mut Report, stage: Stage, time: Duration, results: &[ThreadDone]) {
    let mut total = Done {
        time,
        ..Done::default()
    };
    for (t, thread) in results.iter().enumerate() {
        for (entry, done) in &thread.entries {
            let what = format!(
                "{} on file {} context {}",
                stage.name(),
                entry.file,
                entry.context
            );
            report.lines.push(done.line(&what));
        }
        if results.len() > 1 {
            report.lines.push(
                thread
                    .all
                    .line(&format!("thread {t} {} totals", stage.name())),
            );
        }
        total.bytes += thread.all.bytes;
        total.requests += thread.all.requests;
        report.submit.merge(&thread.all.submit);
        report.complete.merge(&thread.all.complete);
    }
    report.requests += total.requests;
    report
        .lines
        .push(total.line(&format!("{} throughput", stage.name())));
}

struct Shared<'a> {
    stage: Stage,
    arena: &'a Arena,
    options: &'a Options,
    /// A thread has finished, and the others shall stop.
    over: AtomicBool,
    /// `-I` was hit.
    cut: AtomicBool,
}

struct ThreadDone {
    entries: Vec<(Entry, Done)>,
    all: Done,
}

struct Worker<'a> {
    shared: &'a Shared<'a>,
    ctx: IoContext,
    rng: Rng,
    entries: Vec<State>,
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
    all: Done,
    start: Instant,
}

struct State {
    entry: Entry,
    sent: u64,
    finished: u64,
    done: Done,
}

struct InFlight {
    entry: usize,
    begun: Instant,
    kind: Kind,
}

enum Kind {
    Write {
        file: u32,
        units: Range<u32>,
        generation: Option<u64>,
    },
    Read {
        reading: Option<Reading>,
        len: u64,
    },
}

impl<'a> Worker<'a> {
    fn new(shared: &'a Shared<'a>, ctx: IoContext, entries: Vec<Entry>, rng: Rng) -> Self {
        let buffers = (shared.options.depth as usize * entries.len()).max(1);
        let state = |entry| State {
            entry,
            sent: 0,
            finished: 0,
            done: Done::default(),
        };
        Self {
            shared,
            ctx,
            rng,
            entries: entries.into_iter().map(state).collect(),
            slots: (0..buffers).map(|_| None).collect(),
            free: (0..buffers).rev().collect(),
            all: Done::default(),
            start: e4_sync::now(),
        }
    }

    fn run(mut self) -> ThreadDone {
        let options = self.shared.options;
        let mut turns = 0;
        while !self.shared.over.load(Ordering::Acquire) && self.runnable() {
            if options.turns_max.is_some_and(|max| turns >= max) {
                self.shared.cut.store(true, Ordering::Release);
                break;
            }
            turns += 1;
            self.turn();
        }
        self.collect(usize::MAX);
        if options.stonewall {
            self.shared.over.store(true, Ordering::Release);
        }
        if options.fsync_stages && self.shared.stage.writes() {
            self.sync_files();
        }
        self.all.time = self.start.elapsed();
        for state in &mut self.entries {
            if state.done.time.is_zero() {
                state.done.time = self.all.time;
            }
        }
        let entries = self
            .entries
            .into_iter()
            .map(|s| (s.entry, s.done))
            .collect();
        ThreadDone {
            entries,
            all: self.all,
        }
    }

    fn runnable(&self) -> bool {
        let record = self.shared.options.record;
        self.entries.iter().any(|s| s.sent < s.entry.total(record))
    }

    fn sync_files(&mut self) {
        let mut files: Vec<u32> = self.entries.iter().map(|s| s.entry.file).collect();
        files.sort_unstable();
        files.dedup();
        for file in files {
            if let Err(error) = self.shared.arena.sync(file, false) {
                self.shared.arena.tally.error("fsync", &error);
            }
        }
    }

    /// Builds up to `-b` requests, up to `-i` for each entry, and submits them.
    fn turn(&mut self) {
        let options = self.shared.options;
        let mut built = 0;
        let before = e4_sync::now();
        for index in 0..self.entries.len() {
            for _ in 0..options.per_turn {
                if built >= options.batch || !self.may_send(index) {
                    break;
                }
                if self.free.is_empty() {
                    self.ctx.submit();
                    self.collect(options.per_turn.min(self.ctx.outstanding() as u64) as usize);
                }
                match self.send(index) {
                    Ok(()) => built += 1,
                    Err(error) => {
                        self.shared
                            .arena
                            .tally
                            .error(self.shared.stage.name(), &error);
                        break;
                    }
                }
            }
        }
        self.ctx.submit();
        self.all.submit.add(before.elapsed());
        if built == 0 || self.free.is_empty() {
            let wanted = options.per_turn.min(self.ctx.outstanding() as u64) as usize;
            self.collect(wanted);
        } else {
            self.collect(0);
        }
    }

    fn may_send(&self, index: usize) -> bool {
        let state = &self.entries[index];
        if state.sent >= state.entry.total(self.shared.options.record) {
            return false;
        }
        // A sequential stage starts a context once the file has reached its start.
        let file: &File = &self.shared.arena.files[state.entry.file as usize];
        self.shared.stage.random() || state.sent > 0 || file.size() >= state.entry.start
    }

    fn offset(&mut self, index: usize) -> u64 {
        const MIB: u64 = 1 << 20;
        let options = self.shared.options;
        let State { entry, sent, .. } = &self.entries[index];
        if !self.shared.stage.random() {
            return entry.start + sent * options.record;
        }
        let range = ((entry.end - entry.start) / MIB).saturating_sub(1).max(1);
        let mib = 1 + self.rng.below(range);
        let rest = (1 + self.rng.below(MIB)).next_multiple_of(options.align);
        let mut at = entry.start + mib * MIB + rest;
        while at + options.record > entry.end && at >= entry.start + options.record {
            at -= options.record;
        }
        // Regions under two MiB have no second MiB to aim at.
        if at + options.record > entry.end {
            entry.start
        } else {
            at
        }
    }

    fn send(&mut self, index: usize) -> Result<(), Error> {
        let Some(slot) = self.free.pop() else {
            return Err(Error::WouldBlock);
        };
        let Shared {
            stage,
            arena,
            options,
            ..
        } = *self.shared;
        let at = self.offset(index);
        let file = self.entries[index].entry.file;
        let handle = &arena.files[file as usize];
        let units = arena.oracle.units_of(at..at + options.record);
        let mut buf = AlignedBuf::recycled(options.record as usize);
        let (begun, kind) = if stage.writes() {
            let generation = options
                .verify
                .then(|| arena.oracle.begin_write(file, &units));
            match generation {
                Some(g) => stamp::fill(&mut buf, arena.oracle.run(), file, at, g),
                None => buf.fill(0),
            }
            (
                self.ctx.write(handle, at, buf, slot as u64),
                Kind::Write {
                    file,
                    units,
                    generation,
                },
            )
        } else {
            let reading = options.verify.then(|| arena.oracle.begin_read(file, units));
            let kind = Kind::Read {
                reading,
                len: options.record,
            };
            (self.ctx.read(handle, at, buf, slot as u64), kind)
        };
        self.entries[index].sent += 1;
        if let Err(error) = begun {
            self.free.push(slot);
            return Err(error);
        }
        self.slots[slot] = Some(InFlight {
            entry: index,
            begun: e4_sync::now(),
            kind,
        });
        Ok(())
    }

    /// Waits for at least `min` results and books them.
    fn collect(&mut self, min: usize) {
        let mut events = Vec::new();
        self.ctx.wait(min.min(self.ctx.outstanding()), &mut events);
        for event in events {
            self.finish(event);
        }
    }

    fn finish(&mut self, event: IoEvent) {
        let arena = self.shared.arena;
        let slot = event.user_data as usize;
        let Some(in_flight) = self.slots.get_mut(slot).and_then(Option::take) else {
            return;
        };
        self.free.push(slot);
        let latency = in_flight.begun.elapsed();
        let state = &mut self.entries[in_flight.entry];
        state.finished += 1;
        let bytes = match (&in_flight.kind, event.result) {
            (
                Kind::Write {
                    file,
                    units,
                    generation,
                },
                Ok(bytes),
            ) => {
                if let Some(generation) = generation {
                    arena.oracle.complete(*file, units, *generation);
                }
                count(&arena.tally.writes);
                bytes as u64
            }
            (Kind::Read { reading, len }, Ok(bytes)) => {
                let buf = event.buf.as_deref().unwrap_or_default();
                let data = &buf[..bytes.min(buf.len())];
                match reading {
                    Some(reading) => {
                        arena
                            .oracle
                            .judge(reading, data)
                            .iter()
                            .for_each(|m| arena.tally.mismatch(m));
                    }
                    // The classic tool's only error: a short read.
                    None if (bytes as u64) < *len => {
                        arena
                            .tally
                            .trouble(format!("read: short, {bytes} of {len} bytes"));
                    }
                    None => {}
                }
                count(&arena.tally.reads);
                bytes as u64
            }
            (_, Err(error)) => {
                arena.tally.error(self.shared.stage.name(), &error);
                0
            }
        };
        for done in [&mut state.done, &mut self.all] {
            done.requests += 1;
            done.bytes += bytes;
            done.complete.add(latency);
        }
        if state.finished == state.entry.total(self.shared.options.record) {
            state.done.time = self.start.elapsed();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reproducer_sends_13120_requests_per_stage() {
        // -s 100m -c 10 with records of 64 KiB and 2 MiB between contexts.
        let sum: u64 = (0..10)
            .map(|j| {
                let start = j * (2 << 20);
                let entry = Entry {
                    file: 0,
                    context: j,
                    start,
                    end: (100 << 20) - start,
                };
                entry.total(64 << 10)
            })
            .sum();
        assert_eq!(sum, 13_120);
    }
}
