//! Everything that waits: admission, the conversion barrier, the I/O barrier.
//!
//! All three follow one pattern: look under the lock; if the list is not empty, convert it here
//! instead of waiting for a worker (I-19); otherwise let `drive` reap a device queue; otherwise
//! sleep until the inode moves. The state is looked at again under the lock before each sleep, and
//! every change is followed by a wake-up, so none is lost; no time-out is needed.
//!
//! Nothing here may be called while holding a rank from the transaction handle up, which includes
//! being inside `publish` or `acknowledge` (I-18); debug builds check it.

use crate::complete::{deliver, splice};
use crate::converter::{Converter, Private};
use crate::inode::{InodeIo, Observer};
use crate::io_end::Admission;
use crate::machine::{Event, Intent, Outcome, Policy, Refusal, WaiterId};
use e4_sync::{Arc, may_wait_for_completion};
use std::ops::Range;

/// How a waiter makes progress itself: reap a device queue, waiting for a completion if something
/// is in flight there. Returns false if there is nothing it can do; then somebody else must be
/// reaping (a fallback reaper), and the waiter sleeps.
pub type Drive<'a> = &'a dyn Fn() -> bool;

/// For waiters that cannot reap.
pub const NO_DRIVE: Drive<'static> = &|| false;

/// Why an admission was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refused {
    /// An I/O barrier overlaps; only without waiting (I-50).
    Drained,
    /// All slots are taken; only without waiting (I-50).
    Full,
    /// The engine was aborted.
    Aborted,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Refused::Drained => "an I/O barrier holds the range",
            Refused::Full => "all slots are in use",
            Refused::Aborted => "the completion engine was aborted",
        })
    }
}

impl std::error::Error for Refused {}

impl From<Refusal> for Refused {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Drained => Refused::Drained,
            Refusal::Full => Refused::Full,
            Refusal::Aborted => Refused::Aborted,
        }
    }
}

/// What an I/O barrier does with newcomers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Drain {
    /// Holds overlapping newcomers off until the guard is dropped: truncate, punch, eviction.
    Exclusive,
    /// Waits for what was submitted before the call and holds nobody off.
    Shared,
}

/// One look at an inode.
enum Look<T> {
    Ready(T),
    NotYet,
}

/// Waits until `look` is ready, helping, driving and sleeping in between.
fn wait_until<C: Converter, T>(
    inode: &Arc<InodeIo<C>>,
    drive: Drive<'_>,
    mut help_below: impl FnMut() -> u64,
    mut look: impl FnMut(&mut crate::inode::Machine<C>) -> (Look<T>, bool),
) -> T {
    let mut driven = false;
    loop {
        let mut core = inode.lock();
        let (seen, wake) = look(&mut core.machine);
        if let Look::Ready(value) = seen {
            inode.follow_up(core, wake, false);
            return value;
        }
        if core
            .machine
            .front_ticket()
            .is_some_and(|t| t < help_below())
        {
            let mut private = Private::new();
            splice(inode, &mut core, &mut private);
            // The list may be longer than one turn; a worker that left it saw it scheduled.
            drop(core);
            deliver(inode, &mut private);
            driven = false;
        } else if driven {
            inode.sleep(&mut core);
            driven = false;
        } else {
            drop(core);
            driven = !drive();
        }
    }
}

pub(crate) fn admit<C: Converter>(
    inode: &Arc<InodeIo<C>>,
    bytes: Range<u64>,
    intent: Intent,
    policy: Policy,
    drive: Drive<'_>,
) -> Result<Admission<C>, Refused> {
    let shared = &*inode.shared;
    let stamp = shared.clock.stamp();
    let slot = match inode.feed(Event::Admit {
        range: bytes.clone(),
        intent,
        policy,
        stamp,
    }) {
        Outcome::Admitted(slot) => slot,
        Outcome::Waiting(waiter) => stand_in_line(inode, waiter, drive)?,
        Outcome::Refused(why) => return Err(why.into()),
        _ => return Err(Refused::Full),
    };
    let admission = |counted| Admission::new(Arc::clone(inode), slot, counted, bytes.clone());
    if intent != Intent::Write {
        return Ok(admission(intent));
    }
    let first = if let Some(first) = shared.gate.try_enter() {
        first
    } else if policy == Policy::Now {
        // Not counted at the gate yet: give back the slot alone.
        drop(admission(Intent::Overwrite));
        return Err(Refused::Full);
    } else {
        may_wait_for_completion();
        shared.gate.enter(drive)
    };
    if first {
        shared.clock.refresh();
    }
    Ok(admission(intent))
}

