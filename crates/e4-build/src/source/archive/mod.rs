//! Tar archives of every dialect: v7, ustar, GNU, pax; plain, compressed, from a pipe.
//!
//! Decisions:
//! - Headers are parsed with the `tar` crate, members are walked here: extended headers are bounded in size, their
//!   values may hold any byte, a size in them counts, and nothing is ever unpacked to the host.
//! - The contents of a plain archive are read from where they are; those of a stream go to an unnamed temporary
//!   file, so that the image can be laid out in path order, and memory does not grow with contents.
//! - Hostile input: `..` in a name is refused, an absolute name is taken from the image's root, a later member
//!   replaces an earlier one, links are followed inside the image only ([`crate::tree`]).

mod header;
mod pax;
mod sparse;

use super::Sources;
use super::unpack::{Packing, unpack};
use crate::error::{BuildError, show};
use crate::exclude::Exclude;
use crate::options::Options;
use crate::tree::{Content, Kind, MAX_PATH, Meta, Names, Node, Origin, Tree, components};
use crate::{acl, tree};
use header::Header;
use pax::Extended;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

/// Longest extended header accepted, bytes.
const MAX_EXTENDED: u64 = 1 << 20;
const BLOCK: u64 = 512;

/// Adds the archive at `path`, whatever it is compressed with.
pub(crate) fn add_file(into: Into<'_>, path: &Path) -> Result<(), BuildError> {
    let failed = |e| BuildError::host(path, "opening", e);
    let file = File::open(path).map_err(failed)?;
    let seekable = file.metadata().map_err(failed)?.is_file();
    let mut source = BufReader::with_capacity(256 << 10, file);
    let packing = Packing::of(source.fill_buf().map_err(failed)?);
    if packing == Packing::None && seekable {
        let mut file = source.into_inner();
        file.rewind().map_err(failed)?;
        let len = file.metadata().map_err(failed)?.len();
        let blob = into
            .sources
            .add_blob(file.try_clone().map_err(failed)?, path);
        // Small: headers are all that is read here.
        let source = Input::Direct {
            file: BufReader::with_capacity(4096, file),
            len,
        };
        return Walk::new(into, path, source, blob).run();
    }
    add_stream(into, path, Box::new(source))
}

/// Adds an archive from a stream; `path` names it in messages.
pub(crate) fn add_stream(
    into: Into<'_>,
    path: &Path,
    mut source: Box<dyn BufRead + '_>,
) -> Result<(), BuildError> {
    let failed = |e| BuildError::host(path, "unpacking", e);
    let packing = Packing::of(source.fill_buf().map_err(failed)?);
    let stream = unpack(packing, source).map_err(failed)?;
    let dir = into
        .options
        .spool_dir
        .clone()
        .unwrap_or_else(std::env::temp_dir);
    let spooling = |e| BuildError::host(&dir, "making a temporary file", e);
    let spool = tempfile::tempfile_in(&dir).map_err(spooling)?;
    let blob = into
        .sources
        .add_blob(spool.try_clone().map_err(spooling)?, path);
    let source = Input::Stream {
        stream: BufReader::with_capacity(256 << 10, stream),
        spool: BufWriter::with_capacity(256 << 10, spool),
        stored: 0,
    };
    Walk::new(into, path, source, blob).run()
}

/// What an archive is added to.
pub(crate) struct Into<'a> {
    pub(crate) tree: &'a mut Tree,
    pub(crate) sources: &'a mut Sources,
    pub(crate) options: &'a Options,
    pub(crate) exclude: &'a Exclude,
    pub(crate) whiteouts: bool,
}

/// Where members come from.
enum Input<'a> {
    Direct {
        file: BufReader<File>,
        len: u64,
    },
    Stream {
        stream: BufReader<Box<dyn Read + 'a>>,
        spool: BufWriter<File>,
        stored: u64,
    },
}

impl Read for Input<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Direct { file, .. } => file.read(to),
            Self::Stream { stream, .. } => stream.read(to),
        }
    }
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle")
}

