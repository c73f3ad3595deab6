//! A tree as a directory of the host.
//!
//! Decisions:
//! - Everything is made relative to a descriptor of its directory, exclusively and never through a symbolic link: whatever the
//!   image says, nothing outside the destination is touched. The destination must be empty.
//! - What the host does not take (an owner, a device, an attribute) is reported name by name; what the caller asked not to keep is
//!   not. Contents that cannot be written are an error.
//! - Without owners there are no set-id bits either: they would be of the wrong user.
//! - One directory is open at a time, however deep the tree is; the way back up is verified.

use core::ops::Range;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use e4::{Filesystem, Node};
use e4_format::{FileType, InodeNo, Timestamp};
use rustix::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Dir, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use crate::contents;
use crate::error::{ExportError, at, show};
use crate::facts::{Facts, xattrs};
use crate::tar::is_lost_and_found;
use crate::walk::{Descend, Item, Step, walk};
use crate::{Meter, Report, Watch};

/// Longest piece of a path handed to one open.
const PIECE: usize = 3000;

/// What the copies keep.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct HostOptions {
    /// Owners, and with them set-id bits. Takes privilege.
    pub owners: bool,
    /// Extended attributes and ACLs.
    pub xattrs: bool,
}

/// Copies the tree below `top` into the directory `to`, which is made if it does not exist.
///
/// # Errors
/// The image's, the host's, [`ExportError::NotEmpty`], or [`ExportError::Cancelled`].
pub fn to_directory(
    fs: &Filesystem,
    top: &Node,
    to: &Path,
    options: HostOptions,
    watch: Watch<'_>,
) -> Result<Report, ExportError> {
    let failed = |what| {
        move |source: Errno| ExportError::Host {
            path: to.to_owned(),
            what,
            source: source.into(),
        }
    };
    match fs::mkdir(to, Mode::from_raw_mode(0o700)) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(failed("making the directory")(e)),
    }
    let root = fs::open(to, directory() - OFlags::NOFOLLOW, Mode::empty())
        .map_err(failed("opening the directory"))?;
    for entry in Dir::read_from(&root).map_err(failed("reading the directory"))? {
        let entry = entry.map_err(failed("reading the directory"))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            return Err(ExportError::NotEmpty {
                path: to.to_owned(),
            });
        }
    }
    let here = root.try_clone().map_err(|e| ExportError::Host {
        path: to.to_owned(),
        what: "opening the directory",
        source: e,
    })?;
    let mut copy = Copy {
        to,
        root,
        here,
        above: Vec::new(),
        options,
        first: HashMap::new(),
        meter: Meter::new(watch),
        report: Report::default(),
    };
    walk(fs, top, &mut |step, item| copy.step(step, item))?;
    Ok(copy.report)
}

fn directory() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

struct Copy<'a> {
    to: &'a Path,
    root: OwnedFd,
    /// Where the walk is.
    here: OwnedFd,
    /// Device and inode number of the directories above.
    above: Vec<(u64, u64)>,
    options: HostOptions,
    /// First names of files that have several.
    first: HashMap<InodeNo, Box<[u8]>>,
    meter: Meter<'a>,
    report: Report,
}

/// Directory and name.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

