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
    /// When less became possible than before, oldest first.
    narrowed: Mutex<Vec<u64>>,
}

#[derive(Default)]
struct Sizes {
    /// When each size became possible, and since which sync begin it is counted.
    possible: Vec<(u64, u64)>,
    /// When a sync had succeeded, and how many of `possible` were settled by then.
    synced: Vec<(u64, usize)>,
    /// When each state of its names became possible.
    names: Vec<(u64, Name)>,
    /// When how many of `names` were settled.
    named: Vec<(u64, usize)>,
}

/// Under which of its two names a file is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Name {
    /// None.
    Gone,
    /// The one it was created with.
    Plain,
    /// The other one.
    Moved,
    /// Both.
    Both,
}

/// A sync that has begun.
pub(super) struct SyncBegun {
    mark: crate::SyncMark,
    file: u64,
    floor: usize,
    name_floor: usize,
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
            narrowed: Mutex::new(Rank::LEAF, Vec::new()),
        }
    }

    /// A file is about to be created; returns its number.
    pub(super) fn create(&self) -> u64 {
        let now = self.clock.position();
        let mut files = self.files.lock();
        files.push(Sizes {
            possible: vec![(now, 0)],
            names: vec![(0, Name::Gone), (now, Name::Plain)],
            ..Sizes::default()
        });
        files.len() as u64
    }

    /// The file is about to be found like this.
    pub(super) fn name_possible(&self, file: u64, name: Name) {
        let now = self.clock.position();
        self.sizes(file, |s| s.names.push((now, name)));
    }

    fn narrow(&self) {
        let now = self.clock.position();
        self.narrowed.lock().push(now);
    }

    /// How often less had become possible until then: between two positions with the same number, whatever was
    /// possible at the first is possible at the second.
    pub(super) fn narrowings(&self, position: u64) -> usize {
        self.narrowed.lock().partition_point(|&at| at <= position)
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
        self.narrow();
        self.history
            .acknowledged(promise.file, promise.units, promise.generation);
    }

    pub(super) fn durable(&self, promise: Promise) {
        let now = self.clock.position();
        self.narrow();
        self.sizes(promise.file, |s| s.named.push((now, 1)));
        self.history
            .durable(promise.file, promise.units, promise.generation);
    }

    pub(super) fn failed(&self, promise: Promise) {
        self.narrow();
        self.history
            .failed(promise.file, promise.units, promise.generation);
    }

    /// A sync is about to start; the file may have any of these sizes when it is over. `names`: it promises the
    /// file's names as well (fdatasync: only that it has had one).
    pub(super) fn sync_begins(
        &self,
        file: u64,
        sizes: impl Iterator<Item = u64>,
        names: bool,
    ) -> SyncBegun {
        let (floor, name_floor) = self.sizes(file, |s| (s.possible.len(), s.names.len() - 1));
        let name_floor = if names { name_floor } else { 1 };
        for size in sizes {
            self.size_possible(file, size);
        }
        SyncBegun {
            mark: self.history.sync_begins(file),
            file,
            floor,
            name_floor,
        }
    }

    pub(super) fn synced(&self, begun: SyncBegun) {
        self.history.synced(begun.mark);
        self.narrow();
        let now = self.clock.position();
        self.sizes(begun.file, |s| {
            s.synced.push((now, begun.floor));
            s.named.push((now, begun.name_floor));
        });
    }

    /// Whether a file may be found like this after a crash at `position`.
    pub(super) fn may_have_name(&self, file: u64, name: Name, position: u64) -> bool {
        self.sizes(file, |s| {
            let covered = s.named.iter().filter(|(at, _)| *at <= position);
            let floor = covered.map(|(_, floor)| *floor).max().unwrap_or(0);
            let mut possible = s.names[floor..].iter();
            possible.any(|&(since, possible)| since <= position && possible == name)
        })
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
