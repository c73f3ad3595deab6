//! The heart of a store: which transaction runs, which commits, who leads; admission of handles; abort.
//!
//! ```text
//!   none --start--> RUNNING --lead--> LOCKED --handles closed, record--> sealed --> COMMITTING --> committed
//!                                     (start waits)                       |
//!                                                        a new transaction may open from here
//! ```
//!
//! Invariants, all under the state lock (rank 100):
//! - at most one transaction runs (`running`) and at most one commits (`committing`); their numbers are consecutive;
//! - `locked` implies `leader`; nobody but the leader changes `locked`, `running -> committing`, `committed`;
//! - no I/O and no hook under the lock;
//! - whoever waits on `changed` holds nothing from rank 70 up (second waiting rule), so every open handle
//!   can close, so every leader gets on, so every waiter wakes.
//!
//! Decisions: the thread that needs a commit leads it itself, there is no hop to another thread. The abort cause is a
//! once-cell, so that the fast path pays one load for it.

use e4_device::Device;
use e4_format::{BlockSize, FsBlock, Tid};
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock};

use crate::cache::Cache;
use crate::checkpoint::Goal;
use crate::error::JournalError;
use crate::flush::FlushGroup;
use crate::handle::Handle;
use crate::log::Log;
use crate::options::{CommitHooks, Options};
use crate::timer::Timer;
use crate::transaction::{Limits, Transaction, Usage};

/// Where the transactions stand.
pub(crate) struct State {
    /// Open for handles unless `locked`.
    pub(crate) running: Option<Arc<Transaction>>,
    /// What `running` holds.
    pub(crate) usage: Usage,
    /// `running` admits no handle any more; its leader waits for the open ones or records.
    pub(crate) locked: bool,
    /// Sealed, being written.
    pub(crate) committing: Option<Arc<Transaction>>,
    /// A thread is committing.
    pub(crate) leader: bool,
    /// How many record hooks have run.
    pub(crate) records: u64,
    /// Number of the next transaction to open.
    pub(crate) next_tid: Tid,
    /// Newest durable transaction.
    pub(crate) committed: Tid,
    /// Shutting down: no new handle.
    pub(crate) closed: bool,
    /// Shut down: no new transaction, not even for the record hook.
    pub(crate) ended: bool,
}

/// Everything handles, committers and the timer share.
pub(crate) struct Core {
    pub(crate) device: Arc<dyn Device>,
    pub(crate) size: BlockSize,
    /// Blocks of the filesystem.
    pub(crate) blocks: AtomicU64,
    pub(crate) cache: Cache,
    pub(crate) hooks: Arc<dyn CommitHooks>,
    pub(crate) options: Options,
    pub(crate) limits: Limits,
    pub(crate) read_only: bool,
    pub(crate) state: Mutex<State>,
    /// A transaction was locked, sealed, committed or aborted.
    pub(crate) changed: Condvar,
    /// The last handle of a locked transaction closed, or the journal was aborted.
    pub(crate) quiet: Condvar,
    pub(crate) flushes: FlushGroup,
    /// `None`: no journal.
    pub(crate) log: Option<Log>,
    pub(crate) timer: Timer,
    pub(crate) aborted: OnceLock<Arc<JournalError>>,
}

impl Core {
    /// The latched failure, if any.
    #[inline]
    pub(crate) fn check(&self) -> Result<(), JournalError> {
        match self.aborted.get() {
            None => Ok(()),
            Some(cause) => Err(JournalError::Aborted {
                cause: Arc::clone(cause),
            }),
        }
    }

    /// Latches a failure, tells everybody, and returns what everybody gets. Later failures are only told
    /// to their own callers as the first one.
    pub(crate) fn abort(&self, cause: JournalError) -> JournalError {
        if let JournalError::Aborted { .. } = cause {
            return cause;
        }
        let cause = Arc::new(cause);
        if self.aborted.set(Arc::clone(&cause)).is_ok() {
            tracing::error!(device = %self.device.info().name, %cause, "journal aborted");
            // Under the lock, so that nobody is between its check and its wait.
            let state = self.state.lock();
            self.changed.notify_all();
            self.quiet.notify_all();
            drop(state);
            if let Some(log) = &self.log {
                log.note_abort(&*self.device);
            }
            self.hooks.aborted(&cause);
        }
        JournalError::Aborted {
            cause: Arc::clone(self.aborted.get().unwrap_or(&cause)),
        }
    }

