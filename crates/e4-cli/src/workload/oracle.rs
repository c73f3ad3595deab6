//! The judge: which generations may a read return while others write, truncate and punch?
//!
//! Every operation takes a tick of one clock when it begins (its generation, which is also what it
//! stamps) and another when its success is known. A unit of a file remembers the versions that may
//! still be seen. The rule is that of a regular register: version A is gone once some B has
//! *completed* that *began* after A had completed. What overlaps in time may be seen in either
//! order, sector by sector. Truncating and punching are versions whose content is zeros.
//!
//! The rule after a crash (module [`super::ack_log`]) is the same with "is durable" for
//! "has completed".
//!
//! Failed operations never complete: their data may be there or not, from now on.

use std::fmt;
use std::ops::Range;

use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Mutex, Rank};
use smallvec::SmallVec;

use super::stamp::{self, Content, Place, SECTOR};

/// One version of a unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// Tick at which it began.
    pub generation: u64,
    /// Tick at which it had completed; [`PENDING`] before.
    pub end: u64,
    /// What a read of it shows.
    pub holds: Holds,
}

/// Content of a version.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Holds {
    /// Zeros: never written, truncated, punched.
    Zeros,
    /// The stamp of its generation.
    Stamp,
    /// Whatever was there before the run.
    Anything,
}

/// The end of what has not completed.
pub const PENDING: u64 = u64::MAX;

/// The versions of one unit that may still be seen, oldest first.
#[derive(Clone, Debug)]
pub struct Unit {
    versions: SmallVec<[Version; 1]>,
}

impl Default for Unit {
    /// Never written.
    fn default() -> Self {
        let blank = Version {
            generation: 0,
            end: 0,
            holds: Holds::Zeros,
        };
        Self {
            versions: SmallVec::from_buf([blank]),
        }
    }
}

impl Unit {
    /// An operation begins.
    pub fn begin(&mut self, generation: u64, holds: Holds) {
        self.versions.push(Version {
            generation,
            end: PENDING,
            holds,
        });
    }

    /// It has completed.
    pub fn complete(&mut self, generation: u64, end: u64) {
        for version in &mut self.versions {
            if version.generation == generation {
                version.end = end;
            }
        }
    }

    /// `generation` can no longer be undone: whatever had completed before it began is gone.
    pub fn supersede_before(&mut self, generation: u64) {
        self.versions.retain(|v| v.end >= generation);
    }

    /// The versions that may be seen.
    #[must_use]
    pub fn versions(&self) -> &[Version] {
        &self.versions
    }

    /// True if `content` is one of them.
    #[must_use]
    pub fn allows(&self, content: Content) -> bool {
        self.versions.iter().any(|v| v.shows(content))
    }
}

impl Version {
    fn shows(&self, content: Content) -> bool {
        match (self.holds, content) {
            (Holds::Anything, _) | (Holds::Zeros, Content::Zeros) => true,
            (Holds::Stamp, Content::Generation(g)) => g == self.generation,
            _ => false,
        }
    }
}

/// A read that returned what it must not.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mismatch {
    /// The file's number.
    pub file: u32,
    /// Byte offset of the sector.
    pub offset: u64,
    /// What was there.
    pub found: Content,
    /// What might have been there.
    pub allowed: Vec<Version>,
}

impl Mismatch {
    /// True if bytes became readable that were never this file's: the worst kind.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        matches!(self.found, Content::Stray { .. } | Content::Foreign)
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "file {} byte {}: found ", self.file, self.offset)?;
        match self.found {
            Content::Zeros => f.write_str("zeros")?,
            Content::Generation(g) => write!(f, "generation {g}")?,
            Content::Stray { place, generation } => write!(
                f,
                "generation {generation} of file {} byte {} of run {:#x}",
                place.file, place.offset, place.run
            )?,
            Content::Foreign => f.write_str("foreign or damaged data")?,
        }
        f.write_str(", allowed are")?;
        for v in &self.allowed {
            let kind = match v.holds {
                Holds::Zeros => "zeros of ",
                Holds::Stamp => "",
                Holds::Anything => "anything, ",
            };
            let state = if v.end == PENDING { " (in flight)" } else { "" };
            write!(f, " {kind}{}{state}", v.generation)?;
        }
        Ok(())
    }
}

/// Units under one lock.
const SHARD: usize = 256;

/// The judge of one run.
pub struct Oracle {
    run: u32,
    unit: u64,
    clock: AtomicU64,
    files: Vec<FileUnits>,
}

struct FileUnits {
    shards: Vec<Mutex<Vec<Unit>>>,
    units: u32,
    /// Tick of the latest operation that made zeros.
    last_zeros: AtomicU64,
}

/// What a read may return by the time it begins.
pub struct Reading {
    file: u32,
    units: Range<u32>,
    began: u64,
    seen: Vec<Unit>,
}

