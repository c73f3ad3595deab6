//! Committing: the thread that needs a transaction durable leads it through, the others wait for it.
//!
//! Order, and why:
//! 1. *Lock*: no new handle; wait for the open ones. From here nobody modifies metadata.
//! 2. *Record*: the filesystem adds what it has acknowledged but not recorded ([`crate::CommitHooks::record`]).
//! 3. *Seal*: take a reference to the current version of every block. Cheap, so the next transaction may open at once; whoever modifies
//!    one of these blocks now copies it.
//! 4. Write revokes, descriptors and blocks; *flush* (which also makes the data durable that the blocks
//!    refer to, I-28); write the commit record; *flush*. Two flushes: the record must not overtake what it commits.
//! 5. Tell the log's index, wait for a checkpoint that is just writing a block this transaction freed, then tell the filesystem
//!    and wake everybody.
//!
//! Without a journal step 4 is: flush (data before what refers to them), write home, flush.
//!
//! A transaction that turns out to be empty is not written: it stays open under its number, and the commit is free.
//!
//! Any failure aborts the journal (I-36); the leader's guard does the same if the hook panics.

use core::time::Duration;

use e4_format::{FsBlock, Tid};
use e4_planted::planted;
use e4_sync::{Arc, MutexGuard, now};

use crate::buffer::Buffer;
use crate::checkpoint::Goal;
use crate::error::JournalError;
use crate::flush::FlushTicket;
use crate::handle::Handle;
use crate::home;
use crate::log::{Copy, Log, Logged, Newest};
use crate::log_image::LogImage;
use crate::planted::bug;
use crate::state::{Core, State};
use crate::transaction::Transaction;

/// A block of a sealed transaction: the version that is committed.
pub(crate) struct SealedBlock {
    pub(crate) buffer: Arc<Buffer>,
    pub(crate) data: Arc<[u8]>,
}

/// A transaction that changes no more.
pub(crate) struct Sealed {
    pub(crate) tid: Tid,
    /// By block number.
    pub(crate) blocks: Vec<SealedBlock>,
    /// By block number.
    pub(crate) revokes: Vec<FsBlock>,
}

impl Core {
    /// Returns when transaction `tid` is durable: at once if it is, or if it does not exist. Leads the commit if nobody
    /// else does.
    pub(crate) fn commit(self: &Arc<Self>, tid: Tid) -> Result<(), JournalError> {
        e4_sync::may_wait_for_transaction();
        let mut state = self.state.lock();
        let mut led = false;
        loop {
            self.check()?;
            let is = |t: &Option<Arc<Transaction>>| t.as_ref().is_some_and(|t| t.tid == tid);
            let running = is(&state.running);
            if !running && !is(&state.committing) {
                return Ok(());
            }
            if state.leader {
                self.changed.wait(&mut state);
                continue;
            }
            if led {
                // Still running after a commit: it was empty.
                return Ok(());
            }
            led = true;
            self.lead(state)?;
            state = self.state.lock();
        }
    }

    /// Commits whatever was changed or published before the call. Free if there is nothing.
    pub(crate) fn commit_all(self: &Arc<Self>) -> Result<(), JournalError> {
        e4_sync::may_wait_for_transaction();
        let tid = loop {
            let unrecorded = self.hooks.has_unrecorded();
            let mut state = self.state.lock();
            self.check()?;
            if state.locked {
                // Its record may be over already, without what the caller published: that belongs to the next one.
                self.changed.wait(&mut state);
            } else if let Some(running) = &state.running {
                break running.tid;
            } else if unrecorded && !state.ended {
                drop(self.open(state)?);
            } else if let Some(committing) = &state.committing {
                break committing.tid;
            } else {
                return Ok(());
            }
        };
        self.commit(tid)
    }

