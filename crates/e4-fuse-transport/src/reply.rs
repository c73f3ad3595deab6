//! Replies: values that answer one request, once, from any thread.
//!
//! Decisions:
//! - One system call per reply (`writev`), by whoever has the answer; no thread is woken for it.
//! - A reply goes through the descriptor its request came through: with cloned descriptors the kernel looks for
//!   the request only there.
//! - A reply that is dropped answers `EIO`: nobody in the kernel waits for ever for a server's mistake.

use core::time::Duration;
use std::io::IoSlice;
use std::os::fd::OwnedFd;

use e4_sync::Arc;
use rustix::io::Errno;
use zerocopy::{Immutable, IntoBytes};

use crate::abi::{self, Attr};
use crate::dirents::{Listing, ListingPlus};
use crate::flags::OpenReply;
use crate::request::{Handle, NodeId};

/// What the kernel is told of a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// 0: there is no such name; remembered for `name_valid`.
    pub node: u64,
    /// Tells apart inodes that had the same number.
    pub generation: u64,
    /// The inode's attributes.
    pub attr: Attr,
    /// How long the name may be remembered.
    pub name_valid: Duration,
    /// How long the attributes may be remembered.
    pub attr_valid: Duration,
}

impl Entry {
    pub(crate) fn out(&self) -> abi::EntryOut {
        abi::EntryOut {
            nodeid: self.node,
            generation: self.generation,
            entry_valid: self.name_valid.as_secs(),
            attr_valid: self.attr_valid.as_secs(),
            entry_valid_nsec: self.name_valid.subsec_nanos(),
            attr_valid_nsec: self.attr_valid.subsec_nanos(),
            attr: self.attr,
        }
    }

    /// The inode it stands for.
    #[must_use]
    pub fn node(&self) -> NodeId {
        NodeId(self.node)
    }
}

/// Totals of a filesystem, in blocks of `block_size` bytes.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the fields of statvfs(3)")]
pub struct StatFs {
    pub blocks: u64,
    pub free: u64,
    pub available: u64,
    pub files: u64,
    pub free_files: u64,
    pub block_size: u32,
    pub name_max: u32,
}

/// Where the answer to a request goes.
#[derive(Debug)]
pub struct Reply {
    to: Arc<OwnedFd>,
    /// 0: answered, or nothing is expected.
    unique: u64,
}

impl Reply {
    pub(crate) fn new(to: &Arc<OwnedFd>, unique: u64) -> Self {
        Self {
            to: Arc::clone(to),
            unique,
        }
    }

    fn send(&mut self, errno: Option<Errno>, parts: [&[u8]; 2]) {
        let unique = core::mem::take(&mut self.unique);
        if unique == 0 {
            return;
        }
        send(
            &self.to,
            unique,
            errno.map_or(0, |e| -e.raw_os_error()),
            parts,
        );
    }

    fn value(mut self, value: &(impl IntoBytes + Immutable)) {
        self.send(None, [value.as_bytes(), &[]]);
    }

    /// It failed.
    pub fn error(mut self, errno: Errno) {
        self.send(Some(errno), [&[], &[]]);
    }

    /// Done; there is nothing more to say.
    pub fn ok(mut self) {
        self.send(None, [&[], &[]]);
    }

    /// No answer is expected (to a FORGET).
    pub fn nothing(mut self) {
        self.unique = 0;
    }

    /// Bytes: data read, a link's target, an attribute's value, a list of names.
    pub fn bytes(mut self, bytes: &[u8]) {
        self.send(None, [bytes, &[]]);
    }

    /// A name.
    pub fn entry(self, entry: &Entry) {
        self.value(&entry.out());
    }

    /// Attributes.
    pub fn attr(self, attr: &Attr, valid: Duration) {
        self.value(&abi::AttrOut {
            attr_valid: valid.as_secs(),
            attr_valid_nsec: valid.subsec_nanos(),
            dummy: 0,
            attr: *attr,
        });
    }

    /// Attributes with the time of birth, as seconds and nanoseconds.
    pub fn statx(self, attr: &Attr, (born, born_nsec): (i64, u32), valid: Duration) {
        self.value(&statx(attr, (born, born_nsec), valid));
    }

    /// An open file or directory.
    pub fn opened(self, handle: Handle, how: OpenReply) {
        self.value(&opened(handle, how));
    }

    /// A name with an open file.
    pub fn created(self, entry: &Entry, handle: Handle, how: OpenReply) {
        self.value(&abi::CreateOut {
            entry: entry.out(),
            open: opened(handle, how),
        });
    }

