//! Who uses an inode, and what happens when nobody does any more.
//!
//! Decisions:
//! - A [`Hold`] is one user of an inode: a [`crate::Node`], an open [`crate::File`], an operation under way. What the
//!   engine and the list of unrecorded inodes keep are plain references: they keep the memory, not the file.
//! - An inode whose last link goes is *doomed*: it is noted as orphan in the handle that takes the link, and freed by
//!   whoever drops the last hold, in that thread. If I/O is still in flight then (a handle was closed with
//!   operations in a context), it is freed by the next operation that looks, at the latest by the unmount.
//! - Whoever frees moves the count from 0 to [`DEAD`] first: exactly one does, and from then on nobody gets a hold.
//!   The inode leaves the table before its number can be given out again, so a number never has two states.
//!
//! Invariant: a hold is dropped with no lock held but namespace locks (rank 30).

use core::ops::Deref;

use e4_format::InodeNo;
use e4_sync::Arc;
use e4_sync::atomic::Ordering;

use super::{Inode, InodeState};
use crate::data::truncate::End;
use crate::error::{Error, Result};
use crate::mount::Shared;

/// The count of an inode that is being freed.
pub(crate) const DEAD: u32 = u32::MAX;

/// One user of an inode. See the module documentation.
pub(crate) struct Hold {
    inode: Inode,
}

impl Hold {
    /// `None` if the inode is being freed.
    pub(crate) fn new(inode: Inode) -> Option<Self> {
        let holds = &inode.data().holds;
        let taken = holds.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| {
            (n < DEAD - 1).then(|| n + 1)
        });
        match taken {
            Ok(_) => Some(Self { inode }),
            Err(_) => None,
        }
    }
}

impl Clone for Hold {
    fn clone(&self) -> Self {
        // Held already, so the count is neither 0 nor DEAD.
        self.inode.data().holds.fetch_add(1, Ordering::SeqCst);
        Self {
            inode: Arc::clone(&self.inode),
        }
    }
}

impl Deref for Hold {
    type Target = Inode;
    fn deref(&self) -> &Inode {
        &self.inode
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let state = self.inode.data();
        // The count, then the doom; whoever dooms does it the other way round. One of the two sees both.
        if state.holds.fetch_sub(1, Ordering::SeqCst) == 1 && state.doomed.load(Ordering::SeqCst) {
            state.shared.free_if_unused(&self.inode);
        }
    }
}

impl Shared {
    /// A hold on an inode that a name stands for, taken while the name cannot go away.
    pub(crate) fn hold(self: &Arc<Self>, ino: InodeNo) -> Result<Hold> {
        let bad = |what| Error::BadInode {
            image: Arc::clone(&self.image),
            ino: ino.get(),
            what,
        };
        if self.is_reserved(ino) {
            return Err(bad("is the filesystem's own, but a name stands for it"));
        }
        Hold::new(self.inode(ino)?).ok_or_else(|| bad("is being freed, but a name stands for it"))
    }

    /// True for the filesystem's own inodes: nobody reads, writes or deletes the journal by a name that a damaged
    /// directory has for it.
    pub(crate) fn is_reserved(&self, ino: InodeNo) -> bool {
        let below = ino.get() < self.sb.first_inode() && ino != InodeNo::ROOT;
        below || [self.sb.journal_inum(), self.sb.orphan_file_inum()].contains(&Some(ino))
    }

    /// Frees a doomed inode that nobody holds.
    pub(crate) fn free_if_unused(&self, inode: &Inode) {
        let state = inode.data();
        if self.check_open().is_err() || !state.doomed.load(Ordering::SeqCst) {
            return;
        }
        let mine = state
            .holds
            .compare_exchange(0, DEAD, Ordering::SeqCst, Ordering::SeqCst);
        if mine.is_ok() {
            self.free_dead(inode);
        }
    }

    fn free_dead(&self, inode: &Inode) {
        if !inode.is_idle() {
            // Waiting could be for a request in this very thread's pocket.
            self.dead.lock().push(Arc::clone(inode));
            return;
        }
        let state = inode.data();
        self.forget_inode(state.ino, inode);
        self.discard_all_pages(inode);
        let freed = self.shrink(inode, 0, End::Delete);
        if let Err(error) = freed {
            // It stays noted as orphan: the next mount frees it.
            tracing::warn!(image = %self.image, ino = %state.ino, %error, "a deleted inode could not be freed");
        }
    }

    /// Frees what could not be freed when its last user went.
    pub(crate) fn free_left_over(&self) {
        let waiting = core::mem::take(&mut *self.dead.lock());
        for inode in waiting {
            self.free_dead(&inode);
        }
    }

    /// Frees every doomed inode, held or not. Part of unmounting: no operation can begin any more, and all
    /// I/O is over.
    pub(crate) fn free_all_doomed(&self) {
        self.free_left_over();
        for inode in self.loaded_inodes() {
            let state = inode.data();
            let doomed = state.doomed.load(Ordering::SeqCst);
            if doomed && state.holds.swap(DEAD / 2, Ordering::SeqCst) < DEAD / 2 {
                self.free_dead(&inode);
            }
        }
    }
}

impl InodeState {
    /// The last link is gone. Under the tree lock, in the handle that notes the inode as orphan.
    pub(crate) fn doom(&self) {
        self.doomed.store(true, Ordering::SeqCst);
    }

    /// True if its last link is gone: it goes with its last user.
    pub(crate) fn is_doomed(&self) -> bool {
        self.doomed.load(Ordering::SeqCst)
    }

    /// It has a link again. Whoever calls it holds the inode.
    pub(crate) fn undoom(&self) {
        self.doomed.store(false, Ordering::SeqCst);
    }
}
