//! Finished requests waiting to be polled: the queue of every backend that has none of its own.
//!
//! Invariants:
//! - `running` counts requests begun and not yet finished; a request is in exactly one of
//!   `running`, `done`, or some poller's hands.
//! - No lost wake-up: whoever waits does so with `done` empty and `running` above zero, seen under the
//!   lock, and `running` falls only together with a notification (I-11's argument, one level down).

use crate::{Completion, Wait};
use e4_sync::{Condvar, Mutex, Rank, now};

/// A completion queue: producers announce and finish requests, pollers take them. Public so that
/// devices outside this crate (simulated, remote, wrapped) need not invent it again.
#[derive(Debug)]
pub struct CompletionQueue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    done: Vec<Completion>,
    running: usize,
    waiters: usize,
}

impl Default for CompletionQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl CompletionQueue {
    /// An empty queue.
    #[must_use]
    pub fn new() -> Self {
        Self {
            state: Mutex::new(Rank::DEVICE_RING, State::default()),
            changed: Condvar::new(),
        }
    }

    /// Announces `count` requests: from now on pollers wait for them.
    pub fn begin(&self, count: usize) {
        self.state.lock().running += count;
    }

    /// Hands over one announced request.
    ///
    /// # Panics
    /// If more requests finish than were begun.
    pub fn finish(&self, completion: Completion) {
        let mut state = self.state.lock();
        assert!(state.running > 0, "a request finished twice");
        state.running -= 1;
        state.done.push(completion);
        self.wake(&state);
    }

    /// Hands over several announced requests; leaves the list empty.
    ///
    /// # Panics
    /// As [`CompletionQueue::finish`].
    pub fn finish_all(&self, completions: &mut Vec<Completion>) {
        let mut state = self.state.lock();
        assert!(
            state.running >= completions.len(),
            "a request finished twice"
        );
        state.running -= completions.len();
        state.done.append(completions);
        self.wake(&state);
    }

    fn wake(&self, state: &State) {
        if state.waiters > 0 {
            // All: the first one to run takes everything, the others must notice that nothing is left.
            self.changed.notify_all();
        }
    }

    /// The poll of [`crate::Device::poll`].
    pub fn poll(&self, out: &mut Vec<Completion>, wait: Wait) -> usize {
        let mut state = self.state.lock();
        if state.done.is_empty() && wait != Wait::No {
            let deadline = match wait {
                Wait::For(limit) => now().checked_add(limit),
                _ => None,
            };
            while state.done.is_empty() && state.running > 0 {
                state.waiters += 1;
                let timed_out = match deadline {
                    None => {
                        self.changed.wait(&mut state);
                        false
                    }
                    Some(end) => {
                        let left = end.saturating_duration_since(now());
                        left.is_zero() || self.changed.wait_for(&mut state, left)
                    }
                };
                state.waiters -= 1;
                if timed_out {
                    break;
                }
            }
        }
        take_all(&mut state.done, out)
    }

    /// Waits until every announced request has finished (polled or not).
    pub fn wait_idle(&self) {
        let mut state = self.state.lock();
        while state.running > 0 {
            state.waiters += 1;
            self.changed.wait(&mut state);
            state.waiters -= 1;
        }
    }

    /// Requests announced and not yet handed to a poller.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        let state = self.state.lock();
        state.running + state.done.len()
    }
}

/// Moves everything from `done` to `out`; by swapping the vectors when possible.
pub(crate) fn take_all(done: &mut Vec<Completion>, out: &mut Vec<Completion>) -> usize {
    let count = done.len();
    if out.is_empty() {
        core::mem::swap(done, out);
    } else {
        out.append(done);
    }
    count
}
