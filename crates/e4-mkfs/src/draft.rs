//! A filesystem that is decided but not written, for a builder that fills it first.
//!
//! Decisions:
//! - The builder takes blocks from [`Draft::free_runs`] and says so with [`Draft::occupy`]; inodes it takes in
//!   order from [`Draft::first_free_inode`], so a group's used inodes are always the first of its table.
//! - Root and lost+found have no blocks in a draft: whoever fills the image knows what is in them. Their
//!   inodes are free slots of [`SystemTable::bytes`], which the builder fills and writes.
//! - The UUID may be set late: it changes checksums, but no place of anything.
//! - The medium must read as zeros. Nothing is complete before [`Draft::finish`], which writes the superblock last.

use crate::content::{self, GroupUsage};
use crate::error::MkfsError;
use crate::geometry::{self, Geometry};
use crate::params::Params;
use crate::plan::{self, Plan};
use crate::superblock::{self, Identity, put_journal_backup};
use crate::{Progress, Report, medium, system_files};
use e4_device::Device;
use e4_format::{FsBlock, GroupNo, InodeNo, Superblock};

/// See the module.
#[derive(Debug)]
pub struct Draft {
    params: Params,
    geo: Geometry,
    id: Identity,
    sb: Superblock,
    plan: Plan,
    notes: Vec<String>,
}

/// The start of group 0's inode table, with the system inodes in it.
#[derive(Clone, Debug)]
pub struct SystemTable {
    /// Whole blocks. The slots of root (2) and lost+found (11) are free.
    pub bytes: Vec<u8>,
    journal: Option<([u8; 60], u64)>,
}

impl Draft {
    /// Decides everything for an image of `bytes`. `params.size` and `params.medium` are ignored.
    ///
    /// # Errors
    /// A parameter that makes no sense, or no room for the metadata.
    pub fn new(params: &Params, bytes: u64) -> Result<Self, MkfsError> {
        let params = Params {
            size: None,
            ..params.clone()
        };
        let mut notes = Vec::new();
        let geo = geometry::decide(&params, bytes, "the image", &mut notes)?;
        let id = Identity::of(&params)?;
        let sb = superblock::build(&geo, &params, &id)?;
        let plan = plan::plan(&geo, &sb, false)?;
        Ok(Self {
            params,
            geo,
            id,
            sb,
            plan,
            notes,
        })
    }

    /// The superblock as far as it is known: geometry and features.
    #[must_use]
    pub fn superblock(&self) -> &Superblock {
        &self.sb
    }

    /// Bytes of the filesystem: what was given, less a last group too small to be of use.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.geo.blocks << self.geo.block_size.log2()
    }

    /// Blocks nobody has taken, in order: start and length of each run.
    #[must_use]
    pub fn free_runs(&self) -> Vec<(FsBlock, u64)> {
        let runs = self.plan.space.free_from(0);
        runs.map(|r| (FsBlock::new(r.start), r.len)).collect()
    }

    /// Takes `len` free blocks.
    pub fn occupy(&mut self, start: FsBlock, len: u64) {
        self.plan.space.mark(start.get(), len);
    }

    /// The first inode behind those of the system.
    #[must_use]
    pub fn first_free_inode(&self) -> u32 {
        system_files::used_inodes(&self.plan) + 1
    }

    /// The inode of lost+found.
    #[must_use]
    pub fn lost_and_found(&self) -> InodeNo {
        InodeNo::new(self.sb.first_inode()).unwrap_or(InodeNo::ROOT)
    }

    /// Blocks that lost+found should have, so that a repair need not allocate.
    #[must_use]
    pub fn lost_and_found_blocks(&self) -> u64 {
        plan::lost_and_found_blocks(&self.geo)
    }

    /// Where a group's inode table begins.
    #[must_use]
    pub fn inode_table(&self, group: GroupNo) -> Option<FsBlock> {
        let place = self.plan.groups.get(group.get() as usize)?;
        Some(FsBlock::new(place.inode_table))
    }

    /// Blocks of the journal; 0 without one.
    #[must_use]
    pub fn journal_blocks(&self) -> u64 {
        self.geo.journal_blocks.unwrap_or(0)
    }

    /// Sets the UUID, and with it the seed of all checksums.
    ///
    /// # Errors
    /// None that [`Draft::new`] would not have had.
    pub fn set_uuid(&mut self, uuid: [u8; 16]) -> Result<(), MkfsError> {
        self.id.uuid = uuid;
        self.sb = superblock::build(&self.geo, &self.params, &self.id)?;
        Ok(())
    }

    /// Writes journal, orphan file and the descriptor reserve.
    ///
    /// # Errors
    /// The device's.
    pub fn write_system(
        &self,
        device: &dyn Device,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<SystemTable, MkfsError> {
        let mut disk = medium::Disk::new(device, self.geo.block_size, progress);
        let (geo, plan) = (&self.geo, &self.plan);
        let system = system_files::write(&mut disk, geo, &self.sb, plan, &self.params, &self.id)?;
        Ok(SystemTable {
            bytes: system.table,
            journal: system.journal.map(|j| (j.i_block, j.size)),
        })
    }

    /// Writes bitmaps, descriptors, copies and, behind a flush, the superblock. `usage` has an element per
    /// group; missing ones are groups without inodes in use.
    ///
    /// # Errors
    /// The device's.
    pub fn finish(
        mut self,
        device: &dyn Device,
        system: &SystemTable,
        usage: &[GroupUsage],
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Report, MkfsError> {
        if let Some((i_block, size)) = &system.journal {
            put_journal_backup(self.sb.raw_mut(), i_block, *size);
        }
        let disk = medium::Disk::new(device, self.geo.block_size, progress);
        let written = content::finish(disk, self.sb, &self.plan, usage)?;
        Ok(Report {
            superblock: written.superblock,
            journal_blocks: self.geo.journal_blocks.unwrap_or(0),
            overhead_blocks: self.plan.overhead,
            written: written.bytes,
            notes: self.notes,
        })
    }
}
