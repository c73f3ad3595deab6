//! Reading blocks: from the device, or from the overlay a replayed journal left in memory.

use crate::problem::Problem;
use e4_device::Device;
use e4_format::superblock::{SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use e4_format::{BlockSize, FsBlock};
use std::collections::HashMap;

/// Blocks that differ from the device.
pub(crate) type Overlay = HashMap<u64, Box<[u8]>>;

/// The image as the checker sees it.
pub(crate) struct Reader<'a> {
    device: &'a dyn Device,
    block_size: BlockSize,
    overlay: Overlay,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(device: &'a dyn Device, block_size: BlockSize) -> Self {
        Self {
            device,
            block_size,
            overlay: Overlay::new(),
        }
    }

    pub(crate) fn set_overlay(&mut self, overlay: Overlay) {
        self.overlay = overlay;
    }

    pub(crate) fn block_size(&self) -> BlockSize {
        self.block_size
    }

    /// Blocks of the device.
    pub(crate) fn device_blocks(&self) -> u64 {
        self.device.info().size >> self.block_size.log2()
    }

    /// One block.
    pub(crate) fn block(&self, block: FsBlock) -> Result<Vec<u8>, Problem> {
        self.blocks(block, 1)
    }

    /// `count` blocks in a row. The caller bounds `count`.
    pub(crate) fn blocks(&self, start: FsBlock, count: u64) -> Result<Vec<u8>, Problem> {
        let bs = self.block_size.len();
        let at = self.block_size.byte_of(start).map_or(u64::MAX, |b| b.get());
        let mut bytes = vec![0; bs * usize::try_from(count).unwrap_or(1)];
        // A block of the overlay need not be readable on the device.
        let replaced = |n: usize| self.overlay.get(&(start.get() + n as u64));
        if count == 1
            && let Some(block) = replaced(0)
        {
            return Ok(block.to_vec());
        }
        self.device
            .read_at(at, &mut bytes)
            .map_err(|error| Problem::ReadFailed {
                block: start,
                error,
            })?;
        if !self.overlay.is_empty() {
            for (n, chunk) in bytes.chunks_mut(bs).enumerate() {
                if let Some(block) = replaced(n) {
                    chunk.copy_from_slice(block);
                }
            }
        }
        Ok(bytes)
    }

    /// The primary superblock as the overlay has it, if it has it.
    pub(crate) fn replayed_superblock(&self) -> Option<[u8; SUPERBLOCK_SIZE]> {
        let block = SUPERBLOCK_OFFSET >> self.block_size.log2();
        let within = usize::try_from(SUPERBLOCK_OFFSET).ok()? & (self.block_size.len() - 1);
        self.overlay
            .get(&block)?
            .get(within..)?
            .first_chunk()
            .copied()
    }
}
