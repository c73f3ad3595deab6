//! What races with the writers: truncate, punch, preallocation, fsync. Shared by all workloads.
//!
//! Every change is announced to the oracle before it begins and completed after it returned, so the
//! judge knows what overlapped. Pauses are there to leave the writers some time, never to make a
//! race happen or not.

use std::ops::Range;

use e4::{Error, FallocateMode, File};
use e4_sim::Rng;
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Duration, Mutex, Rank};

use super::ack_log::{AckLog, Begun};
use super::oracle::{Mismatch, Oracle};
use super::stop::Stop;

/// Files that are raced on, with everything the actors share.
pub struct Arena {
    /// The files, all preallocated to their size.
    pub files: Vec<File>,
    /// The size in bytes up to which file `i` is written.
    pub sizes: Vec<u64>,
    /// The judge.
    pub oracle: Oracle,
    /// The log of acknowledgements, if the run is to be killed.
    pub log: Option<AckLog>,
    /// Ends the run.
    pub stop: Stop,
    /// What has been done.
    pub tally: Tally,
}

/// Counters of a run.
#[derive(Default)]
pub struct Tally {
    /// Writes acknowledged.
    pub writes: AtomicU64,
    /// Their bytes.
    pub written: AtomicU64,
    /// Reads judged while others wrote.
    pub reads: AtomicU64,
    /// Truncates (each followed by preallocating again).
    pub truncates: AtomicU64,
    /// Holes punched.
    pub punches: AtomicU64,
    /// Preallocations.
    pub fallocates: AtomicU64,
    /// fsync and fdatasync calls.
    pub syncs: AtomicU64,
    trouble: Trouble,
}

struct Trouble(Mutex<(Found, Found)>);

#[derive(Default)]
struct Found {
    count: u64,
    examples: Vec<String>,
}

impl Default for Trouble {
    fn default() -> Self {
        Self(Mutex::new(Rank::LEAF, Default::default()))
    }
}

impl Found {
    fn add(&mut self, example: String) {
        const SHOWN: usize = 10;
        self.count += 1;
        if self.examples.len() < SHOWN {
            self.examples.push(example);
        }
    }
}

impl Tally {
    /// An operation failed.
    pub fn error(&self, what: &str, error: &Error) {
        self.trouble.0.lock().0.add(format!("{what}: {error}"));
    }

    /// Something else went wrong.
    pub fn trouble(&self, what: String) {
        self.trouble.0.lock().0.add(what);
    }

    /// A read returned wrong data.
    pub fn mismatch(&self, mismatch: &Mismatch) {
        self.trouble.0.lock().1.add(mismatch.to_string());
    }

    /// Failed operations: how many, and the first few.
    #[must_use]
    pub fn errors(&self) -> (u64, Vec<String>) {
        let trouble = self.trouble.0.lock();
        (trouble.0.count, trouble.0.examples.clone())
    }

    /// Wrong sectors: how many, and the first few.
    #[must_use]
    pub fn mismatches(&self) -> (u64, Vec<String>) {
        let trouble = self.trouble.0.lock();
        (trouble.1.count, trouble.1.examples.clone())
    }
}

pub(super) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// Which actor a thread plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Actor {
    /// Cuts files at a random place and preallocates them again.
    Truncate,
    /// Punches holes; every other one is preallocated again.
    Punch,
    /// Preallocates ranges that may be holes, unwritten or written.
    Fallocate,
    /// Calls fsync and fdatasync.
    Fsync,
}

impl Arena {
    /// Plays an actor until the run stops.
    pub fn play(&self, actor: Actor, mut rng: Rng) {
        // Some milliseconds: often enough to hit thousands of writes in flight within seconds.
        let pause = match actor {
            Actor::Truncate => 40,
            Actor::Punch => 4,
            Actor::Fallocate => 6,
            Actor::Fsync => 8,
        };
        while !self
            .stop
            .sleep(Duration::from_micros(500 + rng.below(2000 * pause)))
        {
            let file = rng.below(self.files.len() as u64) as u32;
            let (what, result) = match actor {
                Actor::Truncate => ("truncate", self.truncate(file, &mut rng)),
                Actor::Punch => ("punch", self.punch(file, &mut rng)),
                Actor::Fallocate => ("fallocate", self.fallocate(file, &mut rng)),
                Actor::Fsync => ("fsync", self.sync(file, rng.chance(3, 10))),
            };
            if let Err(error) = result {
                self.tally.error(what, &error);
            }
        }
    }

    /// A random range of whole units, up to an eighth of the file.
    fn range(&self, file: u32, rng: &mut Rng) -> Range<u32> {
        let units = u64::from(self.oracle.units_in(file));
        let len = 1 + rng.below((units / 8).max(1));
        let first = rng.below(units.saturating_sub(len) + 1);
        let unit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        unit(first)..unit(first + len)
    }

