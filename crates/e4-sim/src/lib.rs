//! The lab: a deterministic disk, every state a power cut can leave it in, and an oracle that judges them.
//!
//! - [`SimDisk`]: a [`e4_device::Device`] that records every write and flush, completes requests in a
//!   seeded order or when the test lets it, fails on demand, and was never blank: unwritten
//!   blocks hold [`poison`], so that a stale read is recognised whatever it is mixed with.
//! - [`Log`]: what happened, from which [`CrashPoint`]s and [`CrashImage`]s are enumerated.
//! - [`Tag`] and [`History`]: the crash oracle (2.I of the invariants): what a block may contain, given
//!   what was submitted, acknowledged and acknowledged durable.
//! - [`Rng`]: everything random in a test comes from one seed.
//!
//! - [`explore`]: the above applied to the whole filesystem: a workload, the power cut everywhere, every state
//!   judged.
//!
//! Nothing but [`explore`] depends on the filesystem, so without that feature every crate below it can use the
//! disk in its tests.

mod crash;
mod disk;
#[cfg(feature = "explore")]
pub mod explore;
mod fill;
mod history;
mod image;
mod log;
pub mod race;
mod rng;
mod tag;

pub use crash::{Bound, CrashImage, CrashPoint, PointKind, States};
pub use disk::{Delivery, Effect, Fault, Held, OpKind, SimDisk, SimOptions, SimStats, Times, When};
pub use fill::{Fill, find_poison, is_poison, poison};
pub use history::{Atomicity, Generation, History, HistoryView, SyncMark, Violation};
pub use log::{Clock, Event, Log, Payload, WriteRecord};
pub use rng::Rng;
pub use tag::{SECTOR, SectorVerdict, Tag, TagVerdict};
