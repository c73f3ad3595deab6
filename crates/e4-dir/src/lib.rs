//! Directories of ext4: linear ones and those with an htree, over an abstract store of blocks.
//!
//! Architecture invariants: no I/O, no locks, no journal, no `unsafe`. An operation reads, plans,
//! appends, and only then writes: what fails before the first write has changed nothing. No bytes
//! in a block make an operation panic, loop or read more than a few times the directory's blocks.
//!
//! Where to begin: [`store`] is what a directory lives in, [`lookup`] and [`insert`] are what it is
//! for, `path` is how the htree is walked.
#![forbid(unsafe_code)]

mod context;
mod credits;
mod cursor;
mod edit;
mod error;
mod grow;
mod insert;
mod iterate;
mod lookup;
mod path;
mod record;
mod root;
mod split;
pub mod store;

pub use context::DirContext;
pub use credits::{InsertCost, credits_for_insert};
pub use cursor::Cursor;
pub use edit::{init, is_empty, remove, replace, set_dotdot};
pub use error::DirError;
pub use insert::{InsertPlan, insert, plan_insert};
pub use iterate::{Listed, Visitor, iterate};
pub use lookup::{Target, lookup};
pub use store::{Check, DirRead, DirStore, Expect};
