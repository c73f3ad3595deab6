//! A sealed transaction as the bytes it occupies in the log.
//!
//! Decisions: revoke blocks first, then descriptors with their data, so that the whole transaction is one contiguous
//! image and one large write; the commit record is written apart, after a flush. Blocks are in
//! ascending order, which makes a run reproducible and lets recovery write adjacent blocks at once.

use core::time::Duration;

use e4_device::AlignedBuf;
use e4_format::jbd2::{
    CommitBlock, DescriptorWriter, JournalFormat, RevokeWriter, data_csum, escape,
};
use e4_format::{FormatError, FsBlock, Tid};

use crate::commit::SealedBlock;
use crate::transaction::Limits;

/// What goes into the log.
pub(crate) struct LogImage<'a> {
    pub(crate) tid: Tid,
    pub(crate) format: &'a JournalFormat,
    pub(crate) limits: &'a Limits,
    pub(crate) blocks: &'a [SealedBlock],
    pub(crate) revokes: &'a [FsBlock],
    /// Always, but for a planted bug.
    pub(crate) escaping: bool,
}

impl LogImage<'_> {
    /// Blocks of log it occupies, without the commit record.
    pub(crate) fn len(&self) -> u32 {
        let (n, r) = (self.blocks.len(), self.revokes.len());
        let descriptors = n.div_ceil(self.limits.tags as usize);
        let revokes = r.div_ceil(self.limits.revokes as usize);
        u32::try_from(n + descriptors + revokes).unwrap_or(u32::MAX)
    }

    /// Builds the bytes.
    pub(crate) fn build(&self) -> Result<AlignedBuf, FormatError> {
        let size = self.format.block_size.len();
        // Every byte is overwritten below: whole blocks are copied, the writers clear theirs.
        let mut image = AlignedBuf::recycled(self.len() as usize * size);
        let mut rest = &mut image[..];
        for chunk in self.revokes.chunks(self.limits.revokes as usize) {
            let (block, after) = split(rest, size)?;
            self.revoke_block(block, chunk)?;
            rest = after;
        }
        for chunk in self.blocks.chunks(self.limits.tags as usize) {
            let (block, after) = split(rest, size)?;
            let mut descriptor = DescriptorWriter::new(block, self.format, self.tid)?;
            rest = after;
            for item in chunk {
                let (copy, after) = split(rest, size)?;
                copy.copy_from_slice(&item.data);
                let escaped = self.escaping && escape(copy);
                let csum = data_csum(self.format, self.tid, copy);
                let fits = descriptor.push(item.buffer.block(), escaped, csum);
                debug_assert!(fits, "more tags than a descriptor block holds");
                rest = after;
            }
            descriptor.finish();
        }
        debug_assert!(rest.is_empty());
        Ok(image)
    }

    fn revoke_block(&self, block: &mut [u8], revokes: &[FsBlock]) -> Result<(), FormatError> {
        let mut writer = RevokeWriter::new(block, self.format, self.tid)?;
        for revoke in revokes {
            let fits = writer.push(*revoke);
            debug_assert!(fits, "more records than a revoke block holds");
        }
        writer.finish();
        Ok(())
    }

    /// The commit record that follows it.
    pub(crate) fn record(&self, time: Duration) -> Result<AlignedBuf, FormatError> {
        let mut block = AlignedBuf::zeroed(self.format.block_size.len());
        CommitBlock {
            tid: self.tid,
            sec: time.as_secs(),
            nsec: time.subsec_nanos(),
            v1_crc32: None,
        }
        .encode(&mut block, self.format)?;
        Ok(block)
    }
}

fn split(rest: &mut [u8], size: usize) -> Result<(&mut [u8], &mut [u8]), FormatError> {
    let len = rest.len();
    rest.split_at_mut_checked(size)
        .ok_or(FormatError::Truncated {
            what: "log image",
            len,
        })
}
