//! Punch hole: whole blocks are unmapped and freed, edges of written blocks are zeroed in place.
//!
//! The caller has drained the range, rounded out to blocks, and holds newcomers off; so nothing published or in
//! flight can come back into it. Each step leaves a consistent file with a larger hole, so no orphan note
//! is needed.

use e4_extent::FileRange;
use e4_format::{ByteOffset, FileBlock};

use super::write::Target;
use crate::error::Result;
use crate::inode::Inode;
use crate::mount::Shared;

impl Shared {
    /// Makes `target` a hole. The size stays.
    pub(crate) fn punch(&self, inode: &Inode, target: &Target) -> Result<()> {
        let state = inode.data();
        let bs = self.sb.block_size();
        let head = bs.within(ByteOffset::new(target.at)) as usize;
        let tail = bs.within(ByteOffset::new(target.end)) as usize;
        let (first, last) = (target.blocks.start, target.blocks.end);
        if head != 0 && last - first == 1 {
            let end = if tail == 0 { bs.len() } else { tail };
            self.zero_part(inode, first, head..end)?;
        } else {
            if head != 0 {
                self.zero_part(inode, first, head..bs.len())?;
            }
            if tail != 0 {
                self.zero_part(inode, last - 1, 0..tail)?;
            }
        }
        let start = first + u32::from(head != 0);
        let end = last - u32::from(tail != 0);
        let mut range = FileRange::new(FileBlock::new(start), FileBlock::new(end.max(start)));
        loop {
            let credits = { state.remove_credits(&state.core.read())? };
            let mut handle = self.meta.start(credits)?;
            let mut core = state.core.write();
            let rest = if range.is_empty() {
                None
            } else {
                state.remove(&mut core, &mut handle, range)?
            };
            let now = self.now();
            state.take_written(&mut core);
            // The page that was to carry the size to the disk may have been discarded.
            let size = state.size();
            if size <= bs.byte_of_file(FileBlock::new(last)).get() {
                core.disk.size = core.disk.size.max(size);
            }
            core.disk.mtime = now;
            core.disk.ctime = now;
            self.store_core(&mut handle, state, &core, true)?;
            match rest {
                Some(rest) => range = rest,
                None => return Ok(()),
            }
        }
    }
}