impl Copy<'_> {
    fn failed(&self, path: &[u8], what: &'static str) -> impl Fn(Errno) -> ExportError + use<> {
        let path: PathBuf = self.to.join(OsStr::from_bytes(path));
        move |source| ExportError::Host {
            path: path.clone(),
            what,
            source: source.into(),
        }
    }

    fn step(&mut self, step: Step, item: &Item<'_>) -> Result<Descend, ExportError> {
        let path = item.path;
        if step == Step::Leave {
            let facts = Facts::of(path, item.stat)?;
            let here = self.here.try_clone().map_err(|e| ExportError::Host {
                path: self.to.to_owned(),
                what: "keeping a directory open",
                source: e,
            })?;
            self.attributes(path, item.node, &facts, Target::Open(here.as_fd()))?;
            return self.leave(path).map(|()| Descend::Yes);
        }
        if is_lost_and_found(path, item.node, item.stat)? {
            return Ok(Descend::No);
        }
        self.meter.name()?;
        self.report.names += 1;
        let facts = Facts::of(path, item.stat)?;
        if step == Step::Enter {
            self.enter(path)?;
        } else {
            self.file(path, item.node, &facts)?;
        }
        Ok(Descend::Yes)
    }

    fn enter(&mut self, path: &[u8]) -> Result<(), ExportError> {
        if path.is_empty() {
            return Ok(());
        }
        let name = split(path).1;
        let failed = self.failed(path, "making the directory");
        let stat = fs::fstat(&self.here).map_err(&failed)?;
        fs::mkdirat(&self.here, name, Mode::from_raw_mode(0o700)).map_err(&failed)?;
        let next = fs::openat(&self.here, name, directory(), Mode::empty()).map_err(&failed)?;
        self.above.push((stat.st_dev, stat.st_ino));
        self.here = next;
        Ok(())
    }

    fn leave(&mut self, path: &[u8]) -> Result<(), ExportError> {
        let Some(expected) = self.above.pop() else {
            return Ok(());
        };
        let failed = self.failed(path, "returning from the directory");
        let up = fs::openat(&self.here, c"..", directory(), Mode::empty()).map_err(&failed)?;
        let stat = fs::fstat(&up).map_err(&failed)?;
        if (stat.st_dev, stat.st_ino) != expected {
            return Err(failed(Errno::STALE));
        }
        self.here = up;
        Ok(())
    }

    /// Opens a directory of the copy by a path of any length.
    fn open_below(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let mut fd = fs::openat(&self.root, c".", directory(), Mode::empty())?;
        let mut left = path;
        while !left.is_empty() {
            let mut end = left.len();
            if end > PIECE {
                let head = left.get(..PIECE).unwrap_or(left);
                let slash = head.iter().rposition(|b| *b == b'/');
                end = slash.ok_or(Errno::NAMETOOLONG)?;
            }
            let (piece, rest) = left.split_at(end);
            fd = fs::openat(&fd, piece, directory(), Mode::empty())?;
            left = rest.strip_prefix(b"/").unwrap_or(rest);
        }
        Ok(fd)
    }

    fn file(&mut self, path: &[u8], node: &Node, facts: &Facts) -> Result<(), ExportError> {
        let name = split(path).1;
        if facts.is_linked() {
            if let Some(first) = self.first.get(&facts.ino) {
                let failed = self.failed(path, "linking");
                let (dir, base) = split(first);
                let dir = self.open_below(dir).map_err(&failed)?;
                return fs::linkat(&dir, base, &self.here, name, AtFlags::empty()).map_err(failed);
            }
            self.first.insert(facts.ino, path.into());
        }
        let made = match facts.file_type {
            FileType::Regular => return self.regular(path, node, facts),
            FileType::Symlink => {
                let target = node.read_link().map_err(at(path))?;
                fs::symlinkat(&target[..], &self.here, name)
            }
            FileType::Directory => return Ok(()),
            FileType::CharDevice => self.special(name, fs::FileType::CharacterDevice, facts),
            FileType::BlockDevice => self.special(name, fs::FileType::BlockDevice, facts),
            FileType::Fifo => self.special(name, fs::FileType::Fifo, facts),
            FileType::Socket => self.special(name, fs::FileType::Socket, facts),
        };
        match made {
            Ok(()) => self.attributes(path, node, facts, Target::Named(name)),
            Err(e) if facts.device.is_some() && matches!(e, Errno::PERM | Errno::INVAL) => {
                self.first.remove(&facts.ino);
                self.report.lose(path, facts.type_name(), e);
                Ok(())
            }
            Err(e) => Err(self.failed(path, "making it")(e)),
        }
    }

    fn special(&self, name: &[u8], kind: fs::FileType, facts: &Facts) -> Result<(), Errno> {
        let (major, minor) = facts.device.unwrap_or_default();
        let device = fs::makedev(major, minor);
        fs::mknodat(&self.here, name, kind, Mode::from_raw_mode(0o600), device)
    }

    fn regular(&mut self, path: &[u8], node: &Node, facts: &Facts) -> Result<(), ExportError> {
        let name = split(path).1;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let to = fs::openat(&self.here, name, flags, Mode::from_raw_mode(0o600))
            .map_err(self.failed(path, "creating"))?;
        let file = contents::open(path, node)?;
        let data: Vec<Range<u64>> = contents::data_ranges(&file).map_err(at(path))?;
        if data.last().map_or(0, |r| r.end) < facts.size {
            fs::ftruncate(&to, facts.size).map_err(self.failed(path, "setting the size"))?;
        }
        let failed = self.failed(path, "writing");
        let report = &mut self.report;
        contents::read(path, &file, &data, &mut self.meter, &mut |at, bytes| {
            report.bytes += bytes.len() as u64;
            write_all(to.as_fd(), at, bytes).map_err(&failed)
        })?;
        self.attributes(path, node, facts, Target::Open(to.as_fd()))
    }

    /// Owner, mode, attributes, time, in the order in which none undoes another.
    fn attributes(
        &mut self,
        path: &[u8],
        node: &Node,
        facts: &Facts,
        target: Target<'_>,
    ) -> Result<(), ExportError> {
        let here = self.here.as_fd();
        let mut lost = Vec::new();
        let mut keep = |what: &str, result: Result<(), Errno>| {
            if let Err(e) = result {
                lost.push((what.to_owned(), e));
            }
        };
        if self.options.owners {
            let ids = (Uid::from_raw(facts.uid), Gid::from_raw(facts.gid));
            let ids = (Some(ids.0), Some(ids.1));
            keep(
                "owner",
                match target {
                    Target::Open(fd) => fs::fchown(fd, ids.0, ids.1),
                    Target::Named(name) => {
                        fs::chownat(here, name, ids.0, ids.1, AtFlags::SYMLINK_NOFOLLOW)
                    }
                },
            );
        }
        let bits = if self.options.owners { 0o7777 } else { 0o1777 };
        let mode = Mode::from_raw_mode(u32::from(facts.mode & bits));
        if facts.file_type != FileType::Symlink {
            keep(
                "mode",
                match target {
                    Target::Open(fd) => fs::fchmod(fd, mode),
                    // Made by us a moment ago, and no symbolic link.
                    Target::Named(name) => fs::chmodat(here, name, mode, AtFlags::empty()),
                },
            );
        }
        if self.options.xattrs {
            let place = target.path(here);
            for (name, value) in xattrs(path, node)? {
                let result = match target {
                    Target::Open(_) => {
                        fs::setxattr(&place[..], &name[..], &value, XattrFlags::empty())
                    }
                    Target::Named(_) => {
                        fs::lsetxattr(&place[..], &name[..], &value, XattrFlags::empty())
                    }
                };
                keep(&show(&name), result);
            }
        }
        let time = timespec(facts.mtime);
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        keep(
            "mtime",
            match target {
                Target::Open(fd) => fs::futimens(fd, &times),
                Target::Named(name) => fs::utimensat(here, name, &times, AtFlags::SYMLINK_NOFOLLOW),
            },
        );
        for (what, errno) in lost {
            self.report.lose(path, &what, errno);
        }
        Ok(())
    }
}

