//! Faults on demand: which operation, when, how often, and what happens instead.
//!
//! Every armed fault counts the operations it could concern; the first armed one that fires wins.

use core::ops::Range;

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OpKind {
    /// Queued and synchronous reads.
    Read,
    /// Queued and synchronous writes.
    Write,
    /// Queued and synchronous flushes.
    Flush,
}

/// Which operations of the kind are hit.
#[derive(Clone, Debug)]
pub enum When {
    /// All.
    Always,
    /// The nth executed from now on, counted from 1 (with [`Times::Forever`]: and all later ones).
    Nth(u64),
    /// Those that touch this byte range of the device.
    Touching(Range<u64>),
}

/// What happens instead of the operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing is transferred; the error is reported.
    Fail {
        /// The host's error number (5 is EIO).
        errno: i32,
    },
    /// The first bytes are transferred, then the error is reported.
    Partial {
        /// Bytes transferred.
        bytes: u64,
        /// The host's error number.
        errno: i32,
    },
    /// Success is reported, but: a write is not stored, a flush makes nothing durable, a read
    /// returns garbage. For showing that the oracle notices.
    Lie,
}

/// How often a fault fires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// Transient.
    Once,
    /// This many times.
    Count(u64),
    /// Sticky.
    Forever,
}

/// A planned fault.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Which kind of operation.
    pub op: OpKind,
    /// Which of them.
    pub when: When,
    /// What happens.
    pub effect: Effect,
    /// How often.
    pub times: Times,
}

impl Fault {
    /// The nth operation of a kind fails once with EIO.
    #[must_use]
    pub fn nth(op: OpKind, n: u64) -> Fault {
        Fault {
            op,
            when: When::Nth(n),
            effect: Effect::Fail { errno: 5 },
            times: Times::Once,
        }
    }

    /// Every operation of a kind on a byte range fails with EIO.
    #[must_use]
    pub fn range(op: OpKind, range: Range<u64>) -> Fault {
        Fault {
            op,
            when: When::Touching(range),
            effect: Effect::Fail { errno: 5 },
            times: Times::Forever,
        }
    }
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Plan {
    armed: Vec<Armed>,
}

struct Armed {
    fault: Fault,
    /// Operations of the kind seen since it was armed.
    seen: u64,
    fired: u64,
}

impl Plan {
    pub(super) fn arm(&mut self, fault: Fault) {
        self.armed.push(Armed {
            fault,
            seen: 0,
            fired: 0,
        });
    }

    pub(super) fn clear(&mut self) {
        self.armed.clear();
    }

    /// The effect on the operation that is executed now.
    pub(super) fn strike(&mut self, op: OpKind, range: &Range<u64>) -> Option<Effect> {
        let mut effect = None;
        for armed in self.armed.iter_mut().filter(|a| a.fault.op == op) {
            armed.seen += 1;
            let hit = match &armed.fault.when {
                When::Always => true,
                When::Nth(n) => armed.seen >= *n,
                When::Touching(r) => r.start < range.end && range.start < r.end,
            };
            let limit = match armed.fault.times {
                Times::Once => 1,
                Times::Count(n) => n,
                Times::Forever => u64::MAX,
            };
            if hit && armed.fired < limit && effect.is_none() {
                armed.fired += 1;
                effect = Some(armed.fault.effect);
            }
        }
        effect
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strikes(fault: Fault, ranges: &[Range<u64>]) -> Vec<bool> {
        let mut plan = Plan::default();
        let op = fault.op;
        plan.arm(fault);
        ranges
            .iter()
            .map(|r| plan.strike(op, r).is_some())
            .collect()
    }

    #[test]
    fn nth_and_range_and_times() {
        let ops = vec![0..512; 5];
        let mut fault = Fault::nth(OpKind::Write, 3);
        assert_eq!(
            strikes(fault.clone(), &ops),
            [false, false, true, false, false]
        );
        fault.times = Times::Forever;
        assert_eq!(
            strikes(fault.clone(), &ops),
            [false, false, true, true, true]
        );
        fault.times = Times::Count(2);
        assert_eq!(strikes(fault, &ops), [false, false, true, true, false]);
        let fault = Fault::range(OpKind::Read, 1000..2000);
        let ranges = [0..1000, 0..1001, 1999..3000, 2000..3000];
        assert_eq!(strikes(fault, &ranges), [false, true, true, false]);
    }

    #[test]
    fn other_kinds_are_not_counted() {
        let mut plan = Plan::default();
        plan.arm(Fault::nth(OpKind::Flush, 2));
        assert_eq!(plan.strike(OpKind::Flush, &(0..0)), None);
        assert_eq!(plan.strike(OpKind::Write, &(0..512)), None);
        assert!(plan.strike(OpKind::Flush, &(0..0)).is_some());
        plan.arm(Fault::nth(OpKind::Flush, 1));
        plan.clear();
        assert_eq!(plan.strike(OpKind::Flush, &(0..0)), None);
    }
}
