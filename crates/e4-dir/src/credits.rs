//! What adding a name can cost, before it is tried.

use crate::store::DirRead;

/// Upper bounds for one [`insert`](crate::insert).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InsertCost {
    /// Directory blocks written, appended ones included.
    pub written: u32,
    /// Directory blocks appended. What allocating them writes (bitmaps, descriptors, the extent
    /// tree) is the store's to add.
    pub appended: u32,
}

/// Upper bounds for adding one name to this directory as it is.
pub fn credits_for_insert<S: DirRead + ?Sized>(store: &S) -> InsertCost {
    let cx = store.context();
    if cx.dir_index && store.is_indexed() {
        // The leaf and its other half; on each level the node and its other half; the root. A root
        // that hands its pairs down stands for the two nodes of a level that did not exist.
        let levels = u32::from(cx.indirect_levels_max());
        return InsertCost {
            written: 3 + 2 * levels,
            appended: 1 + levels,
        };
    }
    if cx.dir_index && store.blocks() <= 1 && cx.default_hash.is_some() {
        return InsertCost {
            written: 3,
            appended: 2,
        };
    }
    InsertCost {
        written: 1,
        appended: 1,
    }
}
