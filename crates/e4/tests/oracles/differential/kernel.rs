//! The same operations as system calls below a mount point.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use e4::format::FileType;
use e4::{FallocateMode, RenameFlags, XattrSet};
use rustix::fs::{
    AtFlags, CWD, FallocateFlags, Gid, Mode, OFlags, RenameFlags as Flags, SeekFrom, Timespec,
    Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::handle::{Do, SLOTS};
use super::op::{Answer, Op, Said};

/// A directory below the mount, and files open there.
pub(super) struct Kernels {
    dir: PathBuf,
    slots: [Option<File>; SLOTS],
}

impl Kernels {
    /// Begins a sequence in a new directory.
    pub(super) fn enter(dir: &Path) -> Self {
        std::fs::create_dir(dir).unwrap();
        std::fs::set_permissions(dir, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        Self {
            dir: dir.to_owned(),
            slots: Default::default(),
        }
    }

    /// Closes everything; the directory and what is in it goes.
    pub(super) fn leave(self) {
        drop(self.slots);
        std::fs::remove_dir_all(&self.dir).unwrap();
    }

    pub(super) fn apply(&mut self, op: &Op) -> Answer {
        let answer = match op {
            Op::On(slot, what) => self.on(*slot, what),
            _ => try_apply(&self.dir, op).map(|()| Said::Done),
        };
        answer.map_err(Errno::raw_os_error)
    }

    fn on(&mut self, slot: usize, what: &Do) -> Result<Said, Errno> {
        let at = |path: &str| self.dir.join(path);
        match what {
            Do::Open(path, create, truncate) => {
                let at = at(path);
                self.slots[slot] = None;
                if let Ok(meta) = std::fs::metadata(&at)
                    && !meta.is_file()
                    && !meta.is_dir()
                {
                    return Err(Errno::OPNOTSUPP);
                }
                let mut flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
                flags.set(OFlags::CREATE, *create);
                flags.set(OFlags::TRUNC, *truncate);
                let file = rustix::fs::open(&at, flags, Mode::from_raw_mode(0o644))?;
                self.slots[slot] = Some(file.into());
            }
            Do::Tmp(dir) => {
                let dir = at(dir);
                self.slots[slot] = None;
                let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
                let file = rustix::fs::open(&dir, flags, Mode::from_raw_mode(0o644))?;
                self.slots[slot] = Some(file.into());
            }
            Do::Close => self.slots[slot] = None,
            _ => {
                let file = self.slots[slot].as_ref().ok_or(Errno::BADF)?;
                return self.on_file(file, what);
            }
        }
        Ok(Said::Done)
    }

    fn on_file(&self, file: &File, what: &Do) -> Result<Said, Errno> {
        use std::os::fd::AsRawFd;
        match what {
            Do::Link(path) => {
                let fd = format!("/proc/self/fd/{}", file.as_raw_fd());
                let to = self.dir.join(path);
                rustix::fs::linkat(CWD, fd.as_str(), CWD, &to, AtFlags::SYMLINK_FOLLOW)?;
            }
            Do::Read(at, len) => {
                let mut buf = vec![0; *len as usize];
                let mut done = 0;
                loop {
                    match rustix::io::pread(file, &mut buf[done..], *at + done as u64)? {
                        0 => break,
                        n => done += n,
                    }
                }
                buf.truncate(done);
                return Ok(Said::Bytes(buf));
            }
            Do::Write(at, data) => {
                return rustix::io::pwrite(file, data, *at).map(|n| Said::At(n as u64));
            }
            Do::Allocate(mode, at, len) => {
                rustix::fs::fallocate(file, flags_of(*mode), *at, *len)?;
            }
            Do::SeekData(at) => {
                settle(file)?;
                return rustix::fs::seek(file, SeekFrom::Data(*at)).map(Said::At);
            }
            Do::SeekHole(at) => {
                settle(file)?;
                return rustix::fs::seek(file, SeekFrom::Hole(*at)).map(Said::At);
            }
            Do::Truncate(size) => rustix::fs::ftruncate(file, *size)?,
            Do::Sync => rustix::fs::fsync(file)?,
            Do::DataSync => rustix::fs::fdatasync(file)?,
            Do::Size => return Ok(Said::At(rustix::fs::fstat(file)?.st_size.unsigned_abs())),
            Do::Open(..) | Do::Tmp(_) | Do::Close => unreachable!("not on an open file"),
        }
        Ok(Said::Done)
    }
}

/// The kernel takes what its page cache holds for data, zeros that were read as well.
fn settle(file: &File) -> Result<(), Errno> {
    rustix::fs::fdatasync(file)?;
    rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed)
}

fn flags_of(mode: FallocateMode) -> FallocateFlags {
    match mode {
        FallocateMode::Allocate => FallocateFlags::empty(),
        FallocateMode::AllocateKeepSize => FallocateFlags::KEEP_SIZE,
        FallocateMode::PunchHole => FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE,
        FallocateMode::ZeroRange => FallocateFlags::ZERO_RANGE,
        FallocateMode::ZeroRangeKeepSize => FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE,
        FallocateMode::CollapseRange => FallocateFlags::COLLAPSE_RANGE,
        FallocateMode::InsertRange => FallocateFlags::INSERT_RANGE,
    }
}

fn of_io(error: &io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn type_of(kind: FileType) -> rustix::fs::FileType {
    match kind {
        FileType::Fifo => rustix::fs::FileType::Fifo,
        FileType::Socket => rustix::fs::FileType::Socket,
        FileType::CharDevice => rustix::fs::FileType::CharacterDevice,
        FileType::BlockDevice => rustix::fs::FileType::BlockDevice,
        _ => rustix::fs::FileType::RegularFile,
    }
}

fn try_apply(root: &Path, op: &Op) -> Result<(), Errno> {
    let at = |path: &str| root.join(path);
    match op {
        Op::Make(path, FileType::Directory, mode, _) => {
            rustix::fs::mkdir(at(path), Mode::from_raw_mode(u32::from(*mode)))
        }
        Op::Make(path, kind, mode, rdev) => {
            let (major, minor) = (rdev >> 8 & 0xFFF, rdev & 0xFF | rdev >> 12 & !0xFF);
            let dev = rustix::fs::makedev(major, minor);
            let mode = Mode::from_raw_mode(u32::from(*mode));
            rustix::fs::mknodat(CWD, at(path), type_of(*kind), mode, dev)
        }
        Op::Symlink(target, path) => rustix::fs::symlink(target.as_str(), at(path)),
        Op::Link(from, to) => rustix::fs::link(at(from), at(to)),
        Op::Unlink(path) => rustix::fs::unlink(at(path)),
        Op::Rmdir(path) => rustix::fs::rmdir(at(path)),
        Op::Rename(from, to, how) => {
            let flags = match how {
                RenameFlags::Replace => Flags::empty(),
                RenameFlags::NoReplace => Flags::NOREPLACE,
                RenameFlags::Exchange => Flags::EXCHANGE,
                RenameFlags::Whiteout => Flags::WHITEOUT,
            };
            rustix::fs::renameat_with(CWD, at(from), CWD, at(to), flags)
        }
        Op::Chmod(path, mode) => rustix::fs::chmod(at(path), Mode::from_raw_mode(u32::from(*mode))),
        Op::Chown(path, uid, gid) => {
            let (uid, gid) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            rustix::fs::chownat(
                CWD,
                at(path),
                Some(uid),
                Some(gid),
                AtFlags::SYMLINK_NOFOLLOW,
            )
        }
        Op::Times(path, sec, nsec) => {
            let time = Timespec {
                tv_sec: *sec,
                tv_nsec: i64::from(*nsec),
            };
            let times = Timestamps {
                last_access: time,
                last_modification: time,
            };
            rustix::fs::utimensat(CWD, at(path), &times, AtFlags::SYMLINK_NOFOLLOW)
        }
        Op::Truncate(path, size) => truncate(&at(path), *size),
        Op::Write(path, offset, data) => {
            let file = OpenOptions::new().write(true).open(at(path));
            let file: File = file.map_err(|e| of_io(&e))?;
            file.write_all_at(data, *offset).map_err(|e| of_io(&e))
        }
        Op::SetXattr(path, name, value, how) => {
            let flags = match how {
                XattrSet::Any => XattrFlags::empty(),
                XattrSet::Create => XattrFlags::CREATE,
                XattrSet::Replace => XattrFlags::REPLACE,
            };
            rustix::fs::lsetxattr(at(path), name.as_str(), value, flags)
        }
        Op::RemoveXattr(path, name) => rustix::fs::lremovexattr(at(path), name.as_str()),
        Op::On(..) => unreachable!("not about names"),
    }
}

/// truncate(2): an open for writing would wait for a reader of a fifo.
fn truncate(path: &Path, size: u64) -> Result<(), Errno> {
    use std::os::unix::fs::OpenOptionsExt;
    let meta = std::fs::metadata(path).map_err(|e| of_io(&e))?;
    if meta.is_dir() {
        return Err(Errno::ISDIR);
    }
    if !meta.is_file() {
        return Err(Errno::INVAL);
    }
    let file = OpenOptions::new()
        .write(true)
        .custom_flags(0)
        .open(path)
        .map_err(|e| of_io(&e))?;
    file.set_len(size).map_err(|e| of_io(&e))
}
