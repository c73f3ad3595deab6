//! One io_uring and the threads around it.
//!
//! Two locks, both of rank "device ring": `submission` guards the submission side of the ring and is held
//! across the submitting system call; `state` guards the completion side and the flights, and is
//! never held across a system call. Order: submission, then state.
//!
//! Waiting: at most one thread (the leader) sleeps in the kernel, the others on `handoff`. Whoever
//! leaves `state` with the leader's wish fulfilled, and no completion underway that would wake it, sends a
//! no-op through the ring (`Key::WAKE`): the leader may have been about to sleep while somebody
//! else collected the last completion. A leader that returns wakes the followers, one of which leads next.
//!
//! Memory safety: a submission entry points into a buffer owned by a flight; the flight leaves the slab
//! only in `reap`, for a completion the kernel posted, or in `break_down`, for an entry the kernel
//! never saw and never will; and the ring is not closed before the slab is empty (`quiesce`).
//!
//! The kernel cancels requests it has queued for a thread that exits, and may answer EAGAIN or EINTR:
//! such requests are started again, as are the rests of short transfers.

use super::flights::{CAPACITY, Cargo, Flight, Flights, Key};
use crate::file::FileStore;
use crate::store::Store;
use crate::{Completion, DeviceError, Request, Wait};
use e4_sync::{Condvar, Duration, Instant, Mutex, MutexGuard, Rank, now, thread};
use io_uring::types::{FsyncFlags, SubmitArgs, Timespec};
use io_uring::{EnterFlags, IoUring, opcode, squeue, types};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;

/// Submission entries per ring.
const ENTRIES: u32 = 256;
/// Largest transfer handed to the kernel in one entry, bytes; multiple of every alignment.
const STEP: usize = if cfg!(test) { 64 << 10 } else { 1 << 30 };
/// How often one request is started again after EAGAIN, EINTR or ECANCELED.
const RETRIES: u32 = 1000;
/// How often a submission the kernel had no memory for is repeated, yielding in between.
const PATIENCE: u32 = 100_000;
/// A sleeping leader looks again after this long at the latest: the no-op cannot be sent through a
/// ring that broke while it slept.
const LONGEST_NAP: Duration = Duration::from_secs(5);

/// An io_uring with our file registered as its file 0.
pub(crate) struct Ring(IoUring);

impl Ring {
    /// # Errors
    /// The host refuses io_uring, or its io_uring lacks what we need (ENOSYS).
    pub(crate) fn new(file: BorrowedFd<'_>) -> io::Result<Ring> {
        use std::os::fd::AsRawFd;
        let ring = IoUring::builder()
            .setup_cqsize(2 * CAPACITY as u32)
            .build(ENTRIES)?;
        // Timed waits (Linux 5.11); every operation we use is older.
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(Errno::NOSYS.into());
        }
        ring.submitter().register_files(&[file.as_raw_fd()])?;
        Ok(Ring(ring))
    }
}

pub(super) struct Queue {
    ring: IoUring,
    submission: Mutex<Submission>,
    state: Mutex<State>,
    handoff: Condvar,
}

#[derive(Default)]
struct Submission {
    /// What was pushed since the kernel last took everything, oldest first.
    pushed: Vec<Key>,
    /// The kernel refused the ring itself: nothing is submitted any more.
    broken: Option<i32>,
}

#[derive(Default)]
struct State {
    flights: Flights,
    ready: Vec<Completion>,
    /// Flights to be started (again) by whoever reaped them.
    again: Vec<Key>,
    leader: Option<Wish>,
    followers: usize,
    wake_underway: bool,
}

/// What a thread waits for.
#[derive(Clone, Copy)]
enum Wish {
    /// A completion to hand out, or the certainty that none will come.
    Completion,
    /// Room for another flight.
    Room,
}

impl State {
    fn fulfils(&self, wish: Wish) -> bool {
        match wish {
            Wish::Completion => !self.ready.is_empty() || self.flights.len() == 0,
            Wish::Room => !self.flights.is_full(),
        }
    }

    /// True if the caller has to send the no-op that wakes the leader.
    fn must_wake(&mut self) -> bool {
        let must = !self.wake_underway && self.leader.is_some_and(|wish| self.fulfils(wish));
        self.wake_underway |= must;
        must
    }
}

impl Queue {
    pub(super) fn new(ring: Ring) -> Queue {
        Queue {
            ring: ring.0,
            submission: Mutex::new(Rank::DEVICE_RING, Submission::default()),
            state: Mutex::new(Rank::DEVICE_RING, State::default()),
            handoff: Condvar::new(),
        }
    }

