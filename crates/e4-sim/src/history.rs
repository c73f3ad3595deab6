//! What was written, acknowledged and acknowledged durable, and what a block may therefore contain (2.I).
//!
//! For each block of each file there is a set of *versions*: tagged writes, and zeros (truncate, punch,
//! zero-range). A version is over when it was acknowledged or had failed. The rules, with R the
//! versions that must be honoured (after a crash: acknowledged durable; otherwise: acknowledged):
//! - a version is allowed unless it was over before some member of R was even submitted;
//! - what was never written (zeros) is allowed only while R is empty;
//! - everything else is a violation: leaked fill, another file's or block's data, a generation nobody
//!   submitted, damage, and (where blocks are promised to be atomic) a mixture.
//!
//! For sequential writers this is "the newest acknowledged-durable generation or any later one".
//! Concurrent overlapping writes have no order, and get none here.
//!
//! Every call is stamped with the position of the simulated disk's log, so one recorded run can be judged at every
//! crash point ([`History::at`]). Call `write`/`zero` *before* the operation starts and the others *after* it
//! returned: then what is recorded never claims more than happened.

use crate::log::Clock;
use crate::tag::{SECTOR, SectorVerdict, Tag, TagVerdict};
use core::ops::Range;
use e4_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use e4_sync::{Arc, Mutex, Rank};
use hashbrown::HashMap;

/// Names a version; unique within a history, growing in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Generation(pub u64);

impl core::fmt::Display for Generation {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.0.fmt(f)
    }
}

/// Whether a block may be a mixture of versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Atomicity {
    /// Each 512-byte sector is judged by itself (overwrites in place promise no more).
    Sector,
    /// A block is one version (I-31).
    Block,
}

/// Why a block's contents cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Violation {
    #[error("file {file} block {block}: stale contents of the device (its sector {sector})")]
    Stale { file: u64, block: u64, sector: u64 },
    #[error("file {file} block {block}: damaged or foreign contents in sector {sector}")]
    Foreign {
        file: u64,
        block: u64,
        sector: usize,
    },
    #[error("file {file} block {block}: contents of file {} block {} generation {}", found.file, found.block, found.generation)]
    Misplaced { file: u64, block: u64, found: Tag },
    #[error("file {file} block {block}: generation {found} was never submitted (by then)")]
    NeverSubmitted {
        file: u64,
        block: u64,
        found: Generation,
    },
    #[error("file {file} block {block}: generation {found}, though {required} was {promise} later")]
    Outdated {
        file: u64,
        block: u64,
        found: Generation,
        required: Generation,
        promise: &'static str,
    },
    #[error("file {file} block {block}: zeros, though generation {required} was {promise}")]
    Lost {
        file: u64,
        block: u64,
        required: Generation,
        promise: &'static str,
    },
    #[error(
        "file {file} block {block}: a mixture of generations {oldest} to {newest} (zeros: {zeros})"
    )]
    Torn {
        file: u64,
        block: u64,
        oldest: Generation,
        newest: Generation,
        zeros: bool,
    },
}

/// A moment: the order of calls, and the position in the disk's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment {
    order: u64,
    position: u64,
}

#[derive(Clone, Debug)]
struct Version {
    generation: Generation,
    zeros: bool,
    submitted: Moment,
    /// Acknowledged or failed.
    over: Option<Moment>,
    acknowledged: Option<Moment>,
    durable: Option<Moment>,
}

#[derive(Default)]
struct File {
    blocks: HashMap<u64, Vec<Version>>,
    /// Zeroing of ranges, which may be endless.
    zeroed: Vec<(Range<u64>, Version)>,
    /// Acknowledged, not durable.
    unsynced: Vec<(Range<u64>, Generation, u64)>,
}

/// The begin of an fsync; see [`History::sync_begins`].
#[derive(Clone, Copy, Debug)]
#[must_use = "hand it to `synced` when the fsync has succeeded"]
pub struct SyncMark {
    file: u64,
    order: u64,
}

/// The record of what was promised. Usable from several threads.
pub struct History {
    atomicity: Atomicity,
    clock: Clock,
    order: AtomicU64,
    generation: AtomicU64,
    forget: AtomicBool,
    files: Mutex<HashMap<u64, Arc<Mutex<File>>>>,
}

