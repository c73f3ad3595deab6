//! An inode in memory: what is on disk, what has been published and not yet recorded, and the locks
//! that guard each.
//!
//! Decisions:
//! - The decoded on-disk inode, with the root of its extent tree and the *on-disk* size, lives under
//!   one lock of rank 80. The size that readers see is an atomic beside it: it runs ahead of the disk
//!   between the publish and the record half of a conversion (I-9).
//! - The engine's per-inode state owns this one: whoever holds an io_end keeps the inode alive (I-39).
//! - An inode is loaded at most once: all users share one state (`table`).

mod attr;
mod hold;
mod orphan;
mod store;
mod table;

use e4_completion::{InodeIo, Overlay, Parity};
use e4_extent::Rooms;
use e4_format::{FileType, Inode as DiskInode, InodeNo, Timestamp};
use e4_sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use e4_sync::{Arc, Mutex, Rank, RwLock};

use crate::cache::FileCache;
use crate::data::charge::InodeCharge;
use crate::data::converter::Conv;
use crate::extent::Status;
use crate::mount::Shared;

pub use attr::SetAttr;
pub(crate) use hold::Hold;
pub(crate) use orphan::{CREDITS_PER_ORPHAN, Orphans, Place};
pub(crate) use store::{CREDITS_PER_STORE, read_inode};
pub(crate) use table::InodeTable;

/// A reference to a loaded inode.
pub(crate) type Inode = Arc<InodeIo<Conv>>;

/// What rank 80 guards.
pub(crate) struct Core {
    /// The inode as the next [`Shared::store_inode`] will write it.
    pub(crate) disk: DiskInode,
    /// The extents of its tree, if cached.
    pub(crate) status: Status,
    /// How often the tree has been edited.
    pub(crate) edits: u64,
    /// Where it is noted as orphan, if it is.
    pub(crate) orphan: Option<Place>,
}

impl Core {
    pub(crate) fn new(disk: DiskInode) -> Self {
        Self {
            disk,
            status: Status::default(),
            edits: 0,
            orphan: None,
        }
    }
}

/// The filesystem's part of a loaded inode.
pub(crate) struct InodeState {
    pub(crate) shared: Arc<Shared>,
    pub(crate) ino: InodeNo,
    /// Seed of the checksums of its extent nodes and directory blocks.
    pub(crate) seed: u32,
    /// Mapped by an extent tree, which an inode is for life. Others are written without the page cache.
    pub(crate) extent_mapped: bool,
    pub(crate) kind: Option<FileType>,
    pub(crate) core: RwLock<Core>,
    /// Size in bytes as readers see it.
    size: AtomicU64,
    /// When data was last written, nanoseconds since the epoch, as long as the disk inode does not say so; 0 if it
    /// does. A write only notes the time here; whoever stores the inode next takes it along.
    written_at: AtomicU64,
    /// Published-but-unrecorded blocks.
    pub(crate) overlay: Overlay,
    /// Published-but-unrecorded end of file, one per publish epoch; 0 if none.
    pub(crate) pending_end: [AtomicU64; 2],
    /// On the filesystem's list of inodes with something to record.
    pub(crate) listed: AtomicBool,
    /// Serialises truncate, fallocate and punch; writers do not take it.
    pub(crate) io: Mutex<()>,
    /// Directory contents.
    pub(crate) namespace: RwLock<()>,
    /// Last transaction that changed the inode, and last one that changed what fdatasync promises.
    sync_tid: AtomicU32,
    datasync_tid: AtomicU32,
    pub(crate) charge: InodeCharge,
    /// Pages of a regular file.
    pub(crate) cache: FileCache,
    /// Users, see [`Hold`].
    holds: AtomicU32,
    /// Its last link is gone.
    doomed: AtomicBool,
    /// It never had a name, and may get one although it has no link.
    pub(crate) linkable: AtomicBool,
    /// Leaves of the extent tree; 0 if not counted since the tree's shape changed.
    pub(crate) leaves: AtomicU32,
    /// How full they are, if they have been looked at since the tree changed.
    pub(crate) rooms: Mutex<Rooms>,
    /// Index nodes, counted with the leaves.
    pub(crate) index: AtomicU32,
}