    pub(super) fn submit(&self, store: &FileStore, requests: &mut Vec<Request>) {
        let mut pending = requests.drain(..).peekable();
        while pending.peek().is_some() {
            let mut submission = self.submission.lock();
            let mut state = self.state.lock_nested(1);
            self.board(store, &mut submission, &mut state, &mut pending);
            if !state.ready.is_empty() && state.followers > 0 {
                self.handoff.notify_all();
            }
            let must_wake = state.must_wake();
            let full = state.flights.is_full();
            drop(state);
            self.enter(store, &mut submission);
            if must_wake {
                self.send_wake(store, &mut submission);
            }
            drop(submission);
            if full && pending.peek().is_some() {
                self.make_room(store);
            }
        }
    }

    /// Turns requests into flights and pushes them until something is full.
    fn board(
        &self,
        store: &FileStore,
        submission: &mut Submission,
        state: &mut State,
        pending: &mut std::iter::Peekable<std::vec::Drain<'_, Request>>,
    ) {
        // SAFETY: the submission lock is held, so this is the only user of the submission side.
        let mut sq = unsafe { self.ring.submission_shared() };
        while !state.flights.is_full() && !sq.is_full() {
            let Some(request) = pending.next() else {
                return;
            };
            if let Some(result) = settled_at_once(store, &request, submission.broken) {
                state.ready.push(request.finish(result));
                continue;
            }
            let (key, flight) = state
                .flights
                .board(Flight::new(request, store.size_unsynced()));
            let entry = entry(flight, key);
            // SAFETY: the entry's memory belongs to the flight, which stays in the slab until the
            // kernel has posted the completion (see the module's safety argument).
            let pushed = unsafe { sq.push(&entry) };
            debug_assert!(pushed.is_ok(), "checked for room above");
            submission.pushed.push(key);
        }
    }

    /// Gives everything pushed to the kernel.
    fn enter(&self, store: &FileStore, submission: &mut Submission) {
        let mut patience = PATIENCE;
        while submission.broken.is_none() {
            // SAFETY: the submission lock is held, so this is the only user of the submission side.
            let queued = unsafe { self.ring.submission_shared() }.len();
            if queued == 0 {
                submission.pushed.clear();
                return;
            }
            let error = match self.ring.submitter().submit() {
                Ok(1..) => continue,
                Ok(_) => Errno::AGAIN,
                Err(error) => Errno::from_io_error(&error).unwrap_or(Errno::IO),
            };
            match error {
                Errno::INTR => {}
                Errno::AGAIN | Errno::BUSY | Errno::NOMEM if patience > 0 => {
                    patience -= 1;
                    thread::yield_now();
                }
                _ => self.break_down(store, submission, queued, error),
            }
        }
    }

    /// The kernel refuses the ring: fails what it has not taken and lets nothing in any more.
    fn break_down(
        &self,
        store: &FileStore,
        submission: &mut Submission,
        queued: usize,
        error: Errno,
    ) {
        let errno = error.raw_os_error();
        tracing::error!(%error, "io_uring no longer takes requests");
        submission.broken = Some(errno);
        let taken = submission.pushed.len().saturating_sub(queued);
        let mut state = self.state.lock_nested(1);
        for key in submission.pushed.drain(..).skip(taken) {
            if let Some(flight) = state.flights.land(key) {
                let error = io_error(store, &flight, errno);
                state.ready.push(flight.into_completion(Err(error)));
            }
        }
        self.handoff.notify_all();
    }

    fn send_wake(&self, store: &FileStore, submission: &mut Submission) {
        let entry = opcode::Nop::new().build().user_data(Key::WAKE.0);
        {
            // SAFETY: the submission lock is held, so this is the only user of the submission side.
            let mut sq = unsafe { self.ring.submission_shared() };
            // SAFETY: a no-op names no memory.
            let pushed = unsafe { sq.push(&entry) };
            debug_assert!(
                pushed.is_ok() || submission.broken.is_some(),
                "the queue was entered, hence is empty"
            );
        }
        submission.pushed.push(Key::WAKE);
        self.enter(store, submission);
    }

