//! What can go wrong, one variant per place it is noticed, and the one table to errno.
//!
//! Decisions: an error carries data (path, inode, block), never text made elsewhere. Everything is
//! `Clone`, because one failure may have several observers (I-35). The errno is derived here only,
//! at the edge.

use e4_device::DeviceError;
use e4_dir::DirError;
use e4_format::{ByteOffset, FileBlock, FormatError, FsBlock, InodeNo};
use e4_journal::JournalError;
use e4_sync::Arc;

/// The result of a filesystem operation.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// An error of the filesystem.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A structure of the image cannot be what it claims to be.
    #[error("{image}: {source}")]
    Format {
        /// The image.
        image: String,
        /// Which structure, and why.
        #[source]
        source: FormatError,
    },
    /// A metadata block of an inode failed verification.
    #[error("{image}: inode {ino}, block {block}: {source}")]
    InodeBlock {
        /// The image.
        image: Arc<str>,
        /// The inode the block belongs to.
        ino: InodeNo,
        /// The physical block.
        block: FsBlock,
        /// Which check failed.
        #[source]
        source: FormatError,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The journal or the metadata cache failed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// An extent tree contradicts itself.
    #[error("{image}: inode {ino}: extent tree is damaged near file block {near}: {what}")]
    ExtentTree {
        /// The image.
        image: Arc<str>,
        /// The inode.
        ino: InodeNo,
        /// Where.
        near: FileBlock,
        /// Which rule is broken.
        what: &'static str,
    },
    /// A block map (of ext2 and ext3) contradicts itself.
    #[error("{image}: inode {ino}: block map is damaged near file block {near}: {what}")]
    BlockMap {
        /// The image.
        image: Arc<str>,
        /// The inode.
        ino: InodeNo,
        /// Where.
        near: FileBlock,
        /// Which rule is broken.
        what: &'static str,
    },
    /// The allocator's structures contradict each other.
    #[error("{image}: group {group}: {what}")]
    Group {
        /// The image.
        image: Arc<str>,
        /// The block group.
        group: u32,
        /// Which rule is broken.
        what: &'static str,
    },
    /// A directory is damaged, or cannot take a name.
    #[error("{image}: directory inode {ino}: {source}")]
    Directory {
        /// The image.
        image: Arc<str>,
        /// The directory.
        ino: InodeNo,
        /// Which rule is broken, and where.
        #[source]
        source: DirError,
    },
    /// A directory has a hole.
    #[error("{image}: directory inode {ino}: block {block} is not mapped")]
    DirectoryHole {
        /// The image.
        image: Arc<str>,
        /// The directory.
        ino: InodeNo,
        /// Logical block.
        block: FileBlock,
    },
    /// An inode number that cannot exist, or an inode that is not in use.
    #[error("{image}: inode {ino} {what}")]
    BadInode {
        /// The image.
        image: Arc<str>,
        /// The raw number.
        ino: u32,
        /// Why it is refused.
        what: &'static str,
    },
    /// The image is smaller than its superblock says.
    #[error("{image}: truncated: the superblock says {expected} bytes, the image has {found}")]
    Truncated {
        /// The image.
        image: String,
        /// Size by the superblock.
        expected: u64,
        /// Size of the device.
        found: u64,
    },
    /// The journal inode cannot serve as a journal.
    #[error("{image}: the journal (inode {ino}) is unusable: {what}")]
    BadJournalInode {
        /// The image.
        image: String,
        /// Its number.
        ino: u32,
        /// Why.
        what: &'static str,
    },
    /// No such file or directory.
    #[error("{path}: no such file or directory")]
    NotFound {
        /// The path as given.
        path: String,
    },
    /// A component that must be a directory is not one.
    #[error("{path}: not a directory")]
    NotADirectory {
        /// The path as given.
        path: String,
    },
    /// The operation wants something other than a directory.
    #[error("{path}: is a directory")]
    IsADirectory {
        /// The path as given.
        path: String,
    },
    /// The operation wants a regular file.
    #[error("{path}: not a regular file")]
    NotARegularFile {
        /// The path as given.
        path: String,
    },
    /// The name exists already.
    #[error("{path}: file exists")]
    Exists {
        /// The path as given.
        path: String,
    },
    /// The directory still has names.
    #[error("{path}: directory not empty")]
    NotEmpty {
        /// The path or name as given.
        path: String,
    },
    /// The inode has as many links as the format can count.
    #[error("{image}: inode {ino} has {links} links, no more can be counted")]
    TooManyLinks {
        /// The image.
        image: Arc<str>,
        /// The inode.
        ino: InodeNo,
        /// How many it has.
        links: u16,
    },
    /// The inode is immutable or append-only (`chattr +i`, `+a`).
    #[error("{image}: inode {ino} is {flag}: operation not permitted")]
    NotPermitted {
        /// The image.
        image: Arc<str>,
        /// The inode.
        ino: InodeNo,
        /// Which flag forbids it.
        flag: &'static str,
    },
    /// There is no inode of this number (any more).
    #[error("{image}: there is no inode {ino}")]
    Stale {
        /// The image.
        image: Arc<str>,
        /// The number.
        ino: u32,
    },
    /// No extended attribute of this name.
    #[error("no extended attribute {name}")]
    NoAttribute {
        /// The full name.
        name: String,
    },
    /// The extended attribute exists already.
    #[error("the extended attribute {name} exists already")]
    AttributeExists {
        /// The full name.
        name: String,
    },
    /// A name of an extended attribute with an unknown prefix, or none.
    #[error("extended attribute {name}: no such namespace")]
    AttributeNamespace {
        /// The full name.
        name: String,
    },
    /// A default ACL for something that is no directory.
    #[error("inode {ino} is no directory and cannot have a default ACL")]
    NoDefaultAcl {
        /// The inode.
        ino: InodeNo,
    },
    /// A name of an extended attribute over 255 bytes.
    #[error("the name of an extended attribute has {len} bytes, more than 255")]
    AttributeName {
        /// Bytes.
        len: usize,
    },
    /// A value of an extended attribute that is larger than any filesystem takes.
    #[error("the value of an extended attribute has {len} bytes, more than 65536")]
    AttributeTooBig {
        /// Bytes.
        len: usize,
    },
    /// A name over 255 bytes.
    #[error("name of {len} bytes is longer than 255")]
    NameTooLong {
        /// Bytes.
        len: usize,
    },
    /// Too many symbolic links on the way.
    #[error("{path}: too many levels of symbolic links")]
    SymlinkLoop {
        /// The path as given.
        path: String,
    },
    /// No free block or inode.
    #[error("{image}: no space left ({what})")]
    NoSpace {
        /// The image.
        image: Arc<str>,
        /// `blocks`, `inodes`, `metadata blocks`, `directory index`.
        what: &'static str,
    },
    /// The range does not fit a file of this filesystem.
    #[error("byte range {at}+{len} exceeds the largest file of this filesystem")]
    FileTooBig {
        /// First byte.
        at: ByteOffset,
        /// Bytes.
        len: u64,
    },
    /// A search for data or holes that begins behind the end of file.
    #[error("byte {at} is not before the end of file, {size}")]
    BehindEnd {
        /// Where the search began.
        at: ByteOffset,
        /// Size of the file in bytes.
        size: u64,
    },
    /// An argument that makes no sense.
    #[error("invalid argument: {what}")]
    Invalid {
        /// Which one.
        what: &'static str,
    },
    /// The filesystem cannot have that size.
    #[error("{image}: cannot have {wanted} blocks, at most {most}: {why}")]
    CannotGrow {
        /// The image.
        image: Arc<str>,
        /// Blocks asked for.
        wanted: u64,
        /// Blocks it can have.
        most: u64,
        /// What keeps it from having more.
        why: String,
    },
    /// The filesystem is mounted read-only.
    #[error("{image} is read-only: {why}")]
    ReadOnly {
        /// The image.
        image: Arc<str>,
        /// Why, with the feature named where one is the cause.
        why: String,
    },
    /// Something this version does not do.
    #[error("{image}: not supported yet: {what}")]
    Unsupported {
        /// The image.
        image: Arc<str>,
        /// What.
        what: String,
    },
    /// Somebody else has changed what was to be replaced.
    #[error("{path}: was changed meanwhile")]
    ChangedMeanwhile {
        /// The path or name as given.
        path: String,
    },
    /// What was to be stored could not be read from where it comes from.
    #[error("reading what was to be stored: {source}")]
    Source {
        /// The reader's error.
        #[source]
        source: Arc<std::io::Error>,
    },
    /// The caller's progress function said to stop.
    #[error("stopped as asked")]
    Cancelled,
    /// The operation would have to wait, and was asked not to.
    #[error("would block")]
    WouldBlock,
    /// Unmounted already.
    #[error("the filesystem is closed")]
    Closed,
}

