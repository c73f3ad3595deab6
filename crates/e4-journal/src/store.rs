//! [`MetaStore`]: the metadata of one filesystem, as blocks that are read, modified in transactions, and made durable.

use e4_device::Device;
use e4_format::jbd2::{revokes_per_block, tags_per_block};
use e4_format::{BlockSize, FsBlock, Tid};
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Arc, Condvar, Mutex, OnceLock, Rank};

use crate::buffer::Block;
use crate::cache::Cache;
use crate::checkpoint::Goal;
use crate::error::JournalError;
use crate::flush::FlushGroup;
use crate::handle::Handle;
use crate::layout::JournalLayout;
use crate::log::Log;
use crate::options::{CommitHooks, Options, Verify};
use crate::state::{Core, State};
use crate::timer::{Timer, TimerThread};
use crate::transaction::Limits;

/// Whether changes go through a journal.
#[derive(Clone, Debug)]
pub enum JournalMode {
    /// Through this journal, which must be empty ([`crate::recovery::recover`] it first).
    Journal(JournalLayout),
    /// No journal: a commit writes the blocks home, after a flush of what they refer to.
    None {
        /// Blocks of the filesystem.
        blocks: u64,
    },
}

/// How large the pieces of work may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StoreLimits {
    /// The largest handle.
    pub max_handle_credits: u32,
    /// What [`CommitHooks::record`] gets.
    pub record_credits: u32,
    /// Forgotten blocks one credit pays for.
    pub revokes_per_credit: u32,
    /// Usable blocks of the log; 0 without a journal.
    pub log_blocks: u32,
}

/// Counters for people and tests.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct StoreStatus {
    /// Blocks in the cache, pinned ones included.
    pub cached: usize,
    /// Committed blocks not written home yet.
    pub unwritten: usize,
    /// Free blocks of log.
    pub log_free: u32,
    /// Transactions in the log.
    pub logged: usize,
    /// Handles open now.
    pub open_handles: u32,
}

/// The metadata blocks of one filesystem and, if it has one, its journal.
///
/// Dropping it writes nothing: like a power cut, only what was committed survives. [`Self::shutdown`] is the
/// orderly end.
pub struct MetaStore {
    // Before `core`: the thread is stopped first.
    timer: Mutex<Option<TimerThread>>,
    core: Arc<Core>,
}

impl MetaStore {
    /// Opens the store. Writes nothing yet: the first commit does. Before the first [`Self::start`] the caller makes
    /// `needs_recovery` durable in the filesystem's superblock, or nobody will look into the log after a crash.
    ///
    /// # Errors
    /// The journal needs recovery or is too short, or its superblock cannot be read.
    pub fn open(
        device: Arc<dyn Device>,
        size: BlockSize,
        mode: JournalMode,
        options: Options,
        hooks: Arc<dyn CommitHooks>,
    ) -> Result<Arc<Self>, JournalError> {
        let (log, blocks, limits, next_tid) = match mode {
            JournalMode::None { blocks } => {
                let most = options.unjournaled_transaction.max(2);
                let limits = Limits::new(most, u32::MAX, u32::MAX, options.record_credits);
                (None, blocks, limits, Tid::new(1))
            }
            JournalMode::Journal(layout) => {
                let blocks = layout.filesystem_blocks();
                let log = Log::open(&*device, layout, &options)?;
                let limits = Limits::new(
                    log.max_transaction(),
                    u32::try_from(tags_per_block(&log.format)).unwrap_or(1),
                    u32::try_from(revokes_per_block(&log.format)).unwrap_or(1),
                    options.record_credits,
                );
                let next = log.lists.lock().head_tid;
                (Some(log), blocks, limits, next)
            }
        };
        let state = State {
            running: None,
            usage: crate::transaction::Usage::default(),
            locked: false,
            committing: None,
            leader: false,
            records: 0,
            next_tid,
            committed: Tid::new(next_tid.get().wrapping_sub(1)),
            closed: false,
            ended: false,
        };
        let core = Arc::new(Core {
            read_only: device.info().read_only,
            device,
            size,
            blocks: AtomicU64::new(blocks),
            cache: Cache::new(options.cache_bytes / size.len()),
            hooks,
            limits,
            state: Mutex::new(Rank::JOURNAL_STATE, state),
            changed: Condvar::new(),
            quiet: Condvar::new(),
            flushes: FlushGroup::new(),
            log,
            timer: Timer::new(options.commit_interval),
            aborted: OnceLock::new(),
            options,
        });
        Ok(Arc::new(Self {
            timer: Mutex::new(Rank::LEAF, TimerThread::start(&core)),
            core,
        }))
    }

