//! Making a filesystem larger while it is in use.
//!
//! ```text
//!   plan.rs    what the larger one looks like: pure      resize_inode.rs   descriptor blocks out of the reserve
//!   backup.rs  copies of superblock and descriptors      mod.rs            the steps, and their order
//! ```
//!
//! Order of a step, and why:
//! 1. What lies behind the present end (bitmaps, zeroed tables, backups in new groups) is written past the journal: nobody
//!    reads there, and after a crash nobody will.
//! 2. It is durable before the commit record, as all data is. One handle then changes everything inside the present end: the
//!    last group's bitmap, descriptors, the resize inode, the superblock. So a crash leaves the old size or the new one.
//! 3. The handle publishes the new geometry; what others do with it joins this transaction or a later one.
//! 4. Backups in the old groups are part of it, or follow if they are too many. A crash before leaves old backups, of a smaller
//!    but sound filesystem.
//!
//! What does not fit one transaction is done in several steps, each of which leaves a whole filesystem. The device must have the
//! room when it is opened; nothing here makes it longer.

mod backup;
mod plan;
mod resize_inode;

use core::ops::ControlFlow;

use e4_format::{FsBlock, Superblock};
use e4_sync::Arc;

use crate::alloc::{CREDITS_PER_GROWTH, Growth};
use crate::error::{Error, Result};
use crate::fs::Filesystem;
use crate::meta;
use crate::mount::Shared;
use backup::backup_credits;
use plan::Plan;

/// Bytes per request when tables are zeroed.
const ZEROS: usize = 1 << 20;

/// How far a filesystem can grow.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct GrowLimit {
    /// Most blocks it can have, on a device that has them.
    pub blocks: u64,
    /// What keeps it from having more.
    pub why: &'static str,
}

/// How far the filesystem of this superblock can grow: whether it pays to make its device longer.
#[must_use]
pub fn grow_limit(sb: &Superblock) -> GrowLimit {
    let plan::Limit { most, why } = plan::limit(sb);
    GrowLimit { blocks: most, why }
}

impl Filesystem {
    /// Makes the filesystem `blocks` blocks large, or a few less where the last group would be too short to be of use;
    /// returns how many it has then. Files stay open and I/O goes on. Durable on return. `progress` hears how many blocks it has
    /// after each step, and may stop between two.
    ///
    /// The device must have the room already. A crash leaves the old size, the new one, or, for a growth that does not fit
    /// one transaction of the journal, a size between.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # use e4::device::MemoryDevice;
    /// let device = std::sync::Arc::new(MemoryDevice::new(64 << 20));
    /// let half = e4_mkfs::Params { size: Some(32 << 20), ..Default::default() };
    /// e4_mkfs::format(&*device, &half, &mut |_| {})?;
    /// let fs = e4::Filesystem::open(device, &e4::MountOptions::default())?;
    /// let file = fs.open_file("/in-use", e4::OpenFlags::create())?;
    /// let block = u64::from(fs.statfs().block_size);
    /// let blocks = fs.grow((64 << 20) / block, &mut |_| std::ops::ControlFlow::Continue(()))?;
    /// assert_eq!(blocks, (64 << 20) / block);
    /// file.write_at(0, b"still open")?;
    /// fs.unmount()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::CannotGrow`] beyond what the device or the format allows (it says how far), or below the present size;
    /// [`Error::Unsupported`] for layouts that e4 does not grow; [`Error::Cancelled`]; damage, journal or device.
    pub fn grow(
        &self,
        blocks: u64,
        progress: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<u64> {
        let shared = &self.mounted().shared;
        let _turn = shared.grow_turn.lock();
        shared.check_writable()?;
        shared.check_growth(blocks)?;
        loop {
            let old = Superblock::clone(&shared.sb);
            let Some(plan) = shared.next_step(&old, blocks)? else {
                return Ok(old.blocks_count());
            };
            shared.grow_step(&old, &plan)?;
            if progress(plan.sb.blocks_count()) == ControlFlow::Break(()) {
                return Err(Error::Cancelled);
            }
        }
    }
}

impl Shared {
    fn check_growth(&self, blocks: u64) -> Result<()> {
        let sb = &self.sb;
        let cannot = |most: u64, why: &str| Error::CannotGrow {
            image: Arc::clone(&self.image),
            wanted: blocks,
            most,
            why: why.to_owned(),
        };
        let now = self.current_superblock()?;
        if let Some(what) = plan::refusal(&now) {
            return Err(Error::Unsupported {
                image: Arc::clone(&self.image),
                what: what.to_owned(),
            });
        }
        if blocks < sb.blocks_count() {
            return Err(cannot(
                sb.blocks_count(),
                "it has more already, and e4 does not shrink",
            ));
        }
        let limit = plan::limit(sb);
        if blocks > limit.most {
            return Err(cannot(limit.most, limit.why));
        }
        let device = self.device.info().size >> sb.block_size().log2();
        if blocks > device {
            return Err(cannot(device, "its device ends there"));
        }
        Ok(())
    }

