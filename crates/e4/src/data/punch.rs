//! Punch hole: whole blocks are unmapped and freed, edges of written blocks are zeroed in place.
//!
//! The caller has drained the range, rounded out to blocks, and holds newcomers off; so nothing published or in
//! flight can come back into it. Each step leaves a consistent file with a larger hole, so no orphan note
//! is needed.

use e4_extent::FileRange;
use e4_format::FileBlock;

use super::write::Target;
use crate::error::Result;
use crate::inode::Inode;
use crate::mount::Shared;

impl Shared {
    /// Makes `target` a hole. The size stays.
    pub(crate) fn punch(&self, inode: &Inode, target: &Target) -> Result<()> {
        let state = inode.data();
        let inner = self.zero_edges(inode, target)?;
        let mut range = FileRange::new(FileBlock::new(inner.start), FileBlock::new(inner.end));
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
            if size <= self.whole_blocks(target).end {
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
