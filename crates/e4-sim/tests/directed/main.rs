//! Directed schedules on the whole filesystem: one thread, a simulated disk that keeps a write in flight just as long as
//! nobody waits for it, and questions asked inside the windows in which e4 must have waited. What random workloads meet
//! too rarely to rely on is met here every time, in milliseconds.
//!
//! A new planted bug that no other checker finds at once gets its schedule here.

mod accounts;
#[path = "../errors/world.rs"]
#[allow(dead_code, reason = "shared with the error tests")]
mod world;

mod contents;
mod in_flight;
