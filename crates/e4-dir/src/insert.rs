//! Adding a name.
//!
//! Decisions: whether the name is taken is found out on the way to its place, which costs nothing
//! extra. A full leaf is first compacted, then split; a full single block becomes an htree if the
//! image has `dir_index` and names a hash we know. A directory of several blocks without an index
//! stays so. Nothing is added to a directory with a damaged index: its order could not be kept.

use e4_format::htree::{DxEntry, DxRootInfo, HashVersion};
use e4_format::{FileBlock, FileType, InodeNo, dir};

use crate::context::{DirContext, FIRST, check_new_name};
use crate::credits::InsertCost;
use crate::error::{DirError, in_block};
use crate::grow::{Spare, Writes, add_leaf, nodes_needed};
use crate::lookup::{Visits, advance_within};
use crate::path::Index;
use crate::record::{Records, records};
use crate::root;
use crate::split::{NewEntry, check_range, compacted, cut, leaf};
use crate::store::{DirRead, DirStore, Expect, index_kind, read, seal_linear};

/// Largest number of blocks an index can point to.
const INDEXED_BLOCKS_MAX: u32 = 1 << 28;

/// How a name will be added: everything that is going to be written, made without changing
/// anything. Valid as long as the directory does not change.
#[derive(Clone, PartialEq, Eq, Debug)]
#[must_use]
pub struct InsertPlan {
    append: u32,
    writes: Writes,
    indexed: Option<bool>,
}

impl InsertPlan {
    const fn of(writes: Writes) -> Self {
        Self {
            append: 0,
            writes,
            indexed: None,
        }
    }

    /// Blocks and appended blocks it takes, exactly.
    #[must_use]
    pub fn cost(&self) -> InsertCost {
        let written = u32::try_from(self.writes.len()).unwrap_or(u32::MAX);
        InsertCost {
            written,
            appended: self.append,
        }
    }

    /// Appends, then writes.
    ///
    /// # Errors
    /// The store's: no space (nothing has been changed then), or a failed write.
    pub fn apply<S: DirStore + ?Sized>(&self, store: &mut S) -> Result<(), S::Error> {
        if self.append > 0 {
            store.append(self.append)?;
        }
        for (at, block) in &self.writes {
            store.write(*at, block)?;
        }
        if let Some(indexed) = self.indexed {
            store.set_indexed(indexed);
        }
        Ok(())
    }
}

