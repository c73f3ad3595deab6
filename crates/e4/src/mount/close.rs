//! Unmounting and sync: the orderly ends (I-44).

use e4_format::superblock::FsState;
use e4_planted::planted;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use super::open::write_superblock;
use super::{Mounted, Shared};
use crate::error::Result;

impl Shared {
    /// Everything acknowledged before the call becomes durable.
    pub(crate) fn sync(&self) -> Result<()> {
        self.check_open()?;
        self.act_on_damage();
        self.pump.reap_all(self);
        if self.read_only.is_none() {
            self.free_left_over();
        }
        let written = self.flush_all_pages();
        self.meta.commit_all()?;
        written
    }
}

impl Mounted {
    /// Stops new operations, writes dirty pages back, waits for what is in flight, commits, checkpoints, and marks the image clean.
    pub(crate) fn unmount(self: Arc<Self>) -> Result<()> {
        let shared = &self.shared;
        if shared.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        let written = shared.flush_all_pages();
        let mut timed = Ok(());
        for inode in shared.loaded_inodes() {
            drop(shared.engine.quiesce(&inode, &|| shared.drive()));
            // No caller's operation any more, but the last of what they did.
            timed = timed.and(shared.store_written(inode.data()));
        }
        self.stop_reapers();
        if shared.read_only.is_some() {
            return Ok(());
        }
        shared.act_on_damage();
        timed?;
        shared.free_all_doomed();
        if planted!(CleanBeforeShutdown) {
            shared.meta.commit_all()?;
            let mut sb = shared.current_superblock()?;
            sb.set_needs_recovery(false);
            write_superblock(&*shared.device, &sb)?;
        }
        shared.meta.shutdown()?;
        let mut sb = shared.current_superblock()?;
        sb.set_free_blocks_count(shared.alloc.free_blocks_on_disk());
        sb.set_free_inodes_count(shared.alloc.free_inodes());
        sb.set_needs_recovery(false);
        sb.set_orphan_present(!shared.orphan_file_is_empty()?);
        sb.set_state(FsState::from_bits(sb.state().bits() | FsState::CLEAN));
        sb.set_write_time((shared.clock)().as_secs());
        write_superblock(&*shared.device, &sb)?;
        // The image is in order; what could not be written is not in it.
        written
    }
}
