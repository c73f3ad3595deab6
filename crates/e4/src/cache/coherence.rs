//! The cache beside everything that reads, writes or moves blocks without it.
//!
//! | who | before | after |
//! |---|---|---|
//! | direct read | overlapping dirty pages are written back | |
//! | direct write | the same; once admitted, overlapping pages are dropped, and if one is dirty again, all over | pages read meanwhile are dropped, before anybody hears of the write |
//! | truncate | takes the writeback turn; once its drain holds, sets the size, drops what lies behind, zeroes the rest of the last page | |
//! | punch, and whatever moves blocks | [`Shared::quiet_pages`]: writes back, takes the turn | [`Quiet`] drops what was cached |
//! | deletion | all pages are dropped, written or not | |

use std::ops::Range;

use e4_format::{ByteOffset, FileBlock};
use e4_planted::planted;
use e4_sync::MutexGuard;
use e4_sync::atomic::Ordering;

use super::writeback::Job;
use crate::error::Result;
use crate::inode::{Inode, InodeState};
use crate::mount::Shared;

/// No page of some bytes is dirty, and none becomes so; no writeback of the inode runs. The inode's I/O lock is held
/// around it.
#[must_use = "pages are dropped when it goes"]
pub(crate) struct Quiet<'a> {
    shared: &'a Shared,
    state: &'a InodeState,
    blocks: Range<u32>,
    _turn: MutexGuard<'a, ()>,
}

impl Quiet<'_> {
    /// The blocks have changed below the cache: what it has of them is dropped. To be called while the drain still holds
    /// readers off; it happens in any case when this goes.
    pub(crate) fn changed(&self) {
        self.shared
            .drop_clean_pages(self.state, self.blocks.clone());
    }

    /// The blocks are about to go: their pages go now, dirty or not.
    pub(crate) fn discard(&self) {
        let dropped = self.state.cache.write().discard(self.blocks.clone());
        self.shared.settle_dropped(self.state, dropped);
    }

    /// The size becomes `bytes`, which is less: at once for all readers, with everything behind it gone.
    pub(crate) fn cut(&self, bytes: u64) {
        let bs = self.shared.sb.block_size();
        let first = u32::try_from(bs.blocks_for(bytes)).unwrap_or(u32::MAX);
        let within = bs.within(ByteOffset::new(bytes)) as usize;
        let mut map = self.state.cache.write();
        self.state.set_size(bytes);
        if within > 0 {
            map.zero_behind(first.saturating_sub(1), within);
        }
        let dropped = map.discard(first..u32::MAX);
        drop(map);
        self.shared.settle_dropped(self.state, dropped);
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        self.changed();
    }
}

impl Shared {
    fn blocks_of(&self, bytes: &Range<u64>) -> Range<u32> {
        let bs = self.sb.block_size();
        let first = bs.file_block_of(ByteOffset::new(bytes.start));
        let end = u32::try_from(bs.blocks_for(bytes.end)).unwrap_or(u32::MAX);
        first.map_or(u32::MAX, FileBlock::get)..end
    }

    /// Writes back what is dirty of these bytes, and waits until it is published. The caller has nothing from the
    /// writeback turn (rank 60) up, and has started its own requests.
    ///
    /// # Errors
    /// What failed; it stays dirty.
    pub(crate) fn flush_pages(&self, inode: &Inode, bytes: Range<u64>) -> Result<()> {
        if !inode.data().cache.is_unclean() {
            return Ok(());
        }
        let blocks = self.blocks_of(&bytes);
        if blocks.is_empty() {
            return Ok(());
        }
        self.write_back(&[Job { inode, blocks }])
    }

    /// For whatever is about to change the map of these bytes, or their content below the cache: writes back, and keeps
    /// the cache out of the way. Before the drain; the inode's I/O lock is held.
    ///
    /// # Errors
    /// What could not be written back: the operation must not go on.
    pub(crate) fn quiet_pages<'a>(
        &'a self,
        inode: &'a Inode,
        bytes: Range<u64>,
    ) -> Result<Quiet<'a>> {
        self.flush_pages(inode, bytes.clone())?;
        Ok(self.still_pages(inode, bytes))
    }

    /// As [`Shared::quiet_pages`], for who makes a hole: only what stays of the first and last block is written back.
    ///
    /// # Errors
    /// As [`Shared::quiet_pages`].
    pub(crate) fn pages_to_discard<'a>(
        &'a self,
        inode: &'a Inode,
        bytes: Range<u64>,
    ) -> Result<Quiet<'a>> {
        let bs = u64::from(self.sb.block_size().bytes());
        for edge in [bytes.start, bytes.end] {
            if edge % bs != 0 {
                self.flush_pages(inode, edge..edge.saturating_add(1))?;
            }
        }
        Ok(self.still_pages(inode, bytes))
    }

    /// As [`Shared::quiet_pages`], leaving dirty pages as they are.
    pub(crate) fn still_pages<'a>(&'a self, inode: &'a Inode, bytes: Range<u64>) -> Quiet<'a> {
        let state = inode.data();
        Quiet {
            shared: self,
            state,
            blocks: self.blocks_of(&bytes),
            _turn: state.cache.take_turn(u64::from(state.ino.get())),
        }
    }

    /// Drops clean pages. False if there are others.
    pub(crate) fn drop_clean_pages(&self, state: &InodeState, blocks: Range<u32>) -> bool {
        if !state.cache.is_active() || planted!(KeepPageAfterDirectWrite) {
            return true;
        }
        let mut map = state.cache.write();
        let gone = map.drop_clean(blocks.clone());
        let clear = !map.has_unclean(blocks);
        drop(map);
        self.cache.gone(gone);
        clear
    }

    /// Drops all pages of an inode that is being freed: nobody uses it.
    pub(crate) fn discard_all_pages(&self, inode: &Inode) {
        let state = inode.data();
        if !state.cache.is_active() {
            return;
        }
        let _turn = state.cache.take_turn(u64::from(state.ino.get()));
        let dropped = state.cache.write().discard(0..u32::MAX);
        self.settle_dropped(state, dropped);
    }

    /// Rule 8, for closing: a file that was cut to nothing and written anew must not be empty after a crash.
    pub(crate) fn flush_at_close(&self, inode: &Inode) {
        let cache = &inode.data().cache;
        if cache.is_unclean()
            && cache.flush_at_close.swap(false, Ordering::AcqRel)
            && !inode.data().is_doomed()
        {
            // Errors stay with the inode, for who opens it next, and the pages stay dirty.
            let _ = self.flush_pages(inode, 0..u64::MAX);
        }
    }

    /// The file is being cut to nothing: see [`Shared::flush_at_close`].
    pub(crate) fn note_emptied(&self, inode: &Inode) {
        inode
            .data()
            .cache
            .flush_at_close
            .store(true, Ordering::Release);
    }
}
