//! A directory of the host.
//!
//! Decisions:
//! - Everything is opened relative to a descriptor of its directory and never through a symbolic link, so that
//!   paths may be as deep as the host can make them, and a tree that changes meanwhile leads nowhere else.
//! - Only what the image stores is looked at; contents are read when their place is known.
//! - Files with several links are recognised by device and inode number.

use crate::error::BuildError;
use crate::exclude::Exclude;
use crate::options::{Holes, Options};
use crate::tree::{
    Attribute, Content, Kind, Meta, Names, Node, NodeId, Origin, ROOT, Ranges, Tree,
};
use crate::xattr;
use e4_format::Timestamp;
use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, SeekFrom, Statx, StatxFlags};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Longest piece of a path handed to one open.
const PIECE: usize = 3000;

/// Directories whose files were taken, to be opened again for reading.
#[derive(Debug, Default)]
pub(crate) struct Scanned {
    roots: Vec<(PathBuf, OwnedFd)>,
    dirs: Vec<(u32, Box<[u8]>)>,
}

impl Scanned {
    /// Opens a scanned directory.
    pub(crate) fn open(&self, dir: u32) -> Result<OwnedFd, BuildError> {
        let (root, below) = match self.dirs.get(dir as usize) {
            Some((root, below)) => (*root, &**below),
            None => (u32::MAX, &[][..]),
        };
        let Some((path, fd)) = self.roots.get(root as usize) else {
            return Err(BuildError::Changed {
                path: String::from_utf8_lossy(below).into_owned(),
            });
        };
        open_below(fd.as_fd(), below).map_err(|e| failed(path, below, "opening", e))
    }

    /// A file's path on the host, for messages.
    pub(crate) fn path(&self, dir: u32, name: &[u8]) -> PathBuf {
        let mut path = PathBuf::new();
        if let Some((root, below)) = self.dirs.get(dir as usize) {
            if let Some((root, _)) = self.roots.get(*root as usize) {
                path.push(root);
            }
            path.push(OsStr::from_bytes(below));
        }
        path.push(OsStr::from_bytes(name));
        path
    }
}

fn failed(root: &Path, below: &[u8], what: &'static str, errno: Errno) -> BuildError {
    BuildError::host(&root.join(OsStr::from_bytes(below)), what, errno.into())
}

fn directory_flags() -> OFlags {
    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
}

/// Opens a directory by a path of any length.
fn open_below(root: BorrowedFd<'_>, below: &[u8]) -> Result<OwnedFd, Errno> {
    let mut fd = fs::openat(root, c".", directory_flags(), Mode::empty())?;
    let mut left = below;
    while !left.is_empty() {
        let mut end = left.len();
        if end > PIECE {
            let head = left.get(..PIECE).unwrap_or(left);
            // A name has at most 255 bytes, so there is a slash.
            end = head
                .iter()
                .rposition(|b| *b == b'/')
                .ok_or(Errno::NAMETOOLONG)?;
        }
        let (piece, rest) = left.split_at(end);
        fd = fs::openat(&fd, piece, directory_flags(), Mode::empty())?;
        left = rest.strip_prefix(b"/").unwrap_or(rest);
    }
    Ok(fd)
}

/// Adds the tree below `path` to `tree`.
pub(crate) fn scan(
    tree: &mut Tree,
    scanned: &mut Scanned,
    path: &Path,
    options: &Options,
    exclude: &Exclude,
    whiteouts: bool,
) -> Result<(), BuildError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = fs::open(path, flags, Mode::empty())
        .map_err(|e| BuildError::host(path, "opening the directory", e.into()))?;
    let root = u32::try_from(scanned.roots.len()).unwrap_or(u32::MAX);
    scanned.roots.push((path.to_owned(), fd));
    let mut scan = Scan {
        tree,
        scanned,
        root,
        path: path.to_owned(),
        options,
        exclude,
        whiteouts,
        links: HashMap::new(),
        buffer: Vec::with_capacity(64 << 10),
    };
    scan.root_itself()?;
    let mut left: Vec<(Box<[u8]>, NodeId)> = vec![(Box::default(), ROOT)];
    while let Some((below, node)) = left.pop() {
        scan.directory(&below, node, &mut left)?;
    }
    Ok(())
}

struct Scan<'a> {
    tree: &'a mut Tree,
    scanned: &'a mut Scanned,
    root: u32,
    path: PathBuf,
    options: &'a Options,
    exclude: &'a Exclude,
    whiteouts: bool,
    /// Device and inode number of files with several links.
    links: HashMap<(u64, u64), NodeId>,
    buffer: Vec<u8>,
}