    /// So many bytes were written.
    pub fn written(self, size: u32) {
        self.value(&abi::WriteOut { size, padding: 0 });
    }

    /// So many bytes were copied; `wide` as in the request.
    pub fn copied(self, bytes: u64, wide: bool) {
        if wide {
            self.value(&abi::CopyOut {
                bytes_copied: bytes,
            });
        } else {
            self.written(u32::try_from(bytes).unwrap_or(u32::MAX));
        }
    }

    /// Totals.
    pub fn statfs(self, s: &StatFs) {
        self.value(&abi::StatfsOut {
            blocks: s.blocks,
            bfree: s.free,
            bavail: s.available,
            files: s.files,
            ffree: s.free_files,
            bsize: s.block_size,
            namelen: s.name_max,
            frsize: s.block_size,
            ..abi::StatfsOut::default()
        });
    }

    /// An attribute's value, or a list of attributes: its size if `room` is 0, else itself if it fits.
    pub fn sized(self, room: u32, value: &[u8]) {
        let size = u32::try_from(value.len()).unwrap_or(u32::MAX);
        if room == 0 {
            self.value(&abi::XattrSizeOut { size, padding: 0 });
        } else if size <= room {
            self.bytes(value);
        } else {
            self.error(Errno::RANGE);
        }
    }

    /// What an ioctl hands out.
    pub fn ioctl(mut self, out: &[u8]) {
        self.send(None, [abi::IoctlOut::default().as_bytes(), out]);
    }

    /// A position.
    pub fn offset(self, offset: u64) {
        self.value(&abi::LseekOut { offset });
    }

    /// A listing.
    pub fn listing(self, listing: &Listing) {
        self.bytes(listing.bytes());
    }

    /// A listing with attributes.
    pub fn listing_plus(self, listing: &ListingPlus) {
        self.bytes(listing.bytes());
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if self.unique != 0 {
            tracing::error!(unique = self.unique, "a request was dropped unanswered");
            self.send(Some(Errno::IO), [&[], &[]]);
        }
    }
}

fn opened(handle: Handle, how: OpenReply) -> abi::OpenOut {
    abi::OpenOut {
        fh: handle.0,
        open_flags: how.bits(),
        padding: 0,
    }
}

/// `STATX_BASIC_STATS | STATX_BTIME`.
const STATX_MASK: u32 = 0x7ff | 0x800;

#[allow(clippy::cast_possible_truncation, reason = "a mode has 16 bits")]
fn statx(a: &Attr, born: (i64, u32), valid: Duration) -> abi::StatxOut {
    let time = |sec, nsec| abi::SxTime {
        sec,
        nsec,
        reserved: 0,
    };
    abi::StatxOut {
        attr_valid: valid.as_secs(),
        attr_valid_nsec: valid.subsec_nanos(),
        mask: STATX_MASK,
        blksize: a.blksize,
        nlink: a.nlink,
        uid: a.uid,
        gid: a.gid,
        mode: a.mode as u16,
        ino: a.ino,
        size: a.size,
        blocks: a.blocks,
        atime: time(a.atime, a.atimensec),
        btime: time(born.0, born.1),
        ctime: time(a.ctime, a.ctimensec),
        mtime: time(a.mtime, a.mtimensec),
        rdev_major: (a.rdev >> 8) & 0xfff,
        rdev_minor: (a.rdev & 0xff) | ((a.rdev >> 12) & 0xf_ff00),
        ..abi::StatxOut::default()
    }
}

/// Writes one message into the device.
pub(crate) fn send(to: &OwnedFd, unique: u64, error: i32, parts: [&[u8]; 2]) {
    let len = size_of::<abi::OutHeader>() + parts[0].len() + parts[1].len();
    let header = abi::OutHeader {
        len: u32::try_from(len).unwrap_or(u32::MAX),
        error,
        unique,
    };
    let slices = [
        IoSlice::new(header.as_bytes()),
        IoSlice::new(parts[0]),
        IoSlice::new(parts[1]),
    ];
    let used = if parts[1].is_empty() { 2 } else { 3 };
    let sent = rustix::io::retry_on_intr(|| rustix::io::writev(to, &slices[..used]));
    match sent {
        Ok(_) => {}
        // Whoever asked was interrupted, or the connection has ended.
        Err(Errno::NOENT | Errno::NODEV | Errno::CONNABORTED) => {}
        Err(error) => {
            tracing::error!(%error, unique, len, "a reply was refused");
            if len > size_of::<abi::OutHeader>() {
                // Refused for its form: the request still waits.
                send(to, unique, -Errno::IO.raw_os_error(), [&[], &[]]);
            }
        }
    }
}