    /// A metadata block, from the cache or the device. The check runs when the block is loaded, or was last
    /// checked under another tag.
    ///
    /// # Errors
    /// Beyond the filesystem, unreadable, or refused by the check (which is run again next time).
    pub fn read(&self, block: FsBlock, verify: Verify<'_>) -> Result<Block, JournalError> {
        self.core.in_range(block)?;
        let buffer = self.core.cache.get(block);
        buffer.ensure(&*self.core.device, self.core.size, &verify)?;
        Ok(Block { buffer })
    }

    /// Loads `count` blocks from `first` on with one read, as far as they are not cached. A hint: errors are left to
    /// whoever reads a block, and checks to [`Self::read`].
    pub fn prefetch(&self, first: FsBlock, count: u32) {
        /// One read covers at most this much.
        const MOST: usize = 1 << 20;
        let end = first
            .get()
            .saturating_add(u64::from(count))
            .min(self.core.blocks.load(Ordering::Acquire));
        let most = u64::try_from(MOST / self.core.size.len()).unwrap_or(1);
        let end = end.min(first.get().saturating_add(most));
        // Held while reading, so that none can be evicted, changed elsewhere and come back unloaded.
        let buffers: Vec<_> = (first.get()..end)
            .map(|b| self.core.cache.get(FsBlock::new(b)))
            .collect();
        if buffers.iter().any(|b| !b.is_loaded()) {
            crate::buffer::load_run(&*self.core.device, self.core.size, first, &buffers);
        }
    }

    /// Opens a handle that may modify up to `credits` blocks new to its transaction. May wait for a commit and write blocks
    /// home to make room: the caller holds nothing from rank 70 up.
    ///
    /// # Errors
    /// More credits than [`StoreLimits::max_handle_credits`], read-only, shut down, or aborted.
    #[inline]
    pub fn start(&self, credits: u32) -> Result<Handle, JournalError> {
        Handle::start(&self.core, credits)
    }

    /// Sizes fixed at opening.
    #[must_use]
    pub fn limits(&self) -> StoreLimits {
        let Limits {
            record, revokes, ..
        } = self.core.limits;
        StoreLimits {
            max_handle_credits: self.core.limits.max_handle(),
            record_credits: record,
            revokes_per_credit: revokes,
            log_blocks: self.core.log.as_ref().map_or(0, Log::capacity),
        }
    }

    /// Where things stand right now.
    #[must_use]
    pub fn status(&self) -> StoreStatus {
        let mut status = StoreStatus {
            cached: self.core.cache.len(),
            open_handles: self.core.state.lock().usage.handles,
            ..StoreStatus::default()
        };
        if let Some(log) = &self.core.log {
            let lists = log.lists.lock();
            status.unwritten = lists.live;
            status.log_free = lists.free;
            status.logged = lists.logged.len();
        }
        status
    }

    /// The filesystem has got more blocks: those below `blocks` may be read and changed from here on.
    pub fn grow(&self, blocks: u64) {
        self.core.blocks.fetch_max(blocks, Ordering::AcqRel);
    }

