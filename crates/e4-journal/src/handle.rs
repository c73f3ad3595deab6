//! Handles: the right to change a number of metadata blocks within one transaction.
//!
//! Decisions:
//! - A handle reserves its credits when it starts, uses one per block that is new to the transaction, and gives the
//!   rest back when it is dropped. Using more than reserved is an error, not a wait.
//! - One credit also pays for a log block full of revoke records, so `forget` needs no second currency.
//! - An open handle is rank 70 in the lock order ([`e4_sync::Held`]): opening it asserts the second waiting rule, and it
//!   stays on its thread.
//! - No nesting: whoever may be called with or without a handle takes `&mut Handle`.

use e4_format::{FsBlock, Tid};
use e4_sync::{Arc, Held, Rank};

use crate::buffer::{Block, BlockMut, Buffer};
use crate::error::JournalError;
use crate::planted::bug;
use crate::state::Core;
use crate::transaction::Transaction;

/// An open handle. Dropping it closes it.
#[must_use = "dropping a handle closes it"]
pub struct Handle {
    core: Arc<Core>,
    transaction: Arc<Transaction>,
    /// Credits reserved altogether.
    reserved: u32,
    /// Credits not used yet.
    left: u32,
    /// Revoke records already paid for.
    revokes_left: u32,
    /// Blocks added to the transaction, minus blocks taken out again.
    added: i32,
    /// Revoke records added, minus those cancelled.
    revoked: i32,
    kind: Kind,
    held: Option<Held>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ordinary,
    Record,
    Closed,
}

impl Handle {
    /// Opens a handle; may wait for a transaction.
    pub(crate) fn start(core: &Arc<Core>, credits: u32) -> Result<Self, JournalError> {
        let transaction = core.admit(credits)?;
        Ok(Self::new(core, transaction, credits, Kind::Ordinary))
    }

    /// The handle of the record hook, on the locked transaction, owning the credits set aside.
    pub(crate) fn for_record(core: &Arc<Core>, transaction: &Arc<Transaction>) -> Self {
        let credits = core.limits.record;
        Self::new(core, Arc::clone(transaction), credits, Kind::Record)
    }

    fn new(core: &Arc<Core>, transaction: Arc<Transaction>, credits: u32, kind: Kind) -> Self {
        Self {
            core: Arc::clone(core),
            transaction,
            reserved: credits,
            left: credits,
            revokes_left: 0,
            added: 0,
            revoked: 0,
            kind,
            held: Some(Held::acquire(Rank::HANDLE)),
        }
    }

    pub(crate) fn is_record(&self) -> bool {
        self.kind == Kind::Record
    }

    pub(crate) fn reserved(&self) -> u32 {
        self.reserved
    }

    pub(crate) fn added(&self) -> i32 {
        self.added
    }

    pub(crate) fn revoked(&self) -> i32 {
        self.revoked
    }

    /// The transaction this handle belongs to.
    #[must_use]
    pub fn tid(&self) -> Tid {
        self.transaction.tid
    }

    /// Credits not used yet.
    #[must_use]
    pub fn credits_left(&self) -> u32 {
        self.left
    }

    /// Write access to a block, which becomes part of the transaction. Costs a credit unless it is part of it
    /// already.
    ///
    /// # Errors
    /// The journal was aborted, no credit left, or the block was freed meanwhile.
    #[inline]
    pub fn modify<'h>(&'h mut self, block: &'h Block) -> Result<BlockMut<'h>, JournalError> {
        self.usable()?;
        let buffer = &*block.buffer;
        let state = buffer.lock();
        if state.joined == Some(self.transaction.tid) {
            return Ok(BlockMut::new(buffer, state));
        }
        drop(state);
        self.join(&block.buffer)?;
        Ok(BlockMut::new(buffer, buffer.lock()))
    }

    /// A new metadata block, zeroed without reading it. Costs a credit as [`Self::modify`] does, and takes back a
    /// revoke of the same transaction.
    ///
    /// # Errors
    /// As for `modify`; a block beyond the filesystem or inside the journal.
    pub fn create(&mut self, block: FsBlock) -> Result<Block, JournalError> {
        self.usable()?;
        self.core.in_range(block)?;
        loop {
            let buffer = self.core.cache.get(block);
            match self.join(&buffer) {
                // Detached between the two steps: the cache has another one by now.
                Err(JournalError::Forgotten { .. }) => continue,
                other => other?,
            }
            buffer.fill_zero(&mut buffer.lock(), self.core.size);
            return Ok(Block { buffer });
        }
    }

