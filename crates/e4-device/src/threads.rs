//! A device whose transfers are done by a pool of threads: the fallback where io_uring is forbidden.
//!
//! Decisions: one job list for all queues (any worker serves any queue); jobs start in submission order,
//! finish in any. Dropping the device lets the workers finish what is queued and joins them, so a
//! request that was submitted is carried out even if nobody polls for it.

use crate::queue::CompletionQueue;
use crate::store::{self, Store};
use crate::{Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};
use e4_sync::{Arc, Condvar, Mutex, Rank, thread};
use std::collections::VecDeque;

pub(crate) struct Threads<S: Store> {
    shared: Arc<Shared<S>>,
    workers: Vec<thread::JoinHandle<()>>,
}

struct Shared<S> {
    store: S,
    queues: Vec<CompletionQueue>,
    jobs: Mutex<Jobs>,
    work: Condvar,
}

struct Jobs {
    list: VecDeque<(usize, Request)>,
    idle: usize,
    stop: bool,
}

impl<S: Store> Threads<S> {
    /// Starts `workers` threads.
    ///
    /// # Errors
    /// The host refuses to start even one thread.
    pub(crate) fn new(store: S, workers: usize) -> std::io::Result<Self> {
        let queues = (0..store.info().queues)
            .map(|_| CompletionQueue::new())
            .collect();
        let jobs = Jobs {
            list: VecDeque::new(),
            idle: 0,
            stop: false,
        };
        let shared = Arc::new(Shared {
            store,
            queues,
            jobs: Mutex::new(Rank::DEVICE_RING, jobs),
            work: Condvar::new(),
        });
        let mut device = Self {
            shared: Arc::clone(&shared),
            workers: Vec::new(),
        };
        for n in 0..workers.max(1) {
            let shared = Arc::clone(&shared);
            let builder = thread::Builder::new().name(format!("e4-disk-{n}"));
            match builder.spawn(move || shared.serve()) {
                Ok(handle) => device.workers.push(handle),
                // Fewer threads are slower, not wrong; none would hang.
                Err(error) if n == 0 => return Err(error),
                Err(error) => {
                    tracing::warn!(%error, workers = n, "fewer disk threads than wanted");
                    break;
                }
            }
        }
        Ok(device)
    }

    /// How many workers suit this machine.
    pub(crate) fn default_workers() -> usize {
        (store::queue_count() * 4).clamp(4, 16)
    }
}

impl<S: Store> Shared<S> {
    fn serve(&self) {
        let mut jobs = self.jobs.lock();
        loop {
            if let Some((queue, request)) = jobs.list.pop_front() {
                drop(jobs);
                let completion = store::execute(&self.store, request);
                self.queues[queue].finish(completion);
                jobs = self.jobs.lock();
            } else if jobs.stop {
                return;
            } else {
                jobs.idle += 1;
                self.work.wait(&mut jobs);
                jobs.idle -= 1;
            }
        }
    }
}

impl<S: Store> Drop for Threads<S> {
    fn drop(&mut self) {
        self.shared.jobs.lock().stop = true;
        self.shared.work.notify_all();
        for worker in self.workers.drain(..) {
            // A worker that panicked has said so already; its requests are lost either way.
            let _ = worker.join();
        }
    }
}

impl<S: Store> Device for Threads<S> {
    fn info(&self) -> &DeviceInfo {
        self.shared.store.info()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.shared.store.checked_read(at, buf)
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        self.shared.store.checked_write(at, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.shared.store.checked_flush()
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.shared.store.checked_discard(at, len)
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        let done = &self.shared.queues[queue.0];
        let mut admitted = Vec::with_capacity(requests.len());
        done.begin(requests.len());
        for request in requests.drain(..) {
            match self.shared.store.info().check(&request.op) {
                Ok(()) => admitted.push((queue.0, request)),
                Err(error) => done.finish(request.finish(Err(error))),
            }
        }
        let count = admitted.len();
        let idle = {
            let mut jobs = self.shared.jobs.lock();
            jobs.list.extend(admitted);
            jobs.idle
        };
        for _ in 0..count.min(idle) {
            self.shared.work.notify_one();
        }
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.shared.queues[queue.0].poll(out, wait)
    }
}