impl Input<'_> {
    /// Keeps the next `len` bytes; returns where they are in the blob.
    fn keep(&mut self, len: u64) -> io::Result<u64> {
        match self {
            Self::Direct { file, len: all } => {
                let at = file.stream_position()?;
                let end = at.checked_add(len).filter(|end| end <= all);
                let end = end.ok_or_else(ended)?;
                let by = i64::try_from(end - at).map_err(|_| ended())?;
                file.seek_relative(by)?;
                Ok(at)
            }
            Self::Stream {
                stream,
                spool,
                stored,
            } => {
                let at = *stored;
                let copied = io::copy(&mut stream.take(len), spool)?;
                *stored += copied;
                if copied == len { Ok(at) } else { Err(ended()) }
            }
        }
    }

    fn skip(&mut self, len: u64) -> io::Result<()> {
        match self {
            Self::Direct { .. } => self.keep(len).map(drop),
            Self::Stream { stream, .. } => {
                let skipped = io::copy(&mut stream.take(len), &mut io::sink())?;
                if skipped == len { Ok(()) } else { Err(ended()) }
            }
        }
    }
}

struct Walk<'a, 'b> {
    into: Into<'a>,
    path: &'a Path,
    input: Input<'b>,
    blob: u32,
    /// Byte of the archive, for messages.
    at: u64,
    global: Extended,
    next: Extended,
}

impl<'a, 'b> Walk<'a, 'b> {
    fn new(into: Into<'a>, path: &'a Path, input: Input<'b>, blob: u32) -> Self {
        Self {
            into,
            path,
            input,
            blob,
            at: 0,
            global: Extended::default(),
            next: Extended::default(),
        }
    }

    fn run(mut self) -> Result<(), BuildError> {
        while let Some(block) = self.block()? {
            let place = self.at - BLOCK;
            self.member(&block).map_err(|e| match e {
                BuildError::Archive { why, .. } => BuildError::Archive { why, at: place },
                other => other,
            })?;
        }
        // What follows the end (padding, a checksum of the compression) must at least be whole.
        if let Input::Stream { stream, spool, .. } = &mut self.input {
            let path = self.path;
            let failed = |e| BuildError::host(path, "unpacking", e);
            io::copy(stream, &mut io::sink()).map_err(failed)?;
            spool.flush().map_err(failed)?;
        }
        Ok(())
    }

    fn failed(&self, e: io::Error) -> BuildError {
        BuildError::host(self.path, "reading the archive", e)
    }

