//! Requests as values.
//!
//! Decisions:
//! - Names and values are borrowed from the reader's memory; only the payload of a write can be taken away, because
//!   only there the copy would cost something ([`Payload`]).
//! - Whatever does not have the form that the interface prescribes is [`Malformed`]: it is answered with `EIO`
//!   and reaches no server. A kernel does not send such requests; who forges a device must not crash a server.

use core::mem::size_of;

use e4_device::AlignedBuf;
use zerocopy::FromBytes;

use crate::abi::{self, fattr, op};

/// The number by which the kernel names an inode; the root is [`NodeId::ROOT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the mount.
    pub const ROOT: Self = Self(1);
}

/// The number by which the kernel names an open file or directory; whatever the server said when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Handle(pub u64);

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// User, as the filesystem sees it.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// A time to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetTime {
    /// The present.
    Now,
    /// Seconds since 1970, of either sign, and nanoseconds of the next one.
    To(i64, u32),
}

/// What [`Operation::SetAttr`] changes; `None`: stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of stat(2)")]
pub struct SetAttr {
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub size: Option<u64>,
    pub atime: Option<SetTime>,
    pub mtime: Option<SetTime>,
    pub ctime: Option<SetTime>,
    /// Set-user-id and set-group-id go with this change: whoever asks may not keep them.
    pub kill_set_id: bool,
}

/// What was asked, and by whom.
#[derive(Debug)]
pub struct Request<'a> {
    /// The inode it is about; for names, the directory.
    pub node: NodeId,
    /// Who asks.
    pub caller: Caller,
    /// What.
    pub operation: Operation<'a>,
}

/// What is asked. Flags are those of the system calls (`O_*`, `RENAME_*`, `FALLOC_FL_*`).
#[derive(Debug)]
#[allow(missing_docs, reason = "the arguments of the system calls")]
pub enum Operation<'a> {
    Lookup {
        name: &'a [u8],
    },
    Forget {
        lookups: u64,
    },
    ForgetMany(Forgotten<'a>),
    GetAttr,
    Statx {
        mask: u32,
    },
    SetAttr(SetAttr),
    ReadLink,
    Symlink {
        name: &'a [u8],
        target: &'a [u8],
    },
    MkNod {
        name: &'a [u8],
        mode: u32,
        umask: u32,
        rdev: u32,
    },
    MkDir {
        name: &'a [u8],
        mode: u32,
        umask: u32,
    },
    Unlink {
        name: &'a [u8],
    },
    RmDir {
        name: &'a [u8],
    },
    Rename {
        name: &'a [u8],
        to: NodeId,
        new_name: &'a [u8],
        flags: u32,
    },
    Link {
        node: NodeId,
        name: &'a [u8],
    },
    Open {
        flags: u32,
        kill_set_id: bool,
    },
    Create {
        name: &'a [u8],
        mode: u32,
        umask: u32,
        flags: u32,
        kill_set_id: bool,
    },
    /// A file without a name.
    TmpFile {
        mode: u32,
        umask: u32,
        flags: u32,
    },
    Read {
        handle: Handle,
        offset: u64,
        size: u32,
    },
    Write(Write<'a>),
    StatFs,
    Flush,
    Release {
        handle: Handle,
    },
    Fsync {
        handle: Handle,
        data_only: bool,
    },
    /// Everything is to be durable.
    SyncFs,
    SetXattr {
        name: &'a [u8],
        value: &'a [u8],
        flags: u32,
        kill_set_group_id: bool,
    },
    /// `room` 0: only the size is wanted.
    GetXattr {
        name: &'a [u8],
        room: u32,
    },
    ListXattr {
        room: u32,
    },
    RemoveXattr {
        name: &'a [u8],
    },
    OpenDir,
    ReadDir {
        handle: Handle,
        cookie: u64,
        room: u32,
    },
    ReadDirPlus {
        handle: Handle,
        cookie: u64,
        room: u32,
    },
    ReleaseDir {
        handle: Handle,
    },
    FsyncDir {
        handle: Handle,
    },
    Ioctl {
        cmd: u32,
        input: &'a [u8],
        room: u32,
    },
    Fallocate {
        handle: Handle,
        offset: u64,
        len: u64,
        mode: u32,
    },
    Seek {
        handle: Handle,
        offset: u64,
        whence: u32,
    },
    /// `wide`: the answer has 64 bits, see [`crate::Reply::copied`].
    Copy {
        from: (Handle, u64),
        to: (Handle, u64),
        len: u64,
        wide: bool,
    },
    /// The connection ends.
    Destroy,
    /// Nothing this crate knows.
    Unknown {
        opcode: u32,
    },
}

/// A write.
#[derive(Debug)]
pub struct Write<'a> {
    /// The open file; with `from_cache`, any open file of the inode.
    pub handle: Handle,
    /// Where.
    pub offset: u64,
    /// What.
    pub payload: Payload<'a>,
    /// `O_*` flags of the open file.
    pub flags: u32,
    /// The kernel writes back what it has cached.
    pub from_cache: bool,
    /// Set-user-id and set-group-id go with this write.
    pub kill_set_id: bool,
}