impl Scan<'_> {
    fn error(&self, below: &[u8], what: &'static str, errno: Errno) -> BuildError {
        failed(&self.path, below, what, errno)
    }

    fn root_itself(&mut self) -> Result<(), BuildError> {
        let Some((_, fd)) = self.scanned.roots.get(self.root as usize) else {
            return Ok(());
        };
        let fd = open_below(fd.as_fd(), b"").map_err(|e| self.error(b"", "opening", e))?;
        let stat = look(fd.as_fd(), c"").map_err(|e| self.error(b"", "looking", e))?;
        let mut meta = meta_of(&stat);
        meta.xattrs = self.attributes(fd.as_fd(), None, b"")?;
        self.tree.set_root(meta);
        Ok(())
    }

    fn directory(
        &mut self,
        below: &[u8],
        node: NodeId,
        left: &mut Vec<(Box<[u8]>, NodeId)>,
    ) -> Result<(), BuildError> {
        let dir = u32::try_from(self.scanned.dirs.len()).unwrap_or(u32::MAX);
        self.scanned.dirs.push((self.root, below.into()));
        let fd = self.scanned.open(dir)?;
        let mut names: Vec<CString> = Vec::new();
        let reading = |e| self.error(below, "reading the directory", e);
        for entry in Dir::read_from(&fd).map_err(reading)? {
            let entry = entry.map_err(reading)?;
            if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
                names.push(entry.file_name().to_owned());
            }
        }
        // Sorted so that neither the tree nor messages depend on the host's order.
        names.sort_unstable();
        for name in names {
            let bytes = name.to_bytes();
            if self.whiteouts && self.whiteout(node, bytes) {
                continue;
            }
            let mut path = Vec::with_capacity(below.len() + 1 + bytes.len());
            path.extend_from_slice(below);
            if !below.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(bytes);
            if self.exclude.matches(&path) {
                continue;
            }
            if let Some(child) = self.entry(fd.as_fd(), dir, node, &name, &path)? {
                left.push((path.into(), child));
            }
        }
        Ok(())
    }

    /// True if the name is a whiteout, which is then done.
    fn whiteout(&mut self, dir: NodeId, name: &[u8]) -> bool {
        let Some(hidden) = name.strip_prefix(b".wh.") else {
            return false;
        };
        if hidden == b".wh..opq" {
            self.tree.opaque(dir);
        } else {
            self.tree.whiteout(dir, hidden);
        }
        true
    }

    /// Adds one name; returns the inode if it is a directory.
    fn entry(
        &mut self,
        fd: BorrowedFd<'_>,
        dir: u32,
        parent: NodeId,
        name: &CStr,
        path: &[u8],
    ) -> Result<Option<NodeId>, BuildError> {
        let stat = look(fd, name).map_err(|e| self.error(path, "looking", e))?;
        let key = (
            u64::from(stat.stx_dev_major) << 32 | u64::from(stat.stx_dev_minor),
            stat.stx_ino,
        );
        let file_type = FileType::from_raw_mode(stat.stx_mode.into());
        let several = stat.stx_nlink > 1 && file_type != FileType::Directory;
        if several && let Some(node) = self.links.get(&key) {
            self.tree.attach(parent, name.to_bytes(), *node);
            return Ok(None);
        }
        let mut meta = meta_of(&stat);
        meta.xattrs = self.attributes(fd, Some(name), path)?;
        let kind = match file_type {
            FileType::Directory => Kind::Directory(Names::new()),
            FileType::RegularFile => Kind::File(self.content(fd, dir, name, path, &stat)?),
            FileType::Symlink => {
                let target = fs::readlinkat(fd, name, Vec::new())
                    .map_err(|e| self.error(path, "reading the link", e))?;
                Kind::Symlink(target.to_bytes().into())
            }
            FileType::CharacterDevice | FileType::BlockDevice => Kind::Device {
                block: file_type == FileType::BlockDevice,
                major: stat.stx_rdev_major,
                minor: stat.stx_rdev_minor,
            },
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => return Err(self.error(path, "looking", Errno::INVAL)),
        };
        let node = self
            .tree
            .put(parent, name.to_bytes(), Node { meta, kind })?;
        if several {
            self.links.insert(key, node);
        }
        Ok((file_type == FileType::Directory).then_some(node))
    }

    fn content(
        &self,
        fd: BorrowedFd<'_>,
        dir: u32,
        name: &CStr,
        path: &[u8],
        stat: &Statx,
    ) -> Result<Content, BuildError> {
        let size = stat.stx_size;
        if size == 0 {
            return Ok(Content {
                size,
                origin: Origin::Nothing,
                data: None,
            });
        }
        // A file with as many blocks as bytes has no holes; compressing hosts only cost a look more.
        let maybe_sparse = self.options.holes == Holes::Source && stat.stx_blocks * 512 < size;
        let data = if maybe_sparse {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = fs::openat(fd, name, flags, Mode::empty())
                .map_err(|e| self.error(path, "opening", e))?;
            data_ranges(file.as_fd(), size).map_err(|e| self.error(path, "finding holes", e))?
        } else {
            None
        };
        Ok(Content {
            size,
            origin: Origin::Host {
                dir,
                name: name.to_bytes().into(),
            },
            data,
        })
    }

    /// The attributes of `name` in `fd`, or of `fd` itself.
    fn attributes(
        &mut self,
        fd: BorrowedFd<'_>,
        name: Option<&CStr>,
        path: &[u8],
    ) -> Result<Vec<Attribute>, BuildError> {
        if !self.options.xattrs {
            return Ok(Vec::new());
        }
        // There is no call relative to a descriptor; this path names the same, however deep it is.
        let mut at = format!("/proc/self/fd/{}", fd.as_raw_fd()).into_bytes();
        if let Some(name) = name {
            at.push(b'/');
            at.extend_from_slice(name.to_bytes());
        }
        let link = name.is_some();
        let list = |to: &mut [u8]| {
            if link {
                fs::llistxattr(&at[..], to)
            } else {
                fs::listxattr(&at[..], to)
            }
        };
        let names = match grow(&mut self.buffer, list) {
            Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
            Ok(len) => self.buffer.get(..len).unwrap_or_default().to_vec(),
            Err(e) => return Err(self.error(path, "listing attributes", e)),
        };
        let mut attributes = Vec::new();
        for name in names.split(|b| *b == 0).filter(|n| !n.is_empty()) {
            if !xattr::is_storable(name) {
                continue;
            }
            let get = |to: &mut [u8]| {
                if link {
                    fs::lgetxattr(&at[..], name, to)
                } else {
                    fs::getxattr(&at[..], name, to)
                }
            };
            match grow(&mut self.buffer, get) {
                Ok(len) => attributes.push(Attribute {
                    name: name.into(),
                    value: self.buffer.get(..len).unwrap_or_default().into(),
                }),
                Err(Errno::NODATA) => {}
                Err(e) => return Err(self.error(path, "reading an attribute", e)),
            }
        }
        attributes.sort_unstable();
        Ok(attributes)
    }
}

