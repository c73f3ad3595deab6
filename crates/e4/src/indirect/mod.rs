//! Block maps of ext2 and ext3 on the image: the pure operations of `e4-indirect`, bound to metadata blocks, handles and
//! the allocator, under the inode's tree lock (rank 80).
//!
//! Decisions:
//! - A block map has no unwritten state. So the order of an allocating write is turned round: blocks are reserved in
//!   memory, the data is written to them, and only then do the pointers, the bits of the bitmap and the size join a
//!   transaction, all in one handle ([`write`]). Its commit record comes after a flush that comes after the data; a
//!   crash shows the old hole or the whole data, never what the blocks held before.
//! - Nothing of such a file is ever published ahead of its map, so the overlay stays empty: the only conversion it can owe is
//!   of its size.
//! - fallocate has nothing to allocate with, and is refused as the kernel refuses it; punching a hole works.
//!
//! Invariants: freed blocks obey the same rule of reuse as all others; freed indirect blocks are revoked.

mod remove;
mod store;
mod write;

pub(crate) use remove::{Unmapped, remove_credits};
pub(crate) use store::{BlockMapView, CREDITS_PER_INSERT, PointerBytes, map_error, read_indirect};

use e4_format::MapKind;
use e4_format::features::RoCompatFeatures;
use e4_format::indirect::{blocks_max, map_blocks, pointers_per_block};

use crate::error::{Error, Result};
use crate::inode::{Core, InodeState};
use crate::mount::Shared;

impl Shared {
    /// Bytes a block-mapped file can have: as far as its pointers reach, and as its count of sectors goes.
    fn block_map_size_max(&self) -> u64 {
        let bs = self.sb.block_size();
        let per = pointers_per_block(bs);
        let reach = u64::from(blocks_max(per));
        if self.sb.ro_compat().contains(RoCompatFeatures::HUGE_FILE) {
            return reach << bs.log2();
        }
        let countable = u64::from(u32::MAX) >> (bs.log2() - 9);
        // The map counts as well; it is largest for the largest file.
        let data = countable.saturating_sub(map_blocks(countable.min(reach), per));
        data.min(reach) << bs.log2()
    }
}

impl InodeState {
    /// A file may not end behind `end`.
    pub(crate) fn check_reach(&self, core: &Core, end: u64) -> Result<()> {
        if core.disk.map_kind() == MapKind::Indirect && end > self.shared.block_map_size_max() {
            let at = e4_format::ByteOffset::new(end);
            return Err(Error::FileTooBig { at, len: 0 });
        }
        Ok(())
    }
}
