//! A case: one schedule, one historical strategy, the programs of the actors, and whether the
//! violation must be found (negative control) or must be absent (that generation had fixed it).

use super::op::Op;
use super::world::World;

/// The generations of the algorithm, and two controls.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Strategy {
    /// 2009 to 2012: one work item per io_end, conversion under the inode lock, later by trylock.
    G0,
    /// September 2012, the V4 patch: splice to a private list, active flush, no inode lock.
    V4,
    /// Late 2012: flush, then wait for a counter.
    G2,
    /// 2013: reference-counted io_end, writeback and the direct-IO count end after conversion.
    G3,
    /// 2014 to 2026: later paths that reintroduced an old hole.
    Later,
    /// The extent is flipped before the data is written.
    FlipFirst,
    /// The rules of e4's engine, in the same toy world.
    Ours,
    /// e4's engine itself.
    Engine,
}

impl std::fmt::Display for Strategy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Strategy::G0 => "G0 (2009-2012, trylock)",
            Strategy::V4 => "V4 (Sep 2012)",
            Strategy::G2 => "G2 (late 2012, flush + counter)",
            Strategy::G3 => "G3 (2013)",
            Strategy::Later => "later (2014-2026)",
            Strategy::FlipFirst => "flip before write",
            Strategy::Ours => "e4's rules",
            Strategy::Engine => "e4",
        })
    }
}

/// One actor.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub name: &'static str,
    pub program: Vec<Op>,
}

/// What the search must say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// The violation whose text starts with this.
    Violates(&'static str),
    /// Nothing.
    Clean,
}

/// One schedule under one strategy.
#[derive(Clone, Debug)]
pub(super) struct Case {
    /// Number and name as in the invariants, "S02 drained-list-flush".
    pub schedule: &'static str,
    pub strategy: Strategy,
    /// File block of each write.
    pub targets: &'static [u8],
    /// The world at the start, for so many actors.
    pub world: fn(usize) -> World,
    pub actors: Vec<Actor>,
    /// Actors whose steps are taken first, to reach the schedule's window.
    pub prefix: &'static [usize],
    /// Who must not be kept waiting for ever, in cases about starvation.
    pub waiter: Option<usize>,
    pub verdict: Verdict,
    /// In the words of somebody who lost data.
    pub user_sees: &'static str,
}

/// Shorthand for an actor.
pub(super) fn actor(name: &'static str, program: &[Op]) -> Actor {
    Actor {
        name,
        program: program.to_vec(),
    }
}

/// One unwritten block, one write to it.
pub(super) fn one_unwritten(actors: usize) -> World {
    World::unwritten(1, 1, actors)
}

/// One written block, one write to it.
pub(super) fn one_written(actors: usize) -> World {
    World::written(1, 1, actors)
}
