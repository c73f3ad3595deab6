//! The one lookup: what file blocks map to, published ranges included.

use std::ops::Range;

use core::ops::ControlFlow;

use e4_extent::{FileRange, Mapping};
use e4_format::{Extent, ExtentState, FileBlock, FsBlock, MapKind};
use e4_sync::Arc;
use smallvec::SmallVec;

use super::{TreeView, tree_error};
use crate::error::{Error, Result};
use crate::indirect::{BlockMapView, map_error};
use crate::inode::{Core, Inode, InodeState};
use crate::mount::Shared;

/// What a run of blocks maps to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mapped {
    /// Nothing allocated: reads as zeros.
    Hole,
    /// Allocated, never written: reads as zeros.
    Unwritten(FsBlock),
    /// Written, or published as written.
    Written(FsBlock),
}

/// A run of file blocks with one answer.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) blocks: Range<u32>,
    pub(crate) to: Mapped,
}

impl Piece {
    /// Number of blocks.
    pub(crate) fn len(&self) -> u32 {
        self.blocks.end - self.blocks.start
    }

    /// Where it lies, if anywhere.
    pub(crate) fn physical(&self) -> Option<FsBlock> {
        match self.to {
            Mapped::Hole => None,
            Mapped::Unwritten(at) | Mapped::Written(at) => Some(at),
        }
    }
}

/// The answer for a range; usually one piece.
pub(crate) type Pieces = SmallVec<[Piece; 2]>;

/// The result of [`InodeState::find`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Found {
    /// The first block of it.
    At(u32),
    /// There is none in the range.
    Nothing,
    /// None before this block.
    GoOnAt(u32),
}

/// Read access to an inode's map, of whatever kind it is: the closed set of kinds, and the one place that asks.
pub(crate) enum View<'a> {
    /// Nothing can be mapped: a device, a short symbolic link.
    Nothing,
    /// An extent tree.
    Extents(&'a InodeState, TreeView<'a>),
    /// A block map of ext2 and ext3. All it maps is written.
    Indirect(&'a InodeState, BlockMapView<'a>),
}

impl<'a> View<'a> {
    pub(crate) fn new(state: &'a InodeState, core: &'a Core) -> Result<Self> {
        match core.disk.map_kind() {
            MapKind::None => Ok(Self::Nothing),
            MapKind::Extents => Ok(Self::Extents(state, TreeView::new(state, core))),
            MapKind::Indirect => Ok(Self::Indirect(state, BlockMapView::new(state, core))),
            MapKind::Inline => Err(Error::Unsupported {
                image: Arc::clone(&state.shared.image),
                what: format!("inode {}: data inside the inode", state.ino),
            }),
        }
    }

    /// What a block maps to, and its neighbours with it.
    pub(crate) fn lookup(&self, block: FileBlock) -> Result<Mapping> {
        match self {
            Self::Nothing => Ok(Mapping::Hole(FileRange::new(block, FileRange::ALL.end))),
            Self::Extents(state, view) => {
                e4_extent::lookup(view, block).map_err(|e| tree_error(state, e))
            }
            Self::Indirect(state, view) => {
                let run = e4_indirect::lookup(view, block, FileRange::ALL.end.get());
                let run = run.map_err(|e| map_error(state, e))?;
                Ok(match extent_of(state, &run)? {
                    Some(extent) => Mapping::Extent(extent),
                    None => {
                        let end = FileBlock::new(run.blocks.end);
                        Mapping::Hole(FileRange::new(block, end))
                    }
                })
            }
        }
    }

    /// Shows all extents in order, from the one that holds `from` or the next on, until told to stop.
    pub(crate) fn walk(&self, from: FileBlock, each: &mut dyn FnMut(Extent) -> bool) -> Result<()> {
        let all = FileRange::new(from, FileRange::ALL.end);
        match self {
            Self::Nothing => Ok(()),
            Self::Extents(state, view) => {
                for extent in e4_extent::iterate(view, all) {
                    if !each(extent.map_err(|e| tree_error(state, e))?) {
                        break;
                    }
                }
                Ok(())
            }
            Self::Indirect(state, view) => {
                let mut refused = None;
                let mut show = |run: e4_indirect::Run| match extent_of(state, &run) {
                    Ok(extent) if extent.is_none_or(&mut *each) => ControlFlow::Continue(()),
                    Ok(_) => ControlFlow::Break(()),
                    Err(error) => {
                        refused = Some(error);
                        ControlFlow::Break(())
                    }
                };
                e4_indirect::walk(view, all.start.get()..all.end.get(), &mut show)
                    .map_err(|e| map_error(state, e))?;
                refused.map_or(Ok(()), Err)
            }
        }
    }
}

/// A run of a block map as an extent. A block map has no header and no checksum: it is not believed that the
/// filesystem's own blocks are the file's.
fn extent_of(state: &InodeState, run: &e4_indirect::Run) -> Result<Option<Extent>> {
    let Some(start) = run.at else {
        return Ok(None);
    };
    let len = run.blocks.end - run.blocks.start;
    let block = FileBlock::new(run.blocks.start);
    if state.shared.alloc.is_protected(start, u64::from(len)) {
        return Err(Error::BlockMap {
            image: Arc::clone(&state.shared.image),
            ino: state.ino,
            near: block,
            what: "a block of the file belongs to the filesystem itself, or does not exist",
        });
    }
    Ok(Some(Extent {
        block,
        len,
        start,
        state: ExtentState::Written,
    }))
}

