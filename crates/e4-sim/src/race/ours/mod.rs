//! The real engine, led through the named schedules.
//!
//! A [`Lab`] is an engine over a toy file whose blocks have owners, and gates in the engine's two
//! callbacks. A schedule parks a drainer at a gate, lets the other actor run until it is asleep in
//! the engine or done, and checks what it may have done by then. Violations of ownership, order and
//! visibility are noted wherever they happen.

mod errors;
mod lab;
mod life;
mod stuck;
mod truncate;
mod window;

#[cfg(test)]
pub(super) use lab::{Actor, Gate, Note, Port};
pub(super) use lab::{Lab, Place};

/// What a schedule's function returns: `Err` says what broke.
pub(super) type Outcome = Result<(), String>;

/// One schedule of e4's engine.
pub struct EngineSchedule {
    /// Number and name.
    pub name: &'static str,
    script: fn(&Lab) -> Outcome,
}

impl EngineSchedule {
    /// Number and name, "S02 drained-list-flush".
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Runs it on a fresh engine.
    ///
    /// # Errors
    /// What broke.
    pub fn run(&self) -> Outcome {
        let lab = Lab::new();
        (self.script)(&lab)?;
        lab.at_rest()
    }
}

impl std::fmt::Debug for EngineSchedule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn schedule(name: &'static str, script: fn(&Lab) -> Outcome) -> EngineSchedule {
    EngineSchedule { name, script }
}

static ALL: &[EngineSchedule] = &[
    schedule("S01 trylock-livelock", window::s01),
    schedule("S02 drained-list-flush", window::s02),
    schedule("S03 fsync-vs-drained-list", window::s03),
    schedule("S04 early-end-writeback", window::s04),
    schedule("S05 direct-read-in-window", window::s05),
    schedule("S06 buffered-read-after-reclaim", window::s06),
    schedule("S07 submitted-not-covered", window::s07),
    schedule("S08 count-dropped-early", window::s08),
    schedule("S09 endless-wait", window::s09),
    schedule("S10 cross-inode-head-of-line", window::s10),
    schedule("S11 aio-before-conversion", window::s11),
    schedule("S12 dioread-vs-truncate", truncate::s12),
    schedule("S13 nojournal-truncate-skips-wait", window::s07),
    schedule("S14 overwrite-vs-truncate", truncate::s14),
    schedule("S15 defrag-vs-unlocked-read", truncate::s12),
    schedule("S16 fallocate-grows-pending-extent", truncate::s16),
    schedule("S18 unaligned-overlap", truncate::s18),
    schedule("S19 convert-after-failed-write", errors::s19),
    schedule("S20 aio-ok-conversion-failed", errors::s20),
    schedule("S21 worker-swallows-error", errors::s21),
    schedule("S22 queued-work-owns-io-end", life::s22),
    schedule("S23 work-outlives-inode", life::s23),
    schedule("S24 two-defer-predicates", life::s24),
    schedule("S25 clobbered-io-end-pointer", life::s25),
    schedule("S26 counter-without-flag", life::s26),
    schedule("S27 empty-io-end", life::s27),
    schedule("S28 narrow-offset", life::s28),
    schedule("S30 reserved-behind-unreserved", life::s30),
    schedule("S32 unbounded-drain", life::s32),
    schedule("S33 osync-append-size", errors::s33),
    schedule("S34 size-after-invalidate", errors::s33),
    schedule("S37 written-before-data", errors::s37),
    schedule("S44 flip-before-write", errors::s37),
];

pub(super) fn all() -> &'static [EngineSchedule] {
    ALL
}

/// `Err(what)` unless `holds`.
pub(super) fn ensure(holds: bool, what: &str) -> Outcome {
    if holds { Ok(()) } else { Err(what.to_owned()) }
}