#[cold]
fn stand_in_line<C: Converter>(
    inode: &Arc<InodeIo<C>>,
    waiter: WaiterId,
    drive: Drive<'_>,
) -> Result<u32, Refused> {
    may_wait_for_completion();
    let stamp = inode.shared.clock.stamp();
    wait_until(
        inode,
        drive,
        || u64::MAX,
        |machine| {
            let actions = machine.apply(Event::PollAdmission { waiter, stamp });
            let look = match actions.out {
                Outcome::Admitted(slot) => Look::Ready(Ok(slot)),
                Outcome::Refused(why) => Look::Ready(Err(why.into())),
                _ => Look::NotYet,
            };
            (look, actions.wake)
        },
    )
}

/// See [`crate::Engine::barrier`].
pub(crate) fn barrier<C: Converter>(inode: &Arc<InodeIo<C>>) {
    may_wait_for_completion();
    let ticket = match inode.feed(Event::Barrier) {
        Outcome::Ticket(ticket) => ticket,
        _ => return,
    };
    // Nothing a device does can help: everything below the ticket has completed.
    wait_until(
        inode,
        NO_DRIVE,
        || ticket,
        |machine| {
            let passed = machine.watermark() >= ticket;
            let look = if passed {
                Look::Ready(())
            } else {
                Look::NotYet
            };
            (look, false)
        },
    );
}

/// See [`crate::Engine::drain`].
pub(crate) fn drain<C: Converter>(
    inode: &Arc<InodeIo<C>>,
    bytes: Range<u64>,
    mode: Drain,
    drive: Drive<'_>,
) -> DrainGuard<C> {
    may_wait_for_completion();
    let event = Event::Drain {
        range: bytes.clone(),
        exclusive: mode == Drain::Exclusive,
    };
    let waiter = match inode.feed(event) {
        Outcome::Waiting(waiter) => waiter,
        _ => WaiterId::MAX,
    };
    wait_until(
        inode,
        drive,
        || u64::MAX,
        |machine| {
            let out = machine.apply(Event::PollDrain(waiter)).out;
            let granted = matches!(out, Outcome::Granted);
            let look = if granted {
                Look::Ready(())
            } else {
                Look::NotYet
            };
            (look, false)
        },
    );
    DrainGuard {
        inode: Arc::clone(inode),
        waiter,
        bytes,
    }
}

/// An I/O barrier that is being held: nothing overlapping is in flight, and (if exclusive) nothing
/// overlapping is admitted until it is dropped.
#[must_use = "dropping the guard lets I/O into the range again"]
pub struct DrainGuard<C: Converter> {
    inode: Arc<InodeIo<C>>,
    waiter: WaiterId,
    bytes: Range<u64>,
}

impl<C: Converter> DrainGuard<C> {
    /// The bytes held.
    pub fn bytes(&self) -> Range<u64> {
        self.bytes.clone()
    }

    /// Admits I/O of the holder itself into the range, for instance zeros for a partial block.
    ///
    /// # Errors
    /// Only if the engine was aborted.
    pub fn admit(
        &self,
        bytes: Range<u64>,
        intent: Intent,
        drive: Drive<'_>,
    ) -> Result<Admission<C>, Refused> {
        admit(&self.inode, bytes, intent, Policy::Under, drive)
    }

    /// Fails if the inode has an error that `observer` has not learned: a truncate or punch must
    /// not go on over a damaged inode (I-35).
    ///
    /// # Errors
    /// The first such error.
    pub fn check(&self, observer: &Observer<C>) -> Result<(), C::Error> {
        observer.check()
    }
}

impl<C: Converter> Drop for DrainGuard<C> {
    fn drop(&mut self) {
        self.inode.feed(Event::EndDrain(self.waiter));
    }
}
