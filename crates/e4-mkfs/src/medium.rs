//! Writing to the device: whole blocks, counted, and zeros only where they are needed.

use crate::error::MkfsError;
use crate::{Progress, Stage};
use e4_device::{Device, DeviceError};
use e4_format::BlockSize;

/// Bytes zeroed or compared at a time.
const CHUNK: usize = 1 << 20;

/// The device as the formatter uses it.
pub(crate) struct Disk<'a> {
    device: &'a dyn Device,
    block_size: BlockSize,
    written: u64,
    progress: &'a mut dyn FnMut(Progress),
}

impl<'a> Disk<'a> {
    pub(crate) fn new(
        device: &'a dyn Device,
        block_size: BlockSize,
        progress: &'a mut dyn FnMut(Progress),
    ) -> Self {
        Self {
            device,
            block_size,
            written: 0,
            progress,
        }
    }

    pub(crate) fn written(&self) -> u64 {
        self.written
    }

    pub(crate) fn progress(&mut self, stage: Stage, done: u64, total: u64) {
        (self.progress)(Progress { stage, done, total });
    }

    pub(crate) fn flush(&self) -> Result<(), DeviceError> {
        self.device.flush()
    }

    pub(crate) fn write_bytes(&mut self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.written += data.len() as u64;
        self.device.write_at(at, data)
    }

    pub(crate) fn write(&mut self, block: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.write_bytes(block << self.block_size.log2(), data)
    }

    /// Makes `len` blocks from `start` zero. What is zero already (a hole of a sparse file) is only
    /// read, so that it stays a hole.
    pub(crate) fn zero(&mut self, start: u64, len: u64) -> Result<(), MkfsError> {
        let mut at = start << self.block_size.log2();
        let end = at + (len << self.block_size.log2());
        let zeros = vec![0; CHUNK];
        let mut found = vec![0; CHUNK];
        while at < end {
            let len = usize::try_from(end - at).unwrap_or(CHUNK).min(CHUNK);
            let (found, zeros) = (&mut found[..len], &zeros[..len]);
            self.device.read_at(at, found)?;
            if found != zeros {
                self.write_bytes(at, zeros)?;
            }
            at += len as u64;
        }
        Ok(())
    }
}
