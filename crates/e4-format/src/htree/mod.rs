//! The htree of indexed directories: a root in block 0, inner nodes, linear blocks as leaves.
//!
//! Decisions: root and inner nodes disguise themselves as directory blocks with one long record, so that
//! those who do not know htrees see nothing in them; both hold the same table of (hash, block) pairs, of
//! which the first has no hash (it begins at 0) and gives its place to `limit` and `count`. One view
//! serves both. The checksum covers the pairs in use and the tail before it.

mod hash;

pub use hash::{HashAlgorithm, HashVersion, NameHash};

use crate::csum::crc32c;
use crate::dir::DirFormat;
use crate::error::FormatError;
use crate::units::{FileBlock, InodeNo};

/// Levels of inner nodes below the root without `large_dir`.
pub const INDIRECT_LEVELS_MAX: u8 = 1;

/// Byte of `limit` and `count` in a root: behind `.`, `..` and the root's own 8 bytes.
const ROOT_TABLE: usize = 0x20;
/// Byte of `limit` and `count` in an inner node: behind an empty record.
const NODE_TABLE: usize = 8;
const ENTRY_SIZE: usize = 8;
const TAIL_SIZE: usize = 8;
const ROOT_INFO: usize = 0x18;
const ROOT_INFO_LEN: u8 = 8;

/// What a block of an indexed directory is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DxKind {
    /// Block 0: `.`, `..` and the root of the tree.
    Root,
    /// An inner node.
    Node,
}

impl DxKind {
    const fn table(self) -> usize {
        match self {
            Self::Root => ROOT_TABLE,
            Self::Node => NODE_TABLE,
        }
    }
}

/// What a block looks like, by its records; `None` for a linear one. Only meaningful in a directory
/// flagged [`INDEX`](crate::inode::InodeFlags::INDEX): without checksums a linear block can look the
/// same.
#[must_use]
pub fn block_kind(block: &[u8], format: &DirFormat) -> Option<DxKind> {
    let len = format.block_size.len();
    let stored = |at: usize| {
        let b = block.get(at..)?.first_chunk()?;
        Some(usize::from(u16::from_le_bytes(*b)))
    };
    // 64 KiB does not fit into 16 bits and is stored as 65535 or 0.
    let whole = |n: usize| n == len || (len == 65536 && (n == 65535 || n == 0));
    let first = stored(4)?;
    let empty = block.first_chunk() == Some(&[0u8; 4]);
    if empty && whole(first) && block.get(6) == Some(&0) {
        Some(DxKind::Node)
    } else if first == 12 && stored(16) == Some(len - 12) {
        Some(DxKind::Root)
    } else {
        None
    }
}

/// What the root says about its tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DxRootInfo {
    /// Hash as stored: see [`Superblock::hash_version`](crate::Superblock::hash_version).
    pub hash_version: u8,
    /// Levels of inner nodes: 0 or 1.
    pub indirect_levels: u8,
}

impl DxRootInfo {
    /// Reads it from block 0.
    ///
    /// # Errors
    /// Nonsensical fields.
    pub fn decode(block: &[u8]) -> Result<Self, FormatError> {
        let Some(
            [
                z0,
                z1,
                z2,
                z3,
                hash_version,
                info_len,
                indirect_levels,
                flags,
            ],
        ) = block.get(ROOT_INFO..).and_then(|b| b.first_chunk())
        else {
            return Err(FormatError::Truncated {
                what: "htree root",
                len: block.len(),
            });
        };
        let reserved = u32::from_le_bytes([*z0, *z1, *z2, *z3]);
        // The lowest flag is a left-over that some old images have set.
        if reserved != 0 || *info_len != ROOT_INFO_LEN || flags & 1 != 0 {
            return Err(FormatError::DxRootInfo {
                reserved,
                info_len: *info_len,
                flags: *flags,
            });
        }
        if *indirect_levels > INDIRECT_LEVELS_MAX {
            return Err(FormatError::DxDepth {
                found: *indirect_levels,
                limit: INDIRECT_LEVELS_MAX,
            });
        }
        Ok(Self {
            hash_version: *hash_version,
            indirect_levels: *indirect_levels,
        })
    }

    /// Writes it into block 0.
    ///
    /// # Errors
    /// The block is too short.
    pub fn encode(&self, block: &mut [u8]) -> Result<(), FormatError> {
        let len = block.len();
        match block
            .get_mut(ROOT_INFO..)
            .and_then(|b| b.first_chunk_mut::<8>())
        {
            Some(info) => {
                *info = [
                    0,
                    0,
                    0,
                    0,
                    self.hash_version,
                    ROOT_INFO_LEN,
                    self.indirect_levels,
                    0,
                ];
                Ok(())
            }
            None => Err(FormatError::Truncated {
                what: "htree root",
                len,
            }),
        }
    }
}

