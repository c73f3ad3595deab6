//! A mounted filesystem: what all its inodes share, and its life from open to unmount.
//!
//! ```text
//!   open: superblock -> features -> journal -> recover -> needs_recovery set -> metadata store,
//!         allocator -> orphans finished                                             (open.rs)
//!   unmount: no new operations -> I/O drained -> shutdown of the store -> superblock clean (close.rs)
//! ```
//!
//! Invariants:
//! - While mounted for writing with a journal, the superblock on the device says `needs_recovery`; without one,
//!   it does not say clean.
//! - Dropping the last handle without `unmount` writes nothing more: a power cut for what was not synced.

mod close;
mod damage;
mod journal_map;
mod live;
mod open;
mod stats;

use std::time::Duration;

use e4_completion::{Engine, PublishEpoch};
use e4_device::Device;
use e4_format::Timestamp;
use e4_journal::MetaStore;
use e4_journal::recovery::RecoveryReport;
use e4_sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use e4_sync::{Arc, Mutex, thread};

use crate::alloc::Allocator;
use crate::cache::Cache;
use crate::data::charge::ChargePool;
use crate::data::converter::Conv;
use crate::data::inflight::InFlight;
use crate::data::pump::Pump;
use crate::error::{Error, Result};
use crate::file::Stat;
use crate::inode::{Inode, InodeTable, Orphans};
use crate::xattr::XattrBlocks;

pub(crate) use damage::Damage;
pub use damage::ErrorPolicy;
pub(crate) use live::LiveSuperblock;
pub(crate) use open::mount;
pub(crate) use stats::Counters;
pub use stats::{StatFs, Stats};

/// How to mount.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// Refuse changes. The journal is still recovered first if the device can be written, as ext4 does.
    pub read_only: bool,
    /// How long an acknowledged change may stay uncommitted; `None`: until somebody syncs.
    pub commit_interval: Option<Duration>,
    /// Run background threads (commit timer, fallback reaper). Without them everything happens in the
    /// callers' threads, deterministically.
    pub background: bool,
    /// Run a thread that completes operations nobody waits for ([`crate::File::write_then`]) as soon as their
    /// I/O is over; for servers. Without it, the fallback reaper gets to them within milliseconds.
    pub attendant: bool,
    /// Tell the device which blocks were freed (an image file gets holes there), once the transaction that freed
    /// them has committed.
    pub discard: bool,
    /// What to do when damage is found; `None`: what the superblock says (`tune2fs -e`).
    pub errors: Option<ErrorPolicy>,
    /// Memory for clean metadata blocks, bytes.
    pub metadata_cache: usize,
    /// Memory for cached pages of files, clean and dirty, bytes. At least 64 KiB.
    pub cache_bytes: usize,
    /// How long buffered writes may stay in memory only, unless somebody syncs.
    pub dirty_expire: Duration,
    /// Wall-clock time since the epoch, for time stamps.
    pub clock: fn() -> Duration,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self {
            read_only: false,
            commit_interval: Some(Duration::from_secs(5)),
            background: true,
            attendant: false,
            discard: false,
            errors: None,
            metadata_cache: 64 << 20,
            cache_bytes: 128 << 20,
            dirty_expire: Duration::from_secs(5),
            clock: wall_clock,
        }
    }
}

