//! What can be wrong with an image: one variant per finding, with its place, its weight, what it means
//! and what to do about it.
//!
//! Decisions: the table in `kinds.rs` is the single source for variant, severity, message and advice.
//! A problem's place is collected from the types of its fields, so a new variant cannot forget it. The
//! checker's verdict is "clean" as long as nothing weighs [`Severity::Error`] or more: warnings are
//! states a repair would not change, or that a mount settles by itself.

mod kinds;

pub use kinds::Problem;

use core::fmt;
use e4_device::DeviceError;
use e4_format::{FileBlock, FormatError, FsBlock, GroupNo, InodeNo, Tid};

/// How bad a problem is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "lowercase"))]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// Not as it should be, but harmless, or settled by the next mount.
    Warning,
    /// Damage.
    Error,
    /// Damage that kept the check from going on.
    Fatal,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Error => "error",
            Self::Fatal => "fatal",
        })
    }
}

/// Where a problem lies, as far as that is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Location {
    /// Inode.
    pub inode: Option<InodeNo>,
    /// Physical block.
    pub block: Option<FsBlock>,
    /// Logical block of the inode.
    pub file_block: Option<FileBlock>,
    /// Group.
    pub group: Option<GroupNo>,
}

/// Adds a field of a problem to its location; the first of each type counts.
trait Place {
    fn place(&self, _: &mut Location) {}
}

impl Place for InodeNo {
    fn place(&self, to: &mut Location) {
        to.inode.get_or_insert(*self);
    }
}

impl Place for FsBlock {
    fn place(&self, to: &mut Location) {
        to.block.get_or_insert(*self);
    }
}

impl Place for FileBlock {
    fn place(&self, to: &mut Location) {
        to.file_block.get_or_insert(*self);
    }
}

impl Place for GroupNo {
    fn place(&self, to: &mut Location) {
        to.group.get_or_insert(*self);
    }
}

impl<T: Place> Place for Option<T> {
    fn place(&self, to: &mut Location) {
        if let Some(inner) = self {
            inner.place(to);
        }
    }
}

macro_rules! no_place {
    ($($ty:ty),*) => { $(impl Place for $ty {})* };
}

no_place!(
    u8,
    u16,
    u32,
    u64,
    i32,
    usize,
    &'static str,
    FormatError,
    DeviceError,
    Tid
);
no_place!(EntryName, Metadata, Type, Sum, Region);

/// The name of a directory entry, printed with escapes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EntryName(Box<[u8]>);

impl EntryName {
    /// From the bytes on disk.
    #[must_use]
    pub fn new(name: &[u8]) -> Self {
        Self(name.into())
    }

    /// The bytes on disk.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for EntryName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", String::from_utf8_lossy(&self.0))
    }
}

/// What a block of metadata is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Metadata {
    /// A superblock, a descriptor table or its reserve.
    SuperOrDescriptors,
    /// A block bitmap.
    BlockBitmap,
    /// An inode bitmap.
    InodeBitmap,
    /// An inode table.
    InodeTable,
}

impl fmt::Display for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::SuperOrDescriptors => "superblock or descriptor table",
            Self::BlockBitmap => "block bitmap",
            Self::InodeBitmap => "inode bitmap",
            Self::InodeTable => "inode table",
        })
    }
}

/// A file type, or the lack of one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Type(pub Option<e4_format::FileType>);

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use e4_format::FileType;
        f.pad(match self.0 {
            None => "no known type",
            Some(FileType::Regular) => "regular file",
            Some(FileType::Directory) => "directory",
            Some(FileType::CharDevice) => "character device",
            Some(FileType::BlockDevice) => "block device",
            Some(FileType::Fifo) => "pipe",
            Some(FileType::Socket) => "socket",
            Some(FileType::Symlink) => "symlink",
        })
    }
}

/// A checksum, printed in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Sum(pub u32);

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

/// Which block of a map is meant: the root in the inode, or a block of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Region(pub Option<FsBlock>);

impl fmt::Display for Region {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("in the inode"),
            Some(block) => write!(f, "in block {block}"),
        }
    }
}

impl fmt::Display for Problem {
    /// What is wrong, and what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.message(f)?;
        write!(f, "; {}", self.advice())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Problem {
    /// A flat record: kind, severity, place, message and advice.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct;
        struct Message<'a>(&'a Problem);
        impl fmt::Display for Message<'_> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.message(f)
            }
        }
        let place = self.location();
        let mut record = to.serialize_struct("Problem", 8)?;
        record.serialize_field("kind", self.kind())?;
        record.serialize_field("severity", &self.severity())?;
        record.serialize_field("inode", &place.inode.map(InodeNo::get))?;
        record.serialize_field("block", &place.block.map(FsBlock::get))?;
        record.serialize_field("file_block", &place.file_block.map(FileBlock::get))?;
        record.serialize_field("group", &place.group.map(GroupNo::get))?;
        record.serialize_field("message", &Message(self).to_string())?;
        record.serialize_field("advice", self.advice())?;
        record.end()
    }
}
