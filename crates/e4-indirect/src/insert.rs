//! Inserting blocks that were holes.

use e4_format::indirect::Route;
use e4_format::{FileBlock, FsBlock};

use crate::error::MapError;
use crate::plan::{Parent, Plan};
use crate::store::{MapRead, MapStore};

/// Indirect blocks that inserting at most one indirect block's worth of blocks touches: its blocks lie below at most two
/// blocks of the lowest level, and those below at most two paths.
pub const INSERT_NODES_MAX: u32 = 5;

/// Maps `len` blocks from `block` on, all of them holes, to the blocks from `at` on.
///
/// # Errors
/// [`MapError::Overlap`], [`MapError::OutOfReach`], [`MapError::Encode`] for blocks beyond 2^32, [`MapError::Read`].
pub fn plan_insert<S: MapRead>(
    store: &S,
    block: FileBlock,
    len: u32,
    at: FsBlock,
) -> Result<Plan, MapError<S::Error>> {
    let out_of_reach = || MapError::OutOfReach { block, len };
    if len == 0 {
        return Err(out_of_reach());
    }
    let per = store.per_block();
    let mut plan = Plan::new(store, at);
    for n in 0..len {
        let file_block = block.checked_add(n).ok_or_else(out_of_reach)?;
        let route = Route::to(file_block, per).ok_or_else(out_of_reach)?;
        let (mut of, mut pointer) = (Parent::Root, route.slot());
        for &position in route.positions() {
            let below = match plan.child(store, of, pointer)? {
                Some(below) => below,
                None => plan.add(per, of, pointer),
            };
            (of, pointer) = (Parent::Node(below), position);
        }
        if plan.pointer(of, pointer).is_some() {
            return Err(MapError::Overlap { at: file_block });
        }
        let to = FsBlock::new(at.get().saturating_add(u64::from(n)));
        plan.set(of, pointer, Some(to))?;
    }
    Ok(plan)
}

/// Plans and applies.
///
/// # Errors
/// As [`plan_insert`] and [`Plan::apply`].
pub fn insert<S: MapStore>(
    store: &mut S,
    block: FileBlock,
    len: u32,
    at: FsBlock,
) -> Result<(), MapError<S::Error>> {
    plan_insert(store, block, len, at)?.apply(store)
}
