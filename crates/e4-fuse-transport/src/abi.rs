//! The structures of the protocol, version 7, as they travel through `/dev/fuse`.
//!
//! Facts from the kernel's interface header, which may be used under the two-clause BSD licence; written down anew
//! for what e4 needs. Native byte order, every structure a multiple of 8 bytes. Only this crate sees them.
//!
//! Decision: structures are copied out of a message, never referred to in place; so messages need no alignment.

#![allow(
    missing_docs,
    reason = "the fields of the interface, by the interface's names"
)]

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

pub(crate) const MAJOR: u32 = 7;
/// The newest minor version whose requests are known here.
pub(crate) const MINOR: u32 = 45;
/// The oldest one: from here on the structures below have the sizes they have (Linux 5.4).
pub(crate) const OLDEST_MINOR: u32 = 31;

/// Opcodes.
#[rustfmt::skip]
pub(crate) mod op {
    pub(crate) const LOOKUP: u32 = 1;       pub(crate) const FORGET: u32 = 2;
    pub(crate) const GETATTR: u32 = 3;      pub(crate) const SETATTR: u32 = 4;
    pub(crate) const READLINK: u32 = 5;     pub(crate) const SYMLINK: u32 = 6;
    pub(crate) const MKNOD: u32 = 8;        pub(crate) const MKDIR: u32 = 9;
    pub(crate) const UNLINK: u32 = 10;      pub(crate) const RMDIR: u32 = 11;
    pub(crate) const RENAME: u32 = 12;      pub(crate) const LINK: u32 = 13;
    pub(crate) const OPEN: u32 = 14;        pub(crate) const READ: u32 = 15;
    pub(crate) const WRITE: u32 = 16;       pub(crate) const STATFS: u32 = 17;
    pub(crate) const RELEASE: u32 = 18;     pub(crate) const FSYNC: u32 = 20;
    pub(crate) const SETXATTR: u32 = 21;    pub(crate) const GETXATTR: u32 = 22;
    pub(crate) const LISTXATTR: u32 = 23;   pub(crate) const REMOVEXATTR: u32 = 24;
    pub(crate) const FLUSH: u32 = 25;       pub(crate) const INIT: u32 = 26;
    pub(crate) const OPENDIR: u32 = 27;     pub(crate) const READDIR: u32 = 28;
    pub(crate) const RELEASEDIR: u32 = 29;  pub(crate) const FSYNCDIR: u32 = 30;
    pub(crate) const CREATE: u32 = 35;
    pub(crate) const INTERRUPT: u32 = 36;   pub(crate) const DESTROY: u32 = 38;
    pub(crate) const IOCTL: u32 = 39;       pub(crate) const BATCH_FORGET: u32 = 42;
    pub(crate) const FALLOCATE: u32 = 43;   pub(crate) const READDIRPLUS: u32 = 44;
    pub(crate) const RENAME2: u32 = 45;     pub(crate) const LSEEK: u32 = 46;
    pub(crate) const COPY_FILE_RANGE: u32 = 47;
    pub(crate) const SYNCFS: u32 = 50;      pub(crate) const TMPFILE: u32 = 51;
    pub(crate) const STATX: u32 = 52;       pub(crate) const COPY_FILE_RANGE_64: u32 = 53;
}

/// Which fields of [`SetAttrIn`] are to be set.
#[rustfmt::skip]
pub(crate) mod fattr {
    pub(crate) const MODE: u32 = 1;         pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;     pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;   pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const CTIME: u32 = 1 << 10;  pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

pub(crate) const FSYNC_FDATASYNC: u32 = 1;
pub(crate) const OPEN_KILL_SUIDGID: u32 = 1;
pub(crate) const WRITE_CACHE: u32 = 1;
pub(crate) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
pub(crate) const SETXATTR_ACL_KILL_SGID: u32 = 1;
pub(crate) const NOTIFY_INVAL_INODE: i32 = 2;

macro_rules! requests {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Copy, Debug, FromBytes, KnownLayout, Immutable)]
        #[cfg_attr(test, derive(IntoBytes))]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }
    )*};
}

macro_rules! replies {
    ($($name:ident { $($field:ident: $type:ty,)* })*) => {$(
        #[derive(Clone, Copy, Debug, Default, IntoBytes, KnownLayout, Immutable)]
        #[repr(C)]
        pub(crate) struct $name { $(pub(crate) $field: $type,)* }
    )*};
}