impl InodeState {
    pub(crate) fn new(shared: Arc<Shared>, ino: InodeNo, disk: DiskInode) -> Self {
        let seed = disk.csum_seed(&shared.sb, ino);
        // Whatever changed the inode before it was loaded is at the latest in the running transaction.
        let running = shared.meta.running_tid().get();
        Self {
            ino,
            seed,
            kind: disk.file_type(),
            extent_mapped: disk.has_extents(),
            size: AtomicU64::new(disk.size),
            core: RwLock::new(Rank::EXTENT_TREE, Core::new(disk)),
            written_at: AtomicU64::new(0),
            overlay: Overlay::new(),
            pending_end: [AtomicU64::new(0), AtomicU64::new(0)],
            listed: AtomicBool::new(false),
            io: Mutex::new(Rank::INODE_IO, ()),
            namespace: RwLock::new(Rank::INODE_NAMESPACE, ()),
            sync_tid: AtomicU32::new(running),
            datasync_tid: AtomicU32::new(running),
            charge: InodeCharge::new(),
            cache: FileCache::new(),
            holds: AtomicU32::new(0),
            doomed: AtomicBool::new(false),
            linkable: AtomicBool::new(false),
            leaves: AtomicU32::new(0),
            rooms: Mutex::new(Rank::LEAF, Rooms::UNKNOWN),
            index: AtomicU32::new(0),
            shared,
        }
    }

    /// Size in bytes as readers see it.
    pub(crate) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    /// Sets the visible size; the caller has shut out everybody else who may change it.
    pub(crate) fn set_size(&self, bytes: u64) {
        self.size.store(bytes, Ordering::Release);
    }

    /// A write ends here: visible at once. On disk with the conversion of its last page, or in the handle that maps it.
    pub(crate) fn grow(&self, end: u64) {
        self.size.fetch_max(end, Ordering::AcqRel);
    }

    /// Publishes an extension: visible at once, on disk with the record of this epoch (I-9).
    pub(crate) fn publish_end(&self, end: u64, parity: Parity) {
        self.pending_end[usize::from(parity == Parity::Odd)].fetch_max(end, Ordering::AcqRel);
        self.size.fetch_max(end, Ordering::AcqRel);
    }

    /// Notes that data was written now: visible at once, on disk with the next store of the inode. Not at the
    /// time of that store: whoever sets the times in between must not see them change again.
    pub(crate) fn note_written(&self) {
        let now = self.shared.now();
        let nanos = now.sec.unsigned_abs().saturating_mul(1_000_000_000);
        let nanos = nanos.saturating_add(u64::from(now.nsec));
        self.written_at.store(nanos.max(1), Ordering::Release);
    }

    /// When data was last written, if the disk inode does not know.
    pub(crate) fn written(&self) -> Option<Timestamp> {
        timestamp(self.written_at.load(Ordering::Acquire))
    }

    /// Puts the time of the last write into the inode about to be stored.
    pub(crate) fn take_written(&self, core: &mut Core) {
        if let Some(time) = timestamp(self.written_at.swap(0, Ordering::AcqRel)) {
            core.disk.mtime = time;
            // Links and names change it too, and do not ask for the time of the last write.
            core.disk.ctime = core.disk.ctime.max(time);
        }
    }

    /// Notes that `tid` carries a change of this inode.
    pub(crate) fn touched(&self, tid: e4_format::Tid, data: bool) {
        self.sync_tid.store(tid.get(), Ordering::Release);
        if data {
            self.datasync_tid.store(tid.get(), Ordering::Release);
        }
    }

    /// The transaction that fsync (or fdatasync) must see committed.
    pub(crate) fn tid_to_sync(&self, data_only: bool) -> e4_format::Tid {
        let which = if data_only {
            &self.datasync_tid
        } else {
            &self.sync_tid
        };
        e4_format::Tid::new(which.load(Ordering::Acquire))
    }

    /// The extent tree's nodes have changed: what was counted of them is void.
    pub(crate) fn forget_tree(&self) {
        self.leaves.store(0, Ordering::Relaxed);
        *self.rooms.lock() = Rooms::UNKNOWN;
    }

    /// True if something was published and not yet recorded.
    pub(crate) fn has_unrecorded(&self) -> bool {
        !self.overlay.is_empty()
            || self
                .pending_end
                .iter()
                .any(|end| end.load(Ordering::Acquire) != 0)
    }
}

fn timestamp(nanos: u64) -> Option<Timestamp> {
    (nanos != 0).then(|| Timestamp {
        sec: (nanos / 1_000_000_000).cast_signed(),
        nsec: (nanos % 1_000_000_000) as u32,
    })
}