    pub(super) fn poll(&self, store: &FileStore, out: &mut Vec<Completion>, wait: Wait) -> usize {
        let deadline = match wait {
            Wait::For(limit) => now().checked_add(limit),
            _ => None,
        };
        let mut state = self.state.lock();
        loop {
            state = self.reap(store, state);
            if wait == Wait::No || state.fulfils(Wish::Completion) {
                break;
            }
            if deadline.is_some_and(|end| end <= now()) {
                break;
            }
            state = self.wait_turn(state, Wish::Completion, deadline);
        }
        let count = crate::queue::take_all(&mut state.ready, out);
        self.leave(store, state);
        count
    }

    /// Waits until another flight fits, collecting completions for later polls.
    fn make_room(&self, store: &FileStore) {
        let mut state = self.state.lock();
        loop {
            state = self.reap(store, state);
            if state.fulfils(Wish::Room) {
                return self.leave(store, state);
            }
            state = self.wait_turn(state, Wish::Room, None);
        }
    }

    /// Waits until no request is in the kernel, then lets go of the file.
    pub(super) fn quiesce(&mut self, store: &FileStore) {
        let mut state = self.state.lock();
        loop {
            state = self.reap(store, state);
            if state.flights.len() == 0 {
                // The ring itself is closed in the background. Failing here costs nothing but time.
                let _ = self.ring.submitter().unregister_files();
                return;
            }
            drop(state);
            self.sleep(LONGEST_NAP);
            state = self.state.lock();
        }
    }

    /// Releases `state` after taking completions out of the ring, waking those it concerns.
    fn leave(&self, store: &FileStore, mut state: MutexGuard<'_, State>) {
        if state.followers > 0 && (state.fulfils(Wish::Completion) || state.fulfils(Wish::Room)) {
            self.handoff.notify_all();
        }
        let must_wake = state.must_wake();
        drop(state);
        if must_wake {
            self.send_wake(store, &mut self.submission.lock());
        }
    }

    /// Collects what the kernel has posted; restarts what needs it, releasing `state` meanwhile.
    fn reap<'a>(
        &'a self,
        store: &FileStore,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        loop {
            // SAFETY: the state lock is held, so this is the only user of the completion side.
            let posted = unsafe { self.ring.completion_shared() };
            for cqe in posted {
                state.arrive(store, Key(cqe.user_data()), cqe.result());
            }
            if state.again.is_empty() {
                return state;
            }
            let again = std::mem::take(&mut state.again);
            drop(state);
            self.restart(store, &again);
            state = self.state.lock();
        }
    }

    fn restart(&self, store: &FileStore, keys: &[Key]) {
        let mut submission = self.submission.lock();
        for &key in keys {
            let mut state = self.state.lock_nested(1);
            if let Some(errno) = submission.broken {
                if let Some(flight) = state.flights.land(key) {
                    let error = io_error(store, &flight, errno);
                    state.ready.push(flight.into_completion(Err(error)));
                }
                continue;
            }
            let Some(flight) = state.flights.get(key) else {
                continue;
            };
            let entry = entry(flight, key);
            drop(state);
            {
                // SAFETY: the submission lock is held, so this is the only user of the submission side.
                let mut sq = unsafe { self.ring.submission_shared() };
                // SAFETY: as in `board`; the flight is still in the slab, and nobody else holds its key.
                let pushed = unsafe { sq.push(&entry) };
                debug_assert!(pushed.is_ok(), "the queue is entered after every push");
            }
            submission.pushed.push(key);
            self.enter(store, &mut submission);
        }
    }

    /// Waits for something to happen: in the kernel as the leader, else for the leader.
    fn wait_turn<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        wish: Wish,
        deadline: Option<Instant>,
    ) -> MutexGuard<'a, State> {
        let left = deadline.map(|end| end.saturating_duration_since(now()));
        if state.leader.is_some() {
            state.followers += 1;
            match left {
                None => self.handoff.wait(&mut state),
                Some(left) => {
                    self.handoff.wait_for(&mut state, left);
                }
            }
            state.followers -= 1;
            return state;
        }
        state.leader = Some(wish);
        drop(state);
        self.sleep(left.unwrap_or(LONGEST_NAP).min(LONGEST_NAP));
        let mut state = self.state.lock();
        state.leader = None;
        if state.followers > 0 {
            self.handoff.notify_all();
        }
        state
    }

    /// Sleeps in the kernel until a completion is there. May return early.
    fn sleep(&self, limit: Duration) {
        let limit = Timespec::from(limit);
        let args = SubmitArgs::new().timespec(&limit);
        let flags = EnterFlags::GETEVENTS | EnterFlags::EXT_ARG;
        let submitter = self.ring.submitter();
        // SAFETY: submits nothing (so hands the kernel no memory to work on later); `args` is of the type that
        // EXT_ARG announces and outlives the call.
        let woken = unsafe { submitter.enter(0, 1, flags.bits(), Some(&args)) };
        match woken {
            Ok(_) => {}
            Err(e) if matches!(Errno::from_io_error(&e), Some(Errno::TIME | Errno::INTR)) => {}
            // Nothing to be done about it here; completions still arrive in the shared ring.
            Err(_) => thread::yield_now(),
        }
    }
}

