//! Block maps of ext2 and ext3: twelve pointers to data in the inode, then one each of single, double and triple
//! indirection; an indirect block is nothing but little-endian 32-bit pointers, 0 for a hole.
//!
//! Decisions: a block map has no checksum, no header and no unwritten state, so all that can be told from its bytes is
//! whether a pointer lies inside the filesystem ([`verify`]). Where a file block is found is arithmetic on the number
//! of pointers per block ([`Route`]); that number is a parameter, so that tests can use small ones.

use crate::error::FormatError;
use crate::units::{BlockSize, FileBlock, FsBlock};

/// Pointers to data in the inode.
pub const DIRECT: u32 = 12;
/// All pointers in the inode: the last three are of single, double and triple indirection.
pub const SLOTS: u32 = 15;
/// Bytes of a pointer.
const POINTER: usize = 4;
/// Levels of indirection.
pub const LEVELS_MAX: u32 = SLOTS - DIRECT;
/// The last block a pointer can name.
pub const BLOCK_MAX: FsBlock = FsBlock::new(u32::MAX as u64);

/// Pointers in an indirect block.
#[must_use]
pub const fn pointers_per_block(size: BlockSize) -> u32 {
    size.bytes() / 4
}

/// How many blocks a file mapped so can have: everything that is reachable, as far as file blocks have numbers.
#[must_use]
pub const fn blocks_max(per: u32) -> u32 {
    let per = per as u64;
    let all = DIRECT as u64 + per + per * per + per * per * per;
    let most = FileBlock::MAX.get() as u64;
    #[allow(clippy::cast_possible_truncation)] // not above `most`
    if all < most { all as u32 } else { most as u32 }
}

/// Blocks of the map itself that `blocks` data blocks need at most, without holes.
#[must_use]
pub const fn map_blocks(blocks: u64, per: u32) -> u64 {
    let per = per as u64;
    let mut left = blocks.saturating_sub(DIRECT as u64);
    let mut covers = 1_u64;
    let mut all = 0;
    let mut level = 1;
    while level <= LEVELS_MAX {
        covers *= per;
        let mut below = if left < covers { left } else { covers };
        left -= below;
        let mut n = 0;
        while n < level {
            below = below.div_ceil(per);
            all += below;
            n += 1;
        }
        level += 1;
    }
    all
}

/// Where a file block's pointer is found: a slot of the inode, then one position in each indirect block below it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Route {
    slot: u32,
    levels: u32,
    positions: [u32; LEVELS_MAX as usize],
}

impl Route {
    /// The route to `block`, with `per` pointers in each indirect block; `None` beyond the last block a map reaches.
    #[must_use]
    pub fn to(block: FileBlock, per: u32) -> Option<Self> {
        let mut left = u64::from(block.get());
        let mut positions = [0; LEVELS_MAX as usize];
        if block.get() < DIRECT {
            return Some(Self {
                slot: block.get(),
                levels: 0,
                positions,
            });
        }
        left -= u64::from(DIRECT);
        let per = u64::from(per.max(1));
        let mut covers = 1;
        for levels in 1..=LEVELS_MAX {
            covers *= per;
            if left < covers {
                for at in positions.iter_mut().take(levels as usize).rev() {
                    *at = u32::try_from(left % per).unwrap_or(0);
                    left /= per;
                }
                let slot = DIRECT + levels - 1;
                return Some(Self {
                    slot,
                    levels,
                    positions,
                });
            }
            left -= covers;
        }
        None
    }

    /// The pointer in the inode to begin with.
    #[must_use]
    pub const fn slot(&self) -> u32 {
        self.slot
    }

    /// Positions in the indirect blocks, from the one the inode points to downwards.
    #[must_use]
    pub fn positions(&self) -> &[u32] {
        self.positions
            .get(..self.levels as usize)
            .unwrap_or_default()
    }
}

/// How many file blocks one pointer stands for that has `levels` of indirection below it (0: a data block).
#[must_use]
pub const fn covers(levels: u32, per: u32) -> u64 {
    (per as u64).pow(levels)
}

/// Levels of indirection below a slot of the inode.
#[must_use]
pub const fn levels_below(slot: u32) -> u32 {
    slot.saturating_sub(DIRECT - 1)
}

