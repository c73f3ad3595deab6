//! What is asked of the kernel when the connection begins.

use e4_fuse_transport::{Capabilities, Wishes};

use crate::options::Options;

/// Largest request that reads or writes, bytes; the kernel's own limit is usually the same.
pub(crate) const MAX_TRANSFER: u32 = 1 << 20;
/// Background requests (read-ahead, asynchronous direct I/O, writeback) in flight.
const MAX_BACKGROUND: u16 = 512;

/// `ATOMIC_O_TRUNC` is not among it: the kernel would let an open cut a program that runs before it finds out.
pub(super) fn wishes(options: &Options) -> Wishes {
    let mut capabilities = Capabilities::ASYNC_READ
        | Capabilities::BIG_WRITES
        // Handles of NFS and open_by_handle_at survive the eviction of an inode.
        | Capabilities::EXPORT_SUPPORT
        // The umask is applied here: not at all under a default ACL.
        | Capabilities::DONT_MASK
        | Capabilities::DO_READDIRPLUS
        | Capabilities::READDIRPLUS_AUTO
        // Pieces of one asynchronous direct request arrive together.
        | Capabilities::ASYNC_DIO
        | Capabilities::PARALLEL_DIROPS
        | Capabilities::POSIX_ACL
        | Capabilities::CACHE_SYMLINKS
        // Listings need no open directory here.
        | Capabilities::NO_OPENDIR_SUPPORT
        | Capabilities::HAS_IOCTL_DIR
        | Capabilities::DIRECT_IO_ALLOW_MMAP
        // Set-user-id and the like go with writes, done here; otherwise the kernel asks for
        // `security.capability` before every buffered write.
        | Capabilities::HANDLE_KILLPRIV_V2
        | Capabilities::SETXATTR_EXT;
    if options.writeback && !options.read_only {
        capabilities |= Capabilities::WRITEBACK_CACHE;
    }
    Wishes {
        capabilities,
        max_write: MAX_TRANSFER,
        max_readahead: MAX_TRANSFER,
        max_background: MAX_BACKGROUND,
    }
}