impl Oracle {
    /// For files of `sizes` bytes, judged in units of `unit` bytes (a multiple of 512).
    #[must_use]
    pub fn new(run: u32, unit: u64, sizes: &[u64]) -> Self {
        let file = |&size: &u64| {
            let units = u32::try_from(size.div_ceil(unit)).unwrap_or(u32::MAX);
            let shard = |first: u32| {
                let len = (units - first).min(SHARD as u32) as usize;
                Mutex::new(Rank::LEAF, vec![Unit::default(); len])
            };
            FileUnits {
                shards: (0..units).step_by(SHARD).map(shard).collect(),
                units,
                last_zeros: AtomicU64::new(0),
            }
        };
        let files = sizes.iter().map(file).collect();
        Self {
            run,
            unit,
            clock: AtomicU64::new(1),
            files,
        }
    }

    /// What all stamps of the run carry.
    #[must_use]
    pub fn run(&self) -> u32 {
        self.run
    }

    /// Bytes per unit.
    #[must_use]
    pub fn unit(&self) -> u64 {
        self.unit
    }

    /// The next tick of the clock.
    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    /// The units of a byte range.
    #[must_use]
    pub fn units_of(&self, bytes: Range<u64>) -> Range<u32> {
        let unit = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
        unit(bytes.start / self.unit)..unit(bytes.end.div_ceil(self.unit))
    }

    /// Units of a file.
    #[must_use]
    pub fn units_in(&self, file: u32) -> u32 {
        self.file(file).units
    }

    fn file(&self, file: u32) -> &FileUnits {
        &self.files[file as usize]
    }

    fn each<F: FnMut(&mut Unit)>(&self, file: u32, units: &Range<u32>, mut visit: F) {
        let file = self.file(file);
        let mut at = units.start as usize;
        let end = (units.end.min(file.units)) as usize;
        while at < end {
            let (shard, first) = (at / SHARD, at % SHARD);
            let last = SHARD.min(first + (end - at));
            let mut guard = file.shards[shard].lock();
            guard[first..last].iter_mut().for_each(&mut visit);
            at += last - first;
        }
    }

    /// The file was not empty when the run began: until overwritten it may show anything.
    pub fn assume_anything(&self, file: u32) {
        let all = 0..self.units_in(file);
        self.each(file, &all, |unit| {
            for version in &mut unit.versions {
                version.holds = Holds::Anything;
            }
        });
    }

    /// A write of whole units begins; the result is what to stamp them with.
    pub fn begin_write(&self, file: u32, units: &Range<u32>) -> u64 {
        let generation = self.tick();
        self.each(file, units, |unit| unit.begin(generation, Holds::Stamp));
        generation
    }

    /// Something that leaves zeros begins.
    pub fn begin_zeros(&self, file: u32, units: &Range<u32>) -> u64 {
        let generation = self.tick();
        self.file(file)
            .last_zeros
            .fetch_max(generation, Ordering::AcqRel);
        self.each(file, units, |unit| unit.begin(generation, Holds::Zeros));
        generation
    }

    /// It has completed with success. Returns the tick.
    pub fn complete(&self, file: u32, units: &Range<u32>, generation: u64) -> u64 {
        let end = self.tick();
        self.each(file, units, |unit| {
            unit.complete(generation, end);
            unit.supersede_before(generation);
        });
        end
    }

    /// A read of whole units begins.
    #[must_use]
    pub fn begin_read(&self, file: u32, units: Range<u32>) -> Reading {
        let began = self.tick();
        let mut seen = Vec::with_capacity(units.len());
        self.each(file, &units, |unit| seen.push(unit.clone()));
        Reading {
            file,
            units,
            began,
            seen,
        }
    }

    /// Judges what a read returned. `data` shorter than the units (end of file) counts as zeros.
    pub fn judge(&self, reading: &Reading, data: &[u8]) -> Vec<Mismatch> {
        let mut wrong = Vec::new();
        let mut now = reading.seen.iter();
        let mut at = u64::from(reading.units.start) * self.unit;
        let mut data = data;
        let zeros_after =
            self.file(reading.file).last_zeros.load(Ordering::Acquire) > reading.began;
        self.each(reading.file, &reading.units, |unit| {
            let Some(before) = now.next() else { return };
            let len = usize::try_from(self.unit)
                .unwrap_or(usize::MAX)
                .min(data.len());
            let (mine, rest) = data.split_at(len);
            data = rest;
            let sectors = mine.chunks(SECTOR).chain(std::iter::repeat([].as_slice()));
            for (i, sector) in sectors.take(self.unit as usize / SECTOR).enumerate() {
                let offset = at + (i * SECTOR) as u64;
                let place = Place {
                    run: self.run,
                    file: reading.file,
                    offset,
                };
                let found = match sector.len() {
                    0 => Content::Zeros,
                    _ => read_padded(sector, place),
                };
                // What began after the read and is superseded already: its stamp proves itself.
                let later = match found {
                    Content::Generation(g) => g > reading.began,
                    Content::Zeros => zeros_after,
                    _ => false,
                };
                if !later && !before.allows(found) && !unit.allows(found) {
                    let allowed = before.versions().to_vec();
                    wrong.push(Mismatch {
                        file: reading.file,
                        offset,
                        found,
                        allowed,
                    });
                }
            }
            at += self.unit;
        });
        wrong
    }
}

