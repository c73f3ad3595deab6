//! The pure machine: everything the engine decides about one inode, as a value.
//!
//! `apply(&mut State, Event) -> Actions` takes no lock, reads no clock, calls nobody and does not
//! depend on addresses; the shell ([`crate::Engine`]) wraps one state per inode in a small lock,
//! feeds it events and carries out the actions. The same function is searched exhaustively by the
//! tests of [`mod@search`], with two inodes, failures, barriers, drains and eviction, and with
//! planted bugs that the search must find.
//!
//! ```text
//!               Admit                    Begin        Submitted       last RequestDone
//!   (line) ---> ADMITTED --------------> BEGUN -----> SUBMITTED -------+--> classify
//!     ^            | Release                                           |
//!     |            v                                    +--------------+-----------+
//!   waits while   free                                  | Finish       | Convert   | Fail
//!   an earlier     ^                                    | (inline)     v           v error is sticky
//!   drain holds    |                                    |          COMPLETED (FIFO, ticket)
//!   the range or   |                                    |              | Splice
//!   slots are full |  Acknowledged                      v              v
//!                  +------------------------------- CONVERTED <--- CONVERTING (Convert only)
//!                       watermark moves                  Converted(result)
//! ```
//!
//! The properties the tests check in every reachable state:
//! - I-10: an io_end is in one stage; converted at most once, acknowledged exactly once.
//! - I-11: a non-empty list means that a drainer is scheduled (`scheduled`) or a drainer that has
//!   not yet left will look again.
//! - I-13: `watermark() >= ticket` means everything completed before the ticket was taken is
//!   converted or failed, *and acknowledged*, whoever drained it.
//! - I-14, I-15: a granted drain has no overlapping slot in flight and none is admitted under it.
//! - I-32, I-35: a failed write is never handed out for conversion; its error is in the log from
//!   the moment of classification.
//! - I-38: the submitter's reference keeps `pending` above zero until `Submitted`.
//! - I-42: no counter goes below zero; at quiescence all are zero.

mod classify;
mod errors;
mod line;
mod slots;

#[cfg(test)]
mod mutant;
#[cfg(all(test, not(any(loom, shuttle))))]
mod search;

pub use classify::{Class, classify};
pub use errors::ErrorLog;
pub use line::{WaiterId, overlaps};
pub use slots::{Slot, Slots, Stage};

use line::{Line, Waiter, WaiterKind};
use std::ops::Range;

/// What an admission is for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Intent {
    /// A read: counted, so that blocks are not freed under it (S12, S15). Never becomes an io_end.
    Read,
    /// A write into written blocks: counted before the inode lock is dropped (S14), and nothing
    /// else (I-53). Never becomes an io_end.
    Overwrite,
    /// A write that may need an io_end; takes one of the engine's slots.
    Write,
}

/// How an admission deals with having to wait.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Policy {
    /// Stand in line.
    Wait,
    /// Refuse instead (I-50).
    Now,
    /// As `Wait`, by the owner of a held drain: range conflicts do not apply.
    Under,
}

/// Why an admission was refused.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Refusal {
    /// An exclusive drain overlaps.
    Drained,
    /// No slot is free.
    Full,
    /// The engine was aborted, and it is no read.
    Aborted,
}

/// Marks a completed io_end that never took a ticket (released inline).
pub const NO_TICKET: u64 = u64::MAX;

