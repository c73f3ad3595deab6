//! The heart as values: what a sorted list of extents becomes when a range is converted, inserted or
//! removed. No tree, no store.
//!
//! Invariants kept here:
//! - I-2, I-3: exactly the blocks asked for become written, whatever extents they lie in (S16);
//! - I-4: converting a written block or a hole changes nothing;
//! - I-7: neighbours are merged whenever they continue each other, so a list never holds more
//!   extents than the mapping needs at the places an operation touched.
//!
//! Decision: a merge that would exceed the format's length limit fills the left extent up and leaves
//! the rest to the right one. The mapping is the same, and a long contiguous file ends with
//! `ceil(blocks / limit)` extents, whatever the order it was written in.

use alloc::vec::Vec;
use e4_format::extent::{Extent, ExtentState};
use e4_format::{FileBlock, FsBlock};

use crate::range::{ConvertRange, FileRange};
use e4_planted::planted;

/// First block behind an extent.
pub(crate) const fn end_of(extent: &Extent) -> FileBlock {
    FileRange::of(extent).end
}

/// The part of `extent` inside `range`, which must overlap it.
pub(crate) fn part(extent: &Extent, range: FileRange) -> Extent {
    let cut = range.clip(FileRange::of(extent));
    let skipped = cut.start.get().saturating_sub(extent.block.get());
    Extent {
        block: cut.start,
        len: cut.len(),
        start: FsBlock::new(extent.start.get().saturating_add(u64::from(skipped))),
        state: extent.state,
    }
}

/// True if `next` continues `prev`: next file block, next physical block, same state.
#[must_use]
pub fn continues(prev: &Extent, next: &Extent) -> bool {
    (prev.state == next.state || planted!(MergeAcrossStates))
        && end_of(prev) == next.block
        && (prev.start.checked_add(u64::from(prev.len)) == Some(next.start)
            || planted!(MergeDistantBlocks))
}

/// Appends `next`, growing the last extent as far as it may grow.
pub(crate) fn push_merged(out: &mut Vec<Extent>, next: Extent) {
    let Some(last) = out.last_mut() else {
        out.push(next);
        return;
    };
    if !continues(last, &next) {
        out.push(next);
        return;
    }
    let room = last.state.max_len().saturating_sub(last.len);
    if next.len <= room {
        last.len += next.len;
        return;
    }
    last.len += room;
    let rest = FileRange::new(end_of(last), end_of(&next));
    out.push(part(&next, rest));
}

/// What became of the blocks a conversion was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Converted {
    /// Blocks that became written.
    pub blocks: u64,
    /// Blocks that were written already.
    pub already: u64,
    /// Parts that are not mapped; they stay so (I-4).
    pub holes: Vec<FileRange>,
    /// Parts that are mapped elsewhere than the caller said; left as they are.
    pub moved: Vec<FileRange>,
}

/// Appends a range, joining it to the last one where they touch.
pub(crate) fn push_range(out: &mut Vec<FileRange>, range: FileRange) {
    if range.is_empty() {
        return;
    }
    match out.last_mut() {
        Some(last) if last.end == range.start => last.end = range.end,
        _ => out.push(range),
    }
}

/// True if block `from` of `extent` is where the range says it is.
fn in_place(extent: &Extent, range: &ConvertRange, from: FileBlock) -> bool {
    let Some(at) = range.at else { return true };
    let in_range = u64::from(from.get().saturating_sub(range.blocks.start.get()));
    let in_extent = u64::from(from.get().saturating_sub(extent.block.get()));
    at.checked_add(in_range) == extent.start.checked_add(in_extent)
}

