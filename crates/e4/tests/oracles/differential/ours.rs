//! Operations on e4, with the flags the system calls have.

use std::path::Path;

use e4::format::{FileType, Timestamp};
use e4::{File, Filesystem, NewInode, Node, OpenFlags, RenameFlags, Result, SetAttr};

use super::handle::{Do, SLOTS};
use super::op::{Answer, Op, Said};
use crate::workload::open;

/// An open file, and the inode it is.
struct Slot {
    file: File,
    node: Node,
}

/// A mounted image, a directory in it, and files open there.
pub(super) struct Ours {
    pub(super) fs: Filesystem,
    dir: String,
    slots: [Option<Slot>; SLOTS],
    /// Carries the planted difference.
    pub(super) wrong: bool,
}

impl Ours {
    pub(super) fn new(image: &Path) -> Self {
        Self {
            fs: open(image),
            dir: String::new(),
            slots: Default::default(),
            wrong: false,
        }
    }

    /// Begins a sequence in a new directory.
    pub(super) fn enter(&mut self, dir: &str) {
        self.fs.mkdir(dir, 0o755).unwrap();
        self.dir = dir.to_owned();
    }

    /// Closes everything; the directory and what is in it goes.
    pub(super) fn leave(&mut self) {
        self.slots = Default::default();
        self.remove(&self.dir);
    }

    fn remove(&self, dir: &str) {
        for entry in self.fs.read_dir(dir).unwrap() {
            let name = String::from_utf8(entry.name).unwrap();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{dir}/{name}");
            if self.fs.lookup(&path, false).unwrap().kind() == Some(FileType::Directory) {
                self.remove(&path);
            } else {
                self.fs.unlink(&path).unwrap();
            }
        }
        self.fs.rmdir(dir).unwrap();
    }

    fn at(&self, path: &str) -> String {
        format!("{}/{path}", self.dir)
    }

    /// What a path leads to.
    pub(super) fn kind(&self, path: &str) -> Option<FileType> {
        self.fs.lookup(&self.at(path), true).ok()?.kind()
    }

    pub(super) fn exists(&self, path: &str) -> bool {
        self.fs.stat(&self.at(path)).is_ok()
    }

    /// The planted difference: a rename that must not replace does.
    fn planted(&self, how: RenameFlags) -> RenameFlags {
        if self.wrong && how == RenameFlags::NoReplace {
            return RenameFlags::Replace;
        }
        how
    }

    pub(super) fn is_open(&self, slot: usize) -> bool {
        self.slots[slot].is_some()
    }

    pub(super) fn size(&self, slot: usize) -> u64 {
        self.slots[slot].as_ref().map_or(0, |s| s.file.size())
    }

    pub(super) fn apply(&mut self, op: &Op) -> Answer {
        if let Op::On(slot, what) = op {
            return self.on(*slot, what);
        }
        match self.change(op) {
            Ok(()) => Ok(Said::Done),
            Err(error) => Err(error.errno()),
        }
    }

    fn on(&mut self, slot: usize, what: &Do) -> Answer {
        let said = |result: Result<Said>| result.map_err(|e| e.errno());
        match what {
            Do::Open(path, create, truncate) => {
                let at = self.at(path);
                self.slots[slot] = None;
                if let Ok(node) = self.fs.lookup(&at, true)
                    && !matches!(node.kind(), Some(FileType::Regular | FileType::Directory))
                {
                    return Err(95);
                }
                let flags = OpenFlags {
                    create: *create,
                    truncate: *truncate,
                    ..OpenFlags::read_write()
                };
                let opened = self.fs.open_file(&at, flags).map_err(|e| e.errno())?;
                let node = self.fs.node(opened.ino()).map_err(|e| e.errno())?;
                self.slots[slot] = Some(Slot { file: opened, node });
                Ok(Said::Done)
            }
            Do::Tmp(dir) => {
                self.slots[slot] = None;
                let made = self.fs.lookup(&self.at(dir), true).and_then(|dir| {
                    let node = dir.tmpfile(&NewInode::new(FileType::Regular, 0o644))?;
                    let file = node.open(OpenFlags::read_write())?;
                    Ok(Slot { file, node })
                });
                self.slots[slot] = Some(made.map_err(|e| e.errno())?);
                Ok(Said::Done)
            }
            Do::Close => {
                self.slots[slot] = None;
                Ok(Said::Done)
            }
            _ => {
                let open = self.slots[slot].as_ref().ok_or(9)?;
                // Half of the slots go through the page cache, past which the others go.
                said(self.on_file(open, what, slot.is_multiple_of(2)))
            }
        }
    }