/// The first file block that is found through a slot of the inode.
#[must_use]
pub const fn first_of_slot(slot: u32, per: u32) -> u64 {
    if slot < DIRECT {
        return slot as u64;
    }
    let mut first = DIRECT as u64;
    let mut n = DIRECT;
    while n < slot {
        first += covers(levels_below(n), per);
        n += 1;
    }
    first
}

/// Pointer number `n` in the inode's `i_block` or in an indirect block; `None` for a hole, or beyond the bytes.
#[must_use]
pub fn pointer(bytes: &[u8], n: u32) -> Option<FsBlock> {
    let at = n as usize * POINTER;
    let raw = bytes.get(at..).and_then(|b| b.first_chunk())?;
    match u32::from_le_bytes(*raw) {
        0 => None,
        block => Some(FsBlock::new(u64::from(block))),
    }
}

/// Sets pointer number `n`.
///
/// # Errors
/// The block has no 32-bit number, or the bytes end before.
pub fn set_pointer(bytes: &mut [u8], n: u32, to: Option<FsBlock>) -> Result<(), FormatError> {
    let raw = to.map_or(0, FsBlock::get);
    let raw = u32::try_from(raw).map_err(|_| FormatError::BlockPointer {
        at: n,
        block: FsBlock::new(raw),
    })?;
    let at = n as usize * POINTER;
    let len = bytes.len();
    let place = bytes.get_mut(at..at + POINTER);
    let place = place.ok_or(FormatError::Truncated {
        what: "indirect block",
        len,
    })?;
    place.copy_from_slice(&raw.to_le_bytes());
    Ok(())
}

/// True if no pointer is set.
#[must_use]
pub fn is_empty(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b == 0)
}

/// Every pointer lies inside a filesystem of `blocks` blocks.
///
/// # Errors
/// [`FormatError::BlockPointer`] names the first that does not.
pub fn verify(bytes: &[u8], blocks: u64) -> Result<(), FormatError> {
    for (n, raw) in (0..).zip(bytes.as_chunks::<POINTER>().0) {
        let block = u64::from(u32::from_le_bytes(*raw));
        if block >= blocks {
            let block = FsBlock::new(block);
            return Err(FormatError::BlockPointer { at: n, block });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_count_through_every_block_in_order() {
        let per = 3;
        let mut next = 0;
        for slot in 0..SLOTS {
            assert_eq!(first_of_slot(slot, per), u64::from(next), "slot {slot}");
            let levels = levels_below(slot);
            for n in 0..covers(levels, per) {
                let route = Route::to(FileBlock::new(next), per).unwrap();
                assert_eq!(
                    (route.slot(), route.positions().len()),
                    (slot, levels as usize)
                );
                let at = route
                    .positions()
                    .iter()
                    .fold(0, |sum, p| sum * u64::from(per) + u64::from(*p));
                assert_eq!(at, n);
                next += 1;
            }
        }
        assert_eq!(Route::to(FileBlock::new(next), per), None);
        assert_eq!(next, blocks_max(per));
    }

    #[test]
    fn the_largest_files() {
        assert_eq!(blocks_max(256), 12 + 256 + 65_536 + 16_777_216);
        assert_eq!(blocks_max(1024), 12 + 1024 + 1_048_576 + 1_073_741_824);
        assert_eq!(blocks_max(16384), FileBlock::MAX.get());
        assert_eq!(map_blocks(12, 256), 0);
        assert_eq!(map_blocks(13, 256), 1);
        assert_eq!(map_blocks(12 + 256 + 1, 256), 3);
        assert_eq!(map_blocks(12 + 256 + 65_536 + 1, 256), 1 + 1 + 256 + 3);
    }

    #[test]
    fn pointers_stay_inside() {
        let mut bytes = [0; 16];
        assert!(is_empty(&bytes) && verify(&bytes, 1).is_ok());
        set_pointer(&mut bytes, 2, Some(FsBlock::new(99))).unwrap();
        assert_eq!(pointer(&bytes, 2), Some(FsBlock::new(99)));
        assert_eq!(pointer(&bytes, 4), None);
        assert!(verify(&bytes, 100).is_ok());
        assert_eq!(
            verify(&bytes, 99),
            Err(FormatError::BlockPointer {
                at: 2,
                block: FsBlock::new(99)
            })
        );
        assert!(set_pointer(&mut bytes, 4, None).is_err());
        assert!(set_pointer(&mut bytes, 0, Some(FsBlock::new(1 << 32))).is_err());
    }
}
