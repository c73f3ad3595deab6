//! Device flushes, shared: whoever needs "everything I have seen completed is durable" takes a ticket
//! and waits for a flush that started after it.
//!
//! Decisions: one flush at a time; waiters that arrive while one runs share the next. The thread that finds none
//! running issues it, so no other thread is needed. The first failure is latched: every later
//! request fails with it and the device is not asked again (the host reports a write-back error
//! once and forgets it).

use e4_device::{Device, DeviceError};
use e4_planted::planted;
use e4_sync::{Condvar, Mutex, Rank};

#[derive(Default)]
struct State {
    started: u64,
    done: u64,
    busy: bool,
    failed: Option<DeviceError>,
}

/// The flushes of one device.
pub(crate) struct FlushGroup {
    state: Mutex<State>,
    changed: Condvar,
}

/// Number of the first flush that covers what had completed when the ticket was taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct FlushTicket(u64);

impl FlushGroup {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::new(Rank::JOURNAL_LISTS, State::default()),
            changed: Condvar::new(),
        }
    }

    /// Covers everything completed so far.
    pub(crate) fn ticket(&self) -> FlushTicket {
        FlushTicket(self.state.lock().started + 1)
    }

    /// Returns when a flush that covers the ticket has succeeded.
    pub(crate) fn ensure(
        &self,
        ticket: FlushTicket,
        device: &dyn Device,
    ) -> Result<(), DeviceError> {
        let mut state = self.state.lock();
        loop {
            if let Some(error) = &state.failed {
                return Err(error.clone());
            }
            if state.done >= ticket.0 {
                return Ok(());
            }
            if state.busy {
                self.changed.wait(&mut state);
                continue;
            }
            state.busy = true;
            state.started += 1;
            let number = state.started;
            drop(state);
            let result = device.flush();
            let retry = planted!(RetryFailedFlush) && result.is_err();
            let result = if retry { device.flush() } else { result };
            state = self.state.lock();
            state.busy = false;
            match result {
                Ok(()) => state.done = number,
                Err(error) => state.failed = Some(error),
            }
            self.changed.notify_all();
        }
    }
}
