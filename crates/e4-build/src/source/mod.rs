//! Where trees come from, and where the bytes of their files are.

pub(crate) mod archive;
pub(crate) mod directory;
pub(crate) mod oci;
mod unpack;

use crate::error::BuildError;
use crate::tree::{Content, Meta, Origin};
use directory::Scanned;
use e4_format::Timestamp;
use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Directories kept open by a reader.
const OPEN_DIRS: usize = 8;

/// A stored stream: an uncompressed archive, or what was unpacked from one.
#[derive(Debug)]
pub(crate) struct Blob {
    pub(crate) file: File,
    pub(crate) path: PathBuf,
}

/// Everything that files' contents may come from.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    pub(crate) scanned: Scanned,
    pub(crate) blobs: Vec<Blob>,
}

impl Sources {
    /// Takes a stored stream; `path` names it in messages.
    pub(crate) fn add_blob(&mut self, file: File, path: &Path) -> u32 {
        self.blobs.push(Blob {
            file,
            path: path.to_owned(),
        });
        u32::try_from(self.blobs.len() - 1).unwrap_or(u32::MAX)
    }
}

/// Reads contents; one per thread.
pub(crate) struct Reader<'a> {
    sources: &'a Sources,
    /// Most recently used first.
    dirs: Vec<(u32, OwnedFd)>,
    /// The file read last.
    file: Option<(u32, Box<[u8]>, File)>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            dirs: Vec::new(),
            file: None,
        }
    }

    /// Fills `to` from byte `from` of a file, zeros in its holes. The file must still be what it was.
    pub(crate) fn read(
        &mut self,
        content: &Content,
        meta: &Meta,
        from: u64,
        to: &mut [u8],
    ) -> Result<(), BuildError> {
        match &content.origin {
            Origin::Nothing => to.fill(0),
            Origin::Host { dir, name } => {
                let path = || self.sources.scanned.path(*dir, name);
                let changed = || BuildError::Changed {
                    path: path().display().to_string(),
                };
                if !matches!(&self.file, Some((d, n, _)) if d == dir && n == name) {
                    let file = self.open(*dir, name, content, meta)?;
                    self.file = Some((*dir, name.clone(), file));
                }
                let Some((_, _, file)) = &self.file else {
                    return Err(changed());
                };
                file.read_exact_at(to, from).map_err(|e| match e.kind() {
                    std::io::ErrorKind::UnexpectedEof => changed(),
                    _ => BuildError::host(&path(), "reading", e),
                })?;
            }
            Origin::Blob { blob, at } => self.read_stored(*blob, *at, content, from, to)?,
        }
        Ok(())
    }

    fn open(
        &mut self,
        dir: u32,
        name: &[u8],
        content: &Content,
        meta: &Meta,
    ) -> Result<File, BuildError> {
        let path = || self.sources.scanned.path(dir, name);
        let failed = |e: Errno| BuildError::host(&path(), "opening", e.into());
        match self.dirs.iter().position(|(d, _)| *d == dir) {
            Some(0) => {}
            Some(n) => self.dirs.swap(0, n),
            None => {
                self.dirs.truncate(OPEN_DIRS - 1);
                self.dirs.insert(0, (dir, self.sources.scanned.open(dir)?));
            }
        }
        let fd = self.dirs.first().map(|(_, fd)| fd.as_fd());
        let fd = fd.ok_or_else(|| failed(Errno::BADF))?;
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = fs::openat(fd, name, flags, Mode::empty()).map_err(failed)?;
        let stat = fs::fstat(&file).map_err(failed)?;
        #[allow(clippy::unnecessary_cast)] // the type differs among architectures
        let mtime = Timestamp {
            sec: stat.st_mtime as i64,
            nsec: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        let same = u64::try_from(stat.st_size).is_ok_and(|n| n == content.size)
            && (meta.mtime == Some(mtime) || meta.mtime.is_none());
        if !same {
            return Err(BuildError::Changed {
                path: path().display().to_string(),
            });
        }
        Ok(File::from(file))
    }

    /// The pieces of data of a stored file lie one behind the other.
    fn read_stored(
        &self,
        blob: u32,
        at: u64,
        content: &Content,
        from: u64,
        to: &mut [u8],
    ) -> Result<(), BuildError> {
        let Some(blob) = self.sources.blobs.get(blob as usize) else {
            to.fill(0);
            return Ok(());
        };
        let whole = [(0, content.size)];
        let pieces = content.data.as_deref().unwrap_or(&whole);
        let end = from + to.len() as u64;
        to.fill(0);
        let mut stored = at;
        for (start, len) in pieces {
            let (first, last) = ((*start).max(from), (start + len).min(end));
            if first < last {
                let range = |n: u64| usize::try_from(n - from).unwrap_or(usize::MAX);
                let part = to.get_mut(range(first)..range(last)).unwrap_or_default();
                let read = blob.file.read_exact_at(part, stored + (first - start));
                read.map_err(|e| BuildError::host(&blob.path, "reading", e))?;
            }
            stored += len;
        }
        Ok(())
    }
}
