//! Exhaustive breadth-first search over the machine.
//!
//! A [`world::World`] is two machines, a ready list, the requests at the device, the drainers with
//! their private lists, and a few actors (writers, readers, barriers, drains, evictions, workers),
//! each a small program whose steps are exactly the critical sections of the shell. The search
//! visits every interleaving of the steps, checks every invariant in every state
//! ([`check`]), and demands that every path ends with everybody done: a state without a step in
//! which somebody is not done is a deadlock or a lost wake-up. Sleeping is modelled: a waiter that
//! looked in vain takes no step until the machine says `wake`.
//!
//! The same scenarios run over planted bugs ([`super::mutant`]); each must be found.

mod bfs;
mod check;
mod ghost;
mod scenarios;
mod steps;
mod world;
