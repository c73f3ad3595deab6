//! When no node can be had: what to zero so that a conversion adds no entry.
//!
//! Converting part of an unwritten extent leaves unwritten pieces, and each piece costs an entry. A
//! piece that is filled with zeros may become written as well (it reads the same), and then merges with
//! what was converted beside it. So the smallest pieces are zeroed until the leaf fits again.
//!
//! Invariants (I-5, S39, S40): only blocks that are unwritten *now* are named, with the physical place
//! they have now; never a block of `ranges` (its data is there already) and never one that is busy (its
//! data may be landing, rule 3 of the design). Nothing is converted here: the zeros travel as an
//! ordinary write, and once they are on the device their range is converted with the rest.

use alloc::vec::Vec;
use e4_format::extent::{Extent, ExtentState, WRITTEN_MAX};
use e4_format::{FileBlock, FsBlock};

use crate::convert::{load, overlapping};
use crate::entries::{self, Converted, push_range};
use crate::error::TreeError;
use crate::range::{ConvertRange, FileRange};
use crate::store::NodeRead;

/// Unwritten blocks to be filled with zeros.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZeroRange {
    /// The file blocks.
    pub blocks: FileRange,
    /// Where the first of them is.
    pub at: FsBlock,
}

/// What to zero before converting without new nodes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ZeroOut {
    /// To be zeroed, then converted together with the ranges; sorted.
    pub zero: Vec<ZeroRange>,
    /// Ranges that cannot be converted without a node even so, because too much around them is busy.
    pub stuck: Vec<FileRange>,
}

/// What must be zeroed so that converting `ranges` and the zeroed blocks needs no new node. `busy`
/// blocks (sorted, disjoint) are in flight, or published on behalf of somebody else.
///
/// # Errors
/// As [`crate::plan_convert`]; [`TreeError::BadRanges`] is about `ranges`.
pub fn plan_zero_out<S: NodeRead>(
    store: &S,
    ranges: &[ConvertRange],
    busy: &[FileRange],
) -> Result<ZeroOut, TreeError<S::Error>> {
    let (touched, _) = load(store, ranges, u32::MAX, 0)?;
    let capacity = usize::from(if touched.depth() == 0 {
        store.root_entries()
    } else {
        store.node_entries()
    });
    let mut result = ZeroOut::default();
    for &id in &touched.levels[0] {
        let node = touched.node(id);
        let mine = overlapping(ranges, node.span);
        let mut new = Vec::with_capacity(node.body.len() + 2 * mine.len());
        let old = node.body.extents();
        entries::plan_convert(old, mine, node.span, &mut new, &mut Converted::default());
        let mut pieces = Pieces::new(&new);
        if !pieces.shrink_to(capacity, busy) {
            for range in mine {
                push_range(&mut result.stuck, range.blocks.clip(node.span));
            }
            continue;
        }
        result.zero.append(&mut pieces.zeroed);
    }
    result.zero.sort_by_key(|z| z.blocks.start);
    Ok(result)
}

/// A run of blocks that will be mapped in one state, and its neighbours in the leaf.
struct Run {
    block: FileBlock,
    start: FsBlock,
    blocks: u64,
    written: bool,
    prev: Option<usize>,
    next: Option<usize>,
}

/// The entries of one leaf as a linked list of runs.
struct Pieces {
    runs: Vec<Run>,
    count: usize,
    zeroed: Vec<ZeroRange>,
}

impl Pieces {
    fn new(entries: &[Extent]) -> Self {
        let link = |i: usize| (i < entries.len()).then_some(i);
        let run = |(i, e): (usize, &Extent)| Run {
            block: e.block,
            start: e.start,
            blocks: u64::from(e.len),
            written: e.state == ExtentState::Written,
            prev: i.checked_sub(1),
            next: link(i + 1),
        };
        let runs = entries.iter().enumerate().map(run).collect();
        Self {
            runs,
            count: entries.len(),
            zeroed: Vec::new(),
        }
    }

    /// Zeroes unwritten runs, smallest first, until `capacity` entries remain.
    fn shrink_to(&mut self, capacity: usize, busy: &[FileRange]) -> bool {
        let mut smallest_first: Vec<usize> = (0..self.runs.len())
            .filter(|&i| !self.runs[i].written && !is_busy(self.range(i), busy))
            .collect();
        smallest_first.sort_by_key(|&i| self.runs[i].blocks);
        let mut candidates = smallest_first.into_iter();
        while self.count > capacity {
            let Some(i) = candidates.next() else {
                return false;
            };
            self.try_zero(i);
        }
        true
    }

    fn range(&self, i: usize) -> FileRange {
        let blocks = u32::try_from(self.runs[i].blocks).unwrap_or(u32::MAX);
        FileRange::with_len(self.runs[i].block, blocks)
    }

    /// Zeroes run `i` and joins it to its written neighbours, if that saves an entry.
    fn try_zero(&mut self, i: usize) {
        let left = self.runs[i]
            .prev
            .filter(|&l| self.runs[l].written && self.flows(l, i));
        let right = self.runs[i]
            .next
            .filter(|&r| self.runs[r].written && self.flows(i, r));
        let joined = [left, Some(i), right].into_iter().flatten();
        let before: usize = joined
            .clone()
            .map(|j| entries_for(self.runs[j].blocks))
            .sum();
        let blocks: u64 = joined.map(|j| self.runs[j].blocks).sum();
        let after = entries_for(blocks);
        if after >= before {
            return;
        }
        self.count -= before - after;
        self.zeroed.push(ZeroRange {
            blocks: self.range(i),
            at: self.runs[i].start,
        });
        let head = left.unwrap_or(i);
        let behind = self.runs[right.unwrap_or(i)].next;
        self.runs[head].blocks = blocks;
        self.runs[head].written = true;
        self.runs[head].next = behind;
        if let Some(behind) = behind {
            self.runs[behind].prev = Some(head);
        }
    }

    /// True if run `j` begins, in the file and on the device, where run `i` ends.
    fn flows(&self, i: usize, j: usize) -> bool {
        let (first, second) = (&self.runs[i], &self.runs[j]);
        self.range(i).end == second.block
            && first.start.checked_add(first.blocks) == Some(second.start)
    }
}

/// Extents that a written run of this many blocks takes.
fn entries_for(blocks: u64) -> usize {
    usize::try_from(blocks.div_ceil(u64::from(WRITTEN_MAX))).unwrap_or(usize::MAX)
}

fn is_busy(range: FileRange, busy: &[FileRange]) -> bool {
    let from = busy.partition_point(|b| b.end <= range.start);
    busy.get(from).is_some_and(|b| b.start < range.end)
}
