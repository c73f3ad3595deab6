//! What every block of an image is used for, counted per cell of a picture.
//!
//! Decisions: free is what the bitmaps say, data is what the extents of files say, tables are where the descriptors say; what is in
//! use besides belongs to directories, the journal and the like. Memory is that of the cells, whatever the image's size.

use core::ops::Range;

use anyhow::{Context, Result};
use e4::{Filesystem, OpenFlags};
use e4_device::Device;
use e4_export::{Descend, ExportError, Step, walk};
use e4_format::bitmap::{init_block_bitmap, pad, verify_block_bitmap};
use e4_format::{BgFlags, Bitmap, ExtentState, FileType, FsBlock, GroupDesc, GroupNo, Superblock};

/// What a block is used for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Use {
    Data,
    Unwritten,
    Other,
    Tables,
    Free,
}

impl Use {
    pub(super) const ALL: [Self; 5] = [
        Self::Data,
        Self::Unwritten,
        Self::Other,
        Self::Tables,
        Self::Free,
    ];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Data => "File data",
            Self::Unwritten => "Reserved, unwritten",
            Self::Other => "Directories, journal",
            Self::Tables => "Tables",
            Self::Free => "Free",
        }
    }

    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Unwritten => "unwritten",
            Self::Other => "other",
            Self::Tables => "tables",
            Self::Free => "free",
        }
    }
}

/// Blocks of one cell, by use, in the order of [`Use::ALL`].
pub(super) type Cell = [u64; 5];

/// Free runs of some length.
#[derive(Clone, Copy, Default)]
pub(super) struct FreeRuns {
    /// Longest run counted here, bytes.
    pub(super) up_to: u64,
    pub(super) runs: u64,
    pub(super) blocks: u64,
}

/// See the module.
pub(super) struct Survey {
    pub(super) name: String,
    pub(super) label: String,
    pub(super) block_size: u64,
    pub(super) blocks: u64,
    pub(super) groups: u32,
    pub(super) blocks_per_group: u64,
    pub(super) blocks_per_cell: u64,
    pub(super) cells: Vec<Cell>,
    pub(super) free_runs: Vec<FreeRuns>,
    pub(super) longest_free: u64,
    pub(super) files: u64,
    pub(super) extents: u64,
    /// Most extents, and files that have no more.
    pub(super) files_by_extents: Vec<(u64, u64)>,
}

const KIB: u64 = 1 << 10;

impl Survey {
    /// Surveys an image into at most `cells` cells. `progress` hears of files.
    pub(super) fn of(
        fs: &Filesystem,
        device: &dyn Device,
        name: String,
        cells: u64,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let sb = fs.superblock();
        let blocks = sb.blocks_count();
        let blocks_per_cell = blocks.div_ceil(cells).max(1);
        let label = sb.label();
        let label = label.split(|b| *b == 0).next().unwrap_or_default();
        let up_to = [
            64 * KIB,
            KIB * KIB,
            16 * KIB * KIB,
            256 * KIB * KIB,
            u64::MAX,
        ];
        let mut survey = Self {
            name,
            label: String::from_utf8_lossy(label).into_owned(),
            block_size: sb.block_size().bytes().into(),
            blocks,
            groups: sb.groups(),
            blocks_per_group: sb.blocks_per_group().into(),
            blocks_per_cell,
            cells: vec![[0; 5]; usize::try_from(blocks.div_ceil(blocks_per_cell))?],
            free_runs: up_to
                .map(|up_to| FreeRuns {
                    up_to,
                    ..FreeRuns::default()
                })
                .into(),
            longest_free: 0,
            files: 0,
            extents: 0,
            files_by_extents: [1, 4, 16, 64, u64::MAX].map(|most| (most, 0)).into(),
        };
        let mut free = FreeSpace::default();
        for group in sb.group_numbers() {
            survey.group(&sb, device, group, &mut free)?;
        }
        survey.run(free.open);
        survey.walk(fs, progress)?;
        survey.settle();
        Ok(survey)
    }

