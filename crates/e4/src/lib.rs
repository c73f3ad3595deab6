//! e4: ext4 in userspace. The filesystem and its public API.
//!
//! ```text
//!   fs.rs, node.rs, file.rs  what users hold  mount/   open, recover, unmount, what inodes share
//!   dir/              names                   inode/   inodes in memory and on disk, orphans
//!   data/             reads and writes        extent/  the one lookup, trees inside handles
//!   xattr/            extended attributes, ACLs   cache/   the page cache
//!   indirect/         block maps of ext2 and ext3 inside handles
//!   alloc/            blocks and inodes       meta.rs  verified metadata blocks
//!   surgery/          whole files at once     grow/    a larger filesystem
//! ```
//!
//! Architecture invariants: calls go down, only values come back up; metadata changes only inside a
//! journal handle; a mapping is read only through `InodeState::map`; nothing here is `unsafe`.

mod alloc;
mod cache;
mod data;
mod dir;
mod error;
mod extent;
mod file;
mod fs;
mod grow;
mod indirect;
mod inode;
mod meta;
mod mount;
mod node;
mod paths;
pub mod surgery;
mod xattr;

pub use data::context::{Ack, IoContext, IoEvent, Then};
pub use dir::DirEntryInfo;
pub use e4_completion::{Dump, PendingIoEnd, Stage};
pub use e4_device as device;
pub use e4_device::AlignedBuf;
pub use e4_format as format;
pub use e4_journal::recovery::{RecoveryEnd, RecoveryReport};
pub use error::{Error, Result};
pub use file::{FallocateMode, File, Stat};
pub use fs::{Filesystem, OpenFlags};
pub use grow::{GrowLimit, grow_limit};
pub use inode::SetAttr;
pub use mount::{ErrorPolicy, MountOptions, StatFs, Stats};
pub use node::{NewInode, Node, RenameFlags, XattrSet};