impl State {
    /// One posted completion.
    fn arrive(&mut self, store: &FileStore, key: Key, result: i32) {
        if key == Key::WAKE {
            self.wake_underway = false;
            return;
        }
        let Some(flight) = self.flights.get(key) else {
            debug_assert!(false, "a completion for a flight that has landed");
            return;
        };
        let outcome = match advance(store, flight, result) {
            Step::Again => return self.again.push(key),
            Step::Done(outcome) => outcome,
        };
        if let Some(flight) = self.flights.land(key) {
            self.ready.push(flight.into_completion(outcome));
        }
    }
}

enum Step {
    Again,
    Done(Result<(), DeviceError>),
}

/// What a completion of the kernel means for a flight.
fn advance(store: &FileStore, flight: &mut Flight, result: i32) -> Step {
    if result < 0 {
        let error = Errno::from_raw_os_error(-result);
        let transient = matches!(error, Errno::AGAIN | Errno::INTR | Errno::CANCELED);
        if transient && flight.retries < RETRIES {
            flight.retries += 1;
            return Step::Again;
        }
        return Step::Done(Err(match flight.cargo {
            Cargo::Flush { .. } => store.latch(-result),
            _ => io_error(store, flight, -result),
        }));
    }
    if let Cargo::Flush { sync_size } = flight.cargo {
        if sync_size {
            store.size_is_synced();
        }
        return Step::Done(store.latched().map_or(Ok(()), |e| Err(e.clone())));
    }
    let moved = usize::try_from(result).unwrap_or(0);
    flight.done += moved;
    if flight.done >= flight.len() {
        Step::Done(Ok(()))
    } else if moved == 0 {
        let at = flight.at + flight.done as u64;
        Step::Done(Err(store.shortened(flight.name(), at)))
    } else {
        Step::Again
    }
}

/// The result of a request that never needs the kernel.
fn settled_at_once(
    store: &FileStore,
    request: &Request,
    broken: Option<i32>,
) -> Option<Result<(), DeviceError>> {
    if let Err(error) = store.info().check(&request.op) {
        return Some(Err(error));
    }
    let len = match &request.op {
        crate::Op::Flush => {
            if let Some(error) = store.latched() {
                return Some(Err(error.clone()));
            }
            if store.info().read_only {
                return Some(Ok(()));
            }
            None
        }
        crate::Op::Read { buf, .. } => Some(buf.len()),
        crate::Op::Write { data, .. } => Some(data.len()),
    };
    if len == Some(0) {
        return Some(Ok(()));
    }
    broken.map(|errno| Err(store.errno("submission", 0, len.unwrap_or(0) as u64, errno)))
}

fn io_error(store: &FileStore, flight: &Flight, errno: i32) -> DeviceError {
    let len = flight.len() - flight.done.min(flight.len());
    store.errno(
        flight.name(),
        flight.at + flight.done as u64,
        len as u64,
        errno,
    )
}

/// The submission entry for what is left of a flight.
fn entry(flight: &Flight, key: Key) -> squeue::Entry {
    let file = types::Fixed(0);
    let done = flight.done;
    let offset = flight.at + done as u64;
    let left = flight.len().saturating_sub(done).min(STEP) as u32;
    let entry = match &flight.cargo {
        // `wrapping_add` stays inside the buffer: `done` is below its length.
        Cargo::Read(buf) => opcode::Read::new(file, buf.start().wrapping_add(done), left)
            .offset(offset)
            .build(),
        Cargo::Write(data) => opcode::Write::new(file, data.start().wrapping_add(done), left)
            .offset(offset)
            .build(),
        Cargo::Flush { sync_size: true } => opcode::Fsync::new(file).build(),
        Cargo::Flush { sync_size: false } => {
            opcode::Fsync::new(file).flags(FsyncFlags::DATASYNC).build()
        }
    };
    let entry = entry.user_data(key.0);
    if flight.retries > 0 {
        // What could not be done at once is left to a thread of the kernel, which can wait.
        return entry.flags(squeue::Flags::ASYNC);
    }
    entry
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
