//! Reading the filesystem's own blocks: each kind with its verification, each failure with the image
//! and the structure named.
//!
//! The tags let the metadata cache run a check once per load instead of once per read.

use e4_format::bitmap;
use e4_format::extent::{Node, verify_extent_block};
use e4_format::indirect;
use e4_format::{FormatError, FsBlock, GroupDesc, GroupNo, Superblock};
use e4_journal::{Block, JournalError, MetaStore, Verify, VerifyTag};
use e4_sync::Arc;

use crate::error::{Error, Result};

/// Kinds of metadata blocks, as the cache remembers them.
pub(crate) mod tag {
    use e4_journal::VerifyTag;

    pub(crate) const BLOCK_BITMAP: VerifyTag = VerifyTag::new(1);
    pub(crate) const INODE_BITMAP: VerifyTag = VerifyTag::new(2);
    pub(crate) const EXTENT_NODE: VerifyTag = VerifyTag::new(3);
    pub(crate) const ORPHAN_FILE: VerifyTag = VerifyTag::new(5);
    pub(crate) const INDIRECT: VerifyTag = VerifyTag::new(6);
}

/// What a block must pass when it is loaded.
type BlockCheck<'a> = dyn Fn(FsBlock, &[u8]) -> Result<(), FormatError> + 'a;

/// Names the image in a format error.
pub(crate) fn format_error(image: &Arc<str>, source: FormatError) -> Error {
    Error::Format {
        image: image.to_string(),
        source,
    }
}

/// Reads a block whose parts are verified where they are decoded (descriptor tables, inode tables).
pub(crate) fn read_plain(meta: &MetaStore, block: FsBlock) -> Result<Block> {
    Ok(meta.read(block, Verify::NONE)?)
}

/// The block of the descriptor table that holds `group`, and the descriptor's offset in it.
pub(crate) fn group_desc_block(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    group: GroupNo,
) -> Result<(usize, Block)> {
    let outside = || Error::Group {
        image: Arc::clone(image),
        group: group.get(),
        what: "its descriptor lies outside the filesystem",
    };
    let (n, offset) = sb.desc_location(group).ok_or_else(outside)?;
    let block = sb.gdt_block(n).ok_or_else(outside)?;
    Ok((offset, read_plain(meta, block)?))
}

/// Reads and verifies one group descriptor.
pub(crate) fn read_group_desc(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    group: GroupNo,
) -> Result<GroupDesc> {
    let (offset, table) = group_desc_block(image, meta, sb, group)?;
    let data = table.data();
    let bytes = data.get(offset..).unwrap_or_default();
    GroupDesc::decode(bytes, sb, group).map_err(|source| format_error(image, source))
}

fn read_checked(
    meta: &MetaStore,
    block: FsBlock,
    tag: VerifyTag,
    check: &BlockCheck<'_>,
    wrap: impl FnOnce(FormatError) -> Error,
) -> Result<Block> {
    match meta.read(block, Verify::new(tag, check)) {
        Ok(block) => Ok(block),
        Err(JournalError::Verify { source, .. }) => Err(wrap(source)),
        Err(other) => Err(other.into()),
    }
}

/// Reads a group's block bitmap.
pub(crate) fn read_block_bitmap(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    group: GroupNo,
    desc: &GroupDesc,
) -> Result<Block> {
    read_checked(
        meta,
        desc.block_bitmap,
        tag::BLOCK_BITMAP,
        &|_, bytes| bitmap::verify_block_bitmap(sb, group, desc, bytes),
        |source| format_error(image, source),
    )
}

/// Reads a group's inode bitmap.
pub(crate) fn read_inode_bitmap(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    group: GroupNo,
    desc: &GroupDesc,
) -> Result<Block> {
    read_checked(
        meta,
        desc.inode_bitmap,
        tag::INODE_BITMAP,
        &|_, bytes| bitmap::verify_inode_bitmap(sb, group, desc, bytes),
        |source| format_error(image, source),
    )
}

/// Reads a node of an inode's extent tree.
pub(crate) fn read_extent_node(
    meta: &MetaStore,
    sb: &Superblock,
    seed: u32,
    block: FsBlock,
) -> Result<Block, NodeReadError> {
    if !sb.contains_range(block, 1) {
        return Err(NodeReadError::Outside);
    }
    let check = |_, bytes: &[u8]| {
        if sb.has_metadata_csum() {
            verify_extent_block(bytes, seed)?;
        }
        Node::parse(bytes).map(drop)
    };
    match meta.read(block, Verify::new(tag::EXTENT_NODE, &check)) {
        Ok(block) => Ok(block),
        Err(JournalError::Verify { source, .. }) => Err(NodeReadError::Format(source)),
        Err(other) => Err(NodeReadError::Journal(other)),
    }
}

/// Reads an indirect block of a block map: every pointer in it lies inside the filesystem.
pub(crate) fn read_indirect_block(
    meta: &MetaStore,
    sb: &Superblock,
    block: FsBlock,
) -> Result<Block, NodeReadError> {
    if !sb.contains_range(block, 1) {
        return Err(NodeReadError::Outside);
    }
    let check = |_, bytes: &[u8]| indirect::verify(bytes, sb.blocks_count());
    match meta.read(block, Verify::new(tag::INDIRECT, &check)) {
        Ok(block) => Ok(block),
        Err(JournalError::Verify { source, .. }) => Err(NodeReadError::Format(source)),
        Err(other) => Err(NodeReadError::Journal(other)),
    }
}

/// Why a node of a map could not be read.
pub(crate) enum NodeReadError {
    /// It lies outside the filesystem.
    Outside,
    /// Its bytes are no node, or the checksum is wrong.
    Format(FormatError),
    /// Device or journal.
    Journal(JournalError),
}
