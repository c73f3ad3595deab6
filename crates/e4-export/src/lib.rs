//! Trees of images as archives, as directories of the host, and compared with each other.
//!
//! ```text
//!   walk.rs      every name below a directory, in path order       facts.rs   what is known of one name
//!   archive.rs   a tar writer: ustar with pax records              acl.rs     ACLs as archives write them
//!   tar.rs       a tree as an archive                              host.rs    a tree as a directory
//!   diff.rs      what differs between two trees                    layer.rs   the difference as an OCI layer
//!   contents.rs  data, holes, and whether two files hold the same
//! ```
//!
//! Decisions:
//! - Only the public API of `e4` is used, on filesystems mounted to be read: nothing here can change an image.
//! - Output is a function of the tree alone: names in order of their bytes, no clock, no user, no host.
//! - Unwritten ranges read as zeros and are exported as holes. An empty `/lost+found` is left out: every filesystem has one.
//!
//! Hostile images: a directory that is reached twice, a name that is none and two equal names are errors, so every walk
//! ends; whatever an image says, only the archive, or what is below the destination, is written.

mod acl;
mod archive;
mod contents;
mod diff;
mod error;
mod facts;
mod host;
mod layer;
mod tar;
mod walk;

pub use archive::{Archive, Member, MemberKind};
pub use contents::data_ranges;
pub use diff::{Change, ChangeKind, DiffOptions, Difference, What, diff};
pub use error::ExportError;
pub use facts::{Facts, Xattr};
pub use host::{HostOptions, to_directory};
pub use layer::write_layer;
pub use tar::to_tar;
pub use walk::{Descend, Item, Step, walk};

use core::ops::ControlFlow;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Progress {
    /// Names dealt with.
    pub names: u64,
    /// Bytes of contents read, of both sides when comparing.
    pub bytes: u64,
}

/// What was exported.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Names, hard links included.
    pub names: u64,
    /// Bytes of contents copied, without holes.
    pub bytes: u64,
    /// What the destination could not take, for people: each is a name and a reason. Only the first thousand.
    pub lost: Vec<String>,
    /// How much that was.
    pub lost_count: u64,
}

impl Report {
    pub(crate) fn lose_because(&mut self, what: String) {
        self.lost_count += 1;
        if self.lost.len() < 1000 {
            self.lost.push(what);
        }
    }
}

/// Hears of progress between names and chunks; may stop what is going on.
pub type Watch<'a> = &'a mut dyn FnMut(Progress) -> ControlFlow<()>;

/// Counts progress and asks whether to go on.
pub(crate) struct Meter<'a> {
    pub(crate) so_far: Progress,
    watch: Watch<'a>,
}

impl<'a> Meter<'a> {
    pub(crate) fn new(watch: Watch<'a>) -> Self {
        Self {
            so_far: Progress::default(),
            watch,
        }
    }

    pub(crate) fn name(&mut self) -> Result<(), ExportError> {
        self.so_far.names += 1;
        self.tell()
    }

    pub(crate) fn bytes(&mut self, n: usize) -> Result<(), ExportError> {
        self.so_far.bytes += n as u64;
        self.tell()
    }

    fn tell(&mut self) -> Result<(), ExportError> {
        match (self.watch)(self.so_far) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(ExportError::Cancelled),
        }
    }
}
