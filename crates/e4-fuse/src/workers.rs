//! Threads for requests that must wait: for a commit, for I/O of others, for the kernel itself.
//!
//! Decision: a fixed number, started when first needed, with one queue. Requests that wait for a commit join the
//! same one, so a handful of threads is enough; and the threads that read requests stay free.

use std::collections::VecDeque;

use e4_sync::{Arc, Condvar, Mutex, Rank, thread};

type Job = Box<dyn FnOnce() + Send>;

struct State {
    queue: VecDeque<Job>,
    idle: usize,
    threads: Vec<thread::JoinHandle<()>>,
    closed: bool,
}

struct Inner {
    state: Mutex<State>,
    work: Condvar,
    most: usize,
}

pub(crate) struct Workers {
    inner: Arc<Inner>,
}

impl Workers {
    /// At most `most` threads.
    pub(crate) fn new(most: usize) -> Self {
        let state = State {
            queue: VecDeque::new(),
            idle: 0,
            threads: Vec::new(),
            closed: false,
        };
        Self {
            inner: Arc::new(Inner {
                state: Mutex::new(Rank::LEAF, state),
                work: Condvar::new(),
                most: most.max(1),
            }),
        }
    }

    /// Runs `job` on one of the threads. After [`Workers::finish`], here.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut state = self.inner.state.lock();
        if state.closed {
            drop(state);
            job();
            return;
        }
        state.queue.push_back(Box::new(job));
        if state.idle < state.queue.len() && state.threads.len() < self.inner.most {
            let inner = Arc::clone(&self.inner);
            state.threads.push(thread::spawn(move || inner.work()));
        }
        drop(state);
        self.inner.work.notify_one();
    }

    /// Waits until everything given to it has been done.
    pub(crate) fn finish(&self) {
        let threads = {
            let mut state = self.inner.state.lock();
            state.closed = true;
            std::mem::take(&mut state.threads)
        };
        self.inner.work.notify_all();
        for thread in threads {
            // A panic there was reported by the panic hook.
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.queue.pop_front() {
                drop(state);
                job();
                state = self.state.lock();
            } else if state.closed {
                return;
            } else {
                state.idle += 1;
                self.work.wait(&mut state);
                state.idle -= 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use e4_sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn everything_given_is_done() {
        let workers = Workers::new(3);
        let done = Arc::new(AtomicUsize::new(0));
        for _ in 0..1000 {
            let done = Arc::clone(&done);
            workers.run(move || {
                done.fetch_add(1, Ordering::Relaxed);
            });
        }
        workers.finish();
        assert_eq!(done.load(Ordering::Relaxed), 1000);
        let last = Arc::clone(&done);
        workers.run(move || {
            last.fetch_add(1, Ordering::Relaxed);
        });
        assert_eq!(done.load(Ordering::Relaxed), 1001);
    }
}
