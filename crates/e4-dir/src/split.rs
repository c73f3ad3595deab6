//! Dividing the entries of a full block among two, in order of their hashes.
//!
//! Decisions: the new entry takes part, so both halves are known to hold what they get. The cut is
//! where the halves differ least in bytes, but rather between different hashes than within a run of
//! equal ones: a run that is cut makes every lookup of its names visit both leaves.
//!
//! Invariant: entries have at most 264 bytes and blocks at least 1012 for them, so a block that
//! cannot hold its entries and a new one can always be divided so that both halves fit.

use e4_format::{FileBlock, FileType, InodeNo, dir};

use crate::context::DirContext;
use crate::error::{DirError, in_block};
use crate::path::Path;
use crate::record::{Record, Source, pack};
use crate::store::seal_linear;

/// The entry to add.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) inode: InodeNo,
    pub(crate) file_type: FileType,
}

impl NewEntry<'_> {
    /// Adds the entry to a block; false if there is no room.
    pub(crate) fn put(
        &self,
        cx: &DirContext,
        at: FileBlock,
        block: &mut [u8],
    ) -> Result<bool, DirError> {
        dir::insert(block, &cx.format, self.name, self.inode, self.file_type).map_err(in_block(at))
    }

    /// As a record; its place is decided by its hash.
    pub(crate) const fn record(&self, hash: u32) -> Record {
        Record {
            hash,
            size: dir::record_size(self.name.len()),
            source: None,
        }
    }
}

/// Two halves.
pub(crate) struct Halves<'a> {
    pub(crate) left: &'a [Record],
    pub(crate) right: &'a [Record],
    /// Smallest hash of the right half, lowest bit set if the left one has names with it too.
    pub(crate) separator: u32,
}

/// Sorts the records by hash and cuts them. `None` if no cut fits, which the sizes rule out.
pub(crate) fn cut(records: &mut [Record], usable: usize) -> Option<Halves<'_>> {
    records.sort_by_key(|r| r.hash);
    let total: usize = records.iter().map(|r| r.size).sum();
    let mut best: Option<(usize, usize)> = None;
    let mut before = 0;
    for (i, pair) in records.windows(2).enumerate() {
        let [a, b] = pair else { continue };
        before += a.size;
        let after = total - before;
        if before > usable || after > usable {
            continue;
        }
        let penalty = if a.hash == b.hash { total / 2 } else { 0 };
        let cost = before.abs_diff(after) + penalty;
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, i + 1));
        }
    }
    let (left, right) = records.split_at_checked(best?.1)?;
    let (last, first) = (left.last()?.hash, right.first()?.hash);
    Some(Halves {
        left,
        right,
        separator: first | u32::from(last == first),
    })
}

/// A stamped leaf with these records of `from`, the new entry among them if it has no source.
pub(crate) fn leaf(
    cx: &DirContext,
    at: FileBlock,
    from: &[u8],
    records: &[Record],
    new: &NewEntry<'_>,
) -> Result<Vec<u8>, DirError> {
    let sources = records.iter().filter_map(|r| r.source);
    with_new(cx, at, pack(cx, at, from, sources)?, records, new)
}

/// The block, stamped, with the new entry if the records contain it.
fn with_new(
    cx: &DirContext,
    at: FileBlock,
    mut block: Vec<u8>,
    records: &[Record],
    new: &NewEntry<'_>,
) -> Result<Vec<u8>, DirError> {
    if records.iter().any(|r| r.source.is_none()) && !new.put(cx, at, &mut block)? {
        return Err(DirError::SplitFailed { block: at });
    }
    seal_linear(cx, at, &mut block)?;
    Ok(block)
}

/// The block with all its entries moved together, and the new one, stamped; `None` if they do not
/// fit. `dots` come first.
pub(crate) fn compacted(
    cx: &DirContext,
    at: FileBlock,
    from: &[u8],
    dots: &[Source],
    names: &[Record],
    new: &NewEntry<'_>,
) -> Result<Option<Vec<u8>>, DirError> {
    let dot_bytes: usize = dots.iter().map(|_| dir::record_size(1)).sum();
    let bytes: usize = names.iter().map(|r| r.size).sum();
    if dot_bytes + bytes > cx.format.usable() {
        return Ok(None);
    }
    let sources = dots
        .iter()
        .copied()
        .chain(names.iter().filter_map(|r| r.source));
    with_new(cx, at, pack(cx, at, from, sources)?, names, new).map(Some)
}

/// Refuses to split a leaf with names that the index does not lead to: the halves would make its
/// order wrong for others too.
pub(crate) fn check_range<B: std::ops::Deref<Target = [u8]>>(
    path: &Path<B>,
    names: &[Record],
) -> Result<(), DirError> {
    let (low, high) = path.bounds();
    match names.iter().find(|r| r.hash < low || r.hash > high) {
        Some(&Record { hash, source, .. }) => {
            let offset = source.map_or(0, |s| s.offset);
            Err(DirError::LeafHash {
                block: path.leaf(),
                offset,
                hash,
            })
        }
        None => Ok(()),
    }
}
