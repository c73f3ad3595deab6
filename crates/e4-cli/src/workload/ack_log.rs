//! A journal of acknowledgements beside the image: what was begun, what completed, what fsync
//! promised. After the process was killed it says what every block of the image may hold.
//!
//! The file: one line of JSON ([`Header`]), then records of 32 bytes. A record of something that *begins* is
//! written before it is submitted (the host's page cache survives the death of a process); a record
//! of a promise is written and synced after the promise was made. So the log never claims more than
//! was promised, and never less than may have happened. A torn last record is ignored.
//!
//! The rule: a version may be found if no *durable* one began after it had completed. Durable is
//! what had completed when a successful fsync of the file began.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, bail};
use e4_sync::{Mutex, Rank};
use serde::{Deserialize, Serialize};

use super::oracle::{Holds, Mismatch, PENDING, Unit, Version};
use super::stamp::{self, Content, Place, SECTOR};

/// The first line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Version of the log's own format.
    pub format: u32,
    /// What all stamps carry.
    pub run: u32,
    /// Bytes per unit.
    pub unit: u64,
    /// Paths inside the image and the sizes in bytes up to which they are written.
    pub files: Vec<(String, u64)>,
}

const FORMAT: u32 = 1;
const RECORD: usize = 32;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    BeginWrite = 1,
    BeginZeros = 2,
    Complete = 3,
    /// Everything that had completed before the tick is durable.
    Synced = 4,
    /// As `Synced`, for data only.
    DataSynced = 5,
}

impl Kind {
    fn from_code(code: u32) -> Option<Self> {
        [
            Self::BeginWrite,
            Self::BeginZeros,
            Self::Complete,
            Self::Synced,
            Self::DataSynced,
        ]
        .into_iter()
        .find(|&kind| kind as u32 == code)
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Record {
    kind: Kind,
    file: u32,
    first: u32,
    end: u32,
    /// Begin and complete: the generation. Synced: the tick at which fsync was called.
    generation: u64,
    /// Complete: the tick of completion.
    tick: u64,
}

impl Record {
    fn encode(self) -> [u8; RECORD] {
        let mut out = [0; RECORD];
        let words = [self.kind as u32, self.file, self.first, self.end];
        for (bytes, word) in out.chunks_exact_mut(4).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        out[16..24].copy_from_slice(&self.generation.to_le_bytes());
        out[24..].copy_from_slice(&self.tick.to_le_bytes());
        out
    }

    fn decode(bytes: &[u8; RECORD]) -> Option<Self> {
        let word = |i: usize| u32::from_le_bytes(bytes[i..i + 4].try_into().unwrap_or_default());
        let long = |i: usize| u64::from_le_bytes(bytes[i..i + 8].try_into().unwrap_or_default());
        Some(Self {
            kind: Kind::from_code(word(0))?,
            file: word(4),
            first: word(8),
            end: word(12),
            generation: long(16),
            tick: long(24),
        })
    }
}

/// The log of a running process.
pub struct AckLog {
    inner: Mutex<Inner>,
}

struct Inner {
    file: File,
    buffer: Vec<u8>,
    failure: Option<io::ErrorKind>,
}

/// Something that begins.
#[derive(Clone, Debug)]
pub struct Begun {
    /// The file's number.
    pub file: u32,
    /// Its units.
    pub units: Range<u32>,
    /// Its generation.
    pub generation: u64,
    /// It leaves zeros.
    pub zeros: bool,
}

impl AckLog {
    /// Begins a log.
    ///
    /// # Errors
    /// The host's.
    pub fn create(path: &Path, run: u32, unit: u64, files: &[(String, u64)]) -> Result<Self> {
        let header = Header {
            format: FORMAT,
            run,
            unit,
            files: files.to_vec(),
        };
        let mut file = File::create(path).with_context(|| path.display().to_string())?;
        let mut line = serde_json::to_vec(&header)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_all()?;
        let inner = Inner {
            file,
            buffer: Vec::new(),
            failure: None,
        };
        Ok(Self {
            inner: Mutex::new(Rank::LEAF, inner),
        })
    }

    /// To be called before any of these is submitted.
    pub fn begin(&self, begun: &[Begun]) {
        let mut inner = self.inner.lock();
        for b in begun {
            let kind = if b.zeros {
                Kind::BeginZeros
            } else {
                Kind::BeginWrite
            };
            inner.put(Record {
                kind,
                file: b.file,
                first: b.units.start,
                end: b.units.end,
                generation: b.generation,
                tick: 0,
            });
        }
        inner.write_out();
    }

    /// Has completed with success at `tick`.
    pub fn complete(&self, file: u32, units: &Range<u32>, generation: u64, tick: u64) {
        self.inner.lock().put(Record {
            kind: Kind::Complete,
            file,
            first: units.start,
            end: units.end,
            generation,
            tick,
        });
    }

    /// An fsync (or fdatasync: `data_only`) of the file, called at `tick`, has returned success.
    pub fn synced(&self, file: u32, tick: u64, data_only: bool) {
        let kind = if data_only {
            Kind::DataSynced
        } else {
            Kind::Synced
        };
        let mut inner = self.inner.lock();
        inner.put(Record {
            kind,
            file,
            first: 0,
            end: 0,
            generation: tick,
            tick,
        });
        inner.write_out();
        if let Err(e) = inner.file.sync_data() {
            inner.failure.get_or_insert(e.kind());
        }
    }

    /// The first failure of the log itself: it can no longer judge anything.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<()> {
        match self.inner.lock().failure {
            Some(kind) => bail!("the acknowledgement log could not be written: {kind}"),
            None => Ok(()),
        }
    }
}

impl Inner {
    fn put(&mut self, record: Record) {
        self.buffer.extend_from_slice(&record.encode());
    }

