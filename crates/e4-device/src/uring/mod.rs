//! A file or block device driven through io_uring, one ring per queue.
//!
//! Decisions:
//! - Any thread may submit to and poll any queue, so neither SINGLE_ISSUER nor DEFER_TASKRUN is used: a
//!   ring owned by one sleeping thread would hang truncate.
//! - The file is registered with every ring. Buffers are not, nor is COOP_TASKRUN used: measured (4 KiB
//!   direct writes to a disk, queue depth 32), both change nothing beyond the noise, registration would tie
//!   buffers to rings, and COOP_TASKRUN would let a submitter that computes delay another thread's wait.
//! - Synchronous calls bypass the rings.

mod flights;
mod queue;

pub(crate) use queue::Ring;

use crate::file::FileStore;
use crate::store::Store;
use crate::{Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};
use queue::Queue;

pub(crate) struct Uring {
    // Before the store: dropping a queue waits for its requests, which need the open file.
    queues: Vec<Queue>,
    store: FileStore,
}

impl Uring {
    /// A device with one queue per ring; the rings have `store`'s file registered.
    pub(crate) fn new(store: FileStore, rings: Vec<Ring>) -> Self {
        let queues = rings.into_iter().map(Queue::new).collect();
        Self { queues, store }
    }
}

impl Drop for Uring {
    fn drop(&mut self) {
        for queue in &mut self.queues {
            queue.quiesce(&self.store);
        }
    }
}

impl Device for Uring {
    fn info(&self) -> &DeviceInfo {
        self.store.info()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.store.checked_read(at, buf)
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.store.checked_write(at, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.store.checked_flush()
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.store.checked_discard(at, len)
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        self.queues[queue.0].submit(&self.store, requests);
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.queues[queue.0].poll(&self.store, out, wait)
    }
}
