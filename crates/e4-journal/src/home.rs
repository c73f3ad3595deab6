//! Writing metadata blocks to their places: sorted, adjacent ones in one write.

use e4_device::{AlignedBuf, Device};
use e4_format::{BlockSize, FsBlock};
use e4_sync::Arc;

use crate::error::JournalError;

/// One write carries at most this much.
const PIECE: usize = 1 << 20;

/// A block and the version of it that goes home.
pub(crate) type Homeward = (FsBlock, Arc<[u8]>);

/// Writes every block. `blocks` must be sorted and without duplicates. Not flushed.
pub(crate) fn write(
    device: &dyn Device,
    size: BlockSize,
    blocks: &[Homeward],
) -> Result<(), JournalError> {
    let most = (PIECE / size.len()).max(1);
    let mut rest = blocks;
    while let Some((first, data)) = rest.first() {
        let run = rest
            .iter()
            .zip(first.get()..)
            .take(most)
            .take_while(|((block, _), at)| block.get() == *at)
            .count();
        let (piece, after) = rest.split_at(run.max(1));
        let at = size
            .byte_of(*first)
            .ok_or(JournalError::BlockBeyondDevice { block: *first })?;
        let result = if run == 1 {
            device.write_at(at.get(), data)
        } else {
            let mut bytes = AlignedBuf::recycled(run * size.len());
            for (to, (_, from)) in bytes.chunks_exact_mut(size.len()).zip(piece) {
                to.copy_from_slice(from);
            }
            device.write_at(at.get(), &bytes)
        };
        result.map_err(|source| JournalError::WriteHome {
            block: *first,
            source,
        })?;
        rest = after;
    }
    Ok(())
}
