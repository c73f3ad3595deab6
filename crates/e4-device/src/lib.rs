//! Block devices as values in, values out: requests are submitted, completions are polled.
//!
//! Assumptions about the medium (everything above relies on them, the simulated disk enforces them):
//! - A write that has *completed* may still sit in a volatile cache; after a power cut any subset of
//!   the completed-but-unflushed writes may survive, in any order, torn at sector (512 byte) size.
//! - `flush` returning `Ok` means every write completed before it was called is durable.
//! - A failed flush says nothing about what is durable, and repeating it proves nothing (the host
//!   reports a write-back error once and forgets it): callers latch it and never retry.
//! - Reads see completed writes, flushed or not.
//!
//! Decisions: buffers are owned and move with the request, so a waiter that goes away can never leave
//! the kernel writing into freed memory. Completions are plain values; the device calls nobody back.
//! Synchronous calls exist beside the queues for metadata and the journal.

//!
//! Map of the crate: [`AlignedBuf`] over `pool` (memory); `store` (what a backend must be able to do
//! synchronously) and `queue` (finished requests waiting to be polled), from which `inline` and
//! `threads` make whole devices; `memory` and `file` are the two stores, `scratch` lies over a device and forgets; `uring` drives the file's
//! descriptor through the kernel's rings; `open` chooses among them and says why.

mod buf;
mod error;
mod inline;
mod memory;
mod pool;
mod queue;
mod scratch;
mod store;
mod threads;

#[cfg(target_os = "linux")]
mod file;
#[cfg(target_os = "linux")]
mod fuse;
#[cfg(target_os = "linux")]
mod open;
#[cfg(target_os = "linux")]
mod uring;

pub use buf::{AlignedBuf, IoSlice};
pub use error::DeviceError;
#[cfg(target_os = "linux")]
pub use fuse::join_fuse_connection;
pub use memory::MemoryDevice;
#[cfg(target_os = "linux")]
pub use open::{BackendChoice, DirectChoice, OpenOptions, create, open};
pub use queue::CompletionQueue;
pub use scratch::ScratchDevice;

use core::time::Duration;

/// Names a submission/completion queue of a device; every index below [`DeviceInfo::queues`] exists.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct QueueId(pub usize);

impl QueueId {
    /// The queue this thread should use so that threads spread over the queues of a device.
    #[must_use]
    pub fn for_this_thread(info: &DeviceInfo) -> Self {
        Self(pool::thread_index() % info.queues.max(1))
    }
}

/// Chosen by the submitter, returned with the completion, opaque to the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct Token(pub u64);

/// What a request does. Offsets and lengths are in bytes and must be multiples of
/// [`DeviceInfo::alignment`].
#[derive(Debug)]
pub enum Op {
    /// Fill the whole buffer from the device.
    Read {
        /// Device byte offset.
        at: u64,
        /// Filled on success; contents unspecified on error. Returned in the completion.
        buf: AlignedBuf,
    },
    /// Write the slice. Not durable until a later flush.
    Write {
        /// Device byte offset.
        at: u64,
        /// Returned in the completion.
        data: IoSlice,
    },
    /// Make everything completed so far durable.
    Flush,
}

/// One unit of asynchronous work.
#[derive(Debug)]
pub struct Request {
    /// Returned in the completion.
    pub token: Token,
    /// What to do.
    pub op: Op,
}

/// The buffer of a finished request, handed back.
#[derive(Debug)]
pub enum Returned {
    /// From a read.
    Read(AlignedBuf),
    /// From a write.
    Write(IoSlice),
    /// From a flush.
    None,
}

/// The outcome of one request. Short transfers never surface: the backend continues them or fails.
#[derive(Debug)]
pub struct Completion {
    /// The request's token.
    pub token: Token,
    /// Whole success or an error. Boxed: completions are moved often and fail rarely.
    pub result: Result<(), Box<DeviceError>>,
    /// The request's buffer.
    pub returned: Returned,
}

/// How long a poll may wait for the first completion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Return at once.
    No,
    /// Wait until at least one completion arrives, or return if nothing is in flight on the queue
    /// (any more: another poller may have taken the last completion).
    One,
    /// As `One`, but at most this long.
    For(Duration),
}

/// Which backend carries the I/O.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Host memory.
    Memory,
    /// A file whose transfers happen inside `submit`: for files in RAM, where there is nothing to wait for.
    Inline,
    /// A thread pool issuing positioned reads and writes.
    Threads,
    /// Linux io_uring.
    IoUring,
    /// The laboratory's simulated disk.
    Simulated,
}

/// What a device is.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    /// Size in bytes.
    pub size: u64,
    /// Offsets, lengths and buffer starts of queued requests must be multiples of this: 512 or 4096 for
    /// direct I/O, 1 otherwise.
    pub alignment: u32,
    /// True if the host's page cache is bypassed.
    pub direct: bool,
    /// True if writes are refused.
    pub read_only: bool,
    /// Number of queues; at least 1.
    pub queues: usize,
    /// Which backend.
    pub backend: Backend,
    /// Why this backend and mode were chosen, for people (`e4 -v`).
    pub reason: String,
    /// What names the device in messages (a path).
    pub name: String,
}

/// A block device. All methods may be called from any thread.
pub trait Device: Send + Sync + 'static {
    /// What this device is; never changes.
    fn info(&self) -> &DeviceInfo;

    /// Reads exactly `buf.len()` bytes. Any offset, length and buffer: the backend bounces if it must.
    ///
    /// # Errors
    /// Past the end, or the host's error.
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError>;

    /// Writes all of `data`; completed, not durable, on return. Any offset and length that is a
    /// multiple of 512 (superblock writes are 1024 bytes at 1024).
    ///
    /// # Errors
    /// Past the end, read-only, or the host's error.
    ///
    /// On a direct device a range that is not a multiple of its alignment is read, changed and written
    /// back; such calls exclude each other, but not a queued write into the same aligned unit.
    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError>;

    /// Makes every completed write durable.
    ///
    /// # Errors
    /// The host's error; the caller must latch it, see the module documentation. File devices
    /// latch it as well: after a failure every later flush fails with the same error.
    fn flush(&self) -> Result<(), DeviceError>;

    /// Tells the device that a byte range is no longer needed. A hint: success may mean nothing happened.
    ///
    /// # Errors
    /// Only for a bad range.
    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError>;

    /// Starts every request in `requests` and empties it. Blocks only while the queue is full.
    /// A request that cannot be started is completed with an error through [`Device::poll`]:
    /// a caller hears about each request exactly once and in one place.
    ///
    /// # Panics
    /// If the queue does not exist, or a shared slice lies outside its buffer.
    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>);

    /// Moves finished requests into `out` and returns how many. Several threads may poll one queue;
    /// each completion is handed to exactly one of them.
    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize;
}

impl<D: Device + ?Sized> Device for e4_sync::Arc<D> {
    fn info(&self) -> &DeviceInfo {
        (**self).info()
    }
    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        (**self).read_at(at, buf)
    }
    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        (**self).write_at(at, data)
    }
    fn flush(&self) -> Result<(), DeviceError> {
        (**self).flush()
    }
    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        (**self).discard(at, len)
    }
    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        (**self).submit(queue, requests);
    }
    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        (**self).poll(queue, out, wait)
    }
}