    fn on_file(&self, open: &Slot, what: &Do, buffered: bool) -> Result<Said> {
        let file = &open.file;
        let done = match what {
            Do::Link(path) => {
                let at = self.at(path);
                let (dir, name) = at.rsplit_once('/').unwrap_or(("", &at));
                let dir = self.fs.lookup(dir, true)?;
                dir.link(name.as_bytes(), &open.node)
            }
            Do::Read(at, len) => {
                let mut buf = vec![0; *len as usize];
                let n = if buffered {
                    file.read_buffered(*at, &mut buf)?
                } else {
                    file.read_at(*at, &mut buf)?
                };
                buf.truncate(n);
                return Ok(Said::Bytes(buf));
            }
            Do::Write(at, data) => {
                let n = if buffered {
                    file.write_buffered(*at, data)
                } else {
                    file.write_at(*at, data)
                };
                return n.map(|n| Said::At(n as u64));
            }
            Do::Allocate(mode, at, len) => file.fallocate(*mode, *at, *len),
            Do::SeekData(at) => {
                return match file.seek_data(*at)? {
                    Some(at) => Ok(Said::At(at)),
                    None => Err(e4::Error::BehindEnd {
                        at: e4::format::ByteOffset::new(*at),
                        size: file.size(),
                    }),
                };
            }
            Do::SeekHole(at) => return file.seek_hole(*at).map(Said::At),
            Do::Truncate(size) => file.truncate(*size),
            Do::Sync => file.fsync(),
            Do::DataSync => file.fdatasync(),
            Do::Size => return Ok(Said::At(file.stat().size)),
            Do::Open(..) | Do::Tmp(_) | Do::Close => unreachable!("not on an open file"),
        };
        done.map(|()| Said::Done)
    }

    fn change(&self, op: &Op) -> Result<()> {
        let fs = &self.fs;
        match op {
            Op::Make(path, kind, mode, rdev) => {
                let new = NewInode {
                    rdev: *rdev,
                    ..NewInode::new(*kind, *mode)
                };
                fs.mknod(&self.at(path), &new).map(drop)
            }
            Op::Symlink(target, path) => fs.symlink(target.as_bytes(), &self.at(path)).map(drop),
            Op::Link(from, to) => fs.link(&self.at(from), &self.at(to)),
            Op::Unlink(path) => fs.unlink(&self.at(path)),
            Op::Rmdir(path) => fs.rmdir(&self.at(path)),
            Op::Rename(from, to, how) => {
                fs.rename(&self.at(from), &self.at(to), self.planted(*how))
            }
            Op::Chmod(path, mode) => {
                let change = SetAttr {
                    mode: Some(*mode),
                    ..SetAttr::default()
                };
                fs.set_attr(&self.at(path), true, &change).map(drop)
            }
            Op::Chown(path, uid, gid) => {
                let change = SetAttr {
                    uid: Some(*uid),
                    gid: Some(*gid),
                    ..SetAttr::default()
                };
                fs.set_attr(&self.at(path), false, &change).map(drop)
            }
            Op::Times(path, sec, nsec) => {
                let time = Timestamp {
                    sec: *sec,
                    nsec: *nsec,
                };
                let change = SetAttr {
                    atime: Some(time),
                    mtime: Some(time),
                    ..SetAttr::default()
                };
                fs.set_attr(&self.at(path), false, &change).map(drop)
            }
            Op::Truncate(path, size) => {
                let change = SetAttr {
                    size: Some(*size),
                    ..SetAttr::default()
                };
                fs.set_attr(&self.at(path), true, &change).map(drop)
            }
            Op::Write(path, at, data) => {
                let file = fs.open_file(&self.at(path), OpenFlags::read_write())?;
                file.write_at(*at, data).map(drop)
            }
            Op::SetXattr(path, name, value, how) => {
                fs.set_xattr(&self.at(path), false, name.as_bytes(), value, *how)
            }
            Op::RemoveXattr(path, name) => fs.remove_xattr(&self.at(path), false, name.as_bytes()),
            Op::On(..) => unreachable!("not about names"),
        }
    }
}
