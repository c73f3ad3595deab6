//! The inodes the kernel knows of, with how often each was handed out.
//!
//! Invariants:
//! - A node stays until the kernel has forgotten every lookup of it: a deleted file that is still open keeps its
//!   inode (and number), whatever the kernel's caches do.
//! - No lock of this table is held while `e4` is called, nor while a node is dropped (dropping the last one of a
//!   deleted inode frees its blocks).

use e4::{Filesystem, Node};
use e4_format::InodeNo;
use e4_fuse_transport::NodeId;
use e4_sync::atomic::{AtomicBool, AtomicU32, Ordering};
use e4_sync::{Arc, Mutex, Rank};
use hashbrown::HashMap;

use crate::attr::inode_of;
use crate::errno::Answer;

/// What the server notes about an inode in the kernel's cache.
#[derive(Default)]
pub(crate) struct Cached {
    /// The kernel's page cache may be older than the file: something was written past it.
    pub(crate) bypassed: AtomicBool,
    /// Open handles that go through the page cache.
    pub(crate) cached_opens: AtomicU32,
    /// The page cache may hold what has not been written yet.
    pub(crate) maybe_dirty: AtomicBool,
    /// Known to have no `security.capability`.
    pub(crate) no_capability: AtomicBool,
}

/// An inode the kernel knows of.
#[derive(Clone)]
pub(crate) struct Known {
    pub(crate) node: Node,
    pub(crate) cached: Arc<Cached>,
}

struct Entry {
    known: Known,
    lookups: u64,
}

const SHARDS: usize = 16;

pub(crate) struct Nodes {
    fs: Filesystem,
    root: Known,
    shards: Vec<Mutex<HashMap<u32, Entry>>>,
}

impl Nodes {
    pub(crate) fn new(fs: Filesystem) -> e4::Result<Self> {
        let root = Known::new(fs.root()?);
        let shard = || Mutex::new(Rank::LEAF, HashMap::new());
        Ok(Self {
            fs,
            root,
            shards: std::iter::repeat_with(shard).take(SHARDS).collect(),
        })
    }

    fn shard(&self, ino: InodeNo) -> &Mutex<HashMap<u32, Entry>> {
        &self.shards[ino.get() as usize % SHARDS]
    }

    /// The inode of a request. One that the kernel has forgotten (an NFS handle) is looked up by number.
    pub(crate) fn get(&self, id: NodeId) -> Answer<Known> {
        let ino = inode_of(id)?;
        if ino == InodeNo::ROOT {
            return Ok(self.root.clone());
        }
        if let Some(entry) = self.shard(ino).lock().get(&ino.get()) {
            return Ok(entry.known.clone());
        }
        Ok(Known::new(self.fs.node(ino)?))
    }

    /// Notes that the kernel is told of a node, and returns what is known of it.
    pub(crate) fn handed_out(&self, node: Node) -> Known {
        let ino = node.ino();
        if ino == InodeNo::ROOT {
            return self.root.clone();
        }
        let fresh = Known::new(node);
        let mut shard = self.shard(ino).lock();
        let entry = shard.entry(ino.get()).or_insert_with(|| Entry {
            known: fresh.clone(),
            lookups: 0,
        });
        entry.lookups += 1;
        let known = entry.known.clone();
        drop(shard);
        known
    }

    /// The kernel has forgotten `lookups` of them.
    pub(crate) fn forget(&self, id: NodeId, lookups: u64) {
        let Ok(ino) = inode_of(id) else { return };
        let gone = {
            let mut shard = self.shard(ino).lock();
            match shard.get_mut(&ino.get()) {
                Some(entry) if entry.lookups > lookups => {
                    entry.lookups -= lookups;
                    None
                }
                Some(_) => shard.remove(&ino.get()),
                None => None,
            }
        };
        drop(gone);
    }

    /// Lets go of everything, at the end.
    pub(crate) fn clear(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock());
            drop(all);
        }
    }
}

impl Known {
    fn new(node: Node) -> Self {
        Self {
            node,
            cached: Arc::default(),
        }
    }
}

impl Cached {
    /// May an open keep what the kernel has cached? Not if something was written past the cache: then
    /// the cache is dropped with this open, and is good again afterwards unless a direct writer is
    /// still there (which marks it again).
    pub(crate) fn may_keep(&self) -> bool {
        !self.bypassed.swap(false, Ordering::AcqRel)
    }
}