    /// Has the background thread record, and waits for the end of that, not of the commit. False if that did not happen in
    /// good time.
    pub(crate) fn wait_for_record(&self) -> bool {
        /// Longer than it should take to begin; the caller then sees to it itself.
        const PATIENCE: Duration = Duration::from_millis(200);
        e4_sync::may_wait_for_transaction();
        if !self.hooks.has_unrecorded() {
            return false;
        }
        let mut state = self.state.lock();
        let seen = state.records;
        if !state.locked {
            drop(state);
            if !self.timer.request_record(true) {
                return false;
            }
            state = self.state.lock();
        }
        let until = now() + PATIENCE;
        while state.records == seen || state.locked {
            if self.check().is_err() {
                return false;
            }
            if state.locked {
                // Whoever leads gets on without us.
                self.changed.wait(&mut state);
                continue;
            }
            let left = until.saturating_duration_since(now());
            if left.is_zero() {
                return false;
            }
            self.changed.wait_for(&mut state, left);
        }
        true
    }

    /// Commits the running transaction. The caller holds the state lock and has seen that nobody leads.
    pub(crate) fn lead(
        self: &Arc<Self>,
        mut state: MutexGuard<'_, State>,
    ) -> Result<(), JournalError> {
        debug_assert!(!state.leader && state.committing.is_none());
        let Some(transaction) = state.running.clone() else {
            return Ok(());
        };
        state.leader = true;
        state.locked = true;
        let mut leadership = Leadership {
            core: self,
            tid: transaction.tid,
            done: false,
        };
        while state.usage.handles > 0 {
            if let Err(aborted) = self.check() {
                drop(state);
                leadership.done = true;
                return Err(aborted);
            }
            self.quiet.wait(&mut state);
        }
        drop(state);
        let result = self.commit_locked(&transaction).map_err(|e| self.abort(e));
        leadership.done = true;
        drop(leadership);
        result
    }

    /// Commits, writes home and marks the log as empty. If `last`, nothing can be opened afterwards.
    pub(crate) fn empty(self: &Arc<Self>, last: bool) -> Result<(), JournalError> {
        self.commit_all()?;
        self.checkpoint(Goal::All)?;
        let mut state = self.state.lock();
        while state.leader {
            self.changed.wait(&mut state);
        }
        self.check()?;
        state.leader = true;
        state.ended = last;
        let mut leadership = Leadership {
            core: self,
            tid: state.next_tid,
            done: false,
        };
        drop(state);
        let result = self.mark_empty();
        leadership.done = true;
        result
    }

    fn commit_locked(self: &Arc<Self>, transaction: &Arc<Transaction>) -> Result<(), JournalError> {
        self.check()?;
        {
            let mut handle = Handle::for_record(self, transaction);
            self.hooks.record(&mut handle)?;
        }
        self.state.lock().records += 1;
        let sealed = seal(transaction);
        if sealed.blocks.is_empty() && sealed.revokes.is_empty() {
            return Ok(());
        }
        self.planted_home(&sealed)?;
        {
            let mut state = self.state.lock();
            state.committing = state.running.take();
            state.locked = false;
            self.changed.notify_all();
        }
        match &self.log {
            Some(log) => self.write_logged(log, sealed)?,
            None => self.write_unlogged(&sealed)?,
        }
        self.hooks.committed(transaction.tid);
        let mut state = self.state.lock();
        state.committing = None;
        state.committed = transaction.tid;
        drop(state);
        if let Some(log) = &self.log
            && self.wants_checkpoint(log)
        {
            self.timer.request_checkpoint();
        }
        Ok(())
    }

    fn write_logged(&self, log: &Log, sealed: Sealed) -> Result<(), JournalError> {
        let tid = sealed.tid;
        let device = &*self.device;
        let fail = |source| JournalError::WriteLog { tid, source };
        let format = |source| JournalError::Encode { tid, source };
        let image = LogImage {
            tid,
            format: &log.format,
            limits: &self.limits,
            blocks: &sealed.blocks,
            revokes: if bug!(self, DropRevokes) {
                &[]
            } else {
                &sealed.revokes
            },
            escaping: !(bug!(self, SkipEscape)),
        };
        let len = image.len();
        let (start, first) = log.allocate(tid, len + 1, self.limits.max_blocks)?;
        if first && !planted!(SkipLogStart) {
            // A crash before the flush below finds an empty log either way.
            log.write_tail(device, tid, Some(start), start)?;
        }
        log.write(device, start, &image.build().map_err(format)?)
            .map_err(fail)?;
        if !(bug!(self, SkipFlushBeforeRecord)) {
            self.flush()?;
        }
        self.check()?;
        let record = image.record((self.options.clock)()).map_err(format)?;
        log.write(device, log.advance(start, len), &record)
            .map_err(fail)?;
        if !(bug!(self, SkipFlushAfterRecord)) {
            self.flush()?;
        }
        self.index(log, start, len + 1, sealed);
        Ok(())
    }

