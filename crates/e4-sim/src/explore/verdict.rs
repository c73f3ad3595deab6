//! One crash state: mounted (which recovers it), read, compared with the ledger, unmounted, checked.

use super::ledger::{Ledger, Name, UNIT};
use crate::Violation;
use e4::{Filesystem, OpenFlags};
use e4_device::Device;
use e4_sync::Arc;

/// What was wrong.
#[derive(Debug, Default)]
pub(super) struct Findings {
    pub(super) stale: u64,
    pub(super) lost: u64,
    pub(super) structural: u64,
    pub(super) operations: u64,
    /// In words, the first.
    pub(super) first: Option<String>,
}

/// What kind of wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Stale,
    Lost,
    Structural,
    Operation,
}

impl Findings {
    pub(super) fn add(&mut self, kind: Kind, what: impl FnOnce() -> String) {
        *match kind {
            Kind::Stale => &mut self.stale,
            Kind::Lost => &mut self.lost,
            Kind::Structural => &mut self.structural,
            Kind::Operation => &mut self.operations,
        } += 1;
        self.first.get_or_insert_with(what);
    }
}

/// The name of a file of the workload.
pub(super) fn path(file: u64) -> String {
    format!("/file{file}")
}

/// Its other name.
pub(super) fn other_path(file: u64) -> String {
    format!("/moved{file}")
}

/// Symbolic links of the workload.
pub(super) const LINKS: u64 = 4;

/// The name of a symbolic link.
pub(super) fn link_path(n: u64) -> String {
    format!("/link{n}")
}

/// Where it points: too far for the inode, in a block that looks like one of the journal's.
pub(super) fn link_target(n: u64) -> Vec<u8> {
    let mut target = vec![0xc0, 0x3b, 0x39, 0x98];
    target.extend_from_slice(format!("{n:/>100}").as_bytes());
    target
}

pub(super) fn kind_of(violation: &Violation) -> Kind {
    match violation {
        Violation::Lost { .. } | Violation::Outdated { .. } => Kind::Lost,
        _ => Kind::Stale,
    }
}

/// Judges states by a ledger that is complete.
pub(super) struct Judge<'a> {
    ledger: &'a Ledger,
    /// Units of each file that were ever written.
    units: Vec<u64>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(ledger: &'a Ledger) -> Judge<'a> {
        let units = (1..=ledger.files())
            .map(|file| ledger.units(file))
            .collect();
        Judge { ledger, units }
    }

    /// Judges the state that a power cut at `position` left on `device`. The device is recovered and
    /// unmounted afterwards. False if it could not be mounted.
    pub(super) fn state(
        &self,
        device: Arc<dyn Device>,
        position: u64,
        found: &mut Findings,
    ) -> bool {
        let fs = match Filesystem::open(Arc::clone(&device), &super::mount_options()) {
            Ok(fs) => fs,
            Err(error) => {
                found.add(Kind::Structural, || format!("cannot be mounted: {error}"));
                return false;
            }
        };
        for (n, &units) in self.units.iter().enumerate() {
            self.file(&fs, n as u64 + 1, units, position, found);
        }
        links(&fs, found);
        if let Err(error) = fs.unmount() {
            found.add(Kind::Structural, || format!("cannot be unmounted: {error}"));
        }
        structure(&*device, found);
        true
    }

    fn file(&self, fs: &Filesystem, file: u64, units: u64, position: u64, found: &mut Findings) {
        let found_as = match name_of(fs, file) {
            Ok(name) => name,
            Err(error) => {
                return found.add(Kind::Structural, || {
                    format!("the names of file {file} cannot be read: {error}")
                });
            }
        };
        if !self.ledger.may_have_name(file, found_as, position) {
            found.add(Kind::Lost, || {
                format!("file {file} is found as {found_as:?}")
            });
        }
        let name = match found_as {
            Name::Gone => return,
            Name::Moved => other_path(file),
            Name::Plain | Name::Both => path(file),
        };
        let content = match read(fs, &name) {
            Ok(Some(content)) => {
                let size = content.len() as u64;
                if !self.ledger.may_have_size(file, size, position) {
                    found.add(Kind::Lost, || {
                        format!("file {file} has a size of {size} bytes")
                    });
                }
                content
            }
            Ok(None) => Vec::new(),
            Err(error) => {
                return found.add(Kind::Structural, || {
                    format!("file {file} cannot be read: {error}")
                });
            }
        };
        let view = self.ledger.history.at(position);
        let absent = [0; UNIT as usize];
        let count = units.max(content.len() as u64 / UNIT);
        for unit in 0..count {
            let from = (unit * UNIT) as usize;
            let sector = content.get(from..from + UNIT as usize).unwrap_or(&absent);
            if let Err(violation) = view.judge(file, unit, sector, true) {
                found.add(kind_of(&violation), || violation.to_string());
            }
        }
    }
}

