//! What can go wrong, one variant per place.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

/// Why an export or a comparison stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// Reading the image failed.
    #[error("{path}: {source}")]
    Image {
        /// Path in the image.
        path: String,
        /// The filesystem's error.
        #[source]
        source: e4::Error,
    },
    /// A directory can be reached on two paths: the image is damaged, and a walk might not end.
    #[error("{path}: directory inode {ino} has a second name; the image is damaged")]
    DirectoryTwice {
        /// The second path.
        path: String,
        /// The directory.
        ino: u32,
    },
    /// A name that no file can have.
    #[error("{dir}: the name {name:?} {why}; the image is damaged")]
    Name {
        /// The directory.
        dir: String,
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An inode that is neither file nor directory nor anything else.
    #[error("{path}: inode {ino} is of no known type; the image is damaged")]
    Kind {
        /// Path in the image.
        path: String,
        /// The inode.
        ino: u32,
    },
    /// A stored access control list cannot be understood.
    #[error("{path}: access control list: {why}")]
    Acl {
        /// Path in the image.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A name that means a deletion in a layer, and so cannot be in one.
    #[error("{path}: names that begin with .wh. cannot be in a layer")]
    Whiteout {
        /// Path in the image.
        path: String,
    },
    /// The archive could not be written.
    #[error("writing the archive: {0}")]
    Output(#[source] io::Error),
    /// The host refused something that must not be left out.
    #[error("{}: {what}: {source}", path.display())]
    Host {
        /// Path on the host.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// The host's error.
        #[source]
        source: io::Error,
    },
    /// The destination has something in it already.
    #[error("{}: is not empty", path.display())]
    NotEmpty {
        /// The destination.
        path: PathBuf,
    },
    /// The caller stopped it.
    #[error("stopped")]
    Cancelled,
}

/// A path or name for messages.
pub(crate) fn show(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    let text: Cow<'_, str> = if text.is_empty() { "/".into() } else { text };
    text.into_owned()
}

/// Adds the path to an error of the filesystem.
pub(crate) fn at(path: &[u8]) -> impl Fn(e4::Error) -> ExportError + '_ {
    move |source| ExportError::Image {
        path: show(path),
        source,
    }
}
