//! What is copied: a file, directory, link or special file, of the host or of an image.

use std::fs::{File as HostFile, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::{ControlFlow, Range};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use e4::format::Timestamp;
use e4::{Filesystem, Node, OpenFlags};
use e4_format::FileType;
use indicatif::ProgressBar;
use rustix::fs as unix;
use rustix::io::Errno;

use crate::output;
use crate::transfer;

/// An extended attribute.
pub(super) type Attribute = (Vec<u8>, Vec<u8>);

/// See the module documentation.
#[derive(Clone)]
pub enum Thing {
    /// Of the host.
    Host(PathBuf),
    /// Standard input.
    Stdin,
    /// Of an image.
    Image {
        /// Whose it is.
        fs: Filesystem,
        /// The inode.
        node: Node,
        /// For messages.
        path: String,
    },
}

/// What is known about a thing.
#[derive(Clone, Copy, Debug)]
pub struct Meta {
    /// What it is.
    pub kind: FileType,
    /// Permission bits: 07777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes.
    pub size: u64,
    /// Device of a device file, as Linux numbers devices.
    pub rdev: u32,
    /// Last access.
    pub atime: Timestamp,
    /// Last change of the contents.
    pub mtime: Timestamp,
    /// How many names it has.
    pub links: u32,
    /// Which filesystem, which inode.
    pub id: (u64, u64),
    /// A stream: it has to be read to know how long it is.
    pub stream: bool,
}

impl Thing {
    /// For messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Host(path) => path.display().to_string(),
            Self::Stdin => "standard input".to_owned(),
            Self::Image { path, .. } => path.clone(),
        }
    }

    /// What is known about it; a symbolic link of the host is followed if `follow`.
    ///
    /// # Errors
    /// The host's or the image's.
    pub fn meta(&self, follow: bool) -> Result<Meta> {
        let zero = Timestamp { sec: 0, nsec: 0 };
        match self {
            Self::Stdin => Ok(Meta {
                kind: FileType::Regular,
                mode: 0o644,
                uid: 0,
                gid: 0,
                size: 0,
                rdev: 0,
                atime: zero,
                mtime: zero,
                links: 1,
                id: (0, 0),
                stream: true,
            }),
            Self::Host(path) => {
                let meta = match follow {
                    true => path.metadata(),
                    false => path.symlink_metadata(),
                };
                of_host(&meta.with_context(|| self.name())?)
            }
            Self::Image { node, .. } => {
                let stat = node.stat()?;
                let Some(kind) = stat.file_type else {
                    bail!("{}: an inode of no known type", self.name());
                };
                Ok(Meta {
                    kind,
                    mode: stat.mode,
                    uid: stat.uid,
                    gid: stat.gid,
                    size: stat.size,
                    rdev: stat.rdev,
                    atime: stat.atime,
                    mtime: stat.mtime,
                    links: stat.links,
                    // No device of a host has this number.
                    id: (u64::MAX, stat.ino.get().into()),
                    stream: false,
                })
            }
        }
    }

    /// The names in a directory, sorted.
    ///
    /// # Errors
    /// The host's or the image's; a name that is none.
    pub fn names(&self) -> Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        match self {
            Self::Stdin => {}
            Self::Host(path) => {
                for entry in std::fs::read_dir(path).with_context(|| self.name())? {
                    names.push(entry.with_context(|| self.name())?.file_name().into_vec());
                }
            }
            Self::Image { node, .. } => node.read_dir_from(0, &mut |entry, _| {
                if entry.name != b"." && entry.name != b".." {
                    names.push(entry.name.clone());
                }
                ControlFlow::Continue(())
            })?,
        }
        names.sort();
        names.dedup();
        for name in &names {
            let bad = name.is_empty() || name.iter().any(|b| matches!(b, 0 | b'/'));
            if bad {
                bail!("{}: {:?} cannot be a name", self.name(), output::name(name));
            }
        }
        Ok(names)
    }

    /// What a name in it stands for.
    ///
    /// # Errors
    /// The image's, or it has gone.
    pub fn child(&self, name: &[u8]) -> Result<Self> {
        match self {
            Self::Stdin => bail!("standard input is no directory"),
            Self::Host(path) => Ok(Self::Host(path.join(std::ffi::OsStr::from_bytes(name)))),
            Self::Image { fs, node, path } => {
                let path = format!("{}/{}", path.trim_end_matches('/'), output::name(name));
                match node.lookup(name)? {
                    Some(node) => Ok(Self::Image {
                        fs: fs.clone(),
                        node,
                        path,
                    }),
                    None => bail!("{path}: has gone meanwhile"),
                }
            }
        }
    }

    /// Where a symbolic link points to.
    ///
    /// # Errors
    /// The host's or the image's.
    pub fn target(&self) -> Result<Vec<u8>> {
        match self {
            Self::Stdin => bail!("standard input is no link"),
            Self::Host(path) => Ok(std::fs::read_link(path)
                .with_context(|| self.name())?
                .into_os_string()
                .into_vec()),
            Self::Image { node, .. } => Ok(node.read_link()?),
        }
    }

    /// Its extended attributes, as far as they can be read.
    ///
    /// # Errors
    /// The host's or the image's.
    pub fn xattrs(&self, follow: bool) -> Result<Vec<Attribute>> {
        match self {
            Self::Stdin => Ok(Vec::new()),
            Self::Host(path) => host_xattrs(path, follow).with_context(|| self.name()),
            Self::Image { node, .. } => {
                let mut out = Vec::new();
                for name in node.list_xattr()? {
                    if let Some(value) = node.get_xattr(&name)? {
                        out.push((name, value));
                    }
                }
                Ok(out)
            }
        }
    }

    /// Calls `each` with a position and a reader of everything written from there on, piece by piece; what lies between is
    /// a hole. A stream is one piece.
    ///
    /// # Errors
    /// The host's, the image's, or of `each`.
    pub fn read(
        &self,
        meta: &Meta,
        bar: &ProgressBar,
        each: &mut dyn FnMut(u64, &mut dyn Read) -> Result<()>,
    ) -> Result<()> {
        match self {
            Self::Stdin => each(0, &mut bar.wrap_read(io::stdin().lock())),
            Self::Host(path) => {
                let mut file = HostFile::open(path).with_context(|| self.name())?;
                if meta.stream {
                    return each(0, &mut bar.wrap_read(file));
                }
                for range in host_ranges(&file, meta.size).with_context(|| self.name())? {
                    file.seek(SeekFrom::Start(range.start))
                        .with_context(|| self.name())?;
                    let piece = (&mut file).take(range.end - range.start);
                    each(range.start, &mut bar.wrap_read(piece))?;
                }
                Ok(())
            }
            Self::Image { node, .. } => {
                let file = node.open(OpenFlags::read())?;
                for range in transfer::written_ranges(&file, file.stat().block_size)? {
                    let mut piece = ImageReader {
                        file: &file,
                        range: range.clone(),
                    };
                    each(range.start, &mut bar.wrap_read(&mut piece))?;
                }
                Ok(())
            }
        }
    }
}

