//! Tests of the journal as a whole, on a device that remembers every write.

mod abort;
mod concurrency;
mod crash;
mod medium;
mod recovery;
mod speed;
mod store;
mod workload;
mod world;
