//! The blocks of a directory, from its sorted names.
//!
//! Decisions: a directory of one block lists its names in order; a larger one gets an htree where the image has
//! `dir_index`, packed in order of hashes, its inner nodes before its leaves. Checksums are left out: they depend
//! on the UUID, which is known last.

use crate::error::BuildError;
use e4_format::dir::{self, DirFormat, record_size};
use e4_format::htree::{self, DxEntry, DxKind, DxRootInfo, HashVersion, NameHash};
use e4_format::{FileBlock, FileType, FormatError, InodeNo};

/// A name as a directory stores it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) name: &'a [u8],
    pub(crate) ino: InodeNo,
    pub(crate) kind: FileType,
}

/// What all directories have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Style {
    pub(crate) format: DirFormat,
    /// `None` without `dir_index`.
    pub(crate) hash: Option<(HashVersion, [u32; 4])>,
}

/// Blocks one after the other, without checksums.
#[derive(Clone, Debug)]
pub(crate) struct Blocks {
    pub(crate) bytes: Vec<u8>,
    pub(crate) indexed: bool,
    /// Inner nodes, which begin at block 1.
    nodes: usize,
}

fn failed(source: FormatError) -> BuildError {
    BuildError::Format {
        what: "a directory",
        source,
    }
}

/// Encodes a directory of at least `min_blocks` blocks.
pub(crate) fn encode(
    style: &Style,
    this: InodeNo,
    parent: InodeNo,
    entries: &[Entry<'_>],
    min_blocks: usize,
) -> Result<Blocks, BuildError> {
    let format = &style.format;
    let dots = record_size(1) + record_size(2);
    let names: usize = entries.iter().map(|e| record_size(e.name.len())).sum();
    if let Some((version, seed)) = style.hash
        && dots + names > format.usable()
        && let Some(blocks) = indexed(format, version, seed, this, parent, entries)?
    {
        return Ok(blocks);
    }
    linear(format, this, parent, entries, min_blocks)
}

fn linear(
    format: &DirFormat,
    this: InodeNo,
    parent: InodeNo,
    entries: &[Entry<'_>],
    min_blocks: usize,
) -> Result<Blocks, BuildError> {
    let len = format.block_size.len();
    let mut bytes = vec![0; len];
    dir::init_first_block(&mut bytes, format, this, parent).map_err(failed)?;
    let mut used = record_size(1) + record_size(2);
    let mut last = record_size(1);
    for entry in entries {
        let size = record_size(entry.name.len());
        if used + size > format.usable() {
            let at = bytes.len();
            bytes.resize(at + len, 0);
            let block = bytes.get_mut(at..).unwrap_or_default();
            dir::init_block(block, format).map_err(failed)?;
            (used, last) = (0, 0);
        }
        let at = bytes.len() - len;
        let block = bytes.get_mut(at..).unwrap_or_default();
        last =
            dir::append(block, format, last, entry.name, entry.ino, entry.kind).map_err(failed)?;
        used += size;
    }
    while bytes.len() < min_blocks * len {
        let at = bytes.len();
        bytes.resize(at + len, 0);
        let block = bytes.get_mut(at..).unwrap_or_default();
        dir::init_block(block, format).map_err(failed)?;
    }
    Ok(Blocks {
        bytes,
        indexed: false,
        nodes: 0,
    })
}

/// Which entries, sorted by hash, go into which leaf, and the hash each leaf begins with.
fn leaves(
    format: &DirFormat,
    entries: &[Entry<'_>],
    sorted: &[(NameHash, usize)],
) -> Vec<(u32, std::ops::Range<usize>)> {
    let mut leaves = Vec::new();
    let (mut start, mut used, mut hash) = (0, 0, 0);
    let mut before = None;
    for (i, (name_hash, n)) in sorted.iter().enumerate() {
        let size = entries.get(*n).map_or(0, |e| record_size(e.name.len()));
        if used + size > format.usable() {
            leaves.push((hash, start..i));
            // The lowest bit says that names of this hash began in the leaf before.
            let continued = u32::from(before == Some(name_hash.major));
            (start, used, hash) = (i, 0, name_hash.major | continued);
        }
        used += size;
        before = Some(name_hash.major);
    }
    leaves.push((hash, start..sorted.len()));
    leaves
}

/// `None` if there are more names than an htree of two levels reaches.
fn indexed(
    format: &DirFormat,
    version: HashVersion,
    seed: [u32; 4],
    this: InodeNo,
    parent: InodeNo,
    entries: &[Entry<'_>],
) -> Result<Option<Blocks>, BuildError> {
    let hashed = entries.iter().map(|e| version.hash(e.name, seed));
    let mut sorted: Vec<(NameHash, usize)> = hashed.zip(0..).collect();
    sorted.sort_unstable();
    let leaves = leaves(format, entries, &sorted);
    let root_limit = htree::dx_limit(DxKind::Root, format);
    let node_limit = htree::dx_limit(DxKind::Node, format);
    let nodes = if leaves.len() <= root_limit {
        0
    } else {
        leaves.len().div_ceil(node_limit)
    };
    if nodes > root_limit {
        return Ok(None);
    }
    let len = format.block_size.len();
    let number = |n: usize| FileBlock::new(u32::try_from(n).unwrap_or(u32::MAX));
    let pairs: Vec<DxEntry> = leaves
        .iter()
        .zip(1 + nodes..)
        .map(|((hash, _), n)| DxEntry {
            hash: *hash,
            block: number(n),
        })
        .collect();
    let mut bytes = vec![0; (1 + nodes + leaves.len()) * len];
    let mut blocks = bytes.chunks_mut(len);
    let root = blocks.next().unwrap_or_default();
    let info = DxRootInfo {
        hash_version: version.algorithm.raw(),
        indirect_levels: u8::from(nodes > 0),
    };
    let mut top = Vec::new();
    if nodes > 0 {
        for (children, n) in pairs.chunks(node_limit).zip(1..) {
            let block = blocks.next().unwrap_or_default();
            htree::init_node(block, format, children).map_err(failed)?;
            top.push(DxEntry {
                hash: children.first().map_or(0, |c| c.hash),
                block: number(n),
            });
        }
    } else {
        top = pairs;
    }
    htree::init_root(root, format, this, parent, info, &top).map_err(failed)?;
    for ((_, range), block) in leaves.iter().zip(blocks) {
        dir::init_block(block, format).map_err(failed)?;
        let mut last = 0;
        for (_, n) in sorted.get(range.clone()).unwrap_or_default() {
            if let Some(e) = entries.get(*n) {
                last = dir::append(block, format, last, e.name, e.ino, e.kind).map_err(failed)?;
            }
        }
    }
    Ok(Some(Blocks {
        bytes,
        indexed: true,
        nodes,
    }))
}

impl Blocks {
    /// Puts the checksums in; `seed` is the directory's.
    pub(crate) fn stamp(&mut self, format: &DirFormat, seed: u32) -> Result<(), BuildError> {
        let indexed = self.indexed;
        let nodes = self.nodes;
        let blocks = self.bytes.chunks_mut(format.block_size.len());
        for (n, block) in blocks.enumerate() {
            let done = match n {
                0 if indexed => htree::stamp(block, DxKind::Root, format, seed),
                n if indexed && n <= nodes => htree::stamp(block, DxKind::Node, format, seed),
                _ => dir::stamp(block, format, seed),
            };
            done.map_err(failed)?;
        }
        Ok(())
    }
}
