//! Giving everything its blocks, in one pass over the free runs of a draft.

use super::measure::{FAST_SYMLINK, Measured, data_blocks, index};
use super::order::Order;
use super::{Placed, UNSPLIT, extents};
use crate::options::Holes;
use crate::tree::{Kind, ROOT, Tree};
use e4_format::{BlockSize, Extent, FsBlock};
use e4_mkfs::Draft;
use smallvec::SmallVec;
use std::ops::Range;

/// Where everything lies.
#[derive(Debug, Default)]
pub(crate) struct Places {
    pub(crate) extents: Vec<Extent>,
    pub(crate) tree_blocks: Vec<FsBlock>,
    pub(crate) xattr_blocks: Vec<FsBlock>,
    /// Per inode: its extents and tree blocks.
    pub(crate) ranges: Vec<(Range<u32>, Range<u32>)>,
    /// Runs of blocks in use, start and length.
    pub(crate) taken: Vec<(u64, u64)>,
}

/// Hands out blocks in order.
struct Cursor {
    runs: std::vec::IntoIter<(FsBlock, u64)>,
    at: u64,
    left: u64,
    taken: Vec<(u64, u64)>,
    /// Free blocks, those skipped included.
    free: u64,
}

impl Cursor {
    fn new(runs: Vec<(FsBlock, u64)>) -> Self {
        let free = runs.iter().map(|(_, len)| len).sum();
        Self {
            runs: runs.into_iter(),
            at: 0,
            left: 0,
            taken: Vec::new(),
            free,
        }
    }

    fn next_run(&mut self) -> Option<()> {
        let (start, len) = self.runs.next()?;
        (self.at, self.left) = (start.get(), len);
        Some(())
    }

    fn take_here(&mut self, len: u64) -> (u64, u64) {
        let n = len.min(self.left);
        let run = (self.at, n);
        self.at += n;
        self.left -= n;
        self.free -= n;
        match self.taken.last_mut() {
            Some((start, len)) if *start + *len == run.0 => *len += n,
            _ => self.taken.push(run),
        }
        run
    }

    /// `len` blocks in one piece; what is too small for them is skipped.
    fn piece(&mut self, len: u64) -> Option<u64> {
        while self.left < len {
            self.next_run()?;
        }
        Some(self.take_here(len).0)
    }

    /// `len` blocks in as few pieces as there are runs.
    fn pieces(&mut self, mut len: u64) -> Option<SmallVec<[(u64, u64); 2]>> {
        let mut list = SmallVec::new();
        if len <= UNSPLIT {
            list.push((self.piece(len)?, len));
            return Some(list);
        }
        while len > 0 {
            if self.left == 0 {
                self.next_run()?;
                continue;
            }
            let run = self.take_here(len);
            len -= run.1;
            list.push(run);
        }
        Some(list)
    }
}

/// Places everything; `None` if fewer than `spare` blocks would stay free.
pub(crate) fn place(
    draft: &Draft,
    tree: &Tree,
    order: &Order,
    measured: &Measured,
    (holes, spare): (Holes, u64),
) -> Option<Places> {
    let mut places = Places::default();
    let mut cursor = Cursor::new(draft.free_runs());
    let block_size = draft.superblock().block_size();
    let mut directories: Vec<Range<u32>> = Vec::with_capacity(measured.directories.len());
    for blocks in &measured.directories {
        let len = (blocks.bytes.len() / block_size.len()) as u64;
        let from = index(places.extents.len());
        let mut logical = 0;
        for (start, len) in cursor.pieces(len)? {
            extents::push(&mut places.extents, logical, start, len);
            logical += u32::try_from(len).ok()?;
        }
        directories.push(from..index(places.extents.len()));
    }
    let mut trees: Vec<Range<u32>> = Vec::with_capacity(directories.len());
    for range in &directories {
        let count = extents::tree_blocks(range.len(), block_size);
        trees.push(tree_range(&mut places, &mut cursor, count)?);
    }
    for _ in &measured.xattr_blocks {
        places.xattr_blocks.push(FsBlock::new(cursor.piece(1)?));
    }
    let nodes = [ROOT, order.lost_and_found].into_iter();
    let nodes = nodes.chain(order.nodes.iter().copied());
    for (node, placed) in nodes.zip(&measured.placed) {
        let ranges = match (placed, tree.node(node).map(|n| &n.kind)) {
            (
                Placed {
                    directory: Some(d), ..
                },
                _,
            ) => {
                let d = *d as usize;
                (directories.get(d)?.clone(), trees.get(d)?.clone())
            }
            (_, Some(Kind::File(content))) => file(
                &mut places,
                &mut cursor,
                &data_blocks(content, block_size, holes),
                block_size,
            )?,
            (_, Some(Kind::Symlink(target))) if target.len() > FAST_SYMLINK => {
                file(&mut places, &mut cursor, &[(0, 1)], block_size)?
            }
            _ => (0..0, 0..0),
        };
        places.ranges.push(ranges);
    }
    if cursor.free < spare {
        return None;
    }
    places.taken = cursor.taken;
    Some(places)
}

fn tree_range(places: &mut Places, cursor: &mut Cursor, count: u64) -> Option<Range<u32>> {
    let from = index(places.tree_blocks.len());
    for _ in 0..count {
        places.tree_blocks.push(FsBlock::new(cursor.piece(1)?));
    }
    Some(from..index(places.tree_blocks.len()))
}

/// Places a file: room for its extent tree is taken first, for as many extents as its ranges need at least; should
/// the runs have cut it into more, what is missing follows behind it.
fn file(
    places: &mut Places,
    cursor: &mut Cursor,
    ranges: &[(u64, u64)],
    block_size: BlockSize,
) -> Option<(Range<u32>, Range<u32>)> {
    let longest = u64::from(e4_format::extent::WRITTEN_MAX);
    let least: u64 = ranges.iter().map(|(_, n)| n.div_ceil(longest)).sum();
    let expected = extents::tree_blocks(usize::try_from(least).ok()?, block_size);
    let tree_from = index(places.tree_blocks.len());
    tree_range(places, cursor, expected)?;
    let from = index(places.extents.len());
    for (logical, len) in ranges {
        let mut logical = u32::try_from(*logical).ok()?;
        for (start, len) in cursor.pieces(*len)? {
            extents::push(&mut places.extents, logical, start, len);
            logical += u32::try_from(len).ok()?;
        }
    }
    let to = index(places.extents.len());
    let needed = extents::tree_blocks((to - from) as usize, block_size);
    tree_range(places, cursor, needed.saturating_sub(expected))?;
    Some((from..to, tree_from..index(places.tree_blocks.len())))
}
