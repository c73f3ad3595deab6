//! Extent trees: what maps the blocks of a file, as plans and operations over an abstract store of
//! nodes.
//!
//! ```text
//!   lookup, next_extent, iterate            reading          (read.rs)
//!   plan_insert / _convert / _remove / _unwrite / _shift_*    what would change: a Plan, a value
//!        touched.rs   loads the nodes concerned
//!        entries.rs   computes new lists of extents          (no tree in sight)
//!        rebuild.rs   splits, merges, drops nodes level by level
//!   Plan::credits                           what the journal must grant, exactly
//!   Plan::apply                             all or nothing   (plan.rs)
//!   insert, convert, remove                 plan and apply in one
//!   plan_zero_out                           when no node can be had
//!   ConvertCharge, credits_for_*            bounds, before anything is known (credits.rs)
//!   verify                                  everything that must hold in a tree
//! ```
//!
//! Architecture invariant: no I/O, no locks, no journal, no clock. What a tree lives in is a
//! [`NodeStore`]; the tree lock is the caller's.
//!
//! Invariants: I-2, I-3, I-4 (entries.rs), I-5 (plan.rs, zero_out.rs), I-7 (convert.rs), S17 (credits.rs).
#![no_std]

extern crate alloc;

mod convert;
mod credits;
mod entries;
mod error;
mod insert;
mod node;
mod pack;
mod plan;
mod range;
mod read;
mod rebuild;
mod remove;
mod shift;
mod store;
mod touched;
mod unwrite;
mod verify;
mod zero_out;

pub use convert::{ConvertOptions, ConvertPlan, convert, plan_convert, plan_convert_tight};
pub use credits::{
    ConvertCharge, Credits, Rooms, Shape, credits_for_insert, credits_for_remove, credits_for_shift,
};
pub use entries::Converted;
pub use error::{Damage, TreeError};
pub use insert::{insert, plan_insert};
pub use plan::Plan;
pub use range::{ConvertRange, FileRange};
pub use read::{Extents, Mapping, depth, iterate, lookup, next_extent, path};
pub use remove::{RemoveLimits, RemovePlan, Removed, plan_remove, remove};
pub use shift::{
    ShiftLimits, ShiftPlan, plan_shift_left, plan_shift_right, shift_left, shift_right,
};
pub use store::{NodeRead, NodeStore, ROOT_LEN};
pub use unwrite::{UnwriteLimits, UnwritePlan, plan_unwrite, unwrite};
pub use verify::{Census, verify};
pub use zero_out::{ZeroOut, ZeroRange, plan_zero_out};

/// Pure list operations, for those who test or reuse them without a tree.
pub mod list {
    pub use crate::entries::{
        Place, continues, plan_convert, plan_insert, plan_remove, plan_unwrite,
    };
}
