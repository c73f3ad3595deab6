//! Finding a name.
//!
//! Decisions: `.` and `..` are looked for in block 0 and nowhere else. An index that cannot be used
//! (damaged, or hashed in a way we do not know) costs time, not the answer: then every block is
//! searched. A leaf that cannot be read is an error all the same: the name may be in it.

use e4_format::{FileBlock, FileType, InodeNo, dir};

use crate::context::{FIRST, check_name, is_dot};
use crate::error::{DirError, in_block};
use crate::path::{Index, Path};
use crate::store::{DirRead, Expect, index_kind, read, read_any};

/// What a name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Target {
    /// The inode.
    pub inode: InodeNo,
    /// Type as the entry states it; `None` if the image does not store it or it is unknown.
    pub file_type: Option<FileType>,
}

/// Where a name was found.
pub(crate) struct Found<B> {
    pub(crate) at: FileBlock,
    pub(crate) block: B,
    pub(crate) target: Target,
}

/// What `name` stands for; `None` if there is no such name.
///
/// # Errors
/// The name is none, a block that had to be searched is damaged, or the store failed.
pub fn lookup<S: DirRead + ?Sized>(store: &S, name: &[u8]) -> Result<Option<Target>, S::Error> {
    Ok(locate(store, name)?.map(|f| f.target))
}

/// As [`lookup`], with the block.
pub(crate) fn locate<S: DirRead + ?Sized>(
    store: &S,
    name: &[u8],
) -> Result<Option<Found<S::Block>>, S::Error> {
    check_name(name)?;
    if is_dot(name) {
        return find_dot(store, name);
    }
    if !(store.is_indexed() && store.context().dir_index) {
        return scan(store, name);
    }
    match through_index(store, name) {
        Ok(found) => Ok(found),
        Err(Failed::Leaf(e)) => Err(e),
        Err(Failed::Index(why)) => {
            store.index_unusable(&why);
            scan(store, name)
        }
    }
}

/// What kept the index from answering.
enum Failed<E> {
    /// The index itself: all blocks can still be searched.
    Index(E),
    /// A leaf: it would be met again.
    Leaf(E),
}

fn through_index<S: DirRead + ?Sized>(
    store: &S,
    name: &[u8],
) -> Result<Option<Found<S::Block>>, Failed<S::Error>> {
    let index = Index::open(store).map_err(Failed::Index)?;
    let hash = store.context().hash(index.hash, name).major;
    let mut path = index.descend(store, hash).map_err(Failed::Index)?;
    let mut visits = Visits::new(store);
    loop {
        let at = path.leaf();
        let block = read(store, at, Expect::Linear).map_err(Failed::Leaf)?;
        if let Some(found) = find_in(store, at, block, name).map_err(Failed::Leaf)? {
            return Ok(Some(found));
        }
        if !advance_within(store, &mut path, hash, &mut visits).map_err(Failed::Index)? {
            return Ok(None);
        }
    }
}

/// Goes to the next leaf if names with this hash may be there too.
pub(crate) fn advance_within<S: DirRead + ?Sized>(
    store: &S,
    path: &mut Path<S::Block>,
    hash: u32,
    visits: &mut Visits,
) -> Result<bool, S::Error> {
    if !path.continues(hash) {
        return Ok(false);
    }
    visits.count()?;
    path.advance(store)
}

/// Bounds how many leaves are visited in a row.
pub(crate) struct Visits {
    visited: u32,
    blocks: u32,
}

impl Visits {
    pub(crate) fn new<S: DirRead + ?Sized>(store: &S) -> Self {
        Self {
            visited: 0,
            blocks: store.blocks(),
        }
    }

    pub(crate) fn count(&mut self) -> Result<(), DirError> {
        self.visited = self.visited.saturating_add(1);
        let (visited, blocks) = (self.visited, self.blocks);
        if visited > blocks {
            Err(DirError::LeavesShared { visited, blocks })
        } else {
            Ok(())
        }
    }
}

/// Searches all blocks.
fn scan<S: DirRead + ?Sized>(store: &S, name: &[u8]) -> Result<Option<Found<S::Block>>, S::Error> {
    let cx = store.context();
    for at in (0..store.blocks()).map(FileBlock::new) {
        let block = read_any(store, at)?;
        if store.is_indexed() && index_kind(cx, at, &block).is_some() {
            continue;
        }
        if let Some(found) = find_in(store, at, block, name)? {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_dot<S: DirRead + ?Sized>(
    store: &S,
    name: &[u8],
) -> Result<Option<Found<S::Block>>, S::Error> {
    let cx = store.context();
    let block = read_any(store, FIRST)?;
    let index = store.is_indexed() && index_kind(cx, FIRST, &block).is_some();
    let format = if index { cx.whole() } else { cx.format };
    let entry = dir::find(&block, &format, name).map_err(in_block(FIRST))?;
    let target = entry.and_then(|e| {
        Some(Target {
            inode: e.inode?,
            file_type: e.file_type,
        })
    });
    Ok(target.map(|target| Found {
        at: FIRST,
        block,
        target,
    }))
}

/// Searches one block of entries.
fn find_in<S: DirRead + ?Sized>(
    store: &S,
    at: FileBlock,
    block: S::Block,
    name: &[u8],
) -> Result<Option<Found<S::Block>>, S::Error> {
    let entry = dir::find(&block, &store.context().format, name).map_err(in_block(at))?;
    let target = entry.and_then(|e| {
        Some(Target {
            inode: e.inode?,
            file_type: e.file_type,
        })
    });
    Ok(target.map(|target| Found { at, block, target }))
}
