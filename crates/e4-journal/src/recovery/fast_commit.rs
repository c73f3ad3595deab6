//! Recognising fast commits, which live in an area of their own behind the log.
//!
//! A fast commit extends the last full commit by logical records; the area begins with a head record that names the transaction
//! number the next full commit would have had. We do not replay them. If the head names exactly the
//! first transaction that the log does *not* hold, plain recovery would lose what fsync acknowledged: refuse. Any
//! other head is older, superseded by a full commit, and may be ignored.

use e4_format::Tid;

use super::reader::Reader;
use crate::error::JournalError;
use crate::layout::JournalLayout;

/// `EXT4_FC_TAG_HEAD`: tag and length of its value, little-endian; the value is feature bits and the transaction.
const HEAD_TAG: u16 = 9;
const HEAD_LEN: u16 = 8;

/// Refuses if the area holds fast commits on top of the transaction before `missing`.
pub(super) fn refuse_live(
    reader: &mut Reader<'_>,
    layout: &JournalLayout,
    missing: Tid,
) -> Result<(), JournalError> {
    let superblock = layout.superblock();
    if !superblock.has_fast_commit() {
        return Ok(());
    }
    for at in superblock.log_end()..superblock.maxlen() {
        if head(reader.block(at)?) == Some(missing) {
            return Err(JournalError::FastCommits {
                tid: Tid::new(missing.get().wrapping_sub(1)),
            });
        }
    }
    Ok(())
}

fn head(block: &[u8]) -> Option<Tid> {
    let (tag, rest) = block.split_first_chunk::<2>()?;
    let (len, rest) = rest.split_first_chunk::<2>()?;
    let (_features, rest) = rest.split_first_chunk::<4>()?;
    let tid = rest.first_chunk::<4>()?;
    let is_head = u16::from_le_bytes(*tag) == HEAD_TAG && u16::from_le_bytes(*len) == HEAD_LEN;
    is_head.then(|| Tid::new(u32::from_le_bytes(*tid)))
}