/// One child of a root or inner node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DxEntry {
    /// The smallest hash in the child; 0 for the first. The lowest bit says that names with the hash
    /// of the child's first name began in the child before.
    pub hash: u32,
    /// The child, as a logical block of the directory.
    pub block: FileBlock,
}

/// The table of a root or inner node.
#[derive(Clone, Copy, Debug)]
pub struct DxNode<'a> {
    table: &'a [u8],
    count: usize,
    limit: usize,
}

/// Pairs a root or node has room for.
#[must_use]
pub fn dx_limit(kind: DxKind, format: &DirFormat) -> usize {
    let tail = if format.csum_tail { TAIL_SIZE } else { 0 };
    (format.block_size.len() - kind.table() - tail) / ENTRY_SIZE
}

impl<'a> DxNode<'a> {
    /// Checks limit, count, order of hashes and blocks.
    ///
    /// # Errors
    /// What exactly is wrong.
    pub fn parse(block: &'a [u8], kind: DxKind, format: &DirFormat) -> Result<Self, FormatError> {
        let table = block.get(kind.table()..).unwrap_or_default();
        let Some([l0, l1, c0, c1]) = table.first_chunk() else {
            return Err(FormatError::Truncated {
                what: "htree node",
                len: block.len(),
            });
        };
        let limit = usize::from(u16::from_le_bytes([*l0, *l1]));
        let count = usize::from(u16::from_le_bytes([*c0, *c1]));
        let expected = dx_limit(kind, format);
        if limit != expected {
            return Err(FormatError::DxLimit {
                found: limit,
                expected,
            });
        }
        if count == 0 || count > limit {
            return Err(FormatError::DxCount {
                found: count,
                limit,
            });
        }
        let Some(table) = table.get(..limit * ENTRY_SIZE) else {
            return Err(FormatError::Truncated {
                what: "htree node",
                len: block.len(),
            });
        };
        let node = Self {
            table,
            count,
            limit,
        };
        let mut last = 0;
        for (entry, e) in node.entries().enumerate() {
            if e.hash < last {
                return Err(FormatError::DxOrder {
                    entry,
                    hash: e.hash,
                });
            }
            if e.block > FileBlock::MAX || e.block.get() == 0 {
                return Err(FormatError::DxChild {
                    entry,
                    block: e.block,
                });
            }
            last = e.hash;
        }
        Ok(node)
    }

