//! Operations on e4, with the flags the system calls have.

use e4::format::Timestamp;
use e4::{Filesystem, NewInode, OpenFlags, Result, SetAttr};

use super::op::Op;

pub(super) fn apply(fs: &Filesystem, op: &Op) -> Result<(), i32> {
    try_apply(fs, op).map_err(|error| error.errno())
}

fn try_apply(fs: &Filesystem, op: &Op) -> Result<()> {
    match op {
        Op::Make(path, kind, mode, rdev) => {
            let new = NewInode {
                rdev: *rdev,
                ..NewInode::new(*kind, *mode)
            };
            fs.mknod(path, &new).map(drop)
        }
        Op::Symlink(target, path) => fs.symlink(target.as_bytes(), path).map(drop),
        Op::Link(from, to) => fs.link(from, to),
        Op::Unlink(path) => fs.unlink(path),
        Op::Rmdir(path) => fs.rmdir(path),
        Op::Rename(from, to, how) => fs.rename(from, to, *how),
        Op::Chmod(path, mode) => {
            let change = SetAttr {
                mode: Some(*mode),
                ..SetAttr::default()
            };
            fs.set_attr(path, true, &change).map(drop)
        }
        Op::Chown(path, uid, gid) => {
            let change = SetAttr {
                uid: Some(*uid),
                gid: Some(*gid),
                ..SetAttr::default()
            };
            fs.set_attr(path, false, &change).map(drop)
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
            fs.set_attr(path, false, &change).map(drop)
        }
        Op::Truncate(path, size) => {
            let change = SetAttr {
                size: Some(*size),
                ..SetAttr::default()
            };
            fs.set_attr(path, true, &change).map(drop)
        }
        Op::Write(path, at, data) => {
            let file = fs.open_file(path, OpenFlags::read_write())?;
            file.write_at(*at, data).map(drop)
        }
        Op::SetXattr(path, name, value, how) => {
            fs.set_xattr(path, false, name.as_bytes(), value, *how)
        }
        Op::RemoveXattr(path, name) => fs.remove_xattr(path, false, name.as_bytes()),
    }
}
