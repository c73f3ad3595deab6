//! Counters for people, benchmarks and tests.

use e4_sync::atomic::{AtomicU64, Ordering};

use super::Shared;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// The live counters: plain atomics, never read on the hot path.
        #[derive(Default)]
        pub(crate) struct Counters {
            $(pub(crate) $name: AtomicU64,)*
        }

        /// A snapshot of what the filesystem has done since it was mounted.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Stats {
            $($(#[$doc])* pub $name: u64,)*
            /// Runs published and not yet recorded, now.
            pub unrecorded_runs: u64,
            /// Memory of the overlays, bytes, now.
            pub overlay_bytes: u64,
            /// Journal credits charged for recordings to come, now.
            pub charged_credits: u64,
            /// Free blocks promised to them, now.
            pub promised_blocks: u64,
            /// Device requests in flight, now.
            pub in_flight: u64,
            /// Bytes of files' pages in memory, now.
            pub cached_bytes: u64,
            /// Of those, dirty or being written back.
            pub dirty_bytes: u64,
        }

        impl Shared {
            pub(crate) fn snapshot(&self) -> Stats {
                let mut stats = Stats {
                    $($name: self.stats.$name.load(Ordering::Relaxed),)*
                    charged_credits: self.charges.used(),
                    promised_blocks: self.alloc.promised_blocks(),
                    in_flight: self.pump.in_flight() as u64,
                    cached_bytes: self.cache.bytes() as u64,
                    dirty_bytes: self.cache.dirty_bytes() as u64,
                    ..Stats::default()
                };
                for inode in self.unrecorded.lock().iter() {
                    stats.unrecorded_runs += inode.data().overlay.runs();
                    stats.overlay_bytes += inode.data().overlay.memory_bytes() as u64;
                }
                stats
            }
        }
    };
}

counters! {
    /// Unwritten ranges published as written.
    conversions,
    /// Blocks in them.
    blocks_published,
    /// Merged runs recorded in extent trees.
    recorded_ranges,
    /// Rounds of recording (one per commit that had something to record).
    records,
    /// Extent trees rebuilt by them.
    tree_rebuilds,
    /// Transactions committed.
    commits,
    /// Writes that owed a conversion or a size.
    io_ends,
    /// Writes that owed nothing.
    overwrites,
    /// Extents written full of zeros for want of space.
    zeroed_out,
    /// Pages written back.
    pages_written,
    /// Pages read from the device.
    pages_read,
}

/// Sizes and free space, as statfs(2) gives them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatFs {
    /// Bytes per block.
    pub block_size: u32,
    /// Blocks of the filesystem.
    pub blocks: u64,
    /// Free blocks; promised metadata is not free.
    pub free_blocks: u64,
    /// Free blocks but those reserved for root.
    pub available_blocks: u64,
    /// Inodes.
    pub inodes: u32,
    /// Free inodes.
    pub free_inodes: u32,
}

impl Shared {
    pub(crate) fn statfs(&self) -> StatFs {
        let free = self.alloc.free_blocks();
        StatFs {
            block_size: self.sb.block_size().bytes(),
            blocks: self.sb.blocks_count(),
            free_blocks: free,
            available_blocks: free.saturating_sub(self.sb.reserved_blocks_count()),
            inodes: self.sb.inodes_count(),
            free_inodes: self.alloc.free_inodes(),
        }
    }
}
