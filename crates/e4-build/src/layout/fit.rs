//! Finding the size: drafts of growing filesystems until the content has a place.

use super::Layout;
use super::directory::Style;
use super::measure::{self, Measured, Rules};
use super::order::Order;
use super::place;
use crate::error::BuildError;
use crate::options::{Options, Size};
use crate::tree::Tree;
use e4_format::features::{CompatFeatures, IncompatFeatures};
use e4_format::{BlockSize, FsBlock};
use e4_mkfs::{Draft, MkfsError, Params};

/// Images are sized in these steps.
const STEP: u64 = 1 << 20;
/// Inodes that stay free besides those for free space.
const SPARE_INODES: u64 = 16;
const BYTES_PER_INODE: u64 = 16384;
/// Tries before giving up; each adds at least a step.
const TRIES: u32 = 400;

/// Lays out `tree`. `params` have hash seed and time; the UUID may follow.
pub(crate) fn layout(
    tree: &Tree,
    order: Order,
    options: &Options,
    params: &Params,
) -> Result<Layout, BuildError> {
    let features = &params.features;
    let needed = IncompatFeatures::EXTENTS | IncompatFeatures::FILETYPE;
    if !features.incompat.contains(needed) {
        return Err(BuildError::Features);
    }
    let mut bytes = match options.size {
        Size::Fixed(bytes) => bytes,
        Size::Auto { .. } => 2 * STEP,
    };
    let grows = matches!(options.size, Size::Auto { .. });
    let mut measured: Option<(u32, Style, Measured)> = None;
    let mut needed = 0;
    for _ in 0..TRIES {
        let draft = match Draft::new(&with_inodes(params, &order, options, bytes), bytes) {
            Ok(draft) => draft,
            Err(e) if grows && is_too_small(&e) => {
                bytes += step(bytes);
                continue;
            }
            Err(e) => return Err(e.into()),
        };
        let first = draft.first_free_inode();
        if measured.as_ref().is_none_or(|m| m.0 != first) {
            measured = Some(measure_for(tree, &order, options, &draft)?);
        }
        let Some((_, style, sizes)) = &measured else {
            continue;
        };
        let block_size = draft.superblock().block_size();
        let blocks = needed_blocks(sizes, block_size);
        needed = blocks << block_size.log2();
        let room: u64 = draft.free_runs().iter().map(|(_, len)| len).sum();
        let spare = spare_blocks(options, &draft);
        if room >= blocks + spare
            && let Some(places) = place::place(&draft, tree, &order, sizes, (options.holes, spare))
        {
            let style = *style;
            let sizes = measured.take().map(|m| m.2).unwrap_or_default();
            return Ok(assemble(draft, order, style, sizes, places));
        }
        if !grows {
            break;
        }
        let short = (blocks + spare).saturating_sub(room) << block_size.log2();
        bytes += short.next_multiple_of(STEP).max(STEP);
    }
    Err(match options.size {
        Size::Fixed(size) => BuildError::NoRoom { needed, size },
        Size::Auto { .. } => BuildError::NoSize { needed },
    })
}

fn step(bytes: u64) -> u64 {
    (bytes / 8).next_multiple_of(STEP).max(STEP)
}

fn is_too_small(e: &MkfsError) -> bool {
    matches!(
        e,
        MkfsError::TooSmall { .. }
            | MkfsError::NoRoom { .. }
            | MkfsError::TooManyInodes { .. }
            | MkfsError::JournalSize { .. }
    )
}

/// Enough inodes for the content, for what may be written into free space, and for the size as mke2fs counts.
fn with_inodes(params: &Params, order: &Order, options: &Options, bytes: u64) -> Params {
    let free = match options.size {
        Size::Auto { free } => free,
        Size::Fixed(_) => 0,
    };
    let ratio = params.bytes_per_inode.unwrap_or(BYTES_PER_INODE).max(1);
    let content = order.nodes.len() as u64 + 13 + SPARE_INODES + free / ratio;
    let wanted = params.inodes.unwrap_or(0).max(bytes / ratio).max(content);
    Params {
        inodes: Some(wanted),
        ..params.clone()
    }
}

fn needed_blocks(measured: &Measured, block_size: BlockSize) -> u64 {
    let directories: usize = measured.directories.iter().map(|d| d.bytes.len()).sum();
    (directories / block_size.len()) as u64
        + measured.xattr_blocks.len() as u64
        + measured.data_blocks
}

/// Blocks that must stay free: what the caller asked for, and what is kept for root.
fn spare_blocks(options: &Options, draft: &Draft) -> u64 {
    let sb = draft.superblock();
    match options.size {
        Size::Auto { free } => sb.block_size().blocks_for(free) + sb.reserved_blocks_count(),
        Size::Fixed(_) => 0,
    }
}

fn measure_for(
    tree: &Tree,
    order: &Order,
    options: &Options,
    draft: &Draft,
) -> Result<(u32, Style, Measured), BuildError> {
    let sb = draft.superblock();
    let mut format = sb.dir_format();
    // The number of inodes may still change with the size.
    format.inodes_count = u32::MAX;
    let indexed = sb.compat().contains(CompatFeatures::DIR_INDEX);
    let hash = sb.def_hash_version().filter(|_| indexed);
    let style = Style {
        format,
        hash: hash.map(|version| (version, sb.hash_seed())),
    };
    let fields = 128 + usize::from(sb.new_inode_extra_isize());
    let rules = Rules {
        tree,
        order,
        options,
        style,
        block_size: sb.block_size(),
        xattr_room: if sb.inode_size() > 128 {
            sb.inode_size() - fields
        } else {
            0
        },
        first_inode: draft.first_free_inode(),
        lost_and_found: draft.lost_and_found(),
        lost_and_found_blocks: draft.lost_and_found_blocks(),
    };
    let measured = measure::measure(&rules)?;
    Ok((draft.first_free_inode(), style, measured))
}

fn assemble(
    mut draft: Draft,
    order: Order,
    style: Style,
    mut measured: Measured,
    places: place::Places,
) -> Layout {
    for (start, len) in &places.taken {
        draft.occupy(FsBlock::new(*start), *len);
    }
    for (block, at) in measured.xattr_blocks.iter_mut().zip(places.xattr_blocks) {
        block.at = at;
    }
    for (placed, (extents, tree)) in measured.placed.iter_mut().zip(places.ranges) {
        placed.extents = extents;
        placed.tree = tree;
    }
    Layout {
        draft,
        order,
        style,
        placed: measured.placed,
        extents: places.extents,
        tree_blocks: places.tree_blocks,
        directories: measured.directories,
        xattr_blocks: measured.xattr_blocks,
        inline_xattrs: measured.inline_xattrs,
    }
}