impl Error {
    /// The error number a system call would give.
    #[must_use]
    pub fn errno(&self) -> i32 {
        // The values of Linux on every architecture it shares them on.
        const EPERM: i32 = 1;
        const ENOENT: i32 = 2;
        const EIO: i32 = 5;
        const ENXIO: i32 = 6;
        const E2BIG: i32 = 7;
        const EAGAIN: i32 = 11;
        const EACCES: i32 = 13;
        const EBUSY: i32 = 16;
        const EEXIST: i32 = 17;
        const ENOTDIR: i32 = 20;
        const EISDIR: i32 = 21;
        const EINVAL: i32 = 22;
        const EFBIG: i32 = 27;
        const ENOSPC: i32 = 28;
        const EROFS: i32 = 30;
        const EMLINK: i32 = 31;
        const ERANGE: i32 = 34;
        const ENAMETOOLONG: i32 = 36;
        const ENOTEMPTY: i32 = 39;
        const ELOOP: i32 = 40;
        const ENODATA: i32 = 61;
        const EOPNOTSUPP: i32 = 95;
        const ESTALE: i32 = 116;
        const ECANCELED: i32 = 125;
        const EUCLEAN: i32 = 117;
        match self {
            Self::Format { .. }
            | Self::InodeBlock { .. }
            | Self::ExtentTree { .. }
            | Self::BlockMap { .. }
            | Self::Group { .. }
            | Self::Directory { .. }
            | Self::DirectoryHole { .. }
            | Self::BadInode { .. }
            | Self::Truncated { .. }
            | Self::BadJournalInode { .. } => EUCLEAN,
            Self::Device(DeviceError::ReadOnly { .. }) => EROFS,
            Self::Device(DeviceError::Locked { .. }) => EBUSY,
            Self::Device(DeviceError::Io { errno, .. } | DeviceError::Open { errno, .. }) => *errno,
            Self::Device(_) | Self::Journal(_) | Self::Closed => EIO,
            Self::NotFound { .. } => ENOENT,
            Self::NotADirectory { .. } => ENOTDIR,
            Self::IsADirectory { .. } => EISDIR,
            Self::Exists { .. } | Self::AttributeExists { .. } => EEXIST,
            Self::NotEmpty { .. } => ENOTEMPTY,
            Self::TooManyLinks { .. } => EMLINK,
            Self::NotPermitted { .. } => EPERM,
            Self::Stale { .. } | Self::ChangedMeanwhile { .. } => ESTALE,
            Self::Source { source } => source.raw_os_error().unwrap_or(EIO),
            Self::Cancelled => ECANCELED,
            Self::NoAttribute { .. } => ENODATA,
            Self::NoDefaultAcl { .. } => EACCES,
            Self::AttributeNamespace { .. } => EOPNOTSUPP,
            Self::AttributeName { .. } => ERANGE,
            Self::AttributeTooBig { .. } => E2BIG,
            Self::NameTooLong { .. } => ENAMETOOLONG,
            Self::SymlinkLoop { .. } => ELOOP,
            Self::NoSpace { .. } => ENOSPC,
            Self::FileTooBig { .. } | Self::CannotGrow { .. } => EFBIG,
            Self::BehindEnd { .. } => ENXIO,
            Self::Invalid { .. } | Self::NotARegularFile { .. } => EINVAL,
            Self::ReadOnly { .. } => EROFS,
            Self::Unsupported { .. } => EOPNOTSUPP,
            Self::WouldBlock => EAGAIN,
        }
    }
}

/// An error as the engine keeps it: one pointer, because every io_end carries room for one through
/// every stage, and one failure may have several observers (I-35).
#[derive(Clone, Debug)]
pub(crate) struct Sticky(Arc<Error>);

impl From<Error> for Sticky {
    fn from(error: Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<Sticky> for Error {
    fn from(error: Sticky) -> Self {
        Arc::unwrap_or_clone(error.0)
    }
}