/// A history as of a position in the log.
#[derive(Clone, Copy)]
pub struct HistoryView<'a> {
    history: &'a History,
    position: u64,
}

impl History {
    /// A history without a log: judged as of now only. Forgets versions that can no longer matter, so
    /// it may run for ever if files are synced now and then.
    #[must_use]
    pub fn new(atomicity: Atomicity) -> History {
        let history = Self::with_clock(atomicity, Clock::default());
        history.forget.store(true, Ordering::SeqCst);
        history
    }

    /// A history that can be judged at every position of a disk's log.
    #[must_use]
    pub fn with_clock(atomicity: Atomicity, clock: Clock) -> History {
        History {
            atomicity,
            clock,
            order: AtomicU64::new(1),
            generation: AtomicU64::new(1),
            forget: AtomicBool::new(false),
            files: Mutex::new(Rank::LEAF, HashMap::new()),
        }
    }

    /// A write of `blocks` is about to be submitted: stamp it with the generation returned.
    pub fn write(&self, file: u64, blocks: Range<u64>) -> Generation {
        let version = self.version(false);
        let generation = version.generation;
        self.file(file, |f| {
            for block in blocks {
                f.blocks.entry(block).or_default().push(version.clone());
            }
        });
        generation
    }

    /// Blocks are about to become zeros (punch, zero-range, truncate: `end` may be `u64::MAX`).
    pub fn zero(&self, file: u64, blocks: Range<u64>) -> Generation {
        let version = self.version(true);
        let generation = version.generation;
        self.file(file, |f| f.zeroed.push((blocks, version)));
        generation
    }

    /// The operation was acknowledged (without durability).
    pub fn acknowledged(&self, file: u64, blocks: Range<u64>, generation: Generation) {
        let now = self.moment();
        self.file(file, |f| {
            f.unsynced.push((blocks.clone(), generation, now.order));
            f.each(blocks, generation, |v| {
                v.over.get_or_insert(now);
                v.acknowledged.get_or_insert(now);
            });
        });
    }

    /// The operation was acknowledged durable (`O_DSYNC`).
    pub fn durable(&self, file: u64, blocks: Range<u64>, generation: Generation) {
        let now = self.moment();
        self.file(file, |f| self.promise(f, blocks, generation, now));
    }

    /// The operation failed: it may have had any effect, but will have none from now on.
    pub fn failed(&self, file: u64, blocks: Range<u64>, generation: Generation) {
        let now = self.moment();
        self.file(file, |f| {
            f.each(blocks, generation, |v| {
                v.over.get_or_insert(now);
            });
        });
    }

    /// An fsync (or fdatasync) of the file is about to start.
    pub fn sync_begins(&self, file: u64) -> SyncMark {
        let order = self.moment().order;
        SyncMark { file, order }
    }

    /// That fsync has succeeded: what was acknowledged before it started is durable.
    pub fn synced(&self, mark: SyncMark) {
        let now = self.moment();
        self.file(mark.file, |f| {
            let all = core::mem::take(&mut f.unsynced);
            let (covered, rest) = all.into_iter().partition(|(_, _, o)| *o < mark.order);
            f.unsynced = rest;
            let covered: Vec<(Range<u64>, Generation, u64)> = covered;
            for (blocks, generation, _) in covered {
                self.promise(f, blocks, generation, now);
            }
        });
    }

    fn promise(&self, f: &mut File, blocks: Range<u64>, generation: Generation, now: Moment) {
        f.each(blocks.clone(), generation, |v| {
            v.over.get_or_insert(now);
            v.acknowledged.get_or_insert(now);
            v.durable.get_or_insert(now);
        });
        if self.forget.load(Ordering::Relaxed) {
            f.forget(blocks);
        }
    }

    /// Whether a block of a file may contain `content` now. `durable_only`: the power was cut, only what
    /// was acknowledged durable must be there.
    ///
    /// # Errors
    /// The violation.
    pub fn judge(
        &self,
        file: u64,
        block: u64,
        content: &[u8],
        durable_only: bool,
    ) -> Result<(), Violation> {
        self.at(u64::MAX).judge(file, block, content, durable_only)
    }

