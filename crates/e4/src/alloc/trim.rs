//! Discard: telling the device which blocks nobody needs, on request ([`Allocator::trim`]) or as they are freed.
//!
//! Invariants:
//! - **A block is discarded only while nobody can have it**: under its group's lock, free in the bitmap, and not
//!   freed by a transaction that has not committed. A crash could make such a block somebody's again, with its contents.
//! - Discarding is a hint. A device that cannot do it costs space and nothing else.

use std::ops::Range;

use e4_device::Device;
use e4_format::{FsBlock, GroupNo, Tid};
use e4_planted::planted;
use e4_sync::Arc;

use super::Allocator;
use super::group::Group;
use crate::error::Result;

/// Discards what was freed, if the mount asked for that.
pub(super) struct Discard {
    device: Option<Arc<dyn Device>>,
}

impl Discard {
    pub(super) const NEVER: Self = Self { device: None };
}

impl Allocator {
    /// From now on freed blocks are discarded when the transaction that freed them has committed.
    pub(crate) fn discard_freed(&mut self, device: Arc<dyn Device>) {
        self.discard = Discard {
            device: Some(device),
        };
    }

    /// What transactions up to `tid` freed in a group is about to become available. Under the group's lock.
    pub(super) fn discard_committed(&self, number: GroupNo, group: &Group, tid: Tid) {
        if let Some(device) = &self.discard.device {
            for blocks in group.pending_until(tid) {
                self.discard_run(&**device, number, blocks);
            }
        }
    }

    /// The planted order: not after the commit, but at once.
    pub(super) fn discard_early(&self, number: GroupNo, blocks: Range<u32>) {
        if let Some(device) = &self.discard.device
            && planted!(DiscardBeforeCommit)
        {
            self.discard_run(&**device, number, blocks);
        }
    }

    fn discard_run(&self, device: &dyn Device, number: GroupNo, blocks: Range<u32>) -> u64 {
        let Some(first) = self.sb.group_first_block(number) else {
            return 0;
        };
        let bs = self.sb.block_size();
        let at = FsBlock::new(first.get() + u64::from(blocks.start));
        let len = u64::from(blocks.end - blocks.start) * u64::from(bs.bytes());
        let Some(byte) = bs.byte_of(at) else {
            return 0;
        };
        match device.discard(byte.get(), len) {
            Ok(()) => len,
            Err(error) => {
                tracing::warn!(%error, image = %self.image, "discard");
                0
            }
        }
    }

    /// Discards the free runs of at least `least` blocks within `blocks`, group by group. Returns how many bytes.
    ///
    /// # Errors
    /// A damaged bitmap; the groups before it are done.
    pub(crate) fn trim(&self, device: &dyn Device, blocks: Range<u64>, least: u64) -> Result<u64> {
        let mut done = 0;
        let least = u32::try_from(least.max(1)).unwrap_or(u32::MAX);
        for number in self.sb.group_numbers() {
            let bits = self.sb.blocks_in_group(number);
            let first = self.sb.group_first_block(number).map_or(0, FsBlock::get);
            let within = |block: u64| u32::try_from(block.saturating_sub(first)).unwrap_or(bits);
            let mut at = within(blocks.start).min(bits);
            let end = within(blocks.end).min(bits);
            if at >= end {
                continue;
            }
            let slot = self.slot(number)?;
            let mut group = slot.lock();
            if group.condemned_blocks {
                continue;
            }
            self.check_bitmap(number, slot, &mut group)?;
            let runs = self.with_free_map(number, &group, |map| {
                let mut runs = Vec::new();
                while let Some(run) = map.find_zero_run(at..end, least, u32::MAX) {
                    at = run.end;
                    runs.push(run);
                }
                runs
            })?;
            for run in runs {
                done += self.discard_run(device, number, run);
            }
        }
        Ok(done)
    }
}
