//! The optional background thread: commits what has been lying around for an interval or what the filesystem asks it to
//! record, checkpoints ahead of need.
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
    /// Commit now; `Some(false)`: only if the filesystem still wants it.
    record: Option<bool>,
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

    /// The filesystem has published much: record it ahead of need, or (`waits`) because somebody waits for it. False if there
    /// is nobody to do so.
    pub(crate) fn request_record(&self, waits: bool) -> bool {
        if self.interval.is_none() {
            return false;
        }
        let mut due = self.due.lock();
        due.record = Some(waits || due.record == Some(true));
        drop(due);
        self.changed.notify_one();
        true
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
            if let Some(waits) = due.record.take() {
                return Task::Record { waits };
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
    Record { waits: bool },
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
            // Whoever asked may have committed meanwhile.
            Task::Record { waits: false } if !core.hooks.wants_record() => Ok(()),
            Task::Record { .. } => core.commit_all(),
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