/// From here on a payload is handed over as it is; below, a copy is cheaper than a fresh buffer for the reader.
const MOVED_FROM: usize = 64 << 10;

/// The bytes of a write, at the beginning of a page.
#[derive(Debug)]
pub struct Payload<'a> {
    body: &'a mut AlignedBuf,
    len: usize,
}

impl Payload<'_> {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Is there nothing?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes as a buffer of their own.
    #[must_use]
    pub fn into_buf(self) -> AlignedBuf {
        if self.len < MOVED_FROM {
            let mut buf = AlignedBuf::recycled(self.len);
            // The reader has read that much.
            buf.copy_from_slice(&self.body[..self.len]);
            return buf;
        }
        let mut buf = core::mem::replace(self.body, AlignedBuf::zeroed(0));
        buf.truncate(self.len);
        buf
    }
}

/// Inodes that the kernel no longer knows, each with how many lookups it forgets.
#[derive(Debug, Clone, Copy)]
pub struct Forgotten<'a>(&'a [u8]);

impl Iterator for Forgotten<'_> {
    type Item = (NodeId, u64);

    fn next(&mut self) -> Option<Self::Item> {
        let (node, rest) = u64::read_from_prefix(self.0).ok()?;
        let (lookups, rest) = u64::read_from_prefix(rest).ok()?;
        self.0 = rest;
        Some((NodeId(node), lookups))
    }
}

/// A request that does not have the form the interface prescribes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed request, opcode {opcode}: {what}")]
pub struct Malformed {
    /// As sent; 0 if not even that is known.
    pub opcode: u32,
    /// What is wrong.
    pub what: &'static str,
}

/// Reads the fields of a message, one after the other.
struct Fields<'a> {
    rest: &'a [u8],
    opcode: u32,
}

impl<'a> Fields<'a> {
    fn malformed(&self, what: &'static str) -> Malformed {
        Malformed {
            opcode: self.opcode,
            what,
        }
    }

    fn value<T: FromBytes>(&mut self) -> Result<T, Malformed> {
        let (value, rest) =
            T::read_from_prefix(self.rest).map_err(|_| self.malformed("too short"))?;
        self.rest = rest;
        Ok(value)
    }

    /// A name, as long as it may be; it ends with a zero byte.
    fn name(&mut self) -> Result<&'a [u8], Malformed> {
        let end = self.rest.iter().position(|&b| b == 0);
        let end = end.ok_or_else(|| self.malformed("a name without an end"))?;
        let (name, rest) = self.rest.split_at(end);
        self.rest = &rest[1..];
        Ok(name)
    }

    fn bytes(&mut self, len: u32) -> Result<&'a [u8], Malformed> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > self.rest.len() {
            return Err(self.malformed("fewer bytes than it says"));
        }
        let (bytes, rest) = self.rest.split_at(len);
        self.rest = rest;
        Ok(bytes)
    }
}

