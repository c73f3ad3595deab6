//! Where a file has data and where it has none: `SEEK_DATA`, `SEEK_HOLE`, and lists of extents.
//!
//! Decision: what reads as zeros without looking at the device is a hole, as in the kernel's ext4: unmapped blocks and
//! unwritten ones. Published ranges are data. Nothing is listed on the way: the search goes from extent to extent.

use e4_format::{ByteOffset, Extent, FileBlock};

use crate::error::{Error, Result};
use crate::extent::{Found, Mapped};
use crate::file::File;

/// Lookups while the tree lock is held.
const LOOKUPS: u32 = 4096;

impl File {
    /// The first byte at or behind `at` that is data. None: only holes from there to the end of file.
    ///
    /// # Errors
    /// [`Error::BehindEnd`] if `at` is not before the end of file; damage.
    pub fn seek_data(&self, at: u64) -> Result<Option<u64>> {
        self.seek(at, |to| matches!(to, Mapped::Written(_)))
    }

    /// The first byte at or behind `at` that is not data. The end of file is a hole.
    ///
    /// # Errors
    /// As [`File::seek_data`].
    pub fn seek_hole(&self, at: u64) -> Result<u64> {
        let found = self.seek(at, |to| !matches!(to, Mapped::Written(_)))?;
        Ok(found.unwrap_or_else(|| self.size().max(at)))
    }

    fn seek(&self, at: u64, wanted: impl Fn(Mapped) -> bool) -> Result<Option<u64>> {
        self.check_regular()?;
        // What is only in the cache is data, and the map does not know of it.
        self.shared().flush_pages(self.inode(), at..u64::MAX)?;
        let state = self.inode().data();
        let size = state.size();
        if at >= size {
            return Err(Error::BehindEnd {
                at: ByteOffset::new(at),
                size,
            });
        }
        let bs = self.shared().sb.block_size();
        let end = u32::try_from(bs.blocks_for(size)).unwrap_or(u32::MAX);
        let first = bs.file_block_of(ByteOffset::new(at));
        let mut block = first.map_or(end, FileBlock::get);
        loop {
            let core = state.core.read();
            match state.find(&core, block..end, LOOKUPS, &wanted)? {
                Found::GoOnAt(next) => block = next,
                Found::Nothing => return Ok(None),
                Found::At(block) => {
                    let byte = bs.byte_of_file(FileBlock::new(block)).get();
                    return Ok(Some(byte.max(at)).filter(|&byte| byte < size));
                }
            }
        }
    }

    /// At most `limit` extents, from the one that maps block `from` (cut to begin there) or the next one on; published
    /// ranges show as written. Fewer than `limit`: there are no more.
    ///
    /// # Errors
    /// Damage.
    pub fn extents_from(&self, from: FileBlock, limit: usize) -> Result<Vec<Extent>> {
        self.check_regular()?;
        self.shared().flush_pages(self.inode(), 0..u64::MAX)?;
        let state = self.inode().data();
        state.extents_from(&state.core.read(), from, limit)
    }
}
