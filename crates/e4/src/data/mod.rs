//! The data path: `admit -> map (or allocate) -> charge -> begin -> submit`, and back through the
//! reaper and the engine.
//!
//! ```text
//!   write.rs, read.rs   build requests from a mapping       context.rs   what the caller holds
//!   pump.rs             who polls the device                inflight.rs  completions into the engine
//!   converter.rs        publish                             record.rs    the extent tree, in a handle
//!   charge.rs           what recording may cost             zero_out.rs  when there is no space for it
//!   fallocate.rs, truncate.rs, punch.rs, zero.rs, shift.rs  sync.rs      fsync, O_DSYNC, sync
//!                                                           seek.rs      SEEK_DATA, SEEK_HOLE, extents
//! ```

pub(crate) mod charge;
pub(crate) mod context;
pub(crate) mod converter;
mod fallocate;
pub(crate) mod inflight;
pub(crate) mod pump;
mod punch;
mod read;
pub(crate) mod record;
mod seek;
pub(crate) mod shift;
mod slab;
pub(crate) mod sync;
pub(crate) mod truncate;
pub(crate) mod write;
mod zero;
mod zero_out;

pub(crate) use fallocate::insert_credits;
