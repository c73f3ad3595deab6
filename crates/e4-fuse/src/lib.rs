//! e4-fuse: an ext4 image, mounted through FUSE.
//!
//! ```text
//!   options.rs   what people write behind -o          session.rs  mount, serve, signals, the orderly end
//!   server/      requests into calls of `e4`           umount.rs   `e4 umount`: waits until the image is closed
//!   nodes.rs     inodes the kernel knows of            workers.rs  threads for requests that must wait
//!   handles.rs   open files                            attr.rs, errno.rs: values in and out
//! ```
//!
//! Decisions:
//! - The transport is ours ([`e4_fuse_transport`]); this crate decides what is asked of the kernel (`server/init.rs`).
//! - **No thread sleeps per request** for data: a read or write is started by the thread that took the request, and
//!   the reply is sent by whoever completes the I/O. What must wait for a commit (fsync) goes to a worker.
//! - Permissions are checked by the kernel (`default_permissions`, always), ACLs included; flags like immutable
//!   by `e4`; names over 255 bytes are refused here.
//! - The image is locked by the process that serves it, so nobody else changes it: the kernel may keep entries and
//!   attributes for long.
//! - Buffered I/O: the kernel's page cache with writeback stands for a page cache of our own in this
//!   version; `e4` moves data directly. fsync reaches the journal. `O_DIRECT` opens bypass the cache and
//!   write in parallel.

mod attr;
mod errno;
mod handles;
mod mountinfo;
mod nodes;
mod options;
mod server;
mod session;
mod umount;
mod workers;

pub use options::{Atime, BadOption, Options};
pub use session::{Ended, Mount, MountError};
pub use umount::{UmountError, umount};