struct ImageReader<'a> {
    file: &'a e4::File,
    range: Range<u64>,
}

impl Read for ImageReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let n = self
            .file
            .read_at(self.range.start, &mut buf[..len])
            .map_err(io::Error::other)?;
        self.range.start += n as u64;
        Ok(n)
    }
}

fn of_host(meta: &Metadata) -> Result<Meta> {
    let file_type = meta.file_type();
    let kind = match () {
        () if file_type.is_dir() => FileType::Directory,
        () if file_type.is_symlink() => FileType::Symlink,
        () if file_type.is_fifo() => FileType::Fifo,
        () if file_type.is_socket() => FileType::Socket,
        () if file_type.is_char_device() => FileType::CharDevice,
        () if file_type.is_block_device() => FileType::BlockDevice,
        () => FileType::Regular,
    };
    let (major, minor) = (unix::major(meta.rdev()), unix::minor(meta.rdev()));
    let time = |sec, nsec: i64| Timestamp {
        sec,
        nsec: u32::try_from(nsec).unwrap_or(0),
    };
    Ok(Meta {
        kind,
        mode: (meta.mode() & 0o7777) as u16,
        uid: meta.uid(),
        gid: meta.gid(),
        size: meta.len(),
        rdev: minor & 0xff | (major & 0xfff) << 8 | (minor & !0xff) << 12,
        atime: time(meta.atime(), meta.atime_nsec()),
        mtime: time(meta.mtime(), meta.mtime_nsec()),
        links: u32::try_from(meta.nlink()).unwrap_or(u32::MAX),
        id: (meta.dev(), meta.ino()),
        stream: kind != FileType::Regular,
    })
}

/// The written parts of a host file.
fn host_ranges(file: &HostFile, size: u64) -> io::Result<Vec<Range<u64>>> {
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let from = match unix::seek(file, unix::SeekFrom::Data(at)) {
            Ok(from) => from,
            Err(Errno::NXIO) => break,
            // A filesystem that knows no holes.
            Err(Errno::INVAL | Errno::NOTSUP) => {
                ranges.push(at..size);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let to = unix::seek(file, unix::SeekFrom::Hole(from))?.min(size);
        if to > from {
            ranges.push(from..to);
        }
        at = to.max(from + 1);
    }
    Ok(ranges)
}

fn host_xattrs(path: &Path, follow: bool) -> io::Result<Vec<Attribute>> {
    let list = grown(&|buf: &mut [u8]| match follow {
        true => unix::listxattr(path, buf),
        false => unix::llistxattr(path, buf),
    });
    let list = match list {
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        other => other?,
    };
    let mut out = Vec::new();
    for name in list.split(|b| *b == 0).filter(|name| !name.is_empty()) {
        let value = grown(&|buf: &mut [u8]| match follow {
            true => unix::getxattr(path, name, buf),
            false => unix::lgetxattr(path, name, buf),
        });
        match value {
            Ok(value) => out.push((name.to_vec(), value)),
            // Gone meanwhile, or not for us.
            Err(Errno::NODATA | Errno::PERM | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(out)
}

/// Calls with a buffer that grows until the answer fits.
fn grown(call: &dyn Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    let mut buf = vec![0; 4096];
    loop {
        match call(&mut buf) {
            Ok(len) => {
                buf.truncate(len);
                return Ok(buf);
            }
            Err(Errno::RANGE) if buf.len() < 1 << 20 => buf.resize(buf.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}
