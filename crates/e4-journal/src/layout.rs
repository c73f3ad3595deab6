//! Where the journal lies: its superblock, and the map from journal blocks to blocks of the filesystem.
//!
//! Decisions: the map is checked once, here: gapless from block 0, inside the filesystem, no block twice. After that every
//! journal block below `maxlen` has exactly one place, and "does this block belong to the journal?"
//! is a binary search.

use e4_device::{AlignedBuf, Device};
use e4_format::jbd2::JournalSuperblock;
use e4_format::{BlockSize, FormatError, FsBlock};
use e4_sync::Arc;

use crate::error::{JournalError, LayoutFault};

/// A piece of the journal: `len` journal blocks from `logical` lie at `physical` onwards.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LogExtent {
    /// First journal block.
    pub logical: u32,
    /// Blocks.
    pub len: u32,
    /// First block of the filesystem.
    pub physical: FsBlock,
}

/// A journal that was found and checked.
#[derive(Clone, Debug)]
pub struct JournalLayout {
    size: BlockSize,
    /// By journal block.
    extents: Arc<[LogExtent]>,
    /// The same, by block of the filesystem.
    places: Arc<[LogExtent]>,
    /// Blocks of the filesystem.
    blocks: u64,
    /// Boxed: it is a kilobyte.
    superblock: Box<JournalSuperblock>,
}

impl JournalLayout {
    /// Checks the map and reads the journal superblock. `extents` come from the journal's inode; `blocks` is the size of
    /// the filesystem.
    ///
    /// # Errors
    /// A bad map, an unreadable or contradictory superblock, unknown features (by name).
    pub fn read(
        device: &dyn Device,
        size: BlockSize,
        blocks: u64,
        extents: &[LogExtent],
    ) -> Result<Self, JournalError> {
        let (extents, places) = check(extents, blocks)?;
        let first = extents.first().map_or(FsBlock::new(0), |e| e.physical);
        let superblock = decode(&read_block(device, size, first)?.1, size)?;
        let mapped = extents.last().map_or(0, |e| e.logical + e.len);
        if superblock.maxlen() > mapped {
            return Err(JournalError::JournalTooLong {
                claimed: superblock.maxlen(),
                mapped,
            });
        }
        Ok(Self {
            size,
            extents,
            places,
            blocks,
            superblock: Box::new(superblock),
        })
    }

    pub(crate) fn set_superblock(&mut self, superblock: JournalSuperblock) {
        *self.superblock = superblock;
    }

    /// The whole block that holds the superblock, and its byte position: what lies behind the fields survives a rewrite.
    pub(crate) fn superblock_block(
        &self,
        device: &dyn Device,
    ) -> Result<(u64, AlignedBuf), JournalError> {
        // The map is not empty, see `check`.
        let place = self.place(0).unwrap_or_default();
        read_block(device, self.size, place)
    }

    /// The journal superblock as it was read.
    #[must_use]
    pub fn superblock(&self) -> &JournalSuperblock {
        &self.superblock
    }

    /// Block size of journal and filesystem.
    #[must_use]
    pub fn block_size(&self) -> BlockSize {
        self.size
    }

    /// Blocks of the filesystem.
    #[must_use]
    pub fn filesystem_blocks(&self) -> u64 {
        self.blocks
    }

    /// What recovery has found the size of the filesystem to be.
    pub fn set_filesystem_blocks(&mut self, blocks: u64) {
        self.blocks = blocks;
    }

    /// Where a journal block lies; `None` beyond the map.
    #[must_use]
    pub fn place(&self, logical: u32) -> Option<FsBlock> {
        self.run(logical).map(|(place, _)| place)
    }

    /// Where a journal block lies, and how many blocks from there on lie contiguously.
    #[must_use]
    pub fn run(&self, logical: u32) -> Option<(FsBlock, u32)> {
        let i = self.extents.partition_point(|e| e.logical <= logical);
        let e = self.extents.get(i.checked_sub(1)?)?;
        let into = logical - e.logical;
        if into >= e.len {
            return None;
        }
        Some((e.physical.checked_add(u64::from(into))?, e.len - into))
    }

