//! Carrying out a plan: blocks home, flush, log marked empty, flush.

use e4_device::{AlignedBuf, Device};
use e4_format::FormatError;
use e4_format::jbd2::{JournalSuperblock, unescape};
use e4_planted::planted;

use super::{Plan, ReplayCopy};
use crate::error::JournalError;
use crate::layout::JournalLayout;

/// One write carries at most this much.
const PIECE: usize = 1 << 20;

pub(super) fn apply(
    device: &dyn Device,
    layout: &mut JournalLayout,
    plan: &Plan,
) -> Result<(), JournalError> {
    if plan.empty {
        return Ok(());
    }
    let most = PIECE / layout.block_size().len();
    let mut rest = &plan.copies[..];
    while let Some(first) = rest.first() {
        let run = rest
            .iter()
            .zip(first.block.get()..)
            .take(most)
            .take_while(|(copy, at)| copy.block.get() == *at)
            .count();
        let (piece, after) = rest.split_at(run);
        write_run(device, layout, piece, first)?;
        rest = after;
    }
    if !planted!(RecoverWithoutFlush) {
        flush(device)?;
    }
    rewrite_superblock(device, layout, |s| {
        s.set_head(s.first());
        s.set_tail(plan.next, None)
    })
}

/// Writes copies of adjacent blocks in one piece.
fn write_run(
    device: &dyn Device,
    layout: &JournalLayout,
    run: &[ReplayCopy],
    first: &ReplayCopy,
) -> Result<(), JournalError> {
    let size = layout.block_size();
    let mut bytes = AlignedBuf::zeroed(run.len() * size.len());
    for (copy, block) in run.iter().zip(bytes.chunks_exact_mut(size.len())) {
        let logical = copy.log;
        let place = layout.place(logical).ok_or(JournalError::OutsideLog {
            logical,
            blocks: layout.superblock().maxlen(),
        })?;
        let at = size
            .byte_of(place)
            .ok_or(JournalError::BlockBeyondDevice { block: place })?;
        device
            .read_at(at.get(), block)
            .map_err(|source| JournalError::ReadLog { logical, source })?;
        if copy.escaped {
            unescape(block);
        }
    }
    let at = size
        .byte_of(first.block)
        .ok_or(JournalError::BlockBeyondDevice { block: first.block })?;
    device
        .write_at(at.get(), &bytes)
        .map_err(|source| JournalError::WriteHome {
            block: first.block,
            source,
        })
}

/// Changes the journal superblock, durably, and brings `layout` up to date.
pub(super) fn rewrite_superblock(
    device: &dyn Device,
    layout: &mut JournalLayout,
    change: impl FnOnce(&mut JournalSuperblock) -> Result<(), FormatError>,
) -> Result<(), JournalError> {
    let fail = |source| JournalError::Superblock { source };
    let (at, mut block) = layout.superblock_block(device)?;
    let mut fields = layout.superblock().clone();
    change(&mut fields).map_err(fail)?;
    fields.encode(&mut block).map_err(fail)?;
    device
        .write_at(at, &block)
        .map_err(|source| JournalError::WriteSuperblock { source })?;
    flush(device)?;
    layout.set_superblock(fields);
    Ok(())
}

fn flush(device: &dyn Device) -> Result<(), JournalError> {
    device
        .flush()
        .map_err(|source| JournalError::Flush { source })
}
