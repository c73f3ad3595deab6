//! What is asked of the kernel when the connection begins.
//!
//! Decision: one list, and nothing beside it. fuser 0.18 accepts capabilities it cannot honour (among them
//! `ALLOW_IDMAP`, `HANDLE_KILLPRIV_V2`, `SECURITY_CTX`, `HAS_RESEND`, `OVER_IO_URING`), and negotiating
//! `SETXATTR_EXT` makes the first setxattr panic: they must never appear here.

use fuser::{InitFlags, KernelConfig};

use crate::options::Options;

/// Asked for where the kernel offers it.
const WANTED: [InitFlags; 11] = [
    // Handles of NFS and open_by_handle_at survive the eviction of an inode.
    InitFlags::FUSE_EXPORT_SUPPORT,
    // The umask is applied here: not at all under a default ACL.
    InitFlags::FUSE_DONT_MASK,
    InitFlags::FUSE_DO_READDIRPLUS,
    InitFlags::FUSE_READDIRPLUS_AUTO,
    // Pieces of one asynchronous direct request arrive together.
    InitFlags::FUSE_ASYNC_DIO,
    InitFlags::FUSE_PARALLEL_DIROPS,
    InitFlags::FUSE_POSIX_ACL,
    InitFlags::FUSE_CACHE_SYMLINKS,
    InitFlags::FUSE_HAS_IOCTL_DIR,
    InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
    InitFlags::FUSE_MAX_PAGES,
];

/// Largest write request, bytes; the kernel's own limit is usually the same.
const MAX_WRITE: u32 = 1 << 20;
/// Background requests (read-ahead, asynchronous direct I/O, writeback) in flight.
const MAX_BACKGROUND: u16 = 512;

pub(super) fn negotiate(config: &mut KernelConfig, options: &Options) {
    let mut ask = |flag: InitFlags| {
        if let Err(missing) = config.add_capabilities(flag) {
            tracing::debug!(?missing, "the kernel does not offer");
        }
    };
    WANTED.into_iter().for_each(&mut ask);
    if options.writeback && !options.read_only {
        ask(InitFlags::FUSE_WRITEBACK_CACHE);
    }
    // The nearest value is as good where a value is refused.
    let _ = config.set_max_write(MAX_WRITE);
    if let Err(most) = config.set_max_readahead(MAX_WRITE) {
        let _ = config.set_max_readahead(most);
    }
    let _ = config.set_max_background(MAX_BACKGROUND);
    let _ = config.set_congestion_threshold(MAX_BACKGROUND / 4 * 3);
}
