//! Block maps of ext2 and ext3: what maps the blocks of a file through single, double and triple indirection, as plans
//! and operations over an abstract store of indirect blocks.
//!
//! ```text
//!   lookup, walk             reading                       (read.rs)
//!   plan_insert, plan_remove what would change: a Plan, a value  (insert.rs, remove.rs)
//!   Plan::apply              all or nothing                (plan.rs)
//!   INSERT_NODES_MAX         a bound, before anything is known
//! ```
//!
//! Architecture invariant: no I/O, no locks, no journal, no clock. What a map lives in is a [`MapStore`]; the lock is
//! the caller's. The bytes of a map are `e4_format::indirect`'s.
//!
//! Decisions:
//! - A map has no unwritten state: whoever inserts blocks has written them before. So there is no conversion here, and
//!   nothing to merge or split: inserting and removing is all.
//! - An indirect block that maps nothing any more leaves the map with the pointer to it.
//! - A damaged map can point anywhere, also back at itself. The depth is fixed, so a descent always ends; what visits a
//!   whole map remembers the indirect blocks it has seen and refuses to enter one twice.
#![no_std]

extern crate alloc;

mod error;
mod insert;
mod plan;
mod read;
mod remove;
mod store;

pub use error::MapError;
pub use insert::{INSERT_NODES_MAX, insert, plan_insert};
pub use plan::Plan;
pub use read::{Run, lookup, walk};
pub use remove::{RemoveLimits, RemovePlan, plan_remove};
pub use store::{MapRead, MapStore, ROOT_LEN};