impl InodeState {
    /// Maps `range`. The caller holds the tree lock; what keeps the answer true afterwards is its
    /// admission (nothing unmaps or moves blocks under one).
    pub(crate) fn map(&self, core: &Core, range: Range<u32>) -> Result<Pieces> {
        let view = View::new(self, core)?;
        let mut pieces = Pieces::new();
        let mut at = range.start;
        while at < range.end {
            let mapping = core.status.lookup(&view, FileBlock::new(at))?;
            let end = mapping.blocks().end.get().min(range.end).max(at + 1);
            match mapping {
                Mapping::Hole(_) => pieces.push(Piece {
                    blocks: at..end,
                    to: Mapped::Hole,
                }),
                Mapping::Extent(extent) => self.push_extent(&extent, at..end, &mut pieces)?,
            }
            at = end;
        }
        Ok(pieces)
    }

    /// The first piece of `range` that `wanted` accepts; or where to go on after `lookups_max` lookups.
    pub(crate) fn find(
        &self,
        core: &Core,
        range: Range<u32>,
        lookups_max: u32,
        wanted: impl Fn(Mapped) -> bool,
    ) -> Result<Found> {
        let view = View::new(self, core)?;
        let mut at = range.start;
        for _ in 0..lookups_max {
            if at >= range.end {
                return Ok(Found::Nothing);
            }
            let mapping = core.status.lookup(&view, FileBlock::new(at))?;
            let end = mapping.blocks().end.get().min(range.end).max(at + 1);
            let mut pieces = Pieces::new();
            match mapping {
                Mapping::Hole(_) => pieces.push(Piece {
                    blocks: at..end,
                    to: Mapped::Hole,
                }),
                Mapping::Extent(extent) => self.push_extent(&extent, at..end, &mut pieces)?,
            }
            if let Some(piece) = pieces.into_iter().find(|p| wanted(p.to)) {
                return Ok(Found::At(piece.blocks.start));
            }
            at = end;
        }
        Ok(Found::GoOnAt(at))
    }

    fn push_extent(&self, extent: &Extent, range: Range<u32>, pieces: &mut Pieces) -> Result<()> {
        if !self
            .shared
            .sb
            .contains_range(extent.start, u64::from(extent.len))
        {
            return Err(self.shared.damaged(Error::ExtentTree {
                image: Arc::clone(&self.shared.image),
                ino: self.ino,
                near: extent.block,
                what: "an extent lies outside the filesystem",
            }));
        }
        let physical =
            |block: u32| FsBlock::new(extent.start.get() + u64::from(block - extent.block.get()));
        if extent.state == ExtentState::Written {
            let to = Mapped::Written(physical(range.start));
            pieces.push(Piece { blocks: range, to });
            return Ok(());
        }
        let mut at = range.start;
        while at < range.end {
            let span = self.overlay.lookup(at, range.end);
            let end = span.until.min(range.end).max(at + 1);
            let to = if span.published {
                Mapped::Written(physical(at))
            } else {
                Mapped::Unwritten(physical(at))
            };
            pieces.push(Piece {
                blocks: at..end,
                to,
            });
            at = end;
        }
        Ok(())
    }

    /// At most `limit` extents from block `from` on, published ranges shown as written, neighbours merged.
    pub(crate) fn extents_from(
        &self,
        core: &Core,
        from: FileBlock,
        limit: usize,
    ) -> Result<Vec<Extent>> {
        let mut out: Vec<Extent> = Vec::new();
        let mut failed = None;
        View::new(self, core)?.walk(from, &mut |extent| match self
            .take_extent(&extent, from, limit, &mut out)
        {
            Ok(more) => more,
            Err(error) => {
                failed = Some(error);
                false
            }
        })?;
        failed.map_or(Ok(out), Err)
    }

    /// Adds what an extent holds from block `from` on to a listing; false if the listing is full.
    fn take_extent(
        &self,
        extent: &Extent,
        from: FileBlock,
        limit: usize,
        out: &mut Vec<Extent>,
    ) -> Result<bool> {
        let mut pieces = Pieces::new();
        let start = extent.block.max(from);
        self.push_extent(extent, start.get()..extent.end(), &mut pieces)?;
        for piece in pieces {
            let (start, state) = match piece.to {
                Mapped::Written(at) => (at, ExtentState::Written),
                Mapped::Unwritten(at) => (at, ExtentState::Unwritten),
                Mapped::Hole => continue,
            };
            let next = Extent {
                block: FileBlock::new(piece.blocks.start),
                len: piece.len(),
                start,
                state,
            };
            let full = out.len() >= limit;
            match out.last_mut() {
                Some(last) if last.can_merge(&next) => last.len += next.len,
                _ if full => return Ok(false),
                _ => out.push(next),
            }
        }
        Ok(true)
    }
}

impl Shared {
    /// The physical block of one file block, if it is allocated.
    pub(crate) fn map_block(&self, inode: &Inode, block: FileBlock) -> Result<Option<FsBlock>> {
        let state = inode.data();
        let core = state.core.read();
        let pieces = state.map(&core, block.get()..block.get() + 1)?;
        Ok(pieces.first().and_then(Piece::physical))
    }
}