/// Converts `ranges` (sorted, disjoint) within one list of extents that describes `span`.
///
/// Appends the new list to `out` and returns whether it differs from the old one in meaning.
/// Ranges may reach beyond the span; only the part inside counts.
pub fn plan_convert(
    entries: &[Extent],
    ranges: &[ConvertRange],
    span: FileRange,
    out: &mut Vec<Extent>,
    tally: &mut Converted,
) -> bool {
    let mut changed = false;
    let mut pending = ranges;
    let mut hole_from = span.start;
    for extent in entries {
        let whole = FileRange::of(extent);
        note_holes(
            pending,
            FileRange::new(hole_from, whole.start),
            &mut tally.holes,
        );
        hole_from = whole.end;
        let mut kept_from = whole.start;
        while let Some(range) = pending.first() {
            if range.blocks.start >= whole.end {
                break;
            }
            let hit = range.blocks.clip(whole);
            let hit = if planted!(ConvertWholeExtent) {
                FileRange::new(kept_from, whole.end)
            } else {
                hit
            };
            if !hit.is_empty() {
                if extent.state == ExtentState::Written {
                    tally.already += u64::from(hit.len());
                } else if in_place(extent, range, hit.start) {
                    let off = u32::from(planted!(SplitOffByOne) && hit.start.get() > 0);
                    let split = FileBlock::new(hit.start.get() - off);
                    let hit = FileRange::new(split, hit.end);
                    if kept_from < split {
                        push_merged(out, part(extent, FileRange::new(kept_from, split)));
                    }
                    let piece = part(extent, hit);
                    push_merged(
                        out,
                        Extent {
                            state: ExtentState::Written,
                            ..piece
                        },
                    );
                    kept_from = hit.end;
                    tally.blocks += u64::from(hit.len());
                    changed = true;
                } else {
                    push_range(&mut tally.moved, hit);
                }
            }
            if range.blocks.end > whole.end {
                break;
            }
            pending = pending.get(1..).unwrap_or_default();
        }
        if kept_from < whole.end {
            push_merged(out, part(extent, FileRange::new(kept_from, whole.end)));
        }
    }
    note_holes(
        pending,
        FileRange::new(hole_from, span.end),
        &mut tally.holes,
    );
    changed
}

/// Notes which part of the unmapped `gap` was asked for.
fn note_holes(ranges: &[ConvertRange], gap: FileRange, holes: &mut Vec<FileRange>) {
    if gap.is_empty() {
        return;
    }
    for range in ranges {
        if range.blocks.start >= gap.end {
            break;
        }
        push_range(holes, range.blocks.clip(gap));
    }
}

/// Where an inserted extent ended up in its list.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Place {
    /// At the front, with entries behind it.
    First,
    /// Between others.
    Middle,
    /// At the end (or alone).
    Last,
}

/// Inserts `new` into a list. Returns where it went, or the first mapped block it overlaps.
///
/// # Errors
/// The overlapping extent's first block; `out` is then unspecified.
pub fn plan_insert(
    entries: &[Extent],
    new: &Extent,
    out: &mut Vec<Extent>,
) -> Result<Place, FileBlock> {
    let at = entries.partition_point(|e| e.block < new.block);
    let (before, after) = entries.split_at(at);
    if let Some(prev) = before.last()
        && end_of(prev) > new.block
    {
        return Err(prev.block);
    }
    if let Some(next) = after.first()
        && next.block < end_of(new)
    {
        return Err(next.block);
    }
    out.extend_from_slice(before);
    push_merged(out, *new);
    if let Some((next, rest)) = after.split_first() {
        push_merged(out, *next);
        out.extend_from_slice(rest);
    }
    Ok(match (before.is_empty(), after.is_empty()) {
        (_, true) => Place::Last,
        (true, false) => Place::First,
        (false, false) => Place::Middle,
    })
}

/// Takes `range` out of a list: appends what remains to `out`, what goes to `gone`; returns whether
/// anything went.
pub fn plan_remove(
    entries: &[Extent],
    range: FileRange,
    out: &mut Vec<Extent>,
    gone: &mut Vec<Extent>,
) -> bool {
    let before = gone.len();
    for extent in entries {
        let whole = FileRange::of(extent);
        if !whole.overlaps(range) {
            out.push(*extent);
            continue;
        }
        if whole.start < range.start {
            out.push(part(extent, FileRange::new(whole.start, range.start)));
        }
        gone.push(part(extent, range));
        if whole.end > range.end && !planted!(RemoveLosesTail) {
            out.push(part(extent, FileRange::new(range.end, whole.end)));
        }
    }
    gone.len() != before
}

/// Makes the written blocks of `range` unwritten within one list: appends the new list to `out` and returns how many blocks
/// changed state.
pub fn plan_unwrite(entries: &[Extent], range: FileRange, out: &mut Vec<Extent>) -> u64 {
    let mut blocks = 0;
    for extent in entries {
        let whole = FileRange::of(extent);
        let hit = range.clip(whole);
        if hit.is_empty() || extent.state == ExtentState::Unwritten {
            push_merged(out, *extent);
            continue;
        }
        blocks += u64::from(hit.len());
        if whole.start < hit.start {
            push_merged(out, part(extent, FileRange::new(whole.start, hit.start)));
        }
        let mut at = hit.start;
        while at < hit.end {
            let most = FileRange::with_len(at, ExtentState::Unwritten.max_len());
            let piece = part(extent, most.clip(hit));
            at = end_of(&piece);
            push_merged(
                out,
                Extent {
                    state: ExtentState::Unwritten,
                    ..piece
                },
            );
        }
        if hit.end < whole.end {
            push_merged(out, part(extent, FileRange::new(hit.end, whole.end)));
        }
    }
    blocks
}