    pub(super) fn total(&self, r#use: Use) -> u64 {
        self.cells.iter().map(|cell| cell[r#use as usize]).sum()
    }

    fn add(&mut self, range: Range<u64>, r#use: Use) {
        let mut at = range.start;
        let end = range.end.min(self.blocks);
        while at < end {
            let cell = at / self.blocks_per_cell;
            let stop = end.min((cell + 1) * self.blocks_per_cell);
            if let Some(cell) = self.cells.get_mut(cell as usize) {
                cell[r#use as usize] += stop - at;
            }
            at = stop;
        }
    }

    /// Counts a whole free run.
    fn run(&mut self, run: Range<u64>) {
        let len = run.end - run.start;
        if len == 0 {
            return;
        }
        self.longest_free = self.longest_free.max(len);
        let bytes = len * self.block_size;
        if let Some(bucket) = self.free_runs.iter_mut().find(|r| bytes <= r.up_to) {
            bucket.runs += 1;
            bucket.blocks += len;
        }
    }

    fn group(
        &mut self,
        sb: &Superblock,
        device: &dyn Device,
        group: GroupNo,
        free: &mut FreeSpace,
    ) -> Result<()> {
        let damaged = || format!("block group {group}; e4 check says more");
        let first = sb.group_first_block(group).with_context(damaged)?;
        let mut block = vec![0; sb.block_size().bytes() as usize];
        let read = |at: FsBlock, block: &mut Vec<u8>| {
            let at = at.get().saturating_mul(block.len() as u64);
            device.read_at(at, block).with_context(damaged)
        };
        let (n, offset) = sb.desc_location(group).with_context(damaged)?;
        read(sb.gdt_block(n).with_context(damaged)?, &mut block)?;
        let bytes = block.get(offset..).and_then(|b| b.get(..sb.desc_size()));
        let desc =
            GroupDesc::decode(bytes.with_context(damaged)?, sb, group).with_context(damaged)?;
        let bits = sb.blocks_in_group(group);
        if desc.flags.contains(BgFlags::BLOCK_UNINIT) {
            init_block_bitmap(&mut block, sb, group, &desc);
        } else {
            read(desc.block_bitmap, &mut block)?;
            verify_block_bitmap(sb, group, &desc, &block).with_context(damaged)?;
            pad(&mut block, bits);
        }
        let map = Bitmap::new(&block, bits);
        let mut at = 0;
        while let Some(start) = map.find_zero(at..bits) {
            let end = map.find_one(start..bits).unwrap_or(bits);
            let range = first.get() + u64::from(start)..first.get() + u64::from(end);
            self.add(range.clone(), Use::Free);
            // A run may go on in the next group.
            if free.open.end == range.start {
                free.open.end = range.end;
            } else {
                self.run(std::mem::replace(&mut free.open, range));
            }
            at = end;
        }
        let own = u64::from(sb.super_and_gdt_blocks(group));
        self.add(first.get()..first.get() + own, Use::Tables);
        for (start, len) in [
            (desc.block_bitmap, 1),
            (desc.inode_bitmap, 1),
            (desc.inode_table, sb.inode_table_blocks()),
        ] {
            self.add(
                start.get()..start.get().saturating_add(len.into()),
                Use::Tables,
            );
        }
        Ok(())
    }

    fn walk(&mut self, fs: &Filesystem, progress: &mut dyn FnMut(u64)) -> Result<()> {
        let mut seen = std::collections::HashSet::new();
        walk(fs, &fs.root()?, &mut |step, item| {
            let stat = item.stat;
            let regular = step == Step::Visit && stat.file_type == Some(FileType::Regular);
            if !regular || (stat.links > 1 && !seen.insert(stat.ino)) {
                return Ok(Descend::Yes);
            }
            let extents = item.node.open(OpenFlags::read()).and_then(|f| f.extents());
            let extents = extents.map_err(|source| ExportError::Image {
                path: String::from_utf8_lossy(item.path).into_owned(),
                source,
            })?;
            self.files += 1;
            self.extents += extents.len() as u64;
            progress(self.files);
            let bucket = self.files_by_extents.iter_mut();
            if let Some(bucket) = bucket.into_iter().find(|b| extents.len() as u64 <= b.0) {
                bucket.1 += 1;
            }
            for extent in &extents {
                let r#use = match extent.state {
                    ExtentState::Written => Use::Data,
                    ExtentState::Unwritten => Use::Unwritten,
                };
                let start = extent.start.get();
                self.add(start..start.saturating_add(extent.len.into()), r#use);
            }
            Ok(Descend::Yes)
        })?;
        Ok(())
    }

    /// What is in use and was not counted is something else's.
    fn settle(&mut self) {
        let (size, blocks) = (self.blocks_per_cell, self.blocks);
        for (n, cell) in self.cells.iter_mut().enumerate() {
            let len = size.min(blocks - n as u64 * size);
            let counted: u64 = cell.iter().sum();
            cell[Use::Other as usize] = len.saturating_sub(counted);
        }
    }
}

/// The free run that may go on.
struct FreeSpace {
    open: Range<u64>,
}

impl Default for FreeSpace {
    fn default() -> Self {
        Self { open: 0..0 }
    }
}
