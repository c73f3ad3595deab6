//! Writing a laid out image.
//!
//! Order: contents first, in large sequential writes by several threads (their checksums identify the image), then
//! the UUID, then everything that carries a checksum of metadata, and the superblock last. Nobody sees the image
//! before it is complete, so there is no journal to go through.

mod data;
mod inodes;

use crate::error::BuildError;
use crate::layout::Layout;
use crate::options::Options;
use crate::source::Sources;
use crate::tree::Tree;
use crate::{Progress, digest};
use e4_device::Device;
use e4_format::csum::crc32c;
use e4_format::{FsBlock, InodeNo, csum_seed_for};
use e4_mkfs::{GroupUsage, Report as MkfsReport, SystemTable};
use std::ops::ControlFlow;

/// Bytes of metadata gathered before they are written.
const BATCH: usize = 4 << 20;

/// Called between chunks; `Break` stops the build.
pub(crate) type OnProgress<'a> = dyn FnMut(Progress) -> ControlFlow<()> + 'a;

pub(crate) struct Writer<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) sources: &'a Sources,
    pub(crate) options: &'a Options,
    pub(crate) layout: Layout,
    pub(crate) device: &'a dyn Device,
    /// Digest of the tree without contents.
    pub(crate) digest: [u8; 32],
    /// Seconds, for what has no time of its own.
    pub(crate) time: i64,
}

impl Writer<'_> {
    pub(crate) fn run(mut self, progress: &mut OnProgress<'_>) -> Result<MkfsReport, BuildError> {
        let sums = data::copy(&self, progress)?;
        if self.options.mkfs.uuid.is_none() {
            let uuid = digest::derive(&self.digest, "e4-build uuid", &sums);
            self.layout.draft.set_uuid(uuid)?;
        }
        self.directories()?;
        self.xattr_blocks()?;
        let system = self.layout.draft.write_system(self.device, &mut |_| ())?;
        let usage = self.inode_tables(&system)?;
        let Layout { draft, .. } = self.layout;
        Ok(draft.finish(self.device, &system, &usage, &mut |_| ())?)
    }

    fn ino(&self, node: u32) -> InodeNo {
        let draft = &self.layout.draft;
        let first = draft.first_free_inode();
        self.layout.order.ino(node, first, draft.lost_and_found())
    }

    /// The seed of an inode's checksums, `None` without `metadata_csum`.
    fn seed(&self, ino: InodeNo) -> Option<u32> {
        let sb = self.layout.draft.superblock();
        sb.has_metadata_csum().then(|| csum_seed_for(sb, ino, 0))
    }

    /// Stamps and writes the directories, which lie one behind the other.
    fn directories(&mut self) -> Result<(), BuildError> {
        let mut directories = std::mem::take(&mut self.layout.directories);
        let block_size = self.layout.draft.superblock().block_size();
        let log = block_size.log2();
        let mut batch = Batch::new(self.device, log);
        let nodes = self.nodes();
        for (node, placed) in nodes.into_iter().zip(&self.layout.placed) {
            let Some(blocks) = placed
                .directory
                .and_then(|d| directories.get_mut(d as usize))
            else {
                continue;
            };
            let seed = self.seed(self.ino(node)).unwrap_or(0);
            blocks.stamp(&self.layout.style.format, seed)?;
            let mut rest = &blocks.bytes[..];
            for extent in self.layout.extents_of(placed) {
                let len = (extent.len as usize) << log;
                let (now, later) = rest.split_at_checked(len).unwrap_or((rest, &[]));
                batch.put(extent.start, now)?;
                rest = later;
            }
            // Freed as it goes: a million names need not stay.
            blocks.bytes = Vec::new();
        }
        batch.flush()?;
        self.layout.directories = directories;
        Ok(())
    }

    fn xattr_blocks(&mut self) -> Result<(), BuildError> {
        let sb = self.layout.draft.superblock().clone();
        let mut batch = Batch::new(self.device, sb.block_size().log2());
        for block in &mut self.layout.xattr_blocks {
            let (at, shared) = (block.at, block.shared);
            e4_format::xattr::set_block_refcount(&mut block.bytes, &sb, at, shared).map_err(
                |source| BuildError::Format {
                    what: "an attribute block",
                    source,
                },
            )?;
            batch.put(at, &block.bytes)?;
        }
        batch.flush()
    }

    fn nodes(&self) -> Vec<u32> {
        let order = &self.layout.order;
        let mut nodes = Vec::with_capacity(order.nodes.len() + 2);
        nodes.extend([crate::tree::ROOT, order.lost_and_found]);
        nodes.extend(&order.nodes);
        nodes
    }

    fn inode_tables(&self, system: &SystemTable) -> Result<Vec<GroupUsage>, BuildError> {
        inodes::write(self, system)
    }
}

/// Gathers neighbouring blocks into large writes.
struct Batch<'a> {
    device: &'a dyn Device,
    log: u32,
    at: u64,
    bytes: Vec<u8>,
}

impl<'a> Batch<'a> {
    fn new(device: &'a dyn Device, log: u32) -> Self {
        Self {
            device,
            log,
            at: 0,
            bytes: Vec::new(),
        }
    }

    fn put(&mut self, block: FsBlock, bytes: &[u8]) -> Result<(), BuildError> {
        let at = block.get() << self.log;
        let next = self.at + self.bytes.len() as u64;
        if at != next || self.bytes.len() + bytes.len() > BATCH {
            self.flush()?;
            self.at = at;
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), BuildError> {
        if !self.bytes.is_empty() {
            self.device.write_at(self.at, &self.bytes)?;
        }
        self.at += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// CRC-32C of a file's bytes, as the identity of the image takes it in.
fn checksum(bytes: &[u8]) -> u32 {
    crc32c(0, bytes)
}
