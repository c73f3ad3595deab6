//! The optional background thread: commits what has been lying around for an interval, checkpoints ahead of need.
//!
//! Decisions: one thread per store, none without an interval (deterministic simulation). The timer is armed by the first
//! change of a transaction and by whoever publishes without one ([`crate::MetaStore::arm_timer`]); it does not tick
//! while nothing is pending.
//!
//! Arming is on the path of every completed write, so an armed timer costs one atomic swap. Both sides swap
//! (acquire and release): a publisher that finds the timer armed is ordered before the firing that disarms it,
//! so that firing sees what was published; otherwise it finds it disarmed and arms it again.

use core::time::Duration;

use e4_sync::atomic::{AtomicBool, Ordering};
use e4_sync::{Arc, Condvar, Instant, Mutex, Rank, now, thread};

use crate::checkpoint::Goal;
use crate::state::Core;

#[derive(Default)]
struct Due {
    commit: Option<Instant>,
    checkpoint: bool,
    stop: bool,
}

/// What the thread waits for.
pub(crate) struct Timer {
    interval: Option<Duration>,
    armed: AtomicBool,
    due: Mutex<Due>,
    changed: Condvar,
}

impl Timer {
    pub(crate) fn new(interval: Option<Duration>) -> Self {
        Self {
            interval,
            armed: AtomicBool::new(false),
            due: Mutex::new(Rank::LEAF, Due::default()),
            changed: Condvar::new(),
        }
    }

    /// Something wants to be committed within an interval.
    #[inline]
    pub(crate) fn arm(&self) {
        if let Some(interval) = self.interval
            && !self.armed.swap(true, Ordering::AcqRel)
        {
            self.due.lock().commit = Some(now() + interval);
            self.changed.notify_one();
        }
    }

    /// The log fills up.
    pub(crate) fn request_checkpoint(&self) {
        if self.interval.is_some() {
            self.due.lock().checkpoint = true;
            self.changed.notify_one();
        }
    }

    fn stop(&self) {
        self.due.lock().stop = true;
        self.changed.notify_one();
    }

    fn next(&self) -> Task {
        let mut due = self.due.lock();
        loop {
            if due.stop {
                return Task::Stop;
            }
            if due.checkpoint {
                due.checkpoint = false;
                return Task::Checkpoint;
            }
            match due.commit {
                None => self.changed.wait(&mut due),
                Some(at) => match at.checked_duration_since(now()) {
                    Some(left) if !left.is_zero() => {
                        self.changed.wait_for(&mut due, left);
                    }
                    _ => {
                        due.commit = None;
                        self.armed.swap(false, Ordering::AcqRel);
                        return Task::Commit;
                    }
                },
            }
        }
    }
}

enum Task {
    Commit,
    Checkpoint,
    Stop,
}

/// The running thread; stopped and joined on drop.
pub(crate) struct TimerThread {
    core: Arc<Core>,
    thread: Option<thread::JoinHandle<()>>,
}

impl TimerThread {
    /// Starts the thread if there is an interval. Failing to start it is not fatal: everything is then
    /// committed by the callers.
    pub(crate) fn start(core: &Arc<Core>) -> Option<Self> {
        core.timer.interval?;
        let theirs = Arc::clone(core);
        let thread = thread::Builder::new()
            .name("e4-commit".into())
            .spawn(move || run(&theirs));
        match thread {
            Ok(thread) => Some(Self {
                core: Arc::clone(core),
                thread: Some(thread),
            }),
            Err(error) => {
                tracing::warn!(%error, "no commit thread: changes stay uncommitted until somebody syncs");
                None
            }
        }
    }
}

fn run(core: &Arc<Core>) {
    loop {
        // A failure is latched and reaches everybody through the next call.
        let result = match core.timer.next() {
            Task::Stop => return,
            Task::Commit => core.commit_all(),
            Task::Checkpoint => core.checkpoint(Goal::Background),
        };
        if let Err(error) = result {
            tracing::debug!(%error, "background commit");
        }
    }
}

impl Drop for TimerThread {
    fn drop(&mut self) {
        self.core.timer.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the commit thread panicked");
        }
    }
}