/// Everything that can happen to one inode.
#[derive(Clone, Debug)]
pub enum Event<P, E> {
    /// Somebody wants to start I/O on a range.
    Admit {
        range: Range<u64>,
        intent: Intent,
        policy: Policy,
        stamp: u64,
    },
    /// A waiting admission looks again.
    PollAdmission { waiter: WaiterId, stamp: u64 },
    /// An admission without an io_end is over.
    Release(u32),
    /// An admission becomes an io_end; the submitter holds the first reference.
    Begin { slot: u32, stamp: u64 },
    /// One more device request belongs to the io_end.
    AddRequest(u32),
    /// The submitter lets go. `inline` as in `RequestDone`.
    Submitted {
        slot: u32,
        payload: P,
        owed: bool,
        error: Option<E>,
        inline: bool,
        stamp: u64,
    },
    /// As `Begin`, `AddRequest`, `Submitted` in one: the common single-request write.
    SubmittedWhole {
        slot: u32,
        payload: P,
        owed: bool,
        stamp: u64,
    },
    /// One device request is over. `inline`: the caller will splice and deliver itself, under the
    /// same lock; otherwise it may only collect.
    RequestDone {
        slot: u32,
        error: Option<E>,
        inline: bool,
        stamp: u64,
    },
    /// A drainer takes the front of the completed list.
    Splice { stamp: u64 },
    /// The drainer published an item, or failed to.
    Converted {
        slot: u32,
        error: Option<E>,
        stamp: u64,
    },
    /// The item was delivered.
    Acknowledged(u32),
    /// A drainer or collector stops looking at the list. `scheduled`: it came from the ready list.
    Leave { scheduled: bool },
    /// A conversion barrier wants its ticket.
    Barrier,
    /// An I/O barrier arrives.
    Drain { range: Range<u64>, exclusive: bool },
    /// An I/O barrier looks again.
    PollDrain(WaiterId),
    /// An I/O barrier ends.
    EndDrain(WaiterId),
    /// An observer checks for errors.
    Learn { cursor: u64 },
    /// Nothing can become durable any more: fail what is still to complete, refuse newcomers.
    Abort(E),
}

/// An item handed to a drainer.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Item<P, E> {
    /// The slot, still in use.
    pub slot: u32,
    /// The io_end.
    pub id: u64,
    /// The admitted bytes.
    pub range: Range<u64>,
    /// Its ticket, or [`NO_TICKET`].
    pub ticket: u64,
    /// What to do with it.
    pub class: Class,
    /// What the submitter left.
    pub payload: Option<P>,
    /// Why it failed.
    pub error: Option<E>,
}

/// The answer to an event.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome<P, E> {
    /// Nothing to say.
    Done,
    /// The admission holds this slot.
    Admitted(u32),
    /// Stand in line under this name.
    Waiting(WaiterId),
    /// Not admitted.
    Refused(Refusal),
    /// The io_end exists under this number.
    Begun(u64),
    /// The io_end is on the completed list with this ticket.
    Queued(u64),
    /// The caller owns this item now and must deliver it.
    Item(Item<P, E>),
    /// Nothing on the list.
    Empty,
    /// Wait until the watermark reaches this ticket.
    Ticket(u64),
    /// The drain is held.
    Granted,
    /// What the observer learned, and its new cursor.
    Learned(u64, Option<E>),
}

/// An answer and what else must follow.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Actions<P, E> {
    /// The answer.
    pub out: Outcome<P, E>,
    /// Somebody who waits on this inode may be able to go on.
    pub wake: bool,
    /// The inode must be put on the ready list, by whoever fed the event.
    pub schedule: bool,
}

impl<P, E> Actions<P, E> {
    #[inline(always)]
    fn new(out: Outcome<P, E>) -> Self {
        Actions {
            out,
            wake: false,
            schedule: false,
        }
    }

    #[inline(always)]
    fn waking(out: Outcome<P, E>, wake: bool) -> Self {
        Actions {
            out,
            wake,
            schedule: false,
        }
    }
}

/// The state of one inode.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct State<P, E> {
    slots: Slots<P, E>,
    line: Line,
    errors: ErrorLog<E>,
    aborted: Option<E>,
    limit: u32,
    next_id: u64,
    scheduled: bool,
    #[cfg(test)]
    pub mutant: mutant::Mutant,
}

/// True in the planted-bug runs of the search and of the lab, never in the product.
macro_rules! planted {
    ($state:expr, $name:ident) => {{
        #[cfg(test)]
        let here = $state.mutant == mutant::Mutant::$name;
        #[cfg(not(test))]
        let here = false;
        here || e4_planted::planted!($name)
    }};
}