/// Adds `name` for `inode`.
///
/// # Errors
/// [`DirError::Exists`]; a name or inode that cannot be; a full index; damage; no space. Nothing
/// has been changed then.
pub fn insert<S: DirStore + ?Sized>(
    store: &mut S,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<(), S::Error> {
    plan_insert(store, name, inode, file_type)?.apply(store)
}

/// As [`insert`], up to the first change.
///
/// # Errors
/// As for [`insert`], but for space.
pub fn plan_insert<S: DirRead + ?Sized>(
    store: &S,
    name: &[u8],
    inode: InodeNo,
    file_type: FileType,
) -> Result<InsertPlan, S::Error> {
    check_new_name(name)?;
    let cx = store.context();
    cx.check_inode(inode)?;
    let new = NewEntry {
        name,
        inode,
        file_type,
    };
    if !store.is_indexed() {
        return insert_linear(store, &new);
    }
    if cx.dir_index {
        return insert_indexed(store, &new);
    }
    if cx.format.csum_tail {
        return Err(DirError::IndexWithoutFeature.into());
    }
    // Without checksums all its blocks are linear ones to those who do not look for an index.
    Ok(InsertPlan {
        indexed: Some(false),
        ..insert_linear(store, &new)?
    })
}

/// The block with the entry, stamped; `None` if it has no room without moving others. Trying on a
/// copy costs less than looking for room first.
fn put_into(
    cx: &DirContext,
    at: FileBlock,
    block: &[u8],
    new: &NewEntry<'_>,
) -> Result<Option<Writes>, DirError> {
    let mut block = block.to_vec();
    if !new.put(cx, at, &mut block)? {
        return Ok(None);
    }
    seal_linear(cx, at, &mut block)?;
    Ok(Some(vec![(at, block)]))
}

/// Says that the name exists if it is in this block.
fn refuse_duplicate<S: DirRead + ?Sized>(
    store: &S,
    at: FileBlock,
    block: &[u8],
    name: &[u8],
) -> Result<(), DirError> {
    let e = dir::find(block, &store.context().format, name).map_err(in_block(at))?;
    match e.and_then(|e| e.inode) {
        Some(inode) => Err(DirError::Exists { inode }),
        None => Ok(()),
    }
}

fn insert_linear<S: DirRead + ?Sized>(
    store: &S,
    new: &NewEntry<'_>,
) -> Result<InsertPlan, S::Error> {
    let cx = store.context();
    let mut room = None;
    for at in (0..store.blocks()).map(FileBlock::new) {
        let block = read(store, at, Expect::Linear)?;
        refuse_duplicate(store, at, &block, new.name)?;
        if room.is_none() {
            room = put_into(cx, at, &block, new)?;
        }
    }
    if let Some(writes) = room {
        return Ok(InsertPlan::of(writes));
    }
    match (store.blocks(), cx.default_hash) {
        (0, _) => Err(DirError::NoBlocks.into()),
        (1, Some(hash)) if cx.dir_index && !store.is_indexed() => convert(store, hash, new),
        (blocks, _) => {
            let at = appendable(blocks, 1, u32::MAX)?;
            let mut block = vec![0; cx.block_len()];
            dir::init_block(&mut block, &cx.format).map_err(in_block(at))?;
            let Some(writes) = put_into(cx, at, &block, new)? else {
                return Err(DirError::SplitFailed { block: at }.into());
            };
            Ok(InsertPlan {
                append: 1,
                ..InsertPlan::of(writes)
            })
        }
    }
}

/// The first of `count` blocks behind a directory of `blocks`, which may have `limit`.
fn appendable(blocks: u32, count: u32, limit: u32) -> Result<FileBlock, DirError> {
    match blocks.checked_add(count) {
        Some(n) if n <= limit => Ok(FileBlock::new(blocks)),
        _ => Err(DirError::TooManyBlocks { blocks }),
    }
}

/// A single full block: moves its entries together, or into two leaves under a new root.
fn convert<S: DirRead + ?Sized>(
    store: &S,
    hash: HashVersion,
    new: &NewEntry<'_>,
) -> Result<InsertPlan, S::Error> {
    let cx = store.context();
    let old = read(store, FIRST, Expect::Linear)?;
    let dot_inodes = root::dots(cx, &old, false)?;
    let Records { dots, mut names } = records(cx, hash, FIRST, &old)?;
    if dots.len() != 2 {
        return Err(DirError::Dots { block: FIRST }.into());
    }
    names.push(new.record(cx.hash(hash, new.name).major));
    if let Some(block) = compacted(cx, FIRST, &old, &dots, &names, new)? {
        return Ok(InsertPlan::of(vec![(FIRST, block)]));
    }
    let Some(halves) = cut(&mut names, cx.format.usable()) else {
        return Err(DirError::SplitFailed { block: FIRST }.into());
    };
    let mut spare = Spare::new(appendable(1, 2, INDEXED_BLOCKS_MAX)?, 2);
    let (left, right) = (spare.take()?, spare.take()?);
    let pairs = [
        DxEntry {
            hash: 0,
            block: left,
        },
        DxEntry {
            hash: halves.separator,
            block: right,
        },
    ];
    let info = DxRootInfo {
        hash_version: hash.algorithm.raw(),
        indirect_levels: 0,
    };
    let writes = vec![
        (left, leaf(cx, left, &old, halves.left, new)?),
        (right, leaf(cx, right, &old, halves.right, new)?),
        (FIRST, root::build(cx, dot_inodes, info, &pairs)?),
    ];
    Ok(InsertPlan {
        append: 2,
        writes,
        indexed: Some(true),
    })
}

fn insert_indexed<S: DirRead + ?Sized>(
    store: &S,
    new: &NewEntry<'_>,
) -> Result<InsertPlan, S::Error> {
    let cx = store.context();
    let index = Index::open(store)?;
    let version = index.hash;
    let hash = cx.hash(version, new.name).major;
    let mut path = index.descend(store, hash)?;
    let mut visits = Visits::new(store);
    let mut room = None;
    loop {
        let at = path.leaf();
        let block = read_leaf(store, at)?;
        refuse_duplicate(store, at, &block, new.name)?;
        if room.is_none() {
            room = put_into(cx, at, &block, new)?;
        }
        if !advance_within(store, &mut path, hash, &mut visits)? {
            break;
        }
    }
    match room {
        Some(writes) => Ok(InsertPlan::of(writes)),
        None => split(store, version, hash, new),
    }
}

/// Reads a leaf that may be written to. Without checksums nothing but its looks tells that an index
/// leads to one of its own nodes, which writing would destroy.
fn read_leaf<S: DirRead + ?Sized>(store: &S, at: FileBlock) -> Result<S::Block, S::Error> {
    let block = read(store, at, Expect::Linear)?;
    let cx = store.context();
    if let Some(kind) = index_kind(cx, at, &block)
        && e4_format::htree::DxNode::parse(&block, kind, &cx.format).is_ok()
    {
        return Err(DirError::LeafIsNode { block: at }.into());
    }
    Ok(block)
}

/// All leaves the name could go to are full: makes room in the first.
fn split<S: DirRead + ?Sized>(
    store: &S,
    version: HashVersion,
    hash: u32,
    new: &NewEntry<'_>,
) -> Result<InsertPlan, S::Error> {
    let cx = store.context();
    let path = Index::open(store)?.descend(store, hash)?;
    let at = path.leaf();
    let old = read_leaf(store, at)?;
    let Records { dots, mut names } = records(cx, version, at, &old)?;
    if !dots.is_empty() {
        return Err(DirError::Dots { block: at }.into());
    }
    names.push(new.record(hash));
    check_range(&path, &names)?;
    if let Some(block) = compacted(cx, at, &old, &[], &names, new)? {
        return Ok(InsertPlan::of(vec![(at, block)]));
    }
    let Some(halves) = cut(&mut names, cx.format.usable()) else {
        return Err(DirError::SplitFailed { block: at }.into());
    };
    let count = 1 + nodes_needed(cx, &path)?;
    let first = appendable(store.blocks(), count, INDEXED_BLOCKS_MAX)?;
    let mut spare = Spare::new(first, count);
    let right = spare.take()?;
    let mut writes = vec![
        (right, leaf(cx, right, &old, halves.right, new)?),
        (at, leaf(cx, at, &old, halves.left, new)?),
    ];
    let pair = DxEntry {
        hash: halves.separator,
        block: right,
    };
    add_leaf(cx, &path, pair, &mut spare, &mut writes)?;
    Ok(InsertPlan {
        append: count,
        writes,
        indexed: None,
    })
}
