//! Tests of whole trees: against a per-block array, exhaustively for small files and at random for
//! large ones, with failures injected; against `e2fsck`; and for speed.

mod credits;
mod e2fsck;
mod exhaustive;
mod fill_order;
mod hostile;
mod model;
mod random;
mod schedules;
mod shift;
mod speed;
mod store;
mod zero_out;