    /// Block size.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        self.core.size
    }

    /// True if changes go through a journal.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.core.log.is_some()
    }

    /// The transaction that holds, or would hold, a change made now.
    #[must_use]
    pub fn running_tid(&self) -> Tid {
        self.core.running_tid()
    }

    /// The newest durable transaction.
    #[must_use]
    pub fn committed_tid(&self) -> Tid {
        self.core.state.lock().committed
    }

    /// True if the transaction is durable (or older than this session).
    #[must_use]
    pub fn is_committed(&self, tid: Tid) -> bool {
        self.committed_tid().at_or_after(tid)
    }

    /// Returns when `tid` is durable; at once if it is, or holds nothing. Callers that arrive during a commit share the
    /// next one. What was published without a handle is not covered (the transaction's record may be over): record it in a handle
    /// first, or use [`Self::commit_all`]. This alone does not make the caller's *data* durable: see [`Self::sync`].
    ///
    /// # Errors
    /// The journal was aborted.
    pub fn commit(&self, tid: Tid) -> Result<(), JournalError> {
        self.core.commit(tid)
    }

    /// What fsync needs: `tid` is durable, and so is all data written before the call.
    /// A commit that had begun may have flushed too early for that; then, or if there was nothing to
    /// commit, a flush of its own follows (shared with others).
    ///
    /// # Errors
    /// The journal was aborted, or the flush failed.
    pub fn sync(&self, tid: Tid) -> Result<(), JournalError> {
        let ticket = self.core.flushes.ticket();
        self.core.commit(tid)?;
        self.core.flush_from(ticket)
    }

    /// All data written before the call is durable. Nothing is committed.
    ///
    /// # Errors
    /// The journal was aborted, or the flush failed.
    pub fn flush_device(&self) -> Result<(), JournalError> {
        self.core.flush()
    }

    /// Commits everything changed or published before the call, and makes all data written before it durable. Free of
    /// journal writes if there is nothing to commit.
    ///
    /// # Errors
    /// The journal was aborted, or the flush failed.
    pub fn commit_all(&self) -> Result<(), JournalError> {
        let ticket = self.core.flushes.ticket();
        self.core.commit_all()?;
        self.core.flush_from(ticket)
    }

    /// Writes every committed block home and empties the log, as far as it is committed.
    ///
    /// # Errors
    /// The journal was aborted, or a write failed.
    pub fn checkpoint_all(&self) -> Result<(), JournalError> {
        self.core.checkpoint(Goal::All)
    }

    /// Asks the background thread to record what is published, and commit it, before anybody has to wait for that. A hint.
    pub fn record_soon(&self) {
        self.core.timer.request_record(false);
    }

    /// Waits until a recording that began after the call, or was under way, is over: its transaction is then on its way to
    /// the log, but not durable. False if that may not have happened; whoever needs it commits.
    #[must_use]
    pub fn wait_for_record(&self) -> bool {
        self.core.wait_for_record()
    }

    /// Something was acknowledged that only a commit makes durable: commit within an interval even if no transaction runs.
    #[inline]
    pub fn arm_timer(&self) {
        self.core.timer.arm();
    }

    /// The orderly end: commits, writes everything home, marks the log as empty. No handle can be opened any more; reads go
    /// on. The caller clears the filesystem's `needs_recovery` after this returned.
    ///
    /// # Errors
    /// The journal was aborted, or a write failed; then the log stays as it is, for recovery.
    pub fn shutdown(&self) -> Result<(), JournalError> {
        e4_sync::may_wait_for_transaction();
        let thread = self.timer.lock().take();
        drop(thread);
        self.core.state.lock().closed = true;
        if self.core.read_only {
            return Ok(());
        }
        self.core.empty(true)
    }

    /// Brings the device into a state that needs no recovery and goes on: commits, writes everything home, marks the log as
    /// empty. The caller holds off changes meanwhile and afterwards, for as long as that state shall last.
    ///
    /// # Errors
    /// The journal was aborted, or a write failed.
    pub fn freeze(&self) -> Result<(), JournalError> {
        e4_sync::may_wait_for_transaction();
        self.core.empty(false)
    }

    /// Latches a failure of the filesystem: nothing is written any more, every waiter gets the error, reads go on.
    /// May be called with an open handle and locks up to rank 95, but not while holding a [`crate::BlockMut`].
    pub fn abort(&self, cause: JournalError) -> JournalError {
        self.core.abort(cause)
    }

    /// The failure that ended writing, if any.
    ///
    /// # Errors
    /// That failure.
    pub fn check(&self) -> Result<(), JournalError> {
        self.core.check()
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// True after an abort.
    #[must_use]
    pub fn is_aborted(&self) -> bool {
        self.core.check().is_err()
    }
}