    /// The next header; `None` at the end.
    fn block(&mut self) -> Result<Option<[u8; 512]>, BuildError> {
        let mut block = [0; 512];
        let mut filled = 0;
        while filled < block.len() {
            let to = block.get_mut(filled..).unwrap_or_default();
            match self.input.read(to) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(self.failed(ended())),
                Ok(n) => filled += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed(e)),
            }
        }
        self.at += BLOCK;
        Ok(block.iter().any(|b| *b != 0).then_some(block))
    }

    fn member(&mut self, block: &[u8; 512]) -> Result<(), BuildError> {
        let header = Header::parse(block)?;
        match header.kind {
            b'x' | b'X' | b'g' => {
                let bytes = self.extended(header.size, MAX_EXTENDED)?;
                let xattrs = self.into.options.xattrs;
                if header.kind == b'g' {
                    // Nobody writes attributes or maps for all members at once; copying them to each would let a small
                    // archive fill the memory.
                    self.global.take(&bytes, false)?;
                    self.global.sparse = sparse::SparseMap::default();
                } else {
                    self.next = self.global.clone();
                    self.next.take(&bytes, xattrs)?;
                }
                Ok(())
            }
            b'L' | b'K' => {
                let mut name = self.extended(header.size, MAX_PATH as u64 + 1)?;
                let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
                name.truncate(end);
                if header.kind == b'L' {
                    self.next.path = Some(name);
                } else {
                    self.next.link = Some(name);
                }
                Ok(())
            }
            // A volume's label.
            b'V' => self.skip(header.size),
            b'M' | b'N' => Err(BuildError::Archive {
                why: "a part of a multi-volume archive",
                at: 0,
            }),
            _ => {
                let extended = std::mem::replace(&mut self.next, self.global.clone());
                self.file(header, extended, block)
            }
        }
    }

    fn padding(size: u64) -> u64 {
        size.wrapping_neg() % BLOCK
    }

    fn skip(&mut self, size: u64) -> Result<(), BuildError> {
        let whole = size
            .checked_add(Self::padding(size))
            .ok_or(BuildError::Archive {
                why: "a member beyond all bounds",
                at: 0,
            })?;
        self.at = self.at.saturating_add(whole);
        self.input.skip(whole).map_err(|e| self.failed(e))
    }

    fn extended(&mut self, size: u64, max: u64) -> Result<Vec<u8>, BuildError> {
        if size > max {
            return Err(BuildError::Archive {
                why: "an extended header that is too large",
                at: 0,
            });
        }
        let whole = size + Self::padding(size);
        let mut bytes = vec![0; usize::try_from(whole).unwrap_or(0)];
        let read = self.input.read_exact(&mut bytes);
        read.map_err(|e| self.failed(e))?;
        self.at += whole;
        bytes.truncate(usize::try_from(size).unwrap_or(0));
        Ok(bytes)
    }

    /// A member that makes something in the tree.
    fn file(
        &mut self,
        header: Header,
        mut extended: Extended,
        block: &[u8; 512],
    ) -> Result<(), BuildError> {
        let mut sparse = std::mem::take(&mut extended.sparse);
        if header.kind == b'S' {
            self.gnu_sparse(block, &mut sparse)?;
        }
        let path = sparse
            .name
            .take()
            .or(extended.path.take())
            .unwrap_or(header.path);
        let link = extended.link.take().unwrap_or(header.link);
        let stored = extended.size.unwrap_or(header.size);
        let parts = components(&path)?;
        let wanted = !self.into.exclude.covers(&parts);
        let mut meta = Meta {
            mode: header.mode,
            uid: extended.uid.unwrap_or(header.uid),
            gid: extended.gid.unwrap_or(header.gid),
            mtime: Some(extended.mtime.unwrap_or(header.mtime)),
            xattrs: extended.xattrs,
        };
        let directory = header.kind == b'5'
            || header.kind == b'D'
            || (header.kind == 0 && path.ends_with(b"/"));
        if !directory && self.whiteout(&parts)? {
            return self.skip(stored);
        }
        for (text, name, access) in [
            (extended.acl_access, "system.posix_acl_access", true),
            (extended.acl_default, "system.posix_acl_default", false),
        ] {
            let Some(text) = text else { continue };
            let seen = acl::from_text(&text, access).map_err(|why| BuildError::Acl {
                path: show(&path),
                why,
            })?;
            meta.xattrs.extend(seen.map(|value| tree::Attribute {
                name: name.as_bytes().into(),
                value: value.into(),
            }));
        }
        meta.xattrs.sort_unstable();
        let device = |block| Kind::Device {
            block,
            major: header.major,
            minor: header.minor,
        };
        let kind = match header.kind {
            _ if directory => Kind::Directory(Names::new()),
            // Some writers state the size of what is linked to; only files have contents.
            b'1' => {
                return if wanted {
                    self.hard_link(&parts, &path, &link)
                } else {
                    Ok(())
                };
            }
            0 | b'0' | b'7' | b'S' => {
                let content = self.content(stored, sparse, wanted)?;
                return self.put(&parts, &path, meta, Kind::File(content), wanted);
            }
            b'2' => Kind::Symlink(link.into()),
            b'3' => device(false),
            b'4' => device(true),
            b'6' => Kind::Fifo,
            _ => {
                return Err(BuildError::Archive {
                    why: "a member of an unknown type",
                    at: 0,
                });
            }
        };
        if header.kind == b'D' {
            self.skip(stored)?;
        }
        self.put(&parts, &path, meta, kind, wanted)
    }

    fn put(
        &mut self,
        parts: &[&[u8]],
        path: &[u8],
        meta: Meta,
        kind: Kind,
        wanted: bool,
    ) -> Result<(), BuildError> {
        if !wanted {
            return Ok(());
        }
        let Some((name, parents)) = parts.split_last() else {
            return if matches!(kind, Kind::Directory(_)) {
                self.into.tree.set_root(meta);
                Ok(())
            } else {
                Err(BuildError::Name {
                    path: show(path),
                    why: "no name is left",
                })
            };
        };
        let dir = self.into.tree.directory(parents)?;
        self.into.tree.put(dir, name, Node { meta, kind })?;
        Ok(())
    }

    /// True if the member deletes instead of adding.
    fn whiteout(&mut self, parts: &[&[u8]]) -> Result<bool, BuildError> {
        let Some((name, parents)) = parts.split_last().filter(|_| self.into.whiteouts) else {
            return Ok(false);
        };
        let Some(hidden) = name.strip_prefix(b".wh.") else {
            return Ok(false);
        };
        let dir = self.into.tree.directory(parents)?;
        if hidden == b".wh..opq" {
            self.into.tree.opaque(dir);
        } else if !hidden.starts_with(b".wh.") {
            self.into.tree.whiteout(dir, hidden);
        }
        Ok(true)
    }

    fn hard_link(&mut self, parts: &[&[u8]], path: &[u8], link: &[u8]) -> Result<(), BuildError> {
        let target = components(link)?;
        let found = self.into.tree.find(&target)?;
        let node = found.ok_or_else(|| BuildError::LinkTarget {
            path: show(path),
            target: show(link),
        })?;
        if self.into.tree.names(node).is_some() {
            return Err(BuildError::LinkToDirectory {
                path: show(path),
                target: show(link),
            });
        }
        let Some((name, parents)) = parts.split_last() else {
            return Err(BuildError::Name {
                path: show(path),
                why: "no name is left",
            });
        };
        let dir = self.into.tree.directory(parents)?;
        self.into.tree.attach(dir, name, node);
        Ok(())
    }

    /// Takes a file's contents in; the pieces of a sparse one lie one behind the other.
    fn content(
        &mut self,
        stored: u64,
        mut sparse: sparse::SparseMap,
        wanted: bool,
    ) -> Result<Content, BuildError> {
        let mut map = 0;
        if sparse.in_data() {
            map = sparse.read(&mut self.input, stored)?;
            self.at += map;
        }
        let left = stored - map;
        let at = if wanted {
            let at = self.input.keep(left).map_err(|e| self.failed(e))?;
            self.at = self.at.saturating_add(left);
            let padding = Self::padding(left);
            self.input.skip(padding).map_err(|e| self.failed(e))?;
            self.at += padding;
            at
        } else {
            self.skip(left)?;
            0
        };
        let (size, data) = if sparse.is_some() {
            let (size, ranges) = sparse.finish(left)?;
            (size, Some(ranges))
        } else {
            (left, None)
        };
        Ok(Content {
            size,
            origin: if size == 0 {
                Origin::Nothing
            } else {
                Origin::Blob {
                    blob: self.blob,
                    at,
                }
            },
            data,
        })
    }

    fn gnu_sparse(
        &mut self,
        block: &[u8; 512],
        sparse: &mut sparse::SparseMap,
    ) -> Result<(), BuildError> {
        let bad = BuildError::Archive {
            why: "a sparse member without a map",
            at: 0,
        };
        let header = tar::Header::from_byte_slice(block);
        let Some(gnu) = header.as_gnu() else {
            return Err(bad);
        };
        let real_size = gnu.real_size().map_err(|_| bad)?;
        sparse.gnu(&gnu.sparse, real_size)?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = tar::GnuExtSparseHeader::new();
            let read = self.input.read_exact(next.as_mut_bytes());
            read.map_err(|e| self.failed(e))?;
            self.at += BLOCK;
            sparse.gnu(next.sparse(), real_size)?;
            more = next.is_extended();
        }
        Ok(())
    }
}
