//! What needs room: the blocks of directories, attributes, links and files, before anything has a place.

use super::directory::{self, Entry, Style};
use super::order::Order;
use super::{Placed, XattrBlock};
use crate::error::{BuildError, show};
use crate::options::{Holes, Options};
use crate::tree::{Content, Kind, NodeId, ROOT, Tree};
use crate::xattr::{self, MAX_SHARED};
use e4_format::{BlockSize, FileBlock, FsBlock, InodeNo};
use std::collections::HashMap;

/// Bytes of a link's target that the inode holds itself.
pub(crate) const FAST_SYMLINK: usize = 59;

/// Everything but places.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    /// Root, lost+found, then [`Order::nodes`]; without extents.
    pub(crate) placed: Vec<Placed>,
    pub(crate) directories: Vec<directory::Blocks>,
    pub(crate) xattr_blocks: Vec<XattrBlock>,
    pub(crate) inline_xattrs: Vec<Vec<u8>>,
    /// Blocks of contents and links, extent trees not counted.
    pub(crate) data_blocks: u64,
}

/// What the measures depend on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) order: &'a Order,
    pub(crate) options: &'a Options,
    pub(crate) style: Style,
    pub(crate) block_size: BlockSize,
    pub(crate) xattr_room: usize,
    pub(crate) first_inode: u32,
    pub(crate) lost_and_found: InodeNo,
    pub(crate) lost_and_found_blocks: u64,
}

impl Rules<'_> {
    pub(crate) fn ino(&self, node: NodeId) -> InodeNo {
        self.order.ino(node, self.first_inode, self.lost_and_found)
    }

    /// All inodes as [`Measured::placed`] has them.
    pub(crate) fn nodes(&self) -> impl Iterator<Item = NodeId> + '_ {
        [ROOT, self.order.lost_and_found]
            .into_iter()
            .chain(self.order.nodes.iter().copied())
    }

    fn path(&self, node: NodeId) -> String {
        show(&self.order.path(self.tree, node))
    }
}

pub(crate) fn measure(rules: &Rules<'_>) -> Result<Measured, BuildError> {
    let mut measured = Measured::default();
    // Attribute blocks by contents: the last one with room for another inode.
    let mut shared: HashMap<Vec<u8>, u32> = HashMap::new();
    for node in rules.nodes() {
        let Some(found) = rules.tree.node(node) else {
            continue;
        };
        let mut placed = Placed::default();
        match &found.kind {
            Kind::Directory(_) => {
                placed.directory = Some(index(measured.directories.len()));
                measured.directories.push(encode_directory(rules, node)?);
            }
            Kind::File(content) => {
                let ranges = data_blocks(content, rules.block_size, rules.options.holes);
                let blocks: u64 = ranges.iter().map(|(_, n)| n).sum();
                let end = rules.block_size.blocks_for(content.size);
                if end > u64::from(FileBlock::MAX.get()) {
                    return Err(BuildError::FileTooLarge {
                        path: rules.path(node),
                        size: content.size,
                    });
                }
                measured.data_blocks += blocks;
            }
            Kind::Symlink(target) => {
                let max = rules.block_size.len() - 1;
                if target.is_empty() || target.len() > max || target.contains(&0) {
                    return Err(BuildError::SymlinkLength {
                        path: rules.path(node),
                        len: target.len(),
                        max,
                    });
                }
                measured.data_blocks += u64::from(target.len() > FAST_SYMLINK);
            }
            Kind::Device { .. } | Kind::Fifo | Kind::Socket => {}
        }
        put_attributes(rules, node, &mut placed, &mut measured, &mut shared)?;
        measured.placed.push(placed);
    }
    Ok(measured)
}

fn put_attributes(
    rules: &Rules<'_>,
    node: NodeId,
    placed: &mut Placed,
    measured: &mut Measured,
    shared: &mut HashMap<Vec<u8>, u32>,
) -> Result<(), BuildError> {
    let attributes = match rules.tree.node(node) {
        Some(found) if !found.meta.xattrs.is_empty() => &found.meta.xattrs,
        _ => return Ok(()),
    };
    let path = || rules.order.path(rules.tree, node);
    let (room, len) = (rules.xattr_room, rules.block_size.len());
    let encoded = xattr::encode(attributes, room, len, rules.options, &path)?;
    if !encoded.inode.is_empty() {
        placed.inline = Some(index(measured.inline_xattrs.len()));
        measured.inline_xattrs.push(encoded.inode);
    }
    if encoded.block.is_empty() {
        return Ok(());
    }
    let known = shared.get(&encoded.block).copied();
    let block = known.and_then(|n| measured.xattr_blocks.get_mut(n as usize));
    if let (Some(n), Some(block)) = (known, block)
        && block.shared < MAX_SHARED
    {
        block.shared += 1;
        placed.xattr = Some(n);
        return Ok(());
    }
    let n = index(measured.xattr_blocks.len());
    measured.xattr_blocks.push(XattrBlock {
        bytes: encoded.block.clone(),
        shared: 1,
        at: FsBlock::new(0),
    });
    shared.insert(encoded.block, n);
    placed.xattr = Some(n);
    Ok(())
}

fn encode_directory(rules: &Rules<'_>, node: NodeId) -> Result<directory::Blocks, BuildError> {
    let names = rules.tree.names(node).into_iter().flatten();
    let entries: Vec<Entry<'_>> = names
        .filter_map(|(name, child)| {
            Some(Entry {
                name,
                ino: rules.ino(child.node),
                kind: rules.tree.node(child.node)?.kind.file_type(),
            })
        })
        .collect();
    let min = if node == rules.order.lost_and_found {
        usize::try_from(rules.lost_and_found_blocks).unwrap_or(1)
    } else {
        1
    };
    let parent = rules.ino(rules.order.parent(node));
    directory::encode(&rules.style, rules.ino(node), parent, &entries, min)
}

/// The blocks of a file that hold data: logical start and count, in order, not touching.
pub(crate) fn data_blocks(
    content: &Content,
    block_size: BlockSize,
    holes: Holes,
) -> Vec<(u64, u64)> {
    let log = block_size.log2();
    let blocks = block_size.blocks_for(content.size);
    let ranges = content.data.as_ref().filter(|_| holes == Holes::Source);
    let Some(ranges) = ranges else {
        return if blocks > 0 {
            vec![(0, blocks)]
        } else {
            Vec::new()
        };
    };
    let mut list: Vec<(u64, u64)> = Vec::new();
    for (at, len) in ranges {
        let start = at >> log;
        let end = block_size.blocks_for(at + len).min(blocks);
        match list.last_mut() {
            Some((from, n)) if *from + *n >= start => *n = (end - *from).max(*n),
            _ if end > start => list.push((start, end - start)),
            _ => {}
        }
    }
    list
}

pub(crate) fn index(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}
