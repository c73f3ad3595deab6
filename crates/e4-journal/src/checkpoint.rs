//! Checkpointing: writing committed blocks home, so that their space in the log can be used again.
//!
//! Order, and why: write the newest *committed* version of each block (the running transaction may have a
//! newer one; that is not ours to write), flush, then move the tail in the journal superblock, flush, and only
//! then count the log space as free. Without the second flush a crash could find the old tail and, behind it,
//! a log that has been overwritten.
//!
//! Waits for plain device I/O only, never for a transaction or a completion; one checkpoint at a time.
//! What it is writing is listed as in flight, because a commit that freed one of those blocks has to wait until the
//! write is over (see `commit.rs`).

use e4_format::{FsBlock, Tid};
use e4_sync::{Arc, MutexGuard};

use crate::error::JournalError;
use crate::home;
use crate::log::{Lists, Log};
use crate::planted::bug;
use crate::state::Core;

/// How much a checkpoint shall achieve.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// So many free blocks of log. Does more than asked while at it: each round costs two flushes.
    Free(u32),
    /// Ahead of need.
    Background,
    /// Everything that is committed.
    All,
}

/// One block of a round.
struct Item {
    block: FsBlock,
    tid: Tid,
    data: Arc<[u8]>,
}

impl Core {
    /// True if the log fills up (a running transaction's reservation counts), or if more blocks wait for their checkpoint than the cache should hold.
    pub(crate) fn wants_checkpoint(&self, log: &Log) -> bool {
        let lists = log.lists.lock();
        lists.free < log.capacity() / 8 * 3 || self.too_many_live(&lists)
    }

    fn too_many_live(&self, lists: &Lists) -> bool {
        lists.live.saturating_mul(self.size.len()) > self.options.cache_bytes
    }

    /// Writes blocks home until the goal is reached, or nothing is left to write.
    pub(crate) fn checkpoint(&self, goal: Goal) -> Result<(), JournalError> {
        let Some(log) = &self.log else {
            return Ok(());
        };
        self.check()?;
        let mut lists = log.lists.lock();
        while lists.checkpointing {
            log.checkpointed.wait(&mut lists);
        }
        // Whoever we waited for may have done the work, or failed.
        self.check()?;
        let rounds = self.choose(log, &lists, goal);
        if rounds == 0 {
            return Ok(());
        }
        lists.checkpointing = true;
        let result = self.round(log, lists, rounds);
        let mut lists = log.lists.lock();
        lists.checkpointing = false;
        lists.in_flight.clear();
        match &result {
            Ok(freed) => lists.free += freed,
            Err(_) => debug_assert!(self.check().is_err()),
        }
        drop(lists);
        log.checkpointed.notify_all();
        result.map(drop)
    }

    /// Marks the log as empty on the device, durably, if everything committed is home. The caller leads: no commit can begin, and
    /// write its own start into the superblock, meanwhile.
    pub(crate) fn mark_empty(&self) -> Result<(), JournalError> {
        let Some(log) = &self.log else {
            return self.flush();
        };
        let mut lists = log.lists.lock();
        if lists.clean || !lists.logged.is_empty() {
            return Ok(());
        }
        lists.clean = true;
        let (head, tid) = (lists.head, lists.head_tid);
        drop(lists);
        log.write_tail(&*self.device, tid, None, head)
            .map_err(|e| self.abort(e))?;
        self.flush()
    }

    /// How many of the oldest transactions have to leave.
    fn choose(&self, log: &Log, lists: &Lists, goal: Goal) -> usize {
        let target = match goal {
            Goal::Free(need) if lists.free >= need => return 0,
            Goal::Free(need) => need.max(log.capacity() / 2),
            Goal::Background if self.too_many_live(lists) => u32::MAX,
            Goal::Background => log.capacity() / 8 * 5,
            Goal::All => u32::MAX,
        };
        let mut free = lists.free;
        let mut count = 0;
        for logged in &lists.logged {
            if free >= target {
                break;
            }
            free = free.saturating_add(logged.len);
            count += 1;
        }
        count
    }

    /// Writes the `count` oldest transactions home and moves the tail. Returns the log blocks freed.
    fn round(
        &self,
        log: &Log,
        mut lists: MutexGuard<'_, Lists>,
        count: usize,
    ) -> Result<u32, JournalError> {
        let device = &*self.device;
        let items = self.collect(&mut lists, count);
        drop(lists);
        let blocks: Vec<_> = items
            .iter()
            .map(|i| (i.block, Arc::clone(&i.data)))
            .collect();
        if !blocks.is_empty() {
            home::write(device, self.size, &blocks).map_err(|e| self.abort(e))?;
            if !(bug!(self, TailBeforeHomeFlush)) {
                self.flush()?;
            }
        }
        let mut lists = log.lists.lock();
        for item in &items {
            lists.mark_home(item.block, item.tid);
        }
        lists.in_flight.clear();
        let freed = lists.retire();
        let (start, tid) = lists.tail();
        drop(lists);
        // A commit that waits for a block of ours need not wait for the superblock too.
        log.checkpointed.notify_all();
        if freed > 0 {
            log.write_tail(device, tid, Some(start), start)
                .map_err(|e| self.abort(e))?;
            if !(bug!(self, ReuseBeforeTailFlush)) {
                self.flush()?;
            }
        }
        Ok(freed)
    }

    /// The copies of the `count` oldest transactions that are still the newest, by block number; lists them as in flight.
    fn collect(&self, lists: &mut Lists, count: usize) -> Vec<Item> {
        let Lists {
            logged,
            newest,
            in_flight,
            ..
        } = lists;
        let mut items = Vec::new();
        for logged in logged.iter().take(count) {
            for block in &logged.blocks {
                let Some(entry) = newest.get(block) else {
                    continue;
                };
                if entry.tid != logged.tid {
                    continue;
                }
                let Some(copy) = &entry.copy else { continue };
                let data = if bug!(self, CheckpointCurrent) {
                    Arc::clone(&copy.buffer.lock().data)
                } else {
                    Arc::clone(&copy.data)
                };
                in_flight.insert(*block);
                items.push(Item {
                    block: *block,
                    tid: logged.tid,
                    data,
                });
            }
        }
        items.sort_unstable_by_key(|i| i.block);
        items
    }
}

impl Lists {
    /// A version was written home. It may have been superseded or revoked meanwhile.
    fn mark_home(&mut self, block: FsBlock, tid: Tid) {
        let Some(entry) = self.newest.get_mut(&block) else {
            return;
        };
        if entry.tid == tid && entry.copy.take().is_some() {
            self.settle(tid);
        }
    }

    /// Takes the oldest transactions out that have nothing left to write. Returns their blocks of log, which
    /// may be reused once the superblock is durable.
    fn retire(&mut self) -> u32 {
        let mut freed = 0;
        while self.logged.front().is_some_and(|l| l.live == 0)
            && let Some(gone) = self.logged.pop_front()
        {
            freed += gone.len;
            for block in gone.blocks {
                if self.newest.get(&block).is_some_and(|e| e.tid == gone.tid) {
                    self.newest.remove(&block);
                }
            }
        }
        freed
    }
}