    fn bytes(&self, file: u32, units: &Range<u32>) -> Range<u64> {
        let unit = self.oracle.unit();
        u64::from(units.start) * unit..(u64::from(units.end) * unit).min(self.sizes[file as usize])
    }

    /// Runs something that leaves zeros in `units`.
    fn zeroing<F>(&self, file: u32, units: &Range<u32>, change: F) -> Result<(), Error>
    where
        F: FnOnce() -> Result<(), Error>,
    {
        let generation = self.oracle.begin_zeros(file, units);
        if let Some(log) = &self.log {
            log.begin(&[Begun {
                file,
                units: units.clone(),
                generation,
                zeros: true,
            }]);
        }
        change()?;
        let end = self.oracle.complete(file, units, generation);
        if let Some(log) = &self.log {
            log.complete(file, units, generation, end);
        }
        Ok(())
    }

    fn truncate(&self, file: u32, rng: &mut Rng) -> Result<(), Error> {
        let units = u64::from(self.oracle.units_in(file));
        // Mostly the tail; now and then everything.
        let keep = if rng.chance(1, 10) {
            0
        } else {
            units / 2 + rng.below(units / 2 + 1)
        };
        let cut = u32::try_from(keep).unwrap_or(u32::MAX)..self.oracle.units_in(file);
        let handle = &self.files[file as usize];
        self.zeroing(file, &cut, || handle.truncate(keep * self.oracle.unit()))?;
        count(&self.tally.truncates);
        let size = self.sizes[file as usize];
        handle.fallocate(FallocateMode::Allocate, 0, size)
    }

    fn punch(&self, file: u32, rng: &mut Rng) -> Result<(), Error> {
        let units = self.range(file, rng);
        let bytes = self.bytes(file, &units);
        let len = bytes.end - bytes.start;
        let handle = &self.files[file as usize];
        self.zeroing(file, &units, || {
            handle.fallocate(FallocateMode::PunchHole, bytes.start, len)
        })?;
        count(&self.tally.punches);
        if rng.chance(1, 2) {
            handle.fallocate(FallocateMode::AllocateKeepSize, bytes.start, len)?;
        }
        Ok(())
    }

    fn fallocate(&self, file: u32, rng: &mut Rng) -> Result<(), Error> {
        let units = self.range(file, rng);
        let bytes = self.bytes(file, &units);
        let mode = if rng.chance(1, 2) {
            FallocateMode::Allocate
        } else {
            FallocateMode::AllocateKeepSize
        };
        self.files[file as usize].fallocate(mode, bytes.start, bytes.end - bytes.start)?;
        count(&self.tally.fallocates);
        Ok(())
    }

    /// Makes a file durable and says so in the log.
    ///
    /// # Errors
    /// The file's.
    pub fn sync(&self, file: u32, data_only: bool) -> Result<(), Error> {
        let called = self.oracle.tick();
        let handle = &self.files[file as usize];
        if data_only {
            handle.fdatasync()?;
        } else {
            handle.fsync()?;
        }
        if let Some(log) = &self.log {
            log.synced(file, called, data_only);
        }
        count(&self.tally.syncs);
        Ok(())
    }

    /// Reads every file and judges every sector. Returns the number of units.
    ///
    /// # Errors
    /// The image's.
    pub fn verify(
        &self,
        fs: &e4::Filesystem,
        progress: &mut dyn FnMut(u64),
    ) -> anyhow::Result<u64> {
        const STRIDE: u64 = 1 << 20;
        let mut units = 0;
        for (file, handle) in (0u32..).zip(&self.files) {
            let size = self.sizes[file as usize];
            let stride = STRIDE.next_multiple_of(self.oracle.unit());
            let ranges: Vec<Range<u64>> = (0..size)
                .step_by(stride as usize)
                .map(|at| at..(at + stride).min(size))
                .collect();
            units += u64::from(self.oracle.units_in(file));
            let mut seen = 0;
            crate::transfer::copy_out(fs, handle, &ranges, |at, data| {
                let end = at + data.len() as u64;
                seen = end;
                let reading = self.oracle.begin_read(file, self.oracle.units_of(at..end));
                self.oracle
                    .judge(&reading, data)
                    .iter()
                    .for_each(|m| self.tally.mismatch(m));
                progress(data.len() as u64);
                Ok(())
            })?;
            if seen < size {
                // Behind the end of the file everything reads as zeros.
                let reading = self
                    .oracle
                    .begin_read(file, self.oracle.units_of(seen..size));
                self.oracle
                    .judge(&reading, &[])
                    .iter()
                    .for_each(|m| self.tally.mismatch(m));
            }
        }
        Ok(units)
    }
}