/// Understands a message. `message` is all of it, but for a write only the first [`HEAD`] bytes of it, the payload being in
/// `body`, `in_body` bytes long.
pub(crate) fn parse<'a>(
    header: &abi::InHeader,
    message: &'a [u8],
    body: &'a mut AlignedBuf,
    in_body: usize,
    xattr_ext: bool,
) -> Result<Request<'a>, Malformed> {
    let mut fields = Fields {
        rest: message.get(size_of::<abi::InHeader>()..).unwrap_or(&[]),
        opcode: header.opcode,
    };
    // Extensions are not negotiated; should there be some, they are nobody's name.
    let extensions = usize::from(header.total_extlen) * 8;
    if header.opcode != op::WRITE {
        let kept = fields.rest.len().checked_sub(extensions);
        let kept = kept.ok_or_else(|| fields.malformed("extensions longer than it"))?;
        fields.rest = &fields.rest[..kept];
    }
    let operation = if header.opcode == op::WRITE {
        Operation::Write(write(&mut fields, body, in_body)?)
    } else {
        operation(&mut fields, xattr_ext)?
    };
    Ok(Request {
        node: NodeId(header.nodeid),
        caller: Caller {
            uid: header.uid,
            gid: header.gid,
        },
        operation,
    })
}

fn write<'a>(
    fields: &mut Fields<'_>,
    body: &'a mut AlignedBuf,
    in_body: usize,
) -> Result<Write<'a>, Malformed> {
    let w: abi::WriteIn = fields.value()?;
    if usize::try_from(w.size) != Ok(in_body) || in_body > body.len() {
        return Err(fields.malformed("not as many bytes as it says"));
    }
    Ok(Write {
        handle: Handle(w.fh),
        offset: w.offset,
        payload: Payload { body, len: in_body },
        flags: w.flags,
        from_cache: w.write_flags & abi::WRITE_CACHE != 0,
        kill_set_id: w.write_flags & abi::WRITE_KILL_SUIDGID != 0,
    })
}

