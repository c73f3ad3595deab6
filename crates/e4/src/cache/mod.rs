//! The page cache: buffered reads and writes, delayed allocation, writeback, read-ahead.
//!
//! ```text
//!   pages.rs      one inode's pages, a plain value      file_cache.rs  the same behind its locks
//!   read.rs       buffered reads, read-ahead            write.rs       buffered writes, append
//!   reserve.rs    space for pages without blocks        writeback.rs   snapshot, submit, wait, settle
//!   coherence.rs  with direct I/O, truncate, punch      flusher.rs     age and pressure
//!   budget.rs     bytes of all inodes: the bound, the clock, the queue of dirty inodes
//! ```
//!
//! A page is one file block in memory, always whole: what is cached is readable. Decisions:
//! - *Writeback writes a copy.* A page may be changed while its copy is on the way; it is then dirty again. So nobody
//!   waits for a page, and device requests are long and contiguous whatever the pages are.
//! - *Writeback ends when its io_end is acknowledged*, which is after the conversion is published (I-25). Until then
//!   the page cannot be reclaimed, so nobody can read zeros from the device instead. fsync is "write back, wait, then
//!   what it does anyway".
//! - *Blocks are allocated at writeback*, in one run where possible. Dirtying a page over a hole reserves its block (and
//!   nodes for the extent tree) from the allocator, so lack of space is reported by the write.
//! - *The size readers see moves with the write; the size on disk with the conversion* of the page that holds its end.
//! - A page whose writeback failed stays dirty: it is neither dropped nor shown as durable. The error reaches every
//!   open file once; the next fsync tries again and tells the truth again.
//!
//! Locks: the page map (rank 118) is innermost; nothing is waited for under it, so completions may take it. An inode's
//! writeback turn (rank 60) is held from the choice of pages to their end, and by whoever unmaps blocks. Buffered
//! writers of an inode take turns by its I/O lock (rank 40), as truncate and fallocate do.
//!
//! Invariants:
//! - Bytes of a page behind the end of file are zeros.
//! - A page holds a reservation only if it is dirty; a reservation ends with the allocation or with the page.
//! - An inode with dirty pages is in the queue of dirty inodes or in the hands of a writeback, which keep it loaded.
//! - While the size readers see is ahead of the disk's, a dirty page or an io_end in flight carries it there. Who discards
//!   that page stores the size.
//! - A page that a direct write overlapped is not clean and cached afterwards, unless it was read after it.

mod budget;
mod coherence;
mod file_cache;
mod flusher;
mod pages;
mod read;
mod reserve;
mod write;
mod writeback;

pub(crate) use budget::Cache;
pub(crate) use coherence::Quiet;
pub(crate) use file_cache::FileCache;
pub(crate) use flusher::run_flusher;
pub(crate) use read::ReadAhead;