    fn write_out(&mut self) {
        if let Err(e) = self.file.write_all(&self.buffer) {
            self.failure.get_or_insert(e.kind());
        }
        self.buffer.clear();
    }
}

/// What a log says about every unit of every file.
pub struct Verdicts {
    /// The log's header.
    pub header: Header,
    /// Calls of fsync and fdatasync that returned success.
    pub syncs: u64,
    /// Writes and punches that completed.
    pub completed: u64,
    files: Vec<Units>,
}

#[derive(Default)]
struct Units {
    units: Vec<Unit>,
    /// Units with something that completed since the last sync.
    dirty: Vec<u32>,
}

/// One finding of [`Verdicts::judge`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Sectors looked at.
    pub sectors: u64,
    /// Units something durable was written to (or punched in).
    pub durable_units: u64,
    /// Sectors older than what fsync promised.
    pub lost: u64,
    /// Sectors that were never this file's.
    pub stale: u64,
    /// The first few, for people.
    pub examples: Vec<String>,
}

impl Verdicts {
    /// Reads a log.
    ///
    /// # Errors
    /// The host's, or a first line that is not a header.
    pub fn read(path: &Path) -> Result<Self> {
        let name = || path.display().to_string();
        let mut input = BufReader::new(File::open(path).with_context(name)?);
        let mut line = Vec::new();
        io::BufRead::read_until(&mut input, b'\n', &mut line).with_context(name)?;
        let header: Header = serde_json::from_slice(&line)
            .with_context(|| format!("{}: not an acknowledgement log of e4 stress", name()))?;
        if header.format != FORMAT || header.unit == 0 {
            bail!("{}: log format {} is not known", name(), header.format);
        }
        let units = |&(_, size): &(String, u64)| {
            let count = usize::try_from(size.div_ceil(header.unit)).unwrap_or(0);
            Units {
                units: vec![Unit::default(); count],
                dirty: Vec::new(),
            }
        };
        let files = header.files.iter().map(units).collect();
        let mut verdicts = Self {
            header,
            syncs: 0,
            completed: 0,
            files,
        };
        let mut bytes = [0u8; RECORD];
        while input.read_exact(&mut bytes).is_ok() {
            let Some(record) = Record::decode(&bytes) else {
                bail!("{}: a record makes no sense; the log is damaged", name());
            };
            verdicts.apply(record);
        }
        Ok(verdicts)
    }

