//! A bound on everything the engine holds, in one place, with the reason for each.

/// The engine's bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Operations of one inode admitted and not yet over (reads, overwrites and writes). Bounds
    /// the inode's slab, and with it the length of a scan by a drain or a dump.
    pub per_inode: u32,
    /// Writes of all inodes admitted and not yet acknowledged. Bounds the memory held by buffers
    /// in flight and the latency of a drain of everything.
    pub writes: u32,
    /// Items one drainer takes before it lets another inode go first (I-21).
    pub drain_batch: usize,
}

impl Limits {
    /// 1024 operations per inode (a deep ring or two), 65,536 writes, 256 items per turn.
    pub const DEFAULT: Limits = Limits {
        per_inode: 1024,
        writes: 65_536,
        drain_batch: 256,
    };
}

const _: () = assert!(Limits::DEFAULT.drain_batch as u32 <= Limits::DEFAULT.per_inode);
const _: () = assert!(Limits::DEFAULT.per_inode <= Limits::DEFAULT.writes);

impl Default for Limits {
    fn default() -> Self {
        Limits::DEFAULT
    }
}
