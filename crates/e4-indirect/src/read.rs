//! Reading a map: one block and what follows it, or everything in a range.

use alloc::collections::BTreeSet;
use core::ops::{ControlFlow, Range};

use e4_format::indirect::{
    DIRECT, Route, SLOTS, blocks_max, covers, first_of_slot, levels_below, pointer,
};
use e4_format::{FileBlock, FsBlock};

use crate::error::MapError;
use crate::store::MapRead;

/// File blocks with one answer: nothing, or blocks in a row.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// The file blocks.
    pub blocks: Range<u32>,
    /// Where the first of them lies; `None` for a hole.
    pub at: Option<FsBlock>,
}

impl Run {
    /// True if `next` continues this run, in the file and on the device.
    #[must_use]
    pub fn continues(&self, next: &Self) -> bool {
        let len = u64::from(self.blocks.end - self.blocks.start);
        let follows = match (self.at, next.at) {
            (None, None) => true,
            (Some(at), Some(then)) => at.get() + len == then.get(),
            _ => false,
        };
        follows && self.blocks.end == next.blocks.start
    }
}

/// What `block` maps to, and the blocks behind it that have the same answer, as far as one indirect block says so; not
/// beyond `until`, which lies behind `block`.
///
/// # Errors
/// [`MapError::Read`].
pub fn lookup<S: MapRead>(
    store: &S,
    block: FileBlock,
    until: u32,
) -> Result<Run, MapError<S::Error>> {
    let per = store.per_block();
    let start = block.get();
    let hole = |end: u64| Run {
        blocks: start..u32::try_from(end).unwrap_or(u32::MAX).min(until),
        at: None,
    };
    let Some(route) = Route::to(block, per) else {
        return Ok(hole(u32::MAX.into()));
    };
    let mut levels = levels_below(route.slot());
    let mut found = pointer(store.root(), route.slot());
    if levels == 0 {
        let count = DIRECT - route.slot();
        return Ok(run(store.root(), route.slot(), count, start..until));
    }
    let mut first = first_of_slot(route.slot(), per);
    for &position in route.positions() {
        let Some(at) = found else {
            return Ok(hole(first + covers(levels, per)));
        };
        let bytes = store
            .read(at)
            .map_err(|source| MapError::Read { at, source })?;
        levels -= 1;
        if levels == 0 {
            return Ok(run(&bytes, position, per - position, start..until));
        }
        first += u64::from(position) * covers(levels, per);
        found = pointer(&bytes, position);
    }
    Ok(hole(u64::from(start) + 1))
}

/// The run that begins with pointer `n` of `bytes`, of at most `count` pointers.
fn run(bytes: &[u8], n: u32, count: u32, blocks: Range<u32>) -> Run {
    let count = count.min(blocks.end.saturating_sub(blocks.start)).max(1);
    let at = pointer(bytes, n);
    let mut len = 1;
    while len < count {
        let next = pointer(bytes, n + len);
        let same = match at {
            None => next.is_none(),
            Some(at) => next.is_some_and(|next| next.get() == at.get() + u64::from(len)),
        };
        if !same {
            break;
        }
        len += 1;
    }
    Run {
        blocks: blocks.start..blocks.start + len,
        at,
    }
}

/// Shows every mapped block of `range` in runs, from the first to the last; holes are left out. Neighbouring runs are
/// joined.
///
/// # Errors
/// [`MapError::Read`], and [`MapError::Twice`] for a map that is none: so the work is bounded by the blocks there are.
pub fn walk<S: MapRead>(
    store: &S,
    range: Range<u32>,
    each: &mut dyn FnMut(Run) -> ControlFlow<()>,
) -> Result<(), MapError<S::Error>> {
    let per = store.per_block();
    let mut walk = Walk {
        store,
        per,
        range: range.start..range.end.min(blocks_max(per)),
        seen: BTreeSet::new(),
        open: None,
        each,
    };
    for slot in 0..SLOTS {
        let levels = levels_below(slot);
        let at = pointer(store.root(), slot);
        if walk
            .subtree(at, levels, first_of_slot(slot, per))?
            .is_break()
        {
            return Ok(());
        }
    }
    if let Some(last) = walk.open.take() {
        let _ = (walk.each)(last);
    }
    Ok(())
}

struct Walk<'a, S> {
    store: &'a S,
    per: u32,
    range: Range<u32>,
    seen: BTreeSet<u64>,
    /// A run that may be continued.
    open: Option<Run>,
    each: &'a mut dyn FnMut(Run) -> ControlFlow<()>,
}

impl<S: MapRead> Walk<'_, S> {
    fn subtree(
        &mut self,
        at: Option<FsBlock>,
        levels: u32,
        first: u64,
    ) -> Result<ControlFlow<()>, MapError<S::Error>> {
        let Some(at) = at else {
            return Ok(ControlFlow::Continue(()));
        };
        let wanted = u64::from(self.range.start)..u64::from(self.range.end);
        if first >= wanted.end || first + covers(levels, self.per) <= wanted.start {
            return Ok(ControlFlow::Continue(()));
        }
        let near = FileBlock::new(u32::try_from(first).unwrap_or(u32::MAX));
        if levels == 0 {
            return Ok(self.block(near.get(), at));
        }
        if !self.seen.insert(at.get()) {
            return Err(MapError::Twice { at, near });
        }
        let read = self.store.read(at);
        let bytes = read.map_err(|source| MapError::Read { at, source })?;
        for n in 0..self.per {
            let first = first + u64::from(n) * covers(levels - 1, self.per);
            if self
                .subtree(pointer(&bytes, n), levels - 1, first)?
                .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn block(&mut self, block: u32, at: FsBlock) -> ControlFlow<()> {
        let next = Run {
            blocks: block..block + 1,
            at: Some(at),
        };
        match &mut self.open {
            Some(open) if open.continues(&next) => {
                open.blocks.end = next.blocks.end;
                ControlFlow::Continue(())
            }
            open => match open.replace(next) {
                Some(done) => (self.each)(done),
                None => ControlFlow::Continue(()),
            },
        }
    }
}