    /// The history as it was at a position of the log.
    #[must_use]
    pub fn at(&self, position: u64) -> HistoryView<'_> {
        HistoryView {
            history: self,
            position,
        }
    }

    /// The files that appear in the history, in order.
    #[must_use]
    pub fn files(&self) -> Vec<u64> {
        let mut files: Vec<u64> = self.files.lock().keys().copied().collect();
        files.sort_unstable();
        files
    }

    /// The blocks of a file that were ever written, in order.
    #[must_use]
    pub fn blocks(&self, file: u64) -> Vec<u64> {
        let mut blocks: Vec<u64> = self.file(file, |f| f.blocks.keys().copied().collect());
        blocks.sort_unstable();
        blocks
    }

    fn version(&self, zeros: bool) -> Version {
        Version {
            generation: Generation(self.generation.fetch_add(1, Ordering::SeqCst)),
            zeros,
            submitted: self.moment(),
            over: None,
            acknowledged: None,
            durable: None,
        }
    }

    fn moment(&self) -> Moment {
        Moment {
            position: self.clock.position(),
            order: self.order.fetch_add(1, Ordering::SeqCst),
        }
    }

    fn file<R>(&self, file: u64, act: impl FnOnce(&mut File) -> R) -> R {
        let found = {
            let mut files = self.files.lock();
            Arc::clone(
                files
                    .entry(file)
                    .or_insert_with(|| Arc::new(Mutex::new(Rank::LEAF, File::default()))),
            )
        };
        act(&mut found.lock())
    }
}

impl File {
    fn each(&mut self, blocks: Range<u64>, generation: Generation, act: impl Fn(&mut Version)) {
        let zeroed = self.zeroed.iter_mut().map(|(_, v)| v);
        if let Some(version) = zeroed.rev().find(|v| v.generation == generation) {
            return act(version);
        }
        for block in blocks {
            let versions = self.blocks.get_mut(&block).into_iter().flatten();
            versions
                .rev()
                .filter(|v| v.generation == generation)
                .for_each(&act);
        }
    }

    fn of_block(&self, block: u64) -> impl Iterator<Item = &Version> + Clone {
        let zeroed = self.zeroed.iter();
        let zeroed = zeroed.filter(move |(range, _)| range.contains(&block));
        let written = self.blocks.get(&block).into_iter().flatten();
        written.chain(zeroed.map(|(_, v)| v))
    }

    /// Drops versions that were over before a durable one was submitted: they are never allowed again.
    fn forget(&mut self, blocks: Range<u64>) {
        let durable = self.zeroed.iter().filter(|(_, v)| v.durable.is_some());
        let durable: Vec<(Range<u64>, u64)> = durable
            .map(|(range, v)| (range.clone(), v.submitted.order))
            .collect();
        self.zeroed.retain(|(range, v)| {
            !durable.iter().any(|(wide, order)| {
                wide.start <= range.start
                    && range.end <= wide.end
                    && v.over.is_some_and(|over| over.order < *order)
            })
        });
        if blocks.end - blocks.start > 1 << 20 {
            return;
        }
        for block in blocks {
            let durable = self.of_block(block).filter(|v| v.durable.is_some());
            let Some(newest) = durable.map(|v| v.submitted.order).max() else {
                continue;
            };
            if let Some(versions) = self.blocks.get_mut(&block) {
                versions.retain(|v| v.over.is_none_or(|over| over.order >= newest));
            }
        }
    }
}

/// The versions of one block as of a position.
struct Court<I> {
    file: u64,
    block: u64,
    position: u64,
    durable_only: bool,
    versions: I,
}

impl HistoryView<'_> {
    /// As [`History::judge`], for a power cut (or a read) at this position.
    ///
    /// # Errors
    /// The violation.
    pub fn judge(
        &self,
        file: u64,
        block: u64,
        content: &[u8],
        durable_only: bool,
    ) -> Result<(), Violation> {
        self.history.file(file, |f| {
            let court = Court {
                file,
                block,
                position: self.position,
                durable_only,
                versions: f.of_block(block),
            };
            match self.history.atomicity {
                Atomicity::Block => court.whole(content),
                Atomicity::Sector => court.by_sector(content),
            }
        })
    }
}

