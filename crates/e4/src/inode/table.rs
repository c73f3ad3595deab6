//! The table of loaded inodes: one state per inode, whoever asks.

use e4_completion::{InodeIo, InodeKey};
use e4_format::{Inode as DiskInode, InodeNo};
use e4_sync::{Arc, Mutex, Rank, Weak};
use hashbrown::HashMap;

use super::{Inode, InodeState, read_inode};
use crate::data::converter::Conv;
use crate::error::{Error, Result};
use crate::mount::Shared;

/// Weak references only: an inode lives as long as somebody uses it.
pub(crate) struct InodeTable {
    loaded: Mutex<HashMap<InodeNo, Weak<InodeIo<Conv>>>>,
}

impl InodeTable {
    pub(crate) fn new() -> Self {
        Self {
            loaded: Mutex::new(Rank::INODE_TABLE, HashMap::new()),
        }
    }
}

impl Shared {
    /// The state of an inode, loading it if nobody uses it yet.
    ///
    /// # Errors
    /// It does not exist, is not in use, or cannot be read.
    pub(crate) fn inode(self: &Arc<Self>, ino: InodeNo) -> Result<Inode> {
        self.load_inode(ino, |disk| disk.links_count > 0)
    }

    /// As [`Shared::inode`], for one that is noted as orphan: it may have no links.
    pub(crate) fn orphan_inode(self: &Arc<Self>, ino: InodeNo) -> Result<Inode> {
        self.load_inode(ino, |disk| disk.links_count > 0 || disk.mode != 0)
    }

    /// The number may be given to another inode from now on.
    pub(super) fn forget_inode(&self, ino: InodeNo, inode: &Inode) {
        let mut loaded = self.inodes.loaded.lock();
        let same = loaded
            .get(&ino)
            .is_some_and(|weak| core::ptr::eq(weak.as_ptr(), Arc::as_ptr(inode)));
        if same {
            loaded.remove(&ino);
        }
    }

    fn load_inode(
        self: &Arc<Self>,
        ino: InodeNo,
        in_use: impl FnOnce(&DiskInode) -> bool,
    ) -> Result<Inode> {
        // Held across the load: two loads of one inode would make two states.
        let mut loaded = self.inodes.loaded.lock();
        if let Some(inode) = loaded.get(&ino).and_then(Weak::upgrade) {
            return Ok(inode);
        }
        let disk = match self.with_geometry(|sb| read_inode(&self.image, &self.meta, sb, ino)) {
            Ok(disk) => disk,
            // Numbers come from outside as well: one that does not exist says nothing of the image.
            Err(error @ Error::Format { .. }) => return Err(self.damaged(error)),
            Err(other) => return Err(other),
        };
        if !in_use(&disk) {
            return Err(Error::BadInode {
                image: Arc::clone(&self.image),
                ino: ino.get(),
                what: "is not in use",
            });
        }
        let state = InodeState::new(Arc::clone(self), ino, disk);
        let inode = self.engine.register(InodeKey(u64::from(ino.get())), state);
        if loaded.len() >= 1024 && loaded.len() == loaded.capacity() {
            loaded.retain(|_, weak| weak.strong_count() > 0);
        }
        loaded.insert(ino, Arc::downgrade(&inode));
        Ok(inode)
    }

    /// Every inode somebody uses.
    pub(crate) fn loaded_inodes(&self) -> Vec<Inode> {
        self.inodes
            .loaded
            .lock()
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}
