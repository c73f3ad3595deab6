//! The extent status cache: a file's extents as one sorted list, for lookups without touching nodes. What a block map
//! says is a list of written extents too.
//!
//! Decisions: the list is made from the map, whole, and thrown away by any change of it, so cache and map
//! cannot disagree (I-6, R8). It is made only once enough lookups have missed it: a file that grows with
//! every write never pays for rebuilding, a file that is written in place pays once. What is published and
//! not yet recorded is not here but in the overlay.

use e4_extent::{FileRange, Mapping};
use e4_format::{Extent, FileBlock};
use e4_sync::OnceLock;
use e4_sync::atomic::{AtomicU32, Ordering};

use super::View;
use crate::error::Result;

/// Extents cached at most: 24 MiB of them. Larger files use the tree.
const EXTENTS_MAX: usize = 1 << 20;
/// Lookups before a list is made, and one more for each so many extents of the last list.
const MISSES_MIN: u32 = 32;
const EXTENTS_PER_MISS: u32 = 8;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Status {
    /// `None` in the cell: too many extents.
    list: OnceLock<Option<Box<[Extent]>>>,
    misses: AtomicU32,
    last_len: u32,
}

impl Status {
    /// The tree is about to change.
    pub(crate) fn forget(&mut self) {
        if let Some(Some(list)) = self.list.take() {
            self.last_len = u32::try_from(list.len()).unwrap_or(u32::MAX);
        }
        *self.misses.get_mut() = 0;
    }

    /// What `block` maps to.
    pub(super) fn lookup(&self, view: &View<'_>, block: FileBlock) -> Result<Mapping> {
        let list = match self.list.get() {
            Some(list) => list,
            None => {
                let enough = MISSES_MIN.saturating_add(self.last_len / EXTENTS_PER_MISS);
                if self.misses.fetch_add(1, Ordering::Relaxed) < enough {
                    return view.lookup(block);
                }
                let made = make(view)?;
                self.list.get_or_init(|| made)
            }
        };
        match list {
            Some(list) => Ok(find(list, block)),
            None => view.lookup(block),
        }
    }
}

fn make(view: &View<'_>) -> Result<Option<Box<[Extent]>>> {
    let mut list = Vec::new();
    view.walk(FileBlock::new(0), &mut |extent| {
        list.push(extent);
        list.len() <= EXTENTS_MAX
    })?;
    Ok((list.len() <= EXTENTS_MAX).then(|| list.into_boxed_slice()))
}

fn find(list: &[Extent], block: FileBlock) -> Mapping {
    let behind = list.partition_point(|e| e.block <= block);
    let before = behind.checked_sub(1).and_then(|i| list.get(i));
    match before {
        Some(extent) if extent.contains(block) => Mapping::Extent(*extent),
        _ => {
            let start = before.map_or(FileBlock::new(0), |e| FileBlock::new(e.end()));
            let end = list.get(behind).map_or(FileRange::ALL.end, |e| e.block);
            Mapping::Hole(FileRange::new(start, end))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use e4_format::{ExtentState, FsBlock};

    #[test]
    fn finds_extents_and_whole_holes() {
        let at = |block, len| Extent {
            block: FileBlock::new(block),
            len,
            start: FsBlock::new(1000 + u64::from(block)),
            state: ExtentState::Written,
        };
        let list = [at(2, 3), at(5, 1), at(10, 2)];
        let hole = |a, b| Mapping::Hole(FileRange::new(FileBlock::new(a), FileBlock::new(b)));
        for (block, want) in [
            (0, hole(0, 2)),
            (2, Mapping::Extent(at(2, 3))),
            (4, Mapping::Extent(at(2, 3))),
            (5, Mapping::Extent(at(5, 1))),
            (6, hole(6, 10)),
            (9, hole(6, 10)),
            (11, Mapping::Extent(at(10, 2))),
            (12, hole(12, u32::MAX)),
        ] {
            assert_eq!(find(&list, FileBlock::new(block)), want, "block {block}");
        }
        assert_eq!(find(&[], FileBlock::new(7)), hole(0, u32::MAX));
    }
}