    /// The largest step towards `blocks` that fits one handle; `None` if it is as large.
    fn next_step(&self, old: &Superblock, blocks: u64) -> Result<Option<Plan>> {
        let format = |source| meta::format_error(&self.image, source);
        // Counts are the present ones: the superblock of the plan goes to the device as a backup.
        let now = self.current_superblock()?;
        let room = self.meta.limits().max_handle_credits;
        let fixed = CREDITS_PER_GROWTH + 2;
        let fits = |sb: &Superblock| plan::credits(old, sb).saturating_add(fixed) <= room;
        let mut sb = plan::resized(&now, blocks).map_err(format)?;
        if !fits(&sb) {
            let bpg = u64::from(old.blocks_per_group());
            let first = u64::from(old.first_data_block());
            // Between so many groups (fits) and so many (does not).
            let (mut yes, mut no) = (old.groups(), sb.groups());
            while no - yes > 1 {
                let middle = yes + (no - yes) / 2;
                let blocks = first + u64::from(middle) * bpg;
                match fits(&plan::resized(&now, blocks).map_err(format)?) {
                    true => yes = middle,
                    false => no = middle,
                }
            }
            let blocks = (first + u64::from(yes) * bpg).max(old.blocks_count());
            sb = plan::resized(&now, blocks).map_err(format)?;
            if sb.blocks_count() == old.blocks_count() {
                return Err(Error::CannotGrow {
                    image: Arc::clone(&self.image),
                    wanted: first + u64::from(no) * bpg,
                    most: old.blocks_count(),
                    why: "its journal is too small to note the next backup group in the resize \
                          inode at once"
                        .to_owned(),
                });
            }
        }
        if sb.blocks_count() == old.blocks_count() {
            return Ok(None);
        }
        plan::plan(old, sb).map(Some).map_err(format)
    }

    fn grow_step(&self, old: &Superblock, plan: &Plan) -> Result<()> {
        let new = &plan.sb;
        self.write_fresh(plan)?;
        self.write_new_backups(old, plan)?;
        // What was written is durable before anything names it.
        self.meta.flush_device()?;
        let reserve = self.plan_reserve(old, new)?;
        let credits = plan::credits(old, new) + CREDITS_PER_GROWTH + 2;
        let with_backups = credits.saturating_add(backup_credits(old, new));
        let at_once = with_backups <= self.meta.limits().max_handle_credits;
        let mut handle = self
            .meta
            .start(if at_once { with_backups } else { credits })?;
        for n in old.gdt_blocks()..new.gdt_blocks() {
            if let Some(at) = new.gdt_block(n) {
                handle.create(at)?;
            }
        }
        let growth = Growth {
            sb: new,
            groups: &plan.groups,
        };
        self.alloc.grow(&mut handle, &growth, |handle| {
            if let Some(reserve) = &reserve {
                self.store_reserve(handle, reserve)?;
            }
            self.edit_superblock(handle, |sb| {
                let (from, to) = (new.raw(), sb.raw_mut());
                to.s_blocks_count_lo = from.s_blocks_count_lo;
                to.s_blocks_count_hi = from.s_blocks_count_hi;
                to.s_inodes_count = from.s_inodes_count;
                to.s_r_blocks_count_lo = from.s_r_blocks_count_lo;
                to.s_r_blocks_count_hi = from.s_r_blocks_count_hi;
                to.s_reserved_gdt_blocks = from.s_reserved_gdt_blocks;
                to.s_overhead_blocks = from.s_overhead_blocks;
            })
        })?;
        if at_once {
            self.update_backups(&mut handle, old, new)?;
        }
        drop(handle);
        self.meta.commit_all()?;
        if !at_once {
            self.update_backups_in_steps(old, new)?;
            self.meta.commit_all()?;
        }
        tracing::info!(image = %self.image, blocks = new.blocks_count(), "grown");
        Ok(())
    }

    /// Writes what lies behind the present end, past the journal.
    fn write_fresh(&self, plan: &Plan) -> Result<()> {
        let mut fresh: Vec<_> = plan.fresh.iter().collect();
        fresh.sort_by_key(|f| f.at);
        for block in fresh {
            self.write_block(block.at, &block.bytes)?;
        }
        let bs = self.sb.block_size().len();
        let zeros = vec![0; ZEROS.max(bs)];
        for (start, blocks) in &plan.zeros {
            let mut left = *blocks as usize * bs;
            let mut at = *start;
            while left > 0 {
                let len = left.min(zeros.len() / bs * bs);
                self.write_block(at, zeros.get(..len).unwrap_or_default())?;
                left -= len;
                at = FsBlock::new(at.get() + (len / bs) as u64);
            }
        }
        Ok(())
    }

    fn write_block(&self, at: FsBlock, bytes: &[u8]) -> Result<()> {
        let byte = self.sb.block_size().byte_of(at);
        let byte = byte.ok_or(Error::Invalid {
            what: "a block beyond every device",
        })?;
        Ok(self.device.write_at(byte.get(), bytes)?)
    }
}
