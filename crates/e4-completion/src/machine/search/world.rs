//! The world: state, and which steps are possible in it.

use super::ghost;
use crate::machine::mutant::Mutant;
use crate::machine::{Item, State};
use std::ops::Range;

pub(super) type Machine = State<u8, u8>;

/// A write of a scenario.
#[derive(Clone, Debug)]
pub(super) struct WriteSpec {
    pub inode: usize,
    pub range: Range<u64>,
    /// One entry per device request: does it fail?
    pub requests: &'static [bool],
    pub owed: bool,
    /// Does publishing it fail?
    pub publish_fails: bool,
}

/// Where an actor is in its program.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Pc {
    Start,
    /// In line or waiting for a barrier, under this id or ticket; may look.
    Look(u64),
    /// As `Look`, but looked in vain: needs a wake-up.
    Asleep(u64),
    /// Converting what it found queued; then looks again.
    Helping(u64),
    /// Holds a slot.
    Slot(u32),
    /// Has an io_end with so many requests added.
    Adding(u32, u8),
    /// Holds a drain.
    Held(u64),
    /// Holds a drain and a slot under it.
    HeldSlot(u64, u32),
    /// A worker with this inode.
    Working(usize),
    Done,
}

/// A program.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Role {
    /// Performs write number n.
    Writer(usize),
    /// Reads or overwrites: admission only. `now`: does not wait.
    Plain {
        inode: usize,
        range: Range<u64>,
        now: bool,
    },
    /// Conversion barrier, then a check of its observer (twice).
    Barrier { inode: usize },
    /// I/O barrier, exclusive or shared; `under`: does I/O of its own under it.
    Drain {
        inode: usize,
        range: Range<u64>,
        exclusive: bool,
        under: bool,
    },
    /// Drains ready inodes for ever.
    Worker,
    /// Aborts an inode.
    Abort { inode: usize },
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Actor {
    pub role: Role,
    pub pc: Pc,
    /// Error cursor of its observer.
    pub cursor: u64,
    /// For a barrier: the writes that had completed when it was called (bit set).
    pub owes: u16,
}

/// Who runs a private list, to be resumed afterwards.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Owner {
    Completer,
    Actor(usize),
}

/// How far a private list is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Phase {
    Publish,
    Record,
    Deliver,
    Settle,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Drainer {
    pub inode: usize,
    pub items: Vec<Item<u8, u8>>,
    pub phase: Phase,
    pub owner: Owner,
}

/// A request at the device.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub(super) struct Request {
    pub write: usize,
    pub slot: u32,
    pub fails: bool,
}

/// Static part, shared by all states of a search.
#[derive(Clone, Debug)]
pub(super) struct Scenario {
    pub name: &'static str,
    pub writes: Vec<WriteSpec>,
    pub roles: Vec<Role>,
    /// Slots per inode.
    pub limit: u32,
    /// Items per turn of a drainer.
    pub turn: usize,
    /// May completions be taken in by contexts that may (not) deliver?
    pub inline: bool,
    pub collect: bool,
}

#[derive(Clone)]
pub(super) struct World {
    pub scenario: std::rc::Rc<Scenario>,
    pub inodes: [Machine; 2],
    pub ready: Vec<usize>,
    pub requests: Vec<Request>,
    pub drainers: Vec<Drainer>,
    pub actors: Vec<Actor>,
    pub writes: Vec<ghost::Write>,
    pub ghosts: [ghost::Inode; 2],
}

impl std::hash::Hash for World {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        self.inodes.hash(h);
        self.ready.hash(h);
        self.requests.hash(h);
        self.drainers.hash(h);
        self.actors.hash(h);
        self.writes.hash(h);
        self.ghosts.hash(h);
    }
}

/// One possible step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// Request number n completes; `inline`: in a context that may deliver.
    Complete { request: usize, inline: bool },
    /// Drainer number n does its next phase.
    Drain(usize),
    /// Actor number n takes its next step.
    Act(usize),
}

impl World {
    pub(super) fn new(scenario: Scenario, mutant: Mutant) -> World {
        let mut machine = Machine::new(scenario.limit);
        machine.mutant = mutant;
        let actor = |role: &Role| Actor {
            role: role.clone(),
            pc: Pc::Start,
            cursor: 0,
            owes: 0,
        };
        World {
            inodes: [machine.clone(), machine],
            ready: Vec::new(),
            requests: Vec::new(),
            drainers: Vec::new(),
            actors: scenario.roles.iter().map(actor).collect(),
            writes: vec![ghost::Write::default(); scenario.writes.len()],
            ghosts: [ghost::Inode::default(); 2],
            scenario: std::rc::Rc::new(scenario),
        }
    }

    /// Every step possible now.
    pub(super) fn choices(&self) -> Vec<Step> {
        let mut out = Vec::new();
        for request in 0..self.requests.len() {
            for inline in [true, false] {
                if inline && self.scenario.inline || !inline && self.scenario.collect {
                    out.push(Step::Complete { request, inline });
                }
            }
        }
        out.extend((0..self.drainers.len()).map(Step::Drain));
        for (n, actor) in self.actors.iter().enumerate() {
            let can = match (&actor.role, &actor.pc) {
                (_, Pc::Done | Pc::Asleep(_) | Pc::Helping(_)) => false,
                (Role::Worker, Pc::Working(_)) => false,
                (Role::Worker, _) => !self.ready.is_empty(),
                _ => true,
            };
            if can {
                out.push(Step::Act(n));
            }
        }
        out
    }
}