    /// True if a block of the filesystem belongs to the journal.
    #[must_use]
    pub fn contains(&self, block: FsBlock) -> bool {
        let i = self.places.partition_point(|e| e.physical <= block);
        i.checked_sub(1)
            .and_then(|i| self.places.get(i))
            .and_then(|e| Some((block.distance_from(e.physical)?, e.len)))
            .is_some_and(|(into, len)| into < u64::from(len))
    }
}

type Checked = (Arc<[LogExtent]>, Arc<[LogExtent]>);

fn check(extents: &[LogExtent], blocks: u64) -> Result<Checked, JournalError> {
    let bad = |logical, fault| Err(JournalError::Layout { logical, fault });
    let mut extents = extents.to_vec();
    extents.sort_by_key(|e| e.logical);
    if extents.is_empty() {
        return bad(0, LayoutFault::Empty);
    }
    let mut next = 0u32;
    for e in &extents {
        if e.logical != next {
            return bad(next, LayoutFault::Hole);
        }
        if e.len == 0 {
            return bad(next, LayoutFault::Empty);
        }
        let end = e.physical.checked_add(u64::from(e.len));
        if e.physical.get() == 0 || end.is_none_or(|end| end.get() > blocks) {
            return bad(next, LayoutFault::Outside);
        }
        next = match next.checked_add(e.len) {
            Some(next) => next,
            None => return bad(next, LayoutFault::Outside),
        };
    }
    let mut places = extents.clone();
    places.sort_by_key(|e| e.physical);
    for (a, b) in places.iter().zip(places.iter().skip(1)) {
        if b.physical.get() - a.physical.get() < u64::from(a.len) {
            return bad(b.logical, LayoutFault::Overlap);
        }
    }
    Ok((extents.into(), places.into()))
}

fn read_block(
    device: &dyn Device,
    size: BlockSize,
    block: FsBlock,
) -> Result<(u64, AlignedBuf), JournalError> {
    let mut bytes = AlignedBuf::zeroed(size.len());
    let at = size
        .byte_of(block)
        .ok_or(JournalError::BlockBeyondDevice { block })?;
    device
        .read_at(at.get(), &mut bytes)
        .map_err(|source| JournalError::ReadSuperblock { source })?;
    Ok((at.get(), bytes))
}

fn decode(block: &[u8], size: BlockSize) -> Result<JournalSuperblock, JournalError> {
    JournalSuperblock::decode(block, size).map_err(|source| match source {
        FormatError::UnsupportedJournalIncompat { names } => {
            JournalError::UnsupportedFeatures { names }
        }
        source => JournalError::Superblock { source },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn e(logical: u32, len: u32, physical: u64) -> LogExtent {
        LogExtent {
            logical,
            len,
            physical: FsBlock::new(physical),
        }
    }

    fn fault(extents: &[LogExtent]) -> Option<LayoutFault> {
        match check(extents, 1000) {
            Ok(_) => None,
            Err(JournalError::Layout { fault, .. }) => Some(fault),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn bad_maps_are_refused() {
        assert_eq!(fault(&[]), Some(LayoutFault::Empty));
        assert_eq!(fault(&[e(0, 0, 5)]), Some(LayoutFault::Empty));
        assert_eq!(fault(&[e(1, 5, 5)]), Some(LayoutFault::Hole));
        assert_eq!(fault(&[e(0, 5, 5), e(6, 5, 20)]), Some(LayoutFault::Hole));
        assert_eq!(fault(&[e(0, 5, 5), e(4, 5, 20)]), Some(LayoutFault::Hole));
        assert_eq!(fault(&[e(0, 5, 5), e(5, 5, 9)]), Some(LayoutFault::Overlap));
        assert_eq!(fault(&[e(0, 5, 996)]), Some(LayoutFault::Outside));
        assert_eq!(fault(&[e(0, 5, 0)]), Some(LayoutFault::Outside));
        assert_eq!(fault(&[e(0, 5, u64::MAX)]), Some(LayoutFault::Outside));
        assert_eq!(fault(&[e(5, 5, 100), e(0, 5, 200)]), None);
    }
}
