//! e4-fuse-transport: the protocol of `/dev/fuse`.
//!
//! ```text
//!   mount.rs    mount(2) or fusermount3 -> a device       session.rs  reads messages, threads, notifications
//!   abi.rs      the structures, as they travel            init.rs     what is agreed at the beginning
//!   request.rs  messages into values                      reply.rs, dirents.rs  answers
//! ```
//!
//! Knows nothing of ext4: a [`Serve`] answers [`Request`]s through [`Reply`]s, from any thread, in any order.
//!
//! Why our own: aligned payloads, replies without a hand-over, times before 1970, birth times, `O_TMPFILE`, and
//! capabilities (`HANDLE_KILLPRIV_V2`, `SETXATTR_EXT`) that crates at hand do not carry.
//!
//! Invariants: every request is answered exactly once ([`Reply`] sees to it); no message, however formed, makes
//! this crate panic (`request_tests.rs`).

mod abi;
mod dirents;
mod flags;
mod init;
mod mount;
mod reply;
mod request;
mod session;

pub use abi::Attr;
pub use dirents::{Full, Listing, ListingPlus};
pub use flags::{Capabilities, OpenReply};
pub use init::{Agreed, Wishes};
pub use mount::{MountPlan, mount, unmount};
pub use reply::{Entry, Reply, StatFs};
pub use request::{
    Caller, Forgotten, Handle, Malformed, NodeId, Operation, Payload, Request, SetAttr, SetTime,
    Write,
};
/// Error numbers.
pub use rustix::io::Errno;
pub use session::{Notifier, Serve, ServeError, Session};
