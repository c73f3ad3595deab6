//! Why an image was not built: one variant per place that refuses, naming the file or entry at fault.

use e4_device::DeviceError;
use e4_format::FormatError;
use e4_mkfs::MkfsError;
use std::io;

/// A refusal to build. Paths are as in the image, shown lossily where they are no UTF-8.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The host refused something.
    #[error("{path}: {what}: {source}")]
    Host {
        /// File or directory of the host.
        path: String,
        /// What was being done.
        what: &'static str,
        /// Its answer.
        source: io::Error,
    },
    /// A file is shorter, longer or newer than when it was looked at.
    #[error("{path}: changed while the image was being built")]
    Changed {
        /// File of the host.
        path: String,
    },
    /// A name that no directory can hold.
    #[error("{path:?}: {why}")]
    Name {
        /// The whole path.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A path leads out of the image.
    #[error("{path:?}: leads out of the image by '..'")]
    Traversal {
        /// The path.
        path: String,
    },
    /// A path runs through something that is no directory.
    #[error("{path:?}: {part:?} is not a directory")]
    NotADirectory {
        /// The path.
        path: String,
        /// The component that is none.
        part: String,
    },
    /// Symbolic links that lead round and round.
    #[error("{path:?}: too many symbolic links in the path")]
    SymlinkLoop {
        /// The path.
        path: String,
    },
    /// A hard link to nothing.
    #[error("{path:?}: hard link to {target:?}, which is not there")]
    LinkTarget {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// A hard link to a directory.
    #[error("{path:?}: hard link to the directory {target:?}")]
    LinkToDirectory {
        /// The link.
        path: String,
        /// What it names.
        target: String,
    },
    /// More links than an inode can count.
    #[error("{path:?} has {links} hard links; ext4 counts at most 65000")]
    TooManyLinks {
        /// One of its names.
        path: String,
        /// How many.
        links: u32,
    },
    /// More inodes than the caller allows, or the format can number.
    #[error("more than {limit} files")]
    TooManyFiles {
        /// The limit.
        limit: u32,
    },
    /// A symbolic link's target is empty or does not fit into a block.
    #[error("{path:?}: symbolic link of {len} bytes; from 1 to {max} are possible")]
    SymlinkLength {
        /// The link.
        path: String,
        /// Length of its target.
        len: usize,
        /// The most that fits.
        max: usize,
    },
    /// A file longer than the block size can address.
    #[error("{path:?}: {size} bytes are more than a file can have with this block size")]
    FileTooLarge {
        /// The file.
        path: String,
        /// Its size.
        size: u64,
    },
    /// Attributes that fit neither into the inode nor into one block.
    #[error("{path:?}: {bytes} bytes of extended attributes do not fit into inode and one block")]
    XattrsTooLarge {
        /// The file.
        path: String,
        /// Their size.
        bytes: usize,
    },
    /// An attribute whose name has no encoding.
    #[error("{path:?}: attribute {name:?} has no place in ext4")]
    XattrName {
        /// The file.
        path: String,
        /// The attribute.
        name: String,
    },
    /// An access control list that makes no sense.
    #[error("{path:?}: the access control list makes no sense: {why}")]
    Acl {
        /// The file.
        path: String,
        /// What is wrong.
        why: &'static str,
    },
    /// A device number beyond what an inode holds.
    #[error("{path:?}: device {major}:{minor} has no encoding")]
    DeviceNumber {
        /// The device node.
        path: String,
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// An archive that is none, is damaged, or asks for what is refused.
    #[error("byte {at} of the archive: {why}")]
    Archive {
        /// What is wrong.
        why: &'static str,
        /// Where the member begins.
        at: u64,
    },
    /// An OCI layout that is none, is damaged, or is ambiguous.
    #[error("{path}: {why}")]
    Oci {
        /// The layout.
        path: String,
        /// What is wrong.
        why: String,
    },
    /// The features asked for cannot hold what is built.
    #[error("features (-O): an image is built only with extent and filetype")]
    Features,
    /// The size given is too small.
    #[error("{needed} bytes of content do not fit into an image of {size} bytes")]
    NoRoom {
        /// Bytes of blocks the content needs.
        needed: u64,
        /// Size given.
        size: u64,
    },
    /// No size was found that holds the content.
    #[error("no image size was found for {needed} bytes of content with these parameters")]
    NoSize {
        /// Bytes of blocks the content needs.
        needed: u64,
    },
    /// A pattern that is no glob.
    #[error("exclude pattern {pattern:?}: {why}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        why: String,
    },
    /// The caller stopped it.
    #[error("cancelled")]
    Cancelled,
    /// The formatter's.
    #[error(transparent)]
    Mkfs(#[from] MkfsError),
    /// The device's.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A structure that was computed cannot be encoded: a bug.
    #[error("{what}: {source}")]
    Format {
        /// Which structure.
        what: &'static str,
        /// Why not.
        source: FormatError,
    },
}

impl BuildError {
    pub(crate) fn host(path: &std::path::Path, what: &'static str, source: io::Error) -> Self {
        Self::Host {
            path: path.display().to_string(),
            what,
            source,
        }
    }
}

/// A path of the image for a message.
pub(crate) fn show(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}
