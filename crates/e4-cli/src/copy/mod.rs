//! Copying trees between a host and images, and between images: what `put`, `get` and `cp` share.
//!
//! ```text
//!   thing.rs   what is copied: of the host or of an image        place.rs   where to: a directory of either
//!   driver.rs  walks the one and fills the other                 image.rs, host.rs   how either makes a file
//! ```
//!
//! Decisions:
//! - Each file appears complete or not at all, on both sides: it is written without a name (or under a name of its own) and
//!   gets its place last. A tree that is cut in the middle has the files that were finished.
//! - Names from an image are not trusted: on the host nothing is followed or entered that was not made or seen as a real
//!   directory, and a name that is no name is refused.
//! - Holes stay holes.

mod driver;
mod host;
mod image;
mod place;
mod thing;

pub use driver::{Copier, Counts};
pub use place::Place;
pub use thing::{Meta, Thing};

/// What of a thing is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Keep {
    /// Permissions exactly, set-id bits included, also on the host.
    pub mode: bool,
    /// Owner and group.
    pub owner: bool,
    /// Times of the last access and change.
    pub times: bool,
    /// Extended attributes, ACLs and capabilities among them.
    pub xattrs: bool,
    /// That several names are one file.
    pub links: bool,
}

impl Keep {
    /// What `-p` keeps.
    pub const ATTRIBUTES: Self = Self {
        mode: true,
        owner: true,
        times: true,
        xattrs: false,
        links: false,
    };
    /// What `-a` keeps.
    pub const ALL: Self = Self {
        xattrs: true,
        links: true,
        ..Self::ATTRIBUTES
    };
}

/// How to copy.
#[derive(Clone, Copy, Debug, Default)]
pub struct How {
    /// Directories and what is in them; symbolic links and special files as such.
    pub recursive: bool,
    /// What is kept.
    pub keep: Keep,
    /// What exists is left alone.
    pub if_absent: bool,
    /// What has the name is replaced whatever it is, a symbolic link itself.
    pub force: bool,
    /// Owner and group of everything in an image.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of files.
    pub mode: Option<u16>,
}