impl<'a, I: Iterator<Item = &'a Version> + Clone> Court<I> {
    fn whole(&self, content: &[u8]) -> Result<(), Violation> {
        let (file, block) = (self.file, self.block);
        match Tag::verify(content) {
            TagVerdict::Zeros => self.zeros(),
            TagVerdict::Tag(tag) => self.tag(tag),
            TagVerdict::Poison(sector) => Err(Violation::Stale {
                file,
                block,
                sector,
            }),
            TagVerdict::Torn {
                oldest,
                newest,
                zeros,
                ..
            } => Err(Violation::Torn {
                file,
                block,
                oldest: Generation(oldest),
                newest: Generation(newest),
                zeros,
            }),
            TagVerdict::Foreign(sector) => Err(Violation::Foreign {
                file,
                block,
                sector,
            }),
        }
    }

    fn by_sector(&self, content: &[u8]) -> Result<(), Violation> {
        let (file, block) = (self.file, self.block);
        let sectors = (content.len() / SECTOR) as u32;
        for (n, bytes) in content.chunks(SECTOR).enumerate() {
            match Tag::verify_sector(bytes) {
                SectorVerdict::Zeros => self.zeros()?,
                SectorVerdict::Tag { tag, index, count } => {
                    self.tag(tag)?;
                    if (index, count) != (n as u32, sectors) {
                        return Err(Violation::Misplaced {
                            file,
                            block,
                            found: tag,
                        });
                    }
                }
                SectorVerdict::Poison(sector) => {
                    return Err(Violation::Stale {
                        file,
                        block,
                        sector,
                    });
                }
                SectorVerdict::Foreign => {
                    return Err(Violation::Foreign {
                        file,
                        block,
                        sector: n,
                    });
                }
            }
        }
        Ok(())
    }

    fn required(&self) -> impl Iterator<Item = &'a Version> + use<'a, I> {
        let (position, durable_only) = (self.position, self.durable_only);
        self.versions.clone().filter(move |v| {
            let promise = if durable_only {
                v.durable
            } else {
                v.acknowledged
            };
            promise.is_some_and(|m| m.position <= position)
        })
    }

    fn promise(&self) -> &'static str {
        if self.durable_only {
            "acknowledged durable"
        } else {
            "acknowledged"
        }
    }

    /// The version whose promise forbids `version`, if any.
    fn forbidden_by(&self, version: &Version) -> Option<Generation> {
        let over = version.over?;
        let mut later = self.required().filter(|r| over.order < r.submitted.order);
        later.next().map(|r| r.generation)
    }

    fn zeros(&self) -> Result<(), Violation> {
        let mut written = self.required();
        let Some(required) = written.next() else {
            return Ok(());
        };
        let mut zeroings = self
            .versions
            .clone()
            .filter(|v| v.zeros && self.submitted(v));
        if zeroings.any(|v| self.forbidden_by(v).is_none()) {
            return Ok(());
        }
        Err(Violation::Lost {
            file: self.file,
            block: self.block,
            required: written
                .fold(required, |a, b| {
                    if b.submitted.order > a.submitted.order {
                        b
                    } else {
                        a
                    }
                })
                .generation,
            promise: self.promise(),
        })
    }

    fn tag(&self, tag: Tag) -> Result<(), Violation> {
        let (file, block) = (self.file, self.block);
        if (tag.file, tag.block) != (file, block) {
            return Err(Violation::Misplaced {
                file,
                block,
                found: tag,
            });
        }
        let found = Generation(tag.generation);
        let mut known = self.versions.clone();
        let known = known.find(|v| v.generation == found && !v.zeros && self.submitted(v));
        let Some(version) = known else {
            return Err(self.unknown(found));
        };
        match self.forbidden_by(version) {
            None => Ok(()),
            Some(required) => Err(Violation::Outdated {
                file,
                block,
                found,
                required,
                promise: self.promise(),
            }),
        }
    }

    /// A generation that is not on record: never submitted, or superseded so long ago that it was forgotten.
    fn unknown(&self, found: Generation) -> Violation {
        let (file, block) = (self.file, self.block);
        match self.required().find(|r| r.generation > found) {
            Some(required) => Violation::Outdated {
                file,
                block,
                found,
                required: required.generation,
                promise: self.promise(),
            },
            None => Violation::NeverSubmitted { file, block, found },
        }
    }

    fn submitted(&self, version: &Version) -> bool {
        version.submitted.position <= self.position
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;