/// Which of its names a file has.
fn name_of(fs: &Filesystem, file: u64) -> e4::Result<Name> {
    let ino = |path: &str| match fs.stat(path) {
        Ok(stat) => Ok(Some(stat.ino)),
        Err(e4::Error::NotFound { .. }) => Ok(None),
        Err(other) => Err(other),
    };
    Ok(match (ino(&path(file))?, ino(&other_path(file))?) {
        (None, None) => Name::Gone,
        (Some(_), None) => Name::Plain,
        (None, Some(_)) => Name::Moved,
        (Some(_), Some(_)) => Name::Both,
    })
}

/// Symbolic links point where they pointed, if they are there.
fn links(fs: &Filesystem, found: &mut Findings) {
    for n in 0..LINKS {
        match fs.read_link(&link_path(n)) {
            Ok(target) if target == link_target(n) => {}
            Err(e4::Error::NotFound { .. }) => {}
            Ok(_) => found.add(Kind::Stale, || format!("link {n} points elsewhere")),
            Err(error) => {
                found.add(Kind::Structural, || {
                    format!("link {n} cannot be read: {error}")
                });
            }
        }
    }
}

/// What is wrong with the accounts of a filesystem with nothing in flight: everything that was charged or promised
/// for it must have come back (I-42, I-43).
///
/// # Errors
/// Those of the sync that settles them.
pub fn unsettled(fs: &Filesystem) -> e4::Result<Option<String>> {
    fs.sync()?;
    let stats = fs.stats();
    let (credits, blocks) = (stats.charged_credits, stats.promised_blocks);
    let settled = credits == 0 && blocks == 0;
    Ok((!settled).then(|| format!("{credits} journal credits and {blocks} blocks stay charged")))
}

/// Errors of a check of an unmounted image.
fn structure(device: &dyn Device, found: &mut Findings) {
    let report = e4_check::check(device, &e4_check::Options::default(), &mut |_| {});
    if report.is_clean() {
        return;
    }
    for problem in &report.problems {
        if problem.severity() >= e4_check::Severity::Error {
            found.add(Kind::Structural, || format!("check: {problem}"));
        }
    }
}

/// As [`read`], through the page cache.
pub(super) fn read_buffered(fs: &Filesystem, path: &str) -> e4::Result<Option<Vec<u8>>> {
    let file = match fs.open_file(path, OpenFlags::read()) {
        Ok(file) => file,
        Err(e4::Error::NotFound { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let mut content = vec![0; file.size() as usize];
    let n = file.read_buffered(0, &mut content)?;
    content.truncate(n);
    Ok(Some(content))
}

/// The whole content of a file; `None` if it does not exist.
pub(super) fn read(fs: &Filesystem, path: &str) -> e4::Result<Option<Vec<u8>>> {
    let file = match fs.open_file(path, OpenFlags::read()) {
        Ok(file) => file,
        Err(e4::Error::NotFound { .. }) => return Ok(None),
        Err(other) => return Err(other),
    };
    let mut content = vec![0; file.size() as usize];
    let n = file.read_at(0, &mut content)?;
    content.truncate(n);
    Ok(Some(content))
}