/// The last sector of a file may be cut by its size.
fn read_padded(sector: &[u8], place: Place) -> Content {
    if sector.len() == SECTOR {
        return stamp::read(sector, place);
    }
    let mut whole = [0u8; SECTOR];
    whole[..sector.len()].copy_from_slice(sector);
    stamp::read(&whole, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: usize = 4096;

    fn stamped(oracle: &Oracle, units: &Range<u32>, generation: u64) -> Vec<u8> {
        let mut buf = vec![0u8; units.len() * UNIT];
        let offset = u64::from(units.start) * UNIT as u64;
        stamp::fill(&mut buf, oracle.run(), 0, offset, generation);
        buf
    }

    fn judge_now(oracle: &Oracle, units: Range<u32>, data: &[u8]) -> usize {
        oracle.judge(&oracle.begin_read(0, units), data).len()
    }

    #[test]
    fn the_latest_completed_write_must_be_seen() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 3..5;
        assert_eq!(judge_now(&oracle, units.clone(), &[0; 2 * UNIT]), 0);
        let first = oracle.begin_write(0, &units);
        let data = stamped(&oracle, &units, first);
        // In flight: old or new.
        assert_eq!(judge_now(&oracle, units.clone(), &data), 0);
        assert_eq!(judge_now(&oracle, units.clone(), &[0; 2 * UNIT]), 0);
        oracle.complete(0, &units, first);
        assert_eq!(judge_now(&oracle, units.clone(), &data), 0);
        // Zeros now mean that the write was lost: every sector of both units.
        assert_eq!(judge_now(&oracle, units.clone(), &[0; 2 * UNIT]), 16);
        let second = oracle.begin_write(0, &units);
        oracle.complete(0, &units, second);
        assert_eq!(judge_now(&oracle, units, &data), 16);
    }

    #[test]
    fn overlapping_writes_may_win_in_either_order() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 0..1;
        let a = oracle.begin_write(0, &units);
        let b = oracle.begin_write(0, &units);
        oracle.complete(0, &units, b);
        oracle.complete(0, &units, a);
        for generation in [a, b] {
            let data = stamped(&oracle, &units, generation);
            assert_eq!(judge_now(&oracle, units.clone(), &data), 0);
        }
        // Torn between sectors: allowed as well.
        let mut torn = stamped(&oracle, &units, a);
        torn[SECTOR..2 * SECTOR].copy_from_slice(&stamped(&oracle, &units, b)[SECTOR..2 * SECTOR]);
        assert_eq!(judge_now(&oracle, units.clone(), &torn), 0);
        // One that begins after both hides both.
        let c = oracle.begin_write(0, &units);
        oracle.complete(0, &units, c);
        assert_eq!(
            judge_now(&oracle, units.clone(), &stamped(&oracle, &units, a)),
            8
        );
    }

    #[test]
    fn punching_hides_what_was_written() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 0..300;
        let w = oracle.begin_write(0, &units);
        oracle.complete(0, &units, w);
        let punch = oracle.begin_zeros(0, &(100..200));
        let data = stamped(&oracle, &(150..151), w);
        assert_eq!(judge_now(&oracle, 150..151, &data), 0);
        oracle.complete(0, &(100..200), punch);
        assert_eq!(judge_now(&oracle, 150..151, &data), 8);
        assert_eq!(judge_now(&oracle, 150..151, &[]), 0);
        assert_eq!(
            judge_now(&oracle, 99..100, &stamped(&oracle, &(99..100), w)),
            0
        );
    }

    #[test]
    fn a_read_may_see_what_came_and_went_meanwhile() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 0..1;
        let reading = oracle.begin_read(0, units.clone());
        let a = oracle.begin_write(0, &units);
        oracle.complete(0, &units, a);
        let b = oracle.begin_write(0, &units);
        oracle.complete(0, &units, b);
        for data in [
            stamped(&oracle, &units, a),
            stamped(&oracle, &units, b),
            vec![0; UNIT],
        ] {
            assert!(oracle.judge(&reading, &data).is_empty());
        }
    }

    #[test]
    fn a_failed_write_is_never_settled() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 0..1;
        let failed = oracle.begin_write(0, &units);
        let later = oracle.begin_write(0, &units);
        oracle.complete(0, &units, later);
        assert_eq!(
            judge_now(&oracle, units.clone(), &stamped(&oracle, &units, failed)),
            0
        );
        assert_eq!(judge_now(&oracle, units, &[0; UNIT]), 8);
    }

    #[test]
    fn strays_are_stale_data() {
        let oracle = Oracle::new(1, UNIT as u64, &[1 << 20]);
        let units = 0..1;
        let w = oracle.begin_write(0, &units);
        oracle.complete(0, &units, w);
        let other = stamped(&oracle, &(7..8), w);
        let wrong = oracle.judge(&oracle.begin_read(0, units), &other);
        assert_eq!(wrong.len(), 8);
        assert!(wrong.iter().all(Mismatch::is_stale));
        assert!(wrong[0].to_string().contains("byte 28672"));
    }
}
