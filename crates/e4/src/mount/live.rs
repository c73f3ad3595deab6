//! The superblock as everybody sees it: its geometry grows while the filesystem is in use.
//!
//! Decision: a chain of write-once cells, one per growth, so that readers take no lock and whoever holds a reference keeps a
//! whole geometry. What grows is the number of blocks, groups and inodes, and the descriptor blocks taken from the reserve;
//! everything else never changes. Counts and state: the cache's copy.

use core::ops::Deref;

use e4_format::Superblock;
use e4_sync::OnceLock;

/// See the module documentation. One growth at a time is the caller's care.
pub(crate) struct LiveSuperblock {
    sb: Superblock,
    next: OnceLock<Box<Self>>,
}

impl LiveSuperblock {
    pub(crate) const fn new(sb: Superblock) -> Self {
        Self {
            sb,
            next: OnceLock::new(),
        }
    }

    fn last(&self) -> &Self {
        let mut at = self;
        while let Some(next) = at.next.get() {
            at = next;
        }
        at
    }

    /// From here on everybody sees this one.
    pub(crate) fn publish(&self, sb: Superblock) {
        // One growth at a time, so the cell is empty.
        let _ = self.last().next.set(Box::new(Self::new(sb)));
    }
}

impl Deref for LiveSuperblock {
    type Target = Superblock;

    #[inline]
    fn deref(&self) -> &Superblock {
        &self.last().sb
    }
}
