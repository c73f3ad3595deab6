//! Where the journal lies when it is mapped by pointers, as that of every ext3 image is: read before the filesystem exists.

use core::ops::ControlFlow;

use e4_format::indirect::pointers_per_block;
use e4_format::{FsBlock, Inode as DiskInode, InodeNo, Superblock};
use e4_indirect::{MapError, MapRead, ROOT_LEN};
use e4_journal::{LogExtent, MetaStore};
use e4_sync::Arc;

use crate::error::{Error, Result};
use crate::indirect::{PointerBytes, read_indirect};

/// The journal's blocks, from its block map.
pub(super) fn log_extents(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    ino: InodeNo,
    inode: &DiskInode,
) -> Result<Vec<LogExtent>> {
    let view = RawMap {
        image,
        meta,
        sb,
        ino,
        root: &inode.i_block,
    };
    let mut extents = Vec::new();
    let walked = e4_indirect::walk(&view, 0..u32::MAX, &mut |run| {
        if let Some(physical) = run.at {
            extents.push(LogExtent {
                logical: run.blocks.start,
                len: run.blocks.end - run.blocks.start,
                physical,
            });
        }
        ControlFlow::Continue(())
    });
    walked.map_err(|e| match e {
        MapError::Read { source, .. } => source,
        _ => Error::BadJournalInode {
            image: image.to_string(),
            ino: ino.get(),
            what: "its block map is damaged",
        },
    })?;
    Ok(extents)
}

struct RawMap<'a> {
    image: &'a Arc<str>,
    meta: &'a MetaStore,
    sb: &'a Superblock,
    ino: InodeNo,
    root: &'a [u8; ROOT_LEN],
}

impl MapRead for RawMap<'_> {
    type Error = Error;
    type Block = PointerBytes;

    fn per_block(&self) -> u32 {
        pointers_per_block(self.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        self.root
    }

    fn read(&self, at: FsBlock) -> Result<PointerBytes> {
        read_indirect(self.image, self.meta, self.sb, self.ino, at)
    }
}