fn wall_clock() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// What all inodes of a filesystem share.
pub(crate) struct Shared {
    pub(crate) image: Arc<str>,
    pub(crate) device: Arc<dyn Device>,
    /// Geometry as it is, features as they were at mount. Counts and state: the cache's copy.
    pub(crate) sb: Arc<LiveSuperblock>,
    /// One growth at a time.
    pub(crate) grow_turn: Mutex<()>,
    pub(crate) meta: Arc<MetaStore>,
    pub(crate) alloc: Allocator,
    pub(crate) engine: Engine<Conv>,
    pub(crate) pump: Pump<InFlight>,
    pub(crate) inodes: InodeTable,
    /// Inodes with something published and not recorded; keeps them loaded.
    pub(crate) unrecorded: Mutex<Vec<Inode>>,
    pub(crate) epoch: PublishEpoch,
    pub(crate) charges: ChargePool,
    pub(crate) cache: Cache,
    pub(crate) orphans: Mutex<Orphans>,
    /// One rename across directories at a time.
    pub(crate) rename_turn: Mutex<()>,
    pub(crate) xattr_blocks: Mutex<XattrBlocks>,
    /// Length of the orphan list on disk.
    pub(crate) orphans_listed: AtomicUsize,
    /// Deleted inodes whose last user went while I/O was in flight.
    pub(crate) dead: Mutex<Vec<Inode>>,
    pub(crate) stats: Counters,
    /// Free blocks and inodes as the superblock has them, once a commit has stored them.
    pub(crate) counts_stored: Mutex<Option<(u64, u32)>>,
    /// Why it cannot be written, if so.
    read_only: Option<String>,
    pub(crate) damage: Arc<Damage>,
    closed: AtomicBool,
    generation: AtomicU32,
    clock: fn() -> Duration,
}

impl Shared {
    /// Now, for time stamps.
    pub(crate) fn now(&self) -> Timestamp {
        let now = (self.clock)();
        Timestamp {
            sec: now.as_secs().cast_signed(),
            nsec: now.subsec_nanos(),
        }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            Err(Error::Closed)
        } else {
            Ok(())
        }
    }

    pub(crate) fn check_writable(&self) -> Result<()> {
        self.check_open()?;
        if let Some(why) = &self.read_only {
            return Err(Error::ReadOnly {
                image: Arc::clone(&self.image),
                why: why.clone(),
            });
        }
        self.check_undamaged()?;
        self.meta.check()?;
        Ok(())
    }

    /// Nothing may be changed: mounted so, or the journal has failed.
    pub(crate) fn is_read_only(&self) -> bool {
        self.read_only.is_some() || self.is_stopped() || self.meta.check().is_err()
    }

    /// What an operation gets that the engine refused: the journal's failure.
    pub(crate) fn aborted_error(&self) -> Error {
        match self.meta.check() {
            Err(cause) => cause.into(),
            Ok(()) => Error::Closed,
        }
    }

    /// A generation number for a new inode.
    pub(crate) fn new_generation(&self) -> u32 {
        // Weyl sequence: distinct for 2^32 inodes, started from the clock.
        self.generation.fetch_add(0x9E37_79B9, Ordering::Relaxed)
    }

    /// Something was acknowledged that only a commit makes durable (rule 1).
    pub(crate) fn arm_commit_timer(&self) {
        self.meta.arm_timer();
    }

    pub(crate) fn stat_inode(&self, inode: &Inode) -> Stat {
        let state = inode.data();
        let core = state.core.read();
        let disk = &core.disk;
        let written = state.written();
        Stat {
            ino: state.ino,
            file_type: state.kind,
            mode: disk.mode & 0o7777,
            links: u32::from(disk.links_count),
            uid: disk.uid,
            gid: disk.gid,
            size: state.size(),
            sectors: disk.sectors + self.delayed_sectors(state),
            block_size: self.sb.block_size().bytes(),
            atime: disk.atime,
            mtime: written.unwrap_or(disk.mtime),
            ctime: written.map_or(disk.ctime, |w| w.max(disk.ctime)),
            crtime: disk.crtime,
            flags: disk.flags.bits(),
            generation: disk.generation,
            rdev: disk.rdev().unwrap_or(0),
        }
    }
}

/// Ends the filesystem when the last user handle goes: threads are stopped, nothing is written.
pub(crate) struct Mounted {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recovery: Option<RecoveryReport>,
    pub(crate) orphans_finished: AtomicUsize,
    reapers: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Release);
        self.stop_reapers();
        // They hold the filesystem that holds them.
        self.shared.unrecorded.lock().clear();
        self.shared.cache.clear();
        self.shared.dead.lock().clear();
    }
}

impl Mounted {
    pub(crate) fn stop_reapers(&self) {
        self.shared.cache.bell.stop();
        self.shared.pump.shutdown();
        let threads = std::mem::take(&mut *self.reapers.lock());
        for thread in threads {
            // A panic there was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}