impl<P, E: Clone> State<P, E> {
    /// An idle inode that admits at most `limit` operations at a time.
    pub fn new(limit: u32) -> Self {
        State {
            slots: Slots::new(),
            line: Line::new(),
            errors: ErrorLog::default(),
            aborted: None,
            limit,
            next_id: 0,
            scheduled: false,
            #[cfg(test)]
            mutant: mutant::Mutant::None,
        }
    }

    /// The machine. Events must come from the shell's typed handles; a slot that is not in the
    /// stage the event expects is a bug of the shell and panics in debug builds.
    #[inline(always)]
    pub fn apply(&mut self, event: Event<P, E>) -> Actions<P, E> {
        match event {
            Event::Admit {
                range,
                intent,
                policy,
                stamp,
            } => self.admit(range, intent, policy, stamp),
            Event::PollAdmission { waiter, stamp } => self.poll_admission(waiter, stamp),
            Event::Release(slot) => self.release(slot),
            Event::Begin { slot, stamp } => self.begin(slot, stamp),
            Event::AddRequest(slot) => self.add_request(slot),
            Event::Submitted {
                slot,
                payload,
                owed,
                error,
                inline,
                stamp,
            } => self.submitted(slot, payload, owed, error, inline, stamp),
            Event::SubmittedWhole {
                slot,
                payload,
                owed,
                stamp,
            } => self.submitted_whole(slot, payload, owed, stamp),
            Event::RequestDone {
                slot,
                error,
                inline,
                stamp,
            } => {
                if error.is_some() {
                    self.note_failure(slot, error);
                }
                self.put(slot, inline, stamp)
            }
            Event::Splice { stamp } => self.splice(stamp),
            Event::Converted { slot, error, stamp } => self.converted(slot, error, stamp),
            Event::Acknowledged(slot) => self.acknowledged(slot),
            Event::Leave { scheduled } => self.leave(scheduled),
            Event::Barrier => Actions::new(Outcome::Ticket(self.slots.next_ticket())),
            Event::Drain { range, exclusive } => self.drain(range, exclusive),
            Event::PollDrain(id) => self.poll_drain(id),
            Event::EndDrain(id) => self.end_drain(id),
            Event::Learn { cursor } => {
                let (cursor, error) = self.errors.learn(cursor);
                Actions::new(Outcome::Learned(cursor, error))
            }
            Event::Abort(error) => {
                self.aborted.get_or_insert(error);
                Actions::waking(Outcome::Done, true)
            }
        }
    }

    // ---- queries ----------------------------------------------------------------------------

    /// Everything below is converted or failed, and acknowledged (I-13).
    #[inline]
    pub fn watermark(&self) -> u64 {
        if planted!(self, V4Flush) {
            return self.front_ticket().unwrap_or(self.slots.next_ticket());
        }
        self.slots.watermark()
    }

    /// The ticket at the front of the completed list, if any.
    #[inline]
    pub fn front_ticket(&self) -> Option<u64> {
        self.slots.front_ticket()
    }

    /// Operations admitted and not yet over.
    #[inline]
    pub fn in_flight(&self) -> u32 {
        self.slots.in_use()
    }

    /// io_ends on the completed list.
    #[inline]
    pub fn queued(&self) -> u32 {
        self.slots.queued()
    }

    /// The slots, for the dump and the tests.
    pub fn slots(&self) -> &Slots<P, E> {
        &self.slots
    }

    /// How many admissions and drains stand in line (held drains included).
    pub fn line_len(&self) -> usize {
        self.line.len()
    }

    /// The error log.
    pub fn errors(&self) -> &ErrorLog<E> {
        &self.errors
    }

    /// True if nothing is in flight, queued, in line or scheduled.
    pub fn is_idle(&self) -> bool {
        self.slots.in_use() == 0 && self.line.is_empty() && !self.scheduled
    }

