//! Reading the log block by block, ahead of the reader, around the end of the ring.

use e4_device::{AlignedBuf, Device};

use crate::error::JournalError;
use crate::layout::JournalLayout;

/// Bytes read at once.
const AHEAD: usize = 1 << 20;

/// The blocks of a journal.
pub(super) struct Reader<'a> {
    device: &'a dyn Device,
    layout: &'a JournalLayout,
    buffer: AlignedBuf,
    /// Journal block at the beginning of the buffer.
    at: u32,
    /// Blocks in the buffer.
    len: u32,
}

impl<'a> Reader<'a> {
    pub(super) fn new(device: &'a dyn Device, layout: &'a JournalLayout) -> Self {
        let whole = layout.superblock().maxlen() as usize * layout.block_size().len();
        Self {
            device,
            layout,
            buffer: AlignedBuf::zeroed(AHEAD.min(whole)),
            at: 0,
            len: 0,
        }
    }

    /// One block of the journal.
    pub(super) fn block(&mut self, logical: u32) -> Result<&[u8], JournalError> {
        let size = self.layout.block_size().len();
        let into = match logical.checked_sub(self.at) {
            Some(into) if into < self.len => into,
            _ => {
                self.fill(logical)?;
                0
            }
        };
        let start = into as usize * size;
        Ok(self.buffer.get(start..start + size).unwrap_or_default())
    }

    fn fill(&mut self, logical: u32) -> Result<(), JournalError> {
        self.len = 0;
        let size = self.layout.block_size();
        let most = u32::try_from(self.buffer.len() / size.len()).unwrap_or(1);
        let maxlen = self.layout.superblock().maxlen();
        let (place, run) = self.layout.run(logical).ok_or(JournalError::OutsideLog {
            logical,
            blocks: maxlen,
        })?;
        let run = run.min(most).min(maxlen.saturating_sub(logical)).max(1);
        let at = size
            .byte_of(place)
            .ok_or(JournalError::BlockBeyondDevice { block: place })?;
        let bytes = run as usize * size.len();
        let into = self.buffer.get_mut(..bytes).unwrap_or_default();
        self.device
            .read_at(at.get(), into)
            .map_err(|source| JournalError::ReadLog { logical, source })?;
        (self.at, self.len) = (logical, run);
        Ok(())
    }
}