    /// The block is no metadata any more (it was freed): it leaves the transaction and the cache, and earlier copies
    /// in the log are revoked, at the cost of a credit per log block full of revoke records.
    /// Every freed metadata block must pass here, and none may be reused until the transaction has committed
    /// ([`crate::CommitHooks::committed`]).
    ///
    /// # Errors
    /// The journal was aborted, or no credit left for a revoke record.
    pub fn forget(&mut self, block: FsBlock) -> Result<(), JournalError> {
        self.usable()?;
        self.core.in_range(block)?;
        let logged = self.may_be_in_log(block);
        let mut lists = self.transaction.lists.lock();
        if logged && !lists.revokes.contains(&block) {
            if self.revokes_left == 0 {
                self.left = self.left.checked_sub(1).ok_or(JournalError::NoCredits {
                    tid: self.transaction.tid,
                    block,
                    reserved: self.reserved,
                })?;
                self.revokes_left = self.core.limits.revokes;
            }
            self.revokes_left -= 1;
            self.revoked += 1;
            lists.revokes.insert(block);
        }
        if lists.blocks.remove(&block).is_some() {
            self.added -= 1;
        }
        self.core.cache.detach(block);
        Ok(())
    }

    /// Whether the log may hold a copy of the block that a recovery would replay. Looks at the committing transaction
    /// first: on its way into the log's index a block is in both, never in neither.
    fn may_be_in_log(&self, block: FsBlock) -> bool {
        let Some(log) = &self.core.log else {
            return false;
        };
        if let Some(committing) = self.core.committing()
            && committing.lists.lock().blocks.contains_key(&block)
        {
            return true;
        }
        log.contains(block)
    }

    /// Puts a buffer on the transaction's list.
    #[cold]
    fn join(&mut self, buffer: &Arc<Buffer>) -> Result<(), JournalError> {
        let block = buffer.block();
        if let Some(log) = &self.core.log
            && log.layout.contains(block)
        {
            return Err(JournalError::InsideJournal { block });
        }
        let tid = self.transaction.tid;
        let mut lists = self.transaction.lists.lock();
        let mut state = buffer.lock();
        if state.detached {
            return Err(JournalError::Forgotten { block });
        }
        if state.joined == Some(tid) {
            return Ok(());
        }
        self.left = self.left.checked_sub(1).ok_or(JournalError::NoCredits {
            tid,
            block,
            reserved: self.reserved,
        })?;
        self.added += 1;
        lists.blocks.insert(block, Arc::clone(buffer));
        if !(bug!(self.core, KeepRevoke)) && lists.revokes.remove(&block) {
            self.revoked -= 1;
        }
        state.joined = Some(tid);
        Ok(())
    }

    /// Reserves more, if the transaction has room and is not closing. On `false` the caller restarts.
    #[must_use]
    pub fn extend(&mut self, credits: u32) -> bool {
        if self.kind != Kind::Ordinary || !self.core.grow(credits) {
            return false;
        }
        self.reserved += credits;
        self.left += credits;
        true
    }

    /// Closes the handle and opens it again in a transaction that has room: what was changed so far may become durable
    /// without what follows, so the caller leaves the filesystem consistent first, and holds nothing from
    /// rank 70 up but the handle itself.
    ///
    /// # Errors
    /// As for [`crate::MetaStore::start`]; the handle is then closed for good.
    pub fn restart(&mut self, credits: u32) -> Result<(), JournalError> {
        match self.kind {
            Kind::Ordinary => {}
            Kind::Record => {
                return Err(JournalError::RecordRestart {
                    tid: self.transaction.tid,
                });
            }
            Kind::Closed => return Err(JournalError::HandleClosed),
        }
        self.close();
        let core = Arc::clone(&self.core);
        *self = Self::start(&core, credits)?;
        Ok(())
    }

    #[inline]
    fn usable(&self) -> Result<(), JournalError> {
        if self.kind == Kind::Closed {
            return Err(JournalError::HandleClosed);
        }
        self.core.check()
    }

    fn close(&mut self) {
        if self.kind != Kind::Closed {
            self.core.leave(self);
            self.kind = Kind::Closed;
            self.held = None;
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.close();
    }
}

impl core::fmt::Debug for Handle {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(
            f,
            "Handle(transaction {}, {} of {} credits left)",
            self.transaction.tid, self.left, self.reserved
        )
    }
}