    fn apply(&mut self, r: Record) {
        let Some(file) = self.files.get_mut(r.file as usize) else {
            return;
        };
        let end = (r.end as usize).min(file.units.len());
        let range = (r.first as usize).min(end)..end;
        match r.kind {
            Kind::BeginWrite | Kind::BeginZeros => {
                let holds = if r.kind == Kind::BeginZeros {
                    Holds::Zeros
                } else {
                    Holds::Stamp
                };
                file.units[range]
                    .iter_mut()
                    .for_each(|unit| unit.begin(r.generation, holds));
            }
            Kind::Complete => {
                self.completed += 1;
                file.units[range]
                    .iter_mut()
                    .for_each(|unit| unit.complete(r.generation, r.tick));
                file.dirty.extend(r.first..r.end);
            }
            Kind::Synced | Kind::DataSynced => {
                self.syncs += 1;
                file.settle(r.generation, r.kind == Kind::DataSynced);
            }
        }
    }

    /// Judges the contents of one file, read from its beginning; what is missing at the end reads as zeros.
    ///
    /// # Errors
    /// Those of `data`, which fills a buffer from a byte offset of the file.
    pub fn judge<R>(&self, file: u32, mut data: R) -> Result<Findings>
    where
        R: FnMut(u64, &mut [u8]) -> Result<()>,
    {
        let mut findings = Findings::default();
        let Some(units) = self.files.get(file as usize) else {
            return Ok(findings);
        };
        let size = usize::try_from(self.header.unit)?;
        let mut buf = vec![0u8; size];
        for (i, unit) in units.units.iter().enumerate() {
            let at = i as u64 * self.header.unit;
            buf.fill(0);
            data(at, &mut buf)?;
            findings.durable_units += u64::from(!unit.versions().iter().any(is_initial));
            for (s, sector) in buf.chunks_exact(SECTOR).enumerate() {
                let offset = at + (s * SECTOR) as u64;
                findings.sectors += 1;
                let place = Place {
                    run: self.header.run,
                    file,
                    offset,
                };
                let found = stamp::read(sector, place);
                if !unit.allows(found) {
                    findings.add(file, offset, found, unit);
                }
            }
        }
        Ok(findings)
    }
}

fn is_initial(version: &Version) -> bool {
    version.generation == 0
}

impl Findings {
    fn add(&mut self, file: u32, offset: u64, found: Content, unit: &Unit) {
        const SHOWN: usize = 10;
        match found {
            Content::Zeros | Content::Generation(_) => self.lost += 1,
            Content::Stray { .. } | Content::Foreign => self.stale += 1,
        }
        if self.examples.len() < SHOWN {
            let allowed = unit.versions().to_vec();
            let wrong = Mismatch {
                file,
                offset,
                found,
                allowed,
            };
            self.examples.push(wrong.to_string());
        }
    }

    /// Adds the findings of another file.
    pub fn merge(&mut self, other: Self) {
        self.sectors += other.sectors;
        self.durable_units += other.durable_units;
        self.lost += other.lost;
        self.stale += other.stale;
        self.examples.extend(other.examples);
    }
}

