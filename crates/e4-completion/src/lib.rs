//! e4-completion: the completed-IO engine. Knows nothing of ext4, devices or journals.
//!
//! It turns "the device answered" into "the data is readable, the caller was told, the barriers
//! may pass", in that order, exactly once, whoever does the work. The filesystem plugs in through
//! one small port, [`Converter`]; the reaper feeds device completions in through
//! [`Engine::complete_batch`].
//!
//! ```text
//!   admit ----> begin ----> add_request*, submitted         [Admission, IoEnd: submitter's handles]
//!                               |
//!   device ------------> request_done / complete_batch      [RequestRef: one per device request]
//!                               | last put: classify (the only decision)
//!                               v
//!                     COMPLETED  per-inode FIFO, ticket
//!                               | splice by: the completing context, a barrier or drain that
//!                               |            waits, or a worker (run_ready)
//!                               v
//!                     CONVERTING   Converter::publish      (Convert only)
//!                               |
//!                     CONVERTED    Converter::acknowledge  exactly once
//!                               |
//!                     watermark moves, slot is free, waiters look again
//! ```
//!
//! # Why each situation is safe
//!
//! - **A drainer holds the former contents of the list** (S02, S03). A barrier does not look at
//!   the list. It takes the next ticket and waits until the watermark, the oldest ticket not yet
//!   *acknowledged*, has passed it. What another thread drained keeps its ticket until then.
//! - **Nobody drains** (no worker, pool exhausted: I-19). Barriers, drains and waiting admissions
//!   splice and deliver what is queued themselves; they need no worker.
//! - **The device has not answered** (S07, S14). A slot exists from admission to acknowledgement,
//!   for reads and overwrites as well, and [`Engine::drain`] waits for every overlapping slot.
//! - **Submitters never stop** (S09). A drain stands in the same line as admissions; whoever comes
//!   later and overlaps waits behind it, and is let in before the drain after that.
//! - **The first request completes before the second is submitted** (I-38). The submitter holds a
//!   reference of its own until it lets go with [`IoEnd::submitted`].
//! - **The inode goes away** (S22, S23). Every handle owns an [`Arc`](e4_sync::Arc) of it; eviction
//!   drains first.
//! - **A write fails** (S19, S21, S24). `classify` is asked once; a failed io_end is never handed
//!   to `publish`. The error enters the inode's log in the same critical section, so whoever looks
//!   later learns it, each observer once, whoever converted.
//! - **A handle is dropped** (a panic, an early return). A request reference that disappears counts
//!   as failed; an io_end that was never submitted simply ends.
//! - **A conversion calls back into the engine**. `publish` and `acknowledge` run with no engine
//!   lock held but under a rank token of the transaction handle: waiting for a completion, taking
//!   an outer lock or opening a handle inside them is caught in debug builds (I-17, I-18).
//!
//! # Cost
//!
//! A pure overwrite or a read takes two short critical sections (admit, release) and nothing else:
//! no allocation, no io_end, no queue (I-53). A converting single-request write takes five, and
//! allocates nothing once the inode's slab has grown to its depth.
//!
//! # Beside the engine
//!
//! [`Overlay`] is the set of published-but-unrecorded blocks of one inode and [`PublishEpoch`] the
//! two-parity gate that tells a commit that everything published before it is known.

mod clock;
mod complete;
mod converter;
mod dump;
mod engine;
mod epoch;
mod gate;
mod inode;
mod io_end;
mod limits;
#[allow(
    unreachable_pub,
    reason = "the machine is complete in itself; the crate re-exports a part"
)]
mod machine;
mod overlay;
mod ready;
mod segments;
pub mod sync_point;
mod wait;

pub use converter::{Batch, Conversion, Converter, SizeUpdate};
pub use dump::{Dump, InodeDump, PendingIoEnd};
pub use engine::Engine;
pub use epoch::{Parity, PublishEpoch, Publisher};
pub use inode::{InodeIo, InodeKey, Observer};
pub use io_end::{Admission, IoEnd, RequestRef, Whole};
pub use limits::Limits;
pub use machine::{Class, Intent, Stage};
pub use overlay::{Overlay, OverlayPublisher, Planes, Span};
pub use segments::Segments;
pub use wait::{Drain, DrainGuard, Drive, NO_DRIVE, Refused};
