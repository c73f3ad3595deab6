//! A device whose transfers happen inside `submit`, in the submitter's thread.
//!
//! For stores that never wait: memory, and files that live in RAM. There a queue only adds a thread
//! switch to a memory copy. Completions are still polled, so callers see no difference.

use crate::queue::CompletionQueue;
use crate::store::{self, Store};
use crate::{Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};

/// Requests handed to pollers together: few enough that a poller on another core does not wait long, enough to
/// share the lock.
const GROUP: usize = 32;

pub(crate) struct Inline<S> {
    store: S,
    queues: Vec<CompletionQueue>,
}

impl<S: Store> Inline<S> {
    pub(crate) fn new(store: S) -> Self {
        let queues = (0..store.info().queues)
            .map(|_| CompletionQueue::new())
            .collect();
        Self { store, queues }
    }

    pub(crate) fn store(&self) -> &S {
        &self.store
    }
}

impl<S: Store> Device for Inline<S> {
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
        let queue = &self.queues[queue.0];
        queue.begin(requests.len());
        let mut left = requests.len();
        let mut finished = Vec::with_capacity(left.min(GROUP));
        for request in requests.drain(..) {
            finished.push(match self.store.info().check(&request.op) {
                Ok(()) => store::execute(&self.store, request),
                Err(error) => request.finish(Err(error)),
            });
            left -= 1;
            if left == 0 || finished.len() == GROUP {
                queue.finish_all(&mut finished);
            }
        }
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.queues[queue.0].poll(out, wait)
    }
}
