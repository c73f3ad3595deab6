//! Tests of the journal as a whole, on a device that remembers every write.

#[cfg(not(shuttle))]
mod abort;
#[cfg(not(shuttle))]
mod concurrency;
#[cfg(not(shuttle))]
mod crash;
#[cfg(shuttle)]
mod interleavings;
mod medium;
#[cfg(not(shuttle))]
mod recovery;
#[cfg(not(shuttle))]
mod speed;
#[cfg(not(shuttle))]
mod store;
#[cfg(not(shuttle))]
mod workload;
mod world;