    pub(crate) fn in_range(&self, block: FsBlock) -> Result<(), JournalError> {
        let blocks = self.blocks.load(Ordering::Acquire);
        if block.get() < blocks {
            Ok(())
        } else {
            Err(JournalError::OutOfRange { block, blocks })
        }
    }

    /// Joins the running transaction with `credits`, opening one if none runs; commits a full one first.
    pub(crate) fn admit(self: &Arc<Self>, credits: u32) -> Result<Arc<Transaction>, JournalError> {
        e4_sync::may_wait_for_transaction();
        let max = self.limits.max_handle();
        if credits > max {
            return Err(JournalError::TooManyCredits {
                asked: credits,
                max,
            });
        }
        let mut state = self.state.lock();
        loop {
            self.check()?;
            if state.closed {
                return Err(JournalError::Closed);
            }
            if state.locked {
                self.changed.wait(&mut state);
                continue;
            }
            let State {
                running,
                usage,
                leader,
                ..
            } = &mut *state;
            match running {
                Some(transaction) if self.limits.fits(usage, credits) => {
                    usage.handles += 1;
                    usage.reserved += credits;
                    return Ok(Arc::clone(transaction));
                }
                // Full, and the one before it is still being written: its leader's end wakes us.
                Some(_) if *leader => self.changed.wait(&mut state),
                Some(_) => {
                    self.lead(state)?;
                    state = self.state.lock();
                }
                None => state = self.open(state)?,
            }
        }
    }

    /// Opens a transaction if the log has room for the largest one; makes room and lets the caller look
    /// again if not.
    pub(crate) fn open<'a>(
        self: &'a Arc<Self>,
        mut state: MutexGuard<'a, State>,
    ) -> Result<MutexGuard<'a, State>, JournalError> {
        if state.ended {
            return Err(JournalError::Closed);
        }
        if self.read_only {
            return Err(JournalError::ReadOnly {
                device: self.device.info().name.clone(),
            });
        }
        if let Some(log) = &self.log
            && !log.reserve(self.limits.max_blocks)
        {
            drop(state);
            self.checkpoint(Goal::Free(self.limits.max_blocks))?;
            return Ok(self.state.lock());
        }
        let tid = state.next_tid;
        state.next_tid = tid.next();
        state.usage = Usage::default();
        state.running = Some(Arc::new(Transaction::new(tid)));
        self.timer.arm();
        Ok(state)
    }

    /// Takes back what a closing handle reserved and books what it used.
    pub(crate) fn leave(&self, handle: &Handle) {
        let mut state = self.state.lock();
        let usage = &mut state.usage;
        if !handle.is_record() {
            usage.handles -= 1;
            usage.reserved -= handle.reserved();
        }
        usage.blocks += i64::from(handle.added());
        usage.revokes += i64::from(handle.revoked());
        if state.locked && state.usage.handles == 0 {
            self.quiet.notify_all();
        }
    }

    /// Promises `credits` more to an open handle, or refuses if that needs waiting.
    pub(crate) fn grow(&self, credits: u32) -> bool {
        let mut state = self.state.lock();
        if state.locked || !self.limits.fits(&state.usage, credits) {
            return false;
        }
        state.usage.reserved += credits;
        true
    }

    /// The transaction that holds or would hold a change made now.
    pub(crate) fn running_tid(&self) -> Tid {
        let state = self.state.lock();
        state.running.as_ref().map_or(state.next_tid, |t| t.tid)
    }

    /// The sealed transaction being written, if any.
    pub(crate) fn committing(&self) -> Option<Arc<Transaction>> {
        self.state.lock().committing.clone()
    }
}