requests! {
    InHeader {
        len: u32, opcode: u32, unique: u64, nodeid: u64, uid: u32, gid: u32, pid: u32,
        // In units of 8 bytes; the extensions stand at the end of the message.
        total_extlen: u16, padding: u16,
    }
    InitIn { major: u32, minor: u32, max_readahead: u32, flags: u32, }
    ForgetIn { nlookup: u64, }
    BatchForgetIn { count: u32, dummy: u32, }
    GetAttrIn { getattr_flags: u32, dummy: u32, fh: u64, }
    StatxIn { getattr_flags: u32, reserved: u32, fh: u64, sx_flags: u32, sx_mask: u32, }
    SetAttrIn {
        valid: u32, padding: u32, fh: u64, size: u64, lock_owner: u64,
        atime: i64, mtime: i64, ctime: i64, atimensec: u32, mtimensec: u32, ctimensec: u32,
        mode: u32, unused4: u32, uid: u32, gid: u32, unused5: u32,
    }
    MknodIn { mode: u32, rdev: u32, umask: u32, padding: u32, }
    MkdirIn { mode: u32, umask: u32, }
    RenameIn { newdir: u64, }
    Rename2In { newdir: u64, flags: u32, padding: u32, }
    LinkIn { oldnodeid: u64, }
    OpenIn { flags: u32, open_flags: u32, }
    CreateIn { flags: u32, mode: u32, umask: u32, open_flags: u32, }
    ReadIn { fh: u64, offset: u64, size: u32, read_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    WriteIn { fh: u64, offset: u64, size: u32, write_flags: u32, lock_owner: u64, flags: u32, padding: u32, }
    ReleaseIn { fh: u64, flags: u32, release_flags: u32, lock_owner: u64, }
    FsyncIn { fh: u64, fsync_flags: u32, padding: u32, }
    SetXattrIn { size: u32, flags: u32, }
    SetXattrExtIn { setxattr_flags: u32, padding: u32, }
    GetXattrIn { size: u32, padding: u32, }
    IoctlIn { fh: u64, flags: u32, cmd: u32, arg: u64, in_size: u32, out_size: u32, }
    FallocateIn { fh: u64, offset: u64, length: u64, mode: u32, padding: u32, }
    LseekIn { fh: u64, offset: u64, whence: u32, padding: u32, }
    CopyFileRangeIn { fh_in: u64, off_in: u64, nodeid_out: u64, fh_out: u64, off_out: u64, len: u64, flags: u64, }
}

replies! {
    OutHeader { len: u32, error: i32, unique: u64, }
    InitOut {
        major: u32, minor: u32, max_readahead: u32, flags: u32, max_background: u16, congestion_threshold: u16,
        max_write: u32, time_gran: u32, max_pages: u16, map_alignment: u16, flags2: u32, max_stack_depth: u32,
        request_timeout: u16, unused: [u16; 11],
    }
    AttrOut { attr_valid: u64, attr_valid_nsec: u32, dummy: u32, attr: Attr, }
    EntryOut {
        nodeid: u64, generation: u64, entry_valid: u64, attr_valid: u64,
        entry_valid_nsec: u32, attr_valid_nsec: u32, attr: Attr,
    }
    OpenOut { fh: u64, open_flags: u32, padding: u32, }
    CreateOut { entry: EntryOut, open: OpenOut, }
    WriteOut { size: u32, padding: u32, }
    CopyOut { bytes_copied: u64, }
    StatfsOut {
        blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64,
        bsize: u32, namelen: u32, frsize: u32, padding: u32, spare: [u32; 6],
    }
    XattrSizeOut { size: u32, padding: u32, }
    IoctlOut { result: i32, flags: u32, in_iovs: u32, out_iovs: u32, }
    LseekOut { offset: u64, }
    Dirent { ino: u64, off: u64, namelen: u32, kind: u32, }
    SxTime { sec: i64, nsec: u32, reserved: i32, }
    StatxOut {
        attr_valid: u64, attr_valid_nsec: u32, flags: u32, spare: [u64; 2],
        mask: u32, blksize: u32, attributes: u64, nlink: u32, uid: u32, gid: u32, mode: u16, spare0: u16,
        ino: u64, size: u64, blocks: u64, attributes_mask: u64,
        atime: SxTime, btime: SxTime, ctime: SxTime, mtime: SxTime,
        rdev_major: u32, rdev_minor: u32, dev_major: u32, dev_minor: u32, spare2: [u64; 14],
    }
    InvalInodeOut { ino: u64, off: i64, len: i64, }
}

/// Attributes of an inode: `stat` as the kernel takes it. Times may lie before 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, IntoBytes, KnownLayout, Immutable)]
#[repr(C)]
pub struct Attr {
    /// The number `stat` shows.
    pub ino: u64,
    /// Bytes.
    pub size: u64,
    /// 512-byte sectors.
    pub blocks: u64,
    /// Seconds since 1970.
    pub atime: i64,
    pub mtime: i64,
    pub ctime: i64,
    /// Below 1,000,000,000.
    pub atimensec: u32,
    pub mtimensec: u32,
    pub ctimensec: u32,
    /// File type and permission bits.
    pub mode: u32,
    pub nlink: u32,
    pub uid: u32,
    pub gid: u32,
    /// As Linux numbers devices: minor in bits 0-7 and 20-31, major in bits 8-19.
    pub rdev: u32,
    /// Bytes.
    pub blksize: u32,
    /// None of ours.
    pub flags: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::mem::size_of;

    #[test]
    fn sizes_are_those_of_the_interface() {
        assert_eq!((size_of::<InHeader>(), size_of::<OutHeader>()), (40, 16));
        assert_eq!((size_of::<InitOut>(), size_of::<Attr>()), (64, 88));
        assert_eq!((size_of::<EntryOut>(), size_of::<AttrOut>()), (128, 104));
        assert_eq!((size_of::<CreateOut>(), size_of::<StatfsOut>()), (144, 80));
        assert_eq!((size_of::<SetAttrIn>(), size_of::<WriteIn>()), (88, 40));
        assert_eq!((size_of::<ReadIn>(), size_of::<IoctlIn>()), (40, 32));
        assert_eq!(
            (size_of::<StatxIn>(), size_of::<StatxOut>()),
            (24, 32 + 256)
        );
        assert_eq!(
            (size_of::<CopyFileRangeIn>(), size_of::<Dirent>()),
            (56, 24)
        );
    }
}