/// Calls with a buffer that becomes as large as the host's limit.
fn grow(
    buffer: &mut Vec<u8>,
    call: impl Fn(&mut [u8]) -> Result<usize, Errno>,
) -> Result<usize, Errno> {
    if buffer.len() < 1024 {
        buffer.resize(1024, 0);
    }
    loop {
        match call(buffer) {
            Err(Errno::RANGE) if buffer.len() < (64 << 10) => {
                let len = buffer.len() * 4;
                buffer.resize(len, 0);
            }
            other => return other,
        }
    }
}

fn look(fd: BorrowedFd<'_>, name: &CStr) -> Result<Statx, Errno> {
    let mut flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    if name.is_empty() {
        flags |= AtFlags::EMPTY_PATH;
    }
    fs::statx(fd, name, flags, StatxFlags::BASIC_STATS)
}

fn meta_of(stat: &Statx) -> Meta {
    Meta {
        mode: stat.stx_mode & 0o7777,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        mtime: Some(Timestamp {
            sec: stat.stx_mtime.tv_sec,
            nsec: stat.stx_mtime.tv_nsec,
        }),
        xattrs: Vec::new(),
    }
}

/// The parts of a file that are no holes; `None` if it has none.
fn data_ranges(file: BorrowedFd<'_>, size: u64) -> Result<Option<Ranges>, Errno> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match fs::seek(file, SeekFrom::Data(at)) {
            Ok(start) => start,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL | Errno::NOTSUP) => return Ok(None),
            Err(e) => return Err(e),
        };
        let end = fs::seek(file, SeekFrom::Hole(start))?.min(size);
        if end <= start {
            break;
        }
        ranges.push((start, end - start));
        at = end;
    }
    Ok((ranges != [(0, size)]).then(|| ranges.into()))
}
