//! Flags of the protocol that a server chooses or is told.

#![allow(missing_docs, reason = "the interface's names")]

bitflags::bitflags! {
    /// What a connection may be asked to do, by the names of the interface.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Capabilities: u64 {
        const ASYNC_READ = 1;
        const ATOMIC_O_TRUNC = 1 << 3;
        const EXPORT_SUPPORT = 1 << 4;
        const BIG_WRITES = 1 << 5;
        const DONT_MASK = 1 << 6;
        const HAS_IOCTL_DIR = 1 << 11;
        const AUTO_INVAL_DATA = 1 << 12;
        const DO_READDIRPLUS = 1 << 13;
        const READDIRPLUS_AUTO = 1 << 14;
        const ASYNC_DIO = 1 << 15;
        const WRITEBACK_CACHE = 1 << 16;
        const NO_OPEN_SUPPORT = 1 << 17;
        const PARALLEL_DIROPS = 1 << 18;
        const POSIX_ACL = 1 << 20;
        const ABORT_ERROR = 1 << 21;
        const MAX_PAGES = 1 << 22;
        const CACHE_SYMLINKS = 1 << 23;
        const NO_OPENDIR_SUPPORT = 1 << 24;
        const HANDLE_KILLPRIV_V2 = 1 << 28;
        const SETXATTR_EXT = 1 << 29;
        const INIT_EXT = 1 << 30;
        const DIRECT_IO_ALLOW_MMAP = 1 << 36;
    }

    /// How the kernel treats an open file or directory.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct OpenReply: u32 {
        /// Past the page cache.
        const DIRECT_IO = 1;
        /// What is cached of it stays good.
        const KEEP_CACHE = 1 << 1;
        /// Listings are cached.
        const CACHE_DIR = 1 << 3;
        /// No FLUSH at close.
        const NOFLUSH = 1 << 5;
        /// Direct writes need not exclude each other. Only with `DIRECT_IO`.
        const PARALLEL_DIRECT_WRITES = 1 << 6;
    }
}
