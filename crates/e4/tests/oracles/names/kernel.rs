//! The same operations as system calls below a mount point.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use e4::format::FileType;
use e4::{RenameFlags, XattrSet};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, RenameFlags as Flags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::op::Op;

pub(super) fn apply(root: &Path, op: &Op) -> Result<(), i32> {
    try_apply(root, op).map_err(Errno::raw_os_error)
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