    /// Enters a durable transaction into the log's index: its blocks wait for their checkpoint, earlier versions of
    /// them no longer do, freed blocks never will again.
    fn index(&self, log: &Log, start: u32, len: u32, sealed: Sealed) {
        let tid = sealed.tid;
        let mut lists = log.lists.lock();
        lists.pending = None;
        let mut logged = Logged {
            tid,
            start,
            len,
            blocks: Vec::with_capacity(sealed.blocks.len()),
            live: 0,
        };
        for SealedBlock { buffer, data } in sealed.blocks {
            let block = buffer.block();
            logged.blocks.push(block);
            logged.live += 1;
            lists.live += 1;
            let copy = Some(Copy { buffer, data });
            if let Some(older) = lists.newest.insert(block, Newest { tid, copy })
                && older.copy.is_some()
            {
                lists.settle(older.tid);
            }
        }
        lists.logged.push_back(logged);
        if bug!(self, CheckpointFreed) {
            return;
        }
        let wait = !(bug!(self, SkipInFlightWait));
        for block in &sealed.revokes {
            if let Some(freed) = lists.newest.remove(block)
                && freed.copy.is_some()
            {
                lists.settle(freed.tid);
            }
        }
        // Once we return the block may belong to a file: a write of its old content must not land after that.
        while wait && sealed.revokes.iter().any(|b| lists.in_flight.contains(b)) {
            log.checkpointed.wait(&mut lists);
        }
    }

    fn write_unlogged(&self, sealed: &Sealed) -> Result<(), JournalError> {
        self.flush()?;
        home::write(&*self.device, self.size, &homeward(sealed))?;
        self.flush()
    }

    fn planted_home(&self, sealed: &Sealed) -> Result<(), JournalError> {
        if !(bug!(self, HomeBeforeCommit)) {
            return Ok(());
        }
        home::write(&*self.device, self.size, &homeward(sealed))
    }

    /// A flush that starts now; its failure is final.
    pub(crate) fn flush(&self) -> Result<(), JournalError> {
        self.flush_from(self.flushes.ticket())
    }

    /// A flush that started after the ticket was taken.
    pub(crate) fn flush_from(&self, ticket: FlushTicket) -> Result<(), JournalError> {
        self.check()?;
        self.flushes
            .ensure(ticket, &*self.device)
            .map_err(|source| self.abort(JournalError::Flush { source }))
    }
}

fn homeward(sealed: &Sealed) -> Vec<home::Homeward> {
    let item = |b: &SealedBlock| (b.buffer.block(), Arc::clone(&b.data));
    sealed.blocks.iter().map(item).collect()
}

/// Takes the current version of every block. All handles are closed and none can open, so these versions
/// belong together.
fn seal(transaction: &Transaction) -> Sealed {
    let lists = transaction.lists.lock();
    let mut blocks: Vec<_> = lists
        .blocks
        .values()
        .map(|buffer| SealedBlock {
            data: Arc::clone(&buffer.lock().data),
            buffer: Arc::clone(buffer),
        })
        .collect();
    let mut revokes: Vec<_> = lists.revokes.iter().copied().collect();
    drop(lists);
    blocks.sort_unstable_by_key(|b| b.buffer.block());
    revokes.sort_unstable();
    Sealed {
        tid: transaction.tid,
        blocks,
        revokes,
    }
}

/// Held by the leader; whatever happens to it, the others get on.
struct Leadership<'a> {
    core: &'a Arc<Core>,
    tid: Tid,
    done: bool,
}

impl Drop for Leadership<'_> {
    fn drop(&mut self) {
        if !self.done {
            self.core
                .abort(JournalError::CommitUnwound { tid: self.tid });
        }
        let mut state = self.core.state.lock();
        state.leader = false;
        state.locked = false;
        self.core.changed.notify_all();
    }
}
