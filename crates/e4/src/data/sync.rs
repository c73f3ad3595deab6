//! Durability: fsync, fdatasync, O_DSYNC, sync.

use crate::error::Result;
use crate::inode::Inode;
use crate::mount::Shared;
use e4_planted::planted;

/// What must be durable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum What {
    /// The data and whatever is needed to read it back (fdatasync, `O_DSYNC`).
    Data,
    /// Everything about the inode (fsync).
    All,
}

impl Shared {
    /// See [`crate::Filesystem::trim`].
    pub(crate) fn trim(&self, bytes: core::ops::Range<u64>, least: u64) -> Result<u64> {
        self.check_writable()?;
        let bs = u64::from(self.sb.block_size().bytes());
        let blocks = bytes.start.div_ceil(bs)..bytes.end / bs;
        if bytes.is_empty() || blocks.start >= self.sb.blocks_count() {
            return Err(crate::Error::Invalid {
                what: "a range without a block of the filesystem",
            });
        }
        // What was freed a moment ago counts as free.
        self.meta.commit_all()?;
        self.alloc.trim(&*self.device, blocks, least.div_ceil(bs))
    }

    /// Makes everything acknowledged on the inode before the call durable.
    ///
    /// The order of the questions matters: a recording notes its transaction with the inode before it clears the
    /// overlay, so whoever finds nothing unrecorded finds the transaction (rule 7: recorded is not committed).
    pub(crate) fn make_durable(&self, inode: &Inode, what: What) -> Result<()> {
        let state = inode.data();
        if state.has_unrecorded() {
            self.meta.commit_all()?;
        } else {
            self.meta.sync(state.tid_to_sync(what == What::Data))?;
        }
        Ok(())
    }

    /// fsync and fdatasync: completed I/O is converted first, whoever drained it (I-13, I-24); then it is made
    /// durable; then the observer hears what went wrong.
    pub(crate) fn fsync(
        &self,
        inode: &Inode,
        observer: &e4_completion::Observer<super::converter::Conv>,
        what: What,
    ) -> Result<()> {
        self.drive();
        // What fails here is in the inode's log, for this observer as for others.
        let written = self.flush_pages(inode, 0..u64::MAX);
        let converted = self.engine.barrier(inode, observer);
        let timed = match what {
            What::All => self.store_written(inode.data()),
            What::Data => Ok(()),
        };
        let durable = timed.and_then(|()| self.make_durable(inode, what));
        if planted!(FsyncWithoutErrors) {
            return durable;
        }
        converted?;
        written?;
        durable
    }
}