    /// The io_ends on the completed list, oldest first.
    #[cfg(feature = "sync-points")]
    pub fn queued_ids(&self) -> Vec<u64> {
        let mut queued: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, s)| s.stage == Stage::Completed)
            .map(|(_, s)| (s.ticket, s.id))
            .collect();
        queued.sort_unstable();
        queued.into_iter().map(|(_, id)| id).collect()
    }

    /// Adds an error found outside the machine to the log.
    pub fn record_error(&mut self, error: E) {
        self.errors.record(error);
    }

    // ---- admission --------------------------------------------------------------------------

    #[inline]
    fn admit(
        &mut self,
        range: Range<u64>,
        intent: Intent,
        policy: Policy,
        stamp: u64,
    ) -> Actions<P, E> {
        let id = self.next_id;
        let room = self.slots.in_use() < self.limit;
        if self.line.is_empty() && room && !self.refuses(intent) {
            self.next_id += 1;
            let slot = self.slots.allocate(range, intent, id, stamp);
            return Actions::new(Outcome::Admitted(slot));
        }
        self.admit_slowly(range, intent, policy, stamp)
    }

    #[cold]
    fn admit_slowly(
        &mut self,
        range: Range<u64>,
        intent: Intent,
        policy: Policy,
        stamp: u64,
    ) -> Actions<P, E> {
        if self.refuses(intent) {
            return Actions::new(Outcome::Refused(Refusal::Aborted));
        }
        let under = policy == Policy::Under;
        let held_off = !under && self.line.held_off(&range) && !planted!(self, NoHoldOff);
        let room = self.slots.in_use() < self.limit;
        // The line was pumped after the last event: if there is room, nobody in it waits for room
        // alone, so taking the slot overtakes nobody.
        if !held_off && room {
            let id = self.take_id();
            let slot = self.take_slot(range, intent, id, stamp);
            return Actions::new(Outcome::Admitted(slot));
        }
        if policy == Policy::Now {
            let why = if held_off {
                Refusal::Drained
            } else {
                Refusal::Full
            };
            return Actions::new(Outcome::Refused(why));
        }
        let id = self.take_id();
        self.line.push(Waiter {
            id,
            range,
            kind: WaiterKind::Admission {
                intent,
                under,
                granted: None,
            },
        });
        Actions::new(Outcome::Waiting(id))
    }

    /// After an abort nothing is written any more; what is there can still be read.
    #[inline]
    fn refuses(&self, intent: Intent) -> bool {
        self.aborted.is_some() && intent != Intent::Read
    }

    fn take_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }

    fn take_slot(&mut self, range: Range<u64>, intent: Intent, id: u64, stamp: u64) -> u32 {
        self.line.count(&range, id, true);
        self.slots.allocate(range, intent, id, stamp)
    }

    fn poll_admission(&mut self, id: WaiterId, stamp: u64) -> Actions<P, E> {
        let (granted, refused) = match self.line.find(id).map(|w| &w.kind) {
            Some(WaiterKind::Admission {
                granted, intent, ..
            }) => (*granted, self.refuses(*intent)),
            _ => (None, self.aborted.is_some()),
        };
        if let Some(slot) = granted {
            self.line.remove(id);
            self.slots.get_mut(slot).stamp = stamp;
            return Actions::new(Outcome::Admitted(slot));
        }
        if refused {
            self.line.remove(id);
            let wake = self.pump();
            return Actions::waking(Outcome::Refused(Refusal::Aborted), wake);
        }
        Actions::new(Outcome::Waiting(id))
    }

    #[inline]
    fn release(&mut self, slot: u32) -> Actions<P, E> {
        debug_assert!(matches!(
            self.slots.get(slot).stage,
            Stage::Admitted | Stage::Begun
        ));
        let wake = self.give_back(slot);
        Actions::waking(Outcome::Done, wake)
    }

    /// Frees a slot and lets the line move. True if somebody in it was granted.
    #[inline]
    fn give_back(&mut self, slot: u32) -> bool {
        if self.line.is_empty() {
            self.slots.free(slot);
            return false;
        }
        let (range, id) = {
            let s = self.slots.get(slot);
            (s.range.clone(), s.id)
        };
        self.slots.free(slot);
        self.line.count(&range, id, false);
        self.pump()
    }

    /// Grants whatever can be granted, in order. True if anything was.
    #[cold]
    fn pump(&mut self) -> bool {
        let mut moved = false;
        let aborted = self.aborted.is_some();
        for position in 0..self.line.len() {
            let blocked = self.line.blocked(position);
            let room = self.slots.in_use() < self.limit;
            let waiter = self.line.at(position);
            match &mut waiter.kind {
                WaiterKind::Admission {
                    granted: None,
                    intent,
                    ..
                } if !blocked && room && (!aborted || *intent == Intent::Read) => {
                    let (range, intent, id) = (waiter.range.clone(), *intent, waiter.id);
                    let slot = self.take_slot(range, intent, id, 0);
                    if let WaiterKind::Admission { granted, .. } = &mut self.line.at(position).kind
                    {
                        *granted = Some(slot);
                    }
                    moved = true;
                }
                WaiterKind::Drain {
                    granted: granted @ false,
                    remaining: 0,
                    ..
                } if !blocked => {
                    *granted = true;
                    moved = true;
                }
                _ => {}
            }
        }
        moved
    }

    // ---- io_end -----------------------------------------------------------------------------

    #[inline]
    fn begin(&mut self, slot: u32, stamp: u64) -> Actions<P, E> {
        let submitter = if planted!(self, NoSubmitterReference) {
            0
        } else {
            1
        };
        let s = self.slots.get_mut(slot);
        debug_assert_eq!(s.stage, Stage::Admitted);
        s.stage = Stage::Begun;
        s.pending = submitter;
        s.stamp = stamp;
        Actions::new(Outcome::Begun(s.id))
    }

    #[inline]
    fn add_request(&mut self, slot: u32) -> Actions<P, E> {
        let s = self.slots.get_mut(slot);
        debug_assert_eq!(s.stage, Stage::Begun);
        s.pending += 1;
        Actions::new(Outcome::Done)
    }

    #[inline]
    fn submitted(
        &mut self,
        slot: u32,
        payload: P,
        owed: bool,
        error: Option<E>,
        inline: bool,
        stamp: u64,
    ) -> Actions<P, E> {
        let keep_reference = planted!(self, NoSubmitterReference);
        let s = self.slots.get_mut(slot);
        s.payload = Some(payload);
        s.owed = owed;
        if keep_reference {
            return Actions::new(Outcome::Done);
        }
        debug_assert_eq!(s.stage, Stage::Begun);
        s.stage = Stage::Submitted;
        s.stamp = stamp;
        if error.is_some() {
            self.note_failure(slot, error);
        }
        self.put(slot, inline, stamp)
    }

    #[inline]
    fn submitted_whole(&mut self, slot: u32, payload: P, owed: bool, stamp: u64) -> Actions<P, E> {
        let s = self.slots.get_mut(slot);
        debug_assert_eq!(s.stage, Stage::Admitted);
        s.stage = Stage::Submitted;
        s.pending = 1;
        s.payload = Some(payload);
        s.owed = owed;
        s.stamp = stamp;
        Actions::new(Outcome::Begun(s.id))
    }

    #[cold]
    fn note_failure(&mut self, slot: u32, error: Option<E>) {
        let s = self.slots.get_mut(slot);
        if s.error.is_none() {
            s.error = error;
        }
    }

    /// Drops one reference. The last put classifies: this is the only place where an io_end
    /// leaves the flight.
    #[inline]
    fn put(&mut self, slot: u32, inline: bool, stamp: u64) -> Actions<P, E> {
        let s = self.slots.get_mut(slot);
        debug_assert!(s.pending > 0, "more completions than requests");
        s.pending -= 1;
        if s.pending > 0 {
            return Actions::new(Outcome::Done);
        }
        if s.owed && s.error.is_none() && self.aborted.is_some() {
            s.error = self.aborted.clone();
        }
        let failed = s.error.is_some() && !planted!(self, ConvertAfterFailure);
        let class = classify(failed, s.owed);
        s.class = class;
        s.stamp = stamp;
        if class == Class::Finish && inline {
            s.stage = Stage::Converted;
            s.ticket = NO_TICKET;
            return Actions::new(Outcome::Item(Self::item(slot, s)));
        }
        s.stage = Stage::Completed;
        if class == Class::Fail
            && let Some(error) = &s.error
        {
            self.errors.record(error.clone());
        }
        let ticket = self.slots.enqueue(slot);
        Actions::new(Outcome::Queued(ticket))
    }

    #[inline]
    fn item(slot: u32, s: &mut Slot<P, E>) -> Item<P, E> {
        Item {
            slot,
            id: s.id,
            range: s.range.clone(),
            ticket: s.ticket,
            class: s.class,
            payload: s.payload.take(),
            error: s.error.clone(),
        }
    }

    // ---- drainer ----------------------------------------------------------------------------

    #[inline]
    fn splice(&mut self, stamp: u64) -> Actions<P, E> {
        let Some(slot) = self.slots.dequeue() else {
            return Actions::new(Outcome::Empty);
        };
        let s = self.slots.get_mut(slot);
        debug_assert_eq!(s.stage, Stage::Completed);
        s.stage = match s.class {
            Class::Convert => Stage::Converting,
            Class::Finish | Class::Fail => Stage::Converted,
        };
        s.stamp = stamp;
        let item = Self::item(slot, s);
        if planted!(self, EndEarly) {
            self.slots.settle(slot);
            self.give_back(slot);
        }
        Actions::new(Outcome::Item(item))
    }

    #[inline]
    fn converted(&mut self, slot: u32, error: Option<E>, stamp: u64) -> Actions<P, E> {
        if !planted!(self, EndEarly) {
            let s = self.slots.get_mut(slot);
            debug_assert_eq!(s.stage, Stage::Converting);
            s.stage = Stage::Converted;
            s.stamp = stamp;
        }
        if let Some(error) = error
            && !planted!(self, SwallowError)
        {
            self.errors.record(error);
        }
        if planted!(self, SettleBeforeAck) {
            self.slots.settle(slot);
        }
        Actions::new(Outcome::Done)
    }

    #[inline]
    fn acknowledged(&mut self, slot: u32) -> Actions<P, E> {
        if planted!(self, EndEarly) {
            return Actions::new(Outcome::Done);
        }
        let s = self.slots.get(slot);
        debug_assert_eq!(s.stage, Stage::Converted);
        let settled = s.ticket != NO_TICKET
            && !(planted!(self, SettleBeforeAck) && s.class == Class::Convert)
            && self.slots.settle(slot);
        let granted = self.give_back(slot);
        Actions::waking(Outcome::Done, settled || granted)
    }

    #[inline]
    fn leave(&mut self, scheduled: bool) -> Actions<P, E> {
        if scheduled {
            self.scheduled = false;
        }
        let left_over = self.slots.queued() > 0;
        let schedule = left_over && !self.scheduled && !(scheduled && planted!(self, LostWakeUp));
        if schedule {
            self.scheduled = true;
        }
        Actions {
            out: Outcome::Done,
            // A drain that waits may convert what was just collected: no worker slot is needed.
            wake: left_over,
            schedule,
        }
    }

    // ---- I/O barrier ------------------------------------------------------------------------

    fn drain(&mut self, range: Range<u64>, exclusive: bool) -> Actions<P, E> {
        let id = self.take_id();
        let covers = |s: &Slot<P, E>| !planted!(self, CompletedOnly) || s.stage >= Stage::Completed;
        let remaining = self
            .slots
            .iter()
            .filter(|(_, s)| covers(s) && overlaps(&s.range, &range))
            .count() as u32;
        self.line.push(Waiter {
            id,
            range,
            kind: WaiterKind::Drain {
                exclusive,
                remaining,
                granted: false,
            },
        });
        self.pump();
        Actions::new(Outcome::Waiting(id))
    }

    fn poll_drain(&mut self, id: WaiterId) -> Actions<P, E> {
        let granted = matches!(
            self.line.find(id).map(|w| &w.kind),
            Some(WaiterKind::Drain { granted: true, .. })
        );
        if granted {
            Actions::new(Outcome::Granted)
        } else {
            Actions::new(Outcome::Waiting(id))
        }
    }

    fn end_drain(&mut self, id: WaiterId) -> Actions<P, E> {
        self.line.remove(id);
        let wake = self.pump();
        Actions::waking(Outcome::Done, wake)
    }
}
