//! Block 0: `.` and `..`, and behind them what the root of an index says about its tree.

use e4_format::htree::{DxEntry, DxKind, DxNode, DxRootInfo};
use e4_format::{FormatError, InodeNo, dir, htree};

use crate::context::{DirContext, FIRST};
use crate::error::{DirError, in_block};
use crate::store::seal_index;

/// Byte of the number of levels in a root.
const LEVELS_AT: usize = 0x1E;
/// Bytes of a root before its table.
const HEAD_LEN: usize = 0x20;

/// The inodes of `.` and `..`, which must be the first two entries. `index`: the block is a root.
pub(crate) fn dots(
    cx: &DirContext,
    block: &[u8],
    index: bool,
) -> Result<(InodeNo, InodeNo), DirError> {
    let format = if index { cx.whole() } else { cx.format };
    let mut entries = dir::entries(block, &format);
    let mut next = |name: &[u8]| match entries.next() {
        Some(Ok(e)) if e.name == name => e.inode.ok_or(DirError::Dots { block: FIRST }),
        Some(Err(source)) => Err(DirError::Block {
            block: FIRST,
            source,
        }),
        _ => Err(DirError::Dots { block: FIRST }),
    };
    Ok((next(b".")?, next(b"..")?))
}

/// What the root says about its tree. The format's own decoder knows two levels only; the number is
/// taken out of what it sees and checked here against what the image allows.
pub(crate) fn info(cx: &DirContext, block: &[u8]) -> Result<DxRootInfo, DirError> {
    let len = block.len();
    let Some(head) = block.first_chunk::<HEAD_LEN>() else {
        let source = FormatError::Truncated {
            what: "htree root",
            len,
        };
        return Err(DirError::Block {
            block: FIRST,
            source,
        });
    };
    let mut head = *head;
    let (found, limit) = (
        std::mem::take(&mut head[LEVELS_AT]),
        cx.indirect_levels_max(),
    );
    let info = DxRootInfo::decode(&head).map_err(in_block(FIRST))?;
    if found > limit {
        let source = FormatError::DxDepth { found, limit };
        return Err(DirError::Block {
            block: FIRST,
            source,
        });
    }
    Ok(DxRootInfo {
        indirect_levels: found,
        ..info
    })
}

/// The structure of a root.
pub(crate) fn check(cx: &DirContext, block: &[u8]) -> Result<(), DirError> {
    dots(cx, block, true)?;
    info(cx, block)?;
    DxNode::parse(block, DxKind::Root, &cx.format).map_err(in_block(FIRST))?;
    Ok(())
}

/// A new root with these pairs, stamped.
pub(crate) fn build(
    cx: &DirContext,
    (this, parent): (InodeNo, InodeNo),
    info: DxRootInfo,
    pairs: &[DxEntry],
) -> Result<Vec<u8>, DirError> {
    let mut block = vec![0; cx.block_len()];
    htree::init_root(&mut block, &cx.format, this, parent, info, pairs).map_err(in_block(FIRST))?;
    seal_index(cx, FIRST, DxKind::Root, &mut block)?;
    Ok(block)
}
