//! One node of an extent tree, read only.
//!
//! Decisions: [`Node::parse`] checks everything a later access relies on, once per load from disk;
//! [`Node::view`] checks the header only and is for bytes that passed `parse` before. Neither lets an
//! access panic or leave the node, whatever the bytes. Nodes do not know where they came from: callers
//! add inode and block to the error.

use super::{
    DEPTH_MAX, ENTRY_SIZE, EXTENT_MAGIC, Extent, ExtentIndex, FS_BLOCK_LIMIT, RawExtent, RawHeader,
    RawIndex, capacity,
};
use crate::error::FormatError;
use crate::units::FileBlock;
use zerocopy::FromBytes;

/// Header of a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ExtentHeader {
    /// Entries in use.
    pub entries: u16,
    /// Entries there is room for.
    pub max: u16,
    /// 0 for a leaf, else the number of levels below.
    pub depth: u16,
    /// Generation of the tree; unused, but preserved.
    pub generation: u32,
}

/// A node over borrowed bytes: a whole block, or the 60 bytes of an inode.
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    header: ExtentHeader,
    /// The entries in use and nothing else.
    entries: &'a [u8],
}

impl<'a> Node<'a> {
    /// A node fresh from disk: header, order, overlaps and ranges are checked, over all entries.
    ///
    /// # Errors
    /// What exactly is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let node = Self::view(bytes)?;
        if node.is_leaf() {
            node.check_extents()?;
        } else {
            node.check_indexes()?;
        }
        Ok(node)
    }

    /// A node whose bytes passed [`parse`](Self::parse) before: only the header is checked.
    ///
    /// # Errors
    /// As for `parse`, but for the header only.
    pub fn view(bytes: &'a [u8]) -> Result<Self, FormatError> {
        let Ok((raw, rest)) = RawHeader::ref_from_prefix(bytes) else {
            return Err(FormatError::Truncated {
                what: "extent node",
                len: bytes.len(),
            });
        };
        if raw.eh_magic.get() != EXTENT_MAGIC {
            return Err(FormatError::ExtentMagic {
                found: raw.eh_magic.get(),
            });
        }
        let header = ExtentHeader {
            entries: raw.eh_entries.get(),
            max: raw.eh_max.get(),
            depth: raw.eh_depth.get(),
            generation: raw.eh_generation.get(),
        };
        let limit = capacity(bytes.len());
        if header.max == 0 || header.max > limit {
            return Err(FormatError::ExtentMax {
                found: header.max,
                limit,
            });
        }
        if header.depth > DEPTH_MAX {
            return Err(FormatError::ExtentDepth {
                found: header.depth,
                limit: DEPTH_MAX,
            });
        }
        let (found, max) = (header.entries, header.max);
        if found > max || (found == 0 && header.depth > 0) {
            return Err(FormatError::ExtentEntries {
                found,
                max,
                depth: header.depth,
            });
        }
        match rest.get(..usize::from(found) * ENTRY_SIZE) {
            Some(entries) => Ok(Self { header, entries }),
            None => Err(FormatError::Truncated {
                what: "extent node",
                len: bytes.len(),
            }),
        }
    }

    fn check_extents(&self) -> Result<(), FormatError> {
        let mut free_from = 0u32;
        for (entry, e) in self.extents().enumerate() {
            if !e.is_encodable() {
                return Err(FormatError::ExtentRange {
                    entry,
                    block: e.block,
                    len: e.len,
                });
            }
            if e.block.get() < free_from {
                return Err(FormatError::ExtentOrder {
                    entry,
                    block: e.block,
                });
            }
            free_from = e.end();
        }
        Ok(())
    }

    fn check_indexes(&self) -> Result<(), FormatError> {
        let mut last: Option<FileBlock> = None;
        for (entry, index) in self.indexes().enumerate() {
            let leaf = index.leaf;
            if leaf.get() == 0 || leaf.get() >= FS_BLOCK_LIMIT {
                return Err(FormatError::ExtentChild { entry, leaf });
            }
            if last.is_some_and(|last| index.block <= last) {
                return Err(FormatError::ExtentOrder {
                    entry,
                    block: index.block,
                });
            }
            last = Some(index.block);
        }
        Ok(())
    }

    /// Checks a child against its parent: one level less deep, and no entry outside the range
    /// `from..to` of logical blocks the parent gives it (`to` is where the next child begins).
    ///
    /// # Errors
    /// Wrong depth, or an entry outside.
    pub fn check_place(
        &self,
        depth: u16,
        from: FileBlock,
        to: Option<FileBlock>,
    ) -> Result<(), FormatError> {
        if self.header.depth != depth {
            return Err(FormatError::ExtentDepth {
                found: self.header.depth,
                limit: depth,
            });
        }
        let (first, end) = if self.is_leaf() {
            let last = self.len().checked_sub(1).and_then(|i| self.extent(i));
            (self.extent(0).map(|e| e.block), last.map_or(0, |e| e.end()))
        } else {
            let last = self.len().checked_sub(1).and_then(|i| self.index(i));
            let end = last.map_or(0, |i| i.block.get().saturating_add(1));
            (self.index(0).map(|i| i.block), end)
        };
        match first {
            Some(first) if first < from => Err(FormatError::ExtentOutsideParent {
                found: first,
                from,
                to,
            }),
            Some(first) if to.is_some_and(|to| end > to.get()) => {
                Err(FormatError::ExtentOutsideParent {
                    found: first,
                    from,
                    to,
                })
            }
            _ => Ok(()),
        }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> ExtentHeader {
        self.header
    }

    /// Levels below this node.
    #[must_use]
    pub const fn depth(&self) -> u16 {
        self.header.depth
    }

    /// True if the entries are extents.
    #[must_use]
    pub const fn is_leaf(&self) -> bool {
        self.header.depth == 0
    }

    /// Entries in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.entries.into()
    }

    /// True if there is no entry.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.header.entries == 0
    }

    /// True if no entry can be added.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.header.entries >= self.header.max
    }

    fn entry(&self, i: usize) -> Option<&'a [u8]> {
        let at = i.checked_mul(ENTRY_SIZE)?;
        self.entries.get(at..)?.get(..ENTRY_SIZE)
    }

    /// Extent `i` of a leaf; `None` past the end or in an inner node.
    #[must_use]
    pub fn extent(&self, i: usize) -> Option<Extent> {
        if !self.is_leaf() {
            return None;
        }
        RawExtent::ref_from_bytes(self.entry(i)?)
            .ok()
            .map(Extent::from_raw)
    }

    /// Child `i` of an inner node; `None` past the end or in a leaf.
    #[must_use]
    pub fn index(&self, i: usize) -> Option<ExtentIndex> {
        if self.is_leaf() {
            return None;
        }
        RawIndex::ref_from_bytes(self.entry(i)?)
            .ok()
            .map(ExtentIndex::from_raw)
    }

    /// All extents of a leaf; nothing in an inner node.
    #[must_use]
    pub const fn extents(self) -> Extents<'a> {
        Extents {
            node: self,
            next: 0,
        }
    }

    /// All children of an inner node; nothing in a leaf.
    #[must_use]
    pub const fn indexes(self) -> Indexes<'a> {
        Indexes {
            node: self,
            next: 0,
        }
    }

    /// First logical block of entry `i`; extents and children keep it in the same place.
    fn key(&self, i: usize) -> u32 {
        let at = i * ENTRY_SIZE;
        let bytes = self.entries.get(at..).and_then(|b| b.first_chunk());
        bytes.map_or(u32::MAX, |b| u32::from_le_bytes(*b))
    }

    /// The last entry that begins at or before `block`: the child to descend into, or the only extent
    /// that may contain the block. `None` if all entries begin behind it. Binary search.
    #[must_use]
    pub fn search(&self, block: FileBlock) -> Option<usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let mid = low.midpoint(high);
            if self.key(mid) <= block.get() {
                low = mid + 1;
            } else {
                high = mid;
            }
        }
        low.checked_sub(1)
    }

    /// The extent that contains `block`, and its position in the leaf.
    #[must_use]
    pub fn find_extent(&self, block: FileBlock) -> Option<(usize, Extent)> {
        let i = self.search(block)?;
        let e = self.extent(i)?;
        e.contains(block).then_some((i, e))
    }
}

/// Extents of a leaf, in order.
#[derive(Clone, Debug)]
pub struct Extents<'a> {
    node: Node<'a>,
    next: usize,
}

impl Iterator for Extents<'_> {
    type Item = Extent;

    fn next(&mut self) -> Option<Extent> {
        let e = self.node.extent(self.next)?;
        self.next += 1;
        Some(e)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = if self.node.is_leaf() {
            self.node.len().saturating_sub(self.next)
        } else {
            0
        };
        (n, Some(n))
    }
}

impl ExactSizeIterator for Extents<'_> {}

/// Children of an inner node, in order.
#[derive(Clone, Debug)]
pub struct Indexes<'a> {
    node: Node<'a>,
    next: usize,
}

impl Iterator for Indexes<'_> {
    type Item = ExtentIndex;

    fn next(&mut self) -> Option<ExtentIndex> {
        let i = self.node.index(self.next)?;
        self.next += 1;
        Some(i)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let n = if self.node.is_leaf() {
            0
        } else {
            self.node.len().saturating_sub(self.next)
        };
        (n, Some(n))
    }
}

impl ExactSizeIterator for Indexes<'_> {}