/// What attributes are set on.
#[derive(Clone, Copy)]
enum Target<'a> {
    Open(BorrowedFd<'a>),
    /// A name in the current directory.
    Named(&'a [u8]),
}

impl Target<'_> {
    /// A path for the calls that know no descriptors.
    fn path(self, here: BorrowedFd<'_>) -> Vec<u8> {
        match self {
            Self::Open(fd) => format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes(),
            Self::Named(name) => {
                let dir = format!("/proc/self/fd/{}/", here.as_raw_fd());
                [dir.as_bytes(), name].concat()
            }
        }
    }
}

fn timespec(time: Timestamp) -> Timespec {
    Timespec {
        tv_sec: time.sec,
        tv_nsec: time.nsec.into(),
    }
}

fn write_all(to: BorrowedFd<'_>, mut at: u64, mut bytes: &[u8]) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match rustix::io::pwrite(to, bytes, at) {
            Ok(0) => return Err(Errno::IO),
            Ok(n) => {
                at += n as u64;
                bytes = bytes.get(n..).unwrap_or_default();
            }
            Err(Errno::INTR) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

impl Report {
    fn lose(&mut self, path: &[u8], what: &str, errno: Errno) {
        let why = io::Error::from(errno);
        self.lose_because(format!("{}: {what}: {why}", show(path)));
    }
}