    /// Pairs in use, at least 1.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.count
    }

    /// Pairs there is room for.
    #[must_use]
    pub const fn limit(&self) -> usize {
        self.limit
    }

    /// True if no pair can be added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.count >= self.limit
    }

    /// Pair `i`; `None` past the end.
    #[must_use]
    pub fn entry(&self, i: usize) -> Option<DxEntry> {
        if i >= self.count {
            return None;
        }
        let [h0, h1, h2, h3, b0, b1, b2, b3] = self.table.get(i * ENTRY_SIZE..)?.first_chunk()?;
        let hash = if i == 0 {
            0
        } else {
            u32::from_le_bytes([*h0, *h1, *h2, *h3])
        };
        Some(DxEntry {
            hash,
            block: FileBlock::new(u32::from_le_bytes([*b0, *b1, *b2, *b3])),
        })
    }

    /// All pairs, in order of hashes.
    pub fn entries(self) -> impl Iterator<Item = DxEntry> + use<'a> {
        (0..self.count).filter_map(move |i| self.entry(i))
    }

    /// The child to look into for a hash: the last pair whose hash is not above it.
    #[must_use]
    pub fn search(&self, hash: u32) -> usize {
        let (mut low, mut high) = (1, self.count);
        while low < high {
            let mid = low.midpoint(high);
            if self.entry(mid).is_some_and(|e| e.hash <= hash) {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low - 1
    }
}

/// Writes the table of a root or node: limit, count and pairs. The first pair's hash is not stored.
///
/// # Errors
/// No pairs, more than fit, or a block that is too short.
pub fn write_table(
    block: &mut [u8],
    kind: DxKind,
    format: &DirFormat,
    pairs: &[DxEntry],
) -> Result<(), FormatError> {
    let limit = dx_limit(kind, format);
    if pairs.is_empty() || pairs.len() > limit {
        return Err(FormatError::DxCount {
            found: pairs.len(),
            limit,
        });
    }
    let len = block.len();
    let short = FormatError::Truncated {
        what: "htree node",
        len,
    };
    let table = block.get_mut(kind.table()..).ok_or(short.clone())?;
    let table = table.get_mut(..limit * ENTRY_SIZE).ok_or(short)?;
    for (to, pair) in table.as_chunks_mut::<ENTRY_SIZE>().0.iter_mut().zip(pairs) {
        let [a, b, c, d] = pair.hash.to_le_bytes();
        let [e, f, g, h] = pair.block.get().to_le_bytes();
        *to = [a, b, c, d, e, f, g, h];
    }
    let narrow = |n: usize| u16::try_from(n).unwrap_or(u16::MAX).to_le_bytes();
    if let Some(head) = table.first_chunk_mut::<4>() {
        let ([a, b], [c, d]) = (narrow(limit), narrow(pairs.len()));
        *head = [a, b, c, d];
    }
    Ok(())
}

/// Makes the block an inner node with these pairs.
///
/// # Errors
/// As for [`write_table`].
pub fn init_node(
    block: &mut [u8],
    format: &DirFormat,
    pairs: &[DxEntry],
) -> Result<(), FormatError> {
    let whole = DirFormat {
        csum_tail: false,
        ..*format
    };
    crate::dir::init_block(block, &whole)?;
    write_table(block, DxKind::Node, format, pairs)
}

/// Makes the block the root of an indexed directory with these pairs.
///
/// # Errors
/// As for [`write_table`].
pub fn init_root(
    block: &mut [u8],
    format: &DirFormat,
    this: InodeNo,
    parent: InodeNo,
    info: DxRootInfo,
    pairs: &[DxEntry],
) -> Result<(), FormatError> {
    let whole = DirFormat {
        csum_tail: false,
        ..*format
    };
    crate::dir::init_first_block(block, &whole, this, parent)?;
    info.encode(block)?;
    write_table(block, DxKind::Root, format, pairs)
}

/// Checksum over everything up to the last pair in use, and the tail with its checksum as zero. Where
/// the tail is.
fn csum_of(block: &[u8], kind: DxKind, seed: u32) -> Result<(u32, usize), FormatError> {
    let short = FormatError::Truncated {
        what: "htree node",
        len: block.len(),
    };
    let Some([l0, l1, c0, c1]) = block.get(kind.table()..).and_then(|b| b.first_chunk()) else {
        return Err(short);
    };
    let limit = usize::from(u16::from_le_bytes([*l0, *l1]));
    let count = usize::from(u16::from_le_bytes([*c0, *c1]));
    let tail = kind.table() + limit * ENTRY_SIZE;
    if count > limit || tail + TAIL_SIZE > block.len() {
        return Err(FormatError::DxCount {
            found: count,
            limit,
        });
    }
    let used = block
        .get(..kind.table() + count * ENTRY_SIZE)
        .ok_or(short.clone())?;
    let reserved = block.get(tail..tail + 4).ok_or(short)?;
    let c = crc32c(crc32c(seed, used), reserved);
    Ok((crc32c(c, &[0; 4]), tail + 4))
}

/// Computes and stores the checksum of a root or node; nothing without `metadata_csum`.
///
/// # Errors
/// The table leaves no room for a tail.
pub fn stamp(
    block: &mut [u8],
    kind: DxKind,
    format: &DirFormat,
    seed: u32,
) -> Result<(), FormatError> {
    if !format.csum_tail {
        return Ok(());
    }
    let (sum, at) = csum_of(block, kind, seed)?;
    if let Some(to) = block.get_mut(at..).and_then(|b| b.first_chunk_mut()) {
        *to = sum.to_le_bytes();
    }
    Ok(())
}

/// Verifies the checksum of a root or node; nothing without `metadata_csum`.
///
/// # Errors
/// The checksum differs, or the table leaves no room for a tail.
pub fn verify(
    block: &[u8],
    kind: DxKind,
    format: &DirFormat,
    seed: u32,
) -> Result<(), FormatError> {
    if !format.csum_tail {
        return Ok(());
    }
    let (expected, at) = csum_of(block, kind, seed)?;
    let stored = block.get(at..).and_then(|b| b.first_chunk());
    let found = stored.map_or(0, |b| u32::from_le_bytes(*b));
    if found != expected {
        return Err(FormatError::DxChecksum { expected, found });
    }
    Ok(())
}
