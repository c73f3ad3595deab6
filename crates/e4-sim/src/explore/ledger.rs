//! What was promised: contents by sectors, sizes, names; each with the position in the log it dates from.
//!
//! Rules for sizes: after a crash a file has a size it had, or was about to get, since its last successful
//! fsync began. That an append acknowledged durable is there needs no rule: its sectors must be. A
//! file exists once an fsync of it (or a durable write) has succeeded.

use crate::log::Clock;
use crate::{Atomicity, Generation, History, Tag};
use core::ops::Range;
use e4_sync::{Mutex, Rank};

/// The unit of contents: a sector.
pub(super) const UNIT: u64 = crate::SECTOR as u64;

/// What was promised to the users of the files 1, 2, ... of a workload.
pub(super) struct Ledger {
    pub(super) history: History,
    clock: Clock,
    files: Mutex<Vec<Sizes>>,
}

#[derive(Default)]
struct Sizes {
    /// When each size became possible, and since which sync begin it is counted.
    possible: Vec<(u64, u64)>,
    /// When a sync had succeeded, and how many of `possible` were settled by then.
    synced: Vec<(u64, usize)>,
    /// When the file's existence was promised.
    exists: Option<u64>,
}

/// A sync that has begun.
pub(super) struct SyncBegun {
    mark: crate::SyncMark,
    file: u64,
    floor: usize,
}

/// What a write must carry and hand back.
#[derive(Clone, Debug)]
pub(super) struct Promise {
    pub(super) file: u64,
    pub(super) units: Range<u64>,
    pub(super) generation: Generation,
}

impl Ledger {
    pub(super) fn new(clock: Clock) -> Ledger {
        Ledger {
            history: History::with_clock(Atomicity::Sector, clock.clone()),
            clock,
            files: Mutex::new(Rank::LEAF, Vec::new()),
        }
    }

    /// A file is about to be created; returns its number.
    pub(super) fn create(&self) -> u64 {
        let now = self.clock.position();
        let mut files = self.files.lock();
        files.push(Sizes {
            possible: vec![(now, 0)],
            ..Sizes::default()
        });
        files.len() as u64
    }

    pub(super) fn files(&self) -> u64 {
        self.files.lock().len() as u64
    }

    fn sizes<R>(&self, file: u64, act: impl FnOnce(&mut Sizes) -> R) -> R {
        act(&mut self.files.lock()[file as usize - 1])
    }

    /// The file is about to get this size, now or whenever the operation takes effect.
    pub(super) fn size_possible(&self, file: u64, size: u64) {
        let now = self.clock.position();
        self.sizes(file, |s| s.possible.push((now, size)));
    }

    /// A write of `len` bytes at `at` (both whole units) is about to be submitted: fills `data`.
    pub(super) fn write(&self, file: u64, at: u64, data: &mut [u8]) -> Promise {
        let units = at / UNIT..(at + data.len() as u64) / UNIT;
        let generation = self.history.write(file, units.clone());
        for (unit, sector) in units.clone().zip(data.chunks_exact_mut(UNIT as usize)) {
            let tag = Tag {
                file,
                block: unit,
                generation: generation.0,
            };
            tag.stamp(sector);
        }
        Promise {
            file,
            units,
            generation,
        }
    }

    /// A byte range is about to become zeros.
    pub(super) fn zero(&self, file: u64, bytes: Range<u64>) -> Promise {
        let units = bytes.start / UNIT..bytes.end / UNIT;
        let generation = self.history.zero(file, units.clone());
        Promise {
            file,
            units,
            generation,
        }
    }

    pub(super) fn acknowledged(&self, promise: Promise) {
        self.history
            .acknowledged(promise.file, promise.units, promise.generation);
    }

    pub(super) fn durable(&self, promise: Promise) {
        let now = self.clock.position();
        self.sizes(promise.file, |s| {
            s.exists.get_or_insert(now);
        });
        self.history
            .durable(promise.file, promise.units, promise.generation);
    }

    pub(super) fn failed(&self, promise: Promise) {
        self.history
            .failed(promise.file, promise.units, promise.generation);
    }

    /// A sync is about to start; the file may have any of these sizes when it is over.
    pub(super) fn sync_begins(&self, file: u64, sizes: impl Iterator<Item = u64>) -> SyncBegun {
        let floor = self.sizes(file, |s| s.possible.len());
        for size in sizes {
            self.size_possible(file, size);
        }
        SyncBegun {
            mark: self.history.sync_begins(file),
            file,
            floor,
        }
    }

    pub(super) fn synced(&self, begun: SyncBegun) {
        self.history.synced(begun.mark);
        let now = self.clock.position();
        self.sizes(begun.file, |s| {
            s.synced.push((now, begun.floor));
            s.exists.get_or_insert(now);
        });
    }

    /// Whether a file may be missing after a crash at `position`.
    pub(super) fn may_be_missing(&self, file: u64, position: u64) -> bool {
        self.sizes(file, |s| s.exists.is_none_or(|since| since > position))
    }

    /// Whether a file may have `size` bytes after a crash at `position`.
    pub(super) fn may_have_size(&self, file: u64, size: u64, position: u64) -> bool {
        self.sizes(file, |s| {
            let covered = s.synced.iter().filter(|(at, _)| *at <= position);
            let floor = covered.map(|(_, floor)| *floor).max().unwrap_or(0);
            let mut possible = s.possible[floor..].iter();
            possible.any(|&(since, possible)| since <= position && possible == size)
        })
    }

    /// One behind the last unit ever written, of a file.
    pub(super) fn units(&self, file: u64) -> u64 {
        self.history.blocks(file).last().map_or(0, |last| last + 1)
    }
}
