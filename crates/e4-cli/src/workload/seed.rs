//! Seeds: one number repeats a run's operations.

use e4_sim::Rng;

/// A seed for runs that were not given one: short enough to type again.
#[must_use]
pub fn fresh() -> u64 {
    let (a, b) = uuid::Uuid::new_v4().as_u64_pair();
    (a ^ b) & 0xFFFF_FFFF
}

/// The generator of one of several actors of a run.
#[must_use]
pub fn for_actor(seed: u64, actor: u64) -> Rng {
    Rng::new(seed).fork(actor)
}

/// What the stamps of a run carry: tells runs apart, because the data of an earlier run is stale.
#[must_use]
pub fn run_id(seed: u64) -> u32 {
    (Rng::new(seed).fork(u64::MAX).next_u64() >> 32) as u32
}