#[rustfmt::skip]
fn operation<'a>(f: &mut Fields<'a>, xattr_ext: bool) -> Result<Operation<'a>, Malformed> {
    use Operation as O;
    Ok(match f.opcode {
        op::LOOKUP => O::Lookup { name: f.name()? },
        op::FORGET => O::Forget { lookups: f.value::<abi::ForgetIn>()?.nlookup },
        op::BATCH_FORGET => {
            let count = f.value::<abi::BatchForgetIn>()?.count;
            O::ForgetMany(Forgotten(f.bytes(count.saturating_mul(16))?))
        }
        op::GETATTR => { f.value::<abi::GetAttrIn>()?; O::GetAttr }
        op::STATX => O::Statx { mask: f.value::<abi::StatxIn>()?.sx_mask },
        op::SETATTR => O::SetAttr(set_attr(&f.value()?)),
        op::READLINK => O::ReadLink,
        op::SYMLINK => O::Symlink { name: f.name()?, target: f.name()? },
        op::MKNOD => {
            let m: abi::MknodIn = f.value()?;
            O::MkNod { name: f.name()?, mode: m.mode, umask: m.umask, rdev: m.rdev }
        }
        op::MKDIR => {
            let m: abi::MkdirIn = f.value()?;
            O::MkDir { name: f.name()?, mode: m.mode, umask: m.umask }
        }
        op::UNLINK => O::Unlink { name: f.name()? },
        op::RMDIR => O::RmDir { name: f.name()? },
        op::RENAME => {
            let r: abi::RenameIn = f.value()?;
            O::Rename { to: NodeId(r.newdir), flags: 0, name: f.name()?, new_name: f.name()? }
        }
        op::RENAME2 => {
            let r: abi::Rename2In = f.value()?;
            O::Rename { to: NodeId(r.newdir), flags: r.flags, name: f.name()?, new_name: f.name()? }
        }
        op::LINK => {
            let l: abi::LinkIn = f.value()?;
            O::Link { node: NodeId(l.oldnodeid), name: f.name()? }
        }
        op::OPEN => {
            let o: abi::OpenIn = f.value()?;
            O::Open { flags: o.flags, kill_set_id: o.open_flags & abi::OPEN_KILL_SUIDGID != 0 }
        }
        op::CREATE => {
            let c: abi::CreateIn = f.value()?;
            let kill_set_id = c.open_flags & abi::OPEN_KILL_SUIDGID != 0;
            O::Create { name: f.name()?, mode: c.mode, umask: c.umask, flags: c.flags, kill_set_id }
        }
        op::TMPFILE => {
            let c: abi::CreateIn = f.value()?;
            O::TmpFile { mode: c.mode, umask: c.umask, flags: c.flags }
        }
        op::READ => {
            let r: abi::ReadIn = f.value()?;
            O::Read { handle: Handle(r.fh), offset: r.offset, size: r.size }
        }
        op::STATFS => O::StatFs,
        op::FLUSH => O::Flush,
        op::RELEASE => O::Release { handle: Handle(f.value::<abi::ReleaseIn>()?.fh) },
        op::FSYNC => {
            let s: abi::FsyncIn = f.value()?;
            O::Fsync { handle: Handle(s.fh), data_only: s.fsync_flags & abi::FSYNC_FDATASYNC != 0 }
        }
        op::SYNCFS => O::SyncFs,
        op::SETXATTR => {
            let x: abi::SetXattrIn = f.value()?;
            let ext = if xattr_ext { f.value::<abi::SetXattrExtIn>()?.setxattr_flags } else { 0 };
            let name = f.name()?;
            let kill_set_group_id = ext & abi::SETXATTR_ACL_KILL_SGID != 0;
            O::SetXattr { name, value: f.bytes(x.size)?, flags: x.flags, kill_set_group_id }
        }
        op::GETXATTR => {
            let x: abi::GetXattrIn = f.value()?;
            O::GetXattr { name: f.name()?, room: x.size }
        }
        op::LISTXATTR => O::ListXattr { room: f.value::<abi::GetXattrIn>()?.size },
        op::REMOVEXATTR => O::RemoveXattr { name: f.name()? },
        op::OPENDIR => O::OpenDir,
        op::READDIR => {
            let r: abi::ReadIn = f.value()?;
            O::ReadDir { handle: Handle(r.fh), cookie: r.offset, room: r.size }
        }
        op::READDIRPLUS => {
            let r: abi::ReadIn = f.value()?;
            O::ReadDirPlus { handle: Handle(r.fh), cookie: r.offset, room: r.size }
        }
        op::RELEASEDIR => O::ReleaseDir { handle: Handle(f.value::<abi::ReleaseIn>()?.fh) },
        op::FSYNCDIR => O::FsyncDir { handle: Handle(f.value::<abi::FsyncIn>()?.fh) },
        op::IOCTL => {
            let i: abi::IoctlIn = f.value()?;
            O::Ioctl { cmd: i.cmd, input: f.bytes(i.in_size)?, room: i.out_size }
        }
        op::FALLOCATE => {
            let a: abi::FallocateIn = f.value()?;
            O::Fallocate { handle: Handle(a.fh), offset: a.offset, len: a.length, mode: a.mode }
        }
        op::LSEEK => {
            let l: abi::LseekIn = f.value()?;
            O::Seek { handle: Handle(l.fh), offset: l.offset, whence: l.whence }
        }
        op::COPY_FILE_RANGE | op::COPY_FILE_RANGE_64 => {
            let c: abi::CopyFileRangeIn = f.value()?;
            O::Copy {
                from: (Handle(c.fh_in), c.off_in),
                to: (Handle(c.fh_out), c.off_out),
                len: c.len,
                wide: f.opcode == op::COPY_FILE_RANGE_64,
            }
        }
        op::DESTROY => O::Destroy,
        opcode => O::Unknown { opcode },
    })
}

fn set_attr(s: &abi::SetAttrIn) -> SetAttr {
    let has = |bit| s.valid & bit != 0;
    let time = |set, now, sec, nsec| match (has(set), has(now)) {
        (_, true) => Some(SetTime::Now),
        (true, false) => Some(SetTime::To(sec, nsec)),
        (false, false) => None,
    };
    SetAttr {
        mode: has(fattr::MODE).then_some(s.mode),
        uid: has(fattr::UID).then_some(s.uid),
        gid: has(fattr::GID).then_some(s.gid),
        size: has(fattr::SIZE).then_some(s.size),
        atime: time(fattr::ATIME, fattr::ATIME_NOW, s.atime, s.atimensec),
        mtime: time(fattr::MTIME, fattr::MTIME_NOW, s.mtime, s.mtimensec),
        ctime: time(fattr::CTIME, 0, s.ctime, s.ctimensec),
        kill_set_id: has(fattr::KILL_SUIDGID),
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