impl Units {
    /// What had completed before `tick` is durable: what that hides is gone for good.
    fn settle(&mut self, tick: u64, data_only: bool) {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.sort_unstable();
        dirty.dedup();
        dirty.retain(|&i| {
            let Some(unit) = self.units.get_mut(i as usize) else {
                return false;
            };
            let durable = |v: &&Version| v.end < tick && !(data_only && v.holds == Holds::Zeros);
            if let Some(newest) = unit
                .versions()
                .iter()
                .filter(durable)
                .map(|v| v.generation)
                .max()
            {
                unit.supersede_before(newest);
            }
            // What completed during the call, and zeros that only fsync makes durable, stay for later.
            unit.versions()
                .iter()
                .any(|v| v.generation > 0 && v.end != PENDING)
                && unit.versions().len() > 1
        });
        self.dirty = dirty;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNIT: u64 = 512;

    /// A log with one file of four units, and its judgement of given contents.
    struct Case {
        dir: tempfile::TempDir,
        log: AckLog,
        tick: u64,
    }

    impl Case {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let files = [("/f".to_owned(), 4 * UNIT)];
            let log = AckLog::create(&dir.path().join("log"), 5, UNIT, &files).expect("create");
            Self { dir, log, tick: 0 }
        }

        fn begin(&mut self, units: Range<u32>, zeros: bool) -> u64 {
            self.tick += 1;
            let generation = self.tick;
            self.log.begin(&[Begun {
                file: 0,
                units,
                generation,
                zeros,
            }]);
            generation
        }

        fn complete(&mut self, units: Range<u32>, generation: u64) {
            self.tick += 1;
            self.log.complete(0, &units, generation, self.tick);
        }

        fn sync(&mut self, data_only: bool) {
            self.tick += 1;
            self.log.synced(0, self.tick, data_only);
        }

        /// Each unit holds the given generation, or zeros for 0.
        fn lost(&self, contents: [u64; 4]) -> u64 {
            let verdicts = Verdicts::read(&self.dir.path().join("log")).expect("read");
            let data = |at: u64, buf: &mut [u8]| {
                let generation = contents[(at / UNIT) as usize];
                if generation > 0 {
                    stamp::fill(buf, 5, 0, at, generation);
                }
                Ok(())
            };
            let findings = verdicts.judge(0, data).expect("judge");
            assert_eq!(findings.stale, 0);
            findings.lost
        }
    }

    #[test]
    fn what_was_not_synced_may_be_there_or_not() {
        let mut case = Case::new();
        let a = case.begin(0..4, false);
        case.complete(0..4, a);
        assert_eq!(case.lost([0, 0, 0, 0]), 0);
        assert_eq!(case.lost([a, 0, a, 0]), 0);
    }

    #[test]
    fn what_was_synced_must_be_there() {
        let mut case = Case::new();
        let a = case.begin(0..4, false);
        case.complete(0..4, a);
        case.sync(false);
        let b = case.begin(1..2, false);
        assert_eq!(case.lost([a, a, a, a]), 0);
        assert_eq!(
            case.lost([a, b, a, a]),
            0,
            "later and not yet complete is allowed"
        );
        assert_eq!(case.lost([0, b, a, 0]), 2);
    }

    #[test]
    fn what_completed_during_the_call_is_not_promised() {
        let mut case = Case::new();
        let a = case.begin(0..1, false);
        case.tick += 1;
        let called = case.tick;
        case.complete(0..1, a);
        case.log.synced(0, called, false);
        assert_eq!(case.lost([0, 0, 0, 0]), 0);
        case.sync(false);
        assert_eq!(case.lost([0, 0, 0, 0]), 1);
    }

    #[test]
    fn a_durable_punch_may_not_bring_data_back() {
        let mut case = Case::new();
        let a = case.begin(0..2, false);
        case.complete(0..2, a);
        case.sync(false);
        let z = case.begin(0..1, true);
        case.complete(0..1, z);
        assert_eq!(case.lost([a, a, 0, 0]), 0);
        case.sync(true);
        assert_eq!(case.lost([a, a, 0, 0]), 0, "fdatasync promises data only");
        case.sync(false);
        assert_eq!(case.lost([a, a, 0, 0]), 1);
        assert_eq!(case.lost([0, a, 0, 0]), 0);
    }

    #[test]
    fn a_torn_record_at_the_end_is_ignored() {
        let mut case = Case::new();
        let a = case.begin(0..1, false);
        case.complete(0..1, a);
        case.sync(false);
        let path = case.dir.path().join("log");
        let mut bytes = std::fs::read(&path).expect("read");
        bytes.extend([7; 13]);
        std::fs::write(&path, bytes).expect("write");
        assert_eq!(case.lost([a, 0, 0, 0]), 0);
    }
}
