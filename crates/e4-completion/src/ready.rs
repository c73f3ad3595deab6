//! The list of inodes with completed io_ends that no drainer holds: what a worker looks at.
//!
//! An inode is on the list, or in the hands of the worker that took it, exactly while its machine
//! says `scheduled`; the machine decides that in the critical section of the enqueue or of the
//! leaving drainer (I-11). A drainer that leaves something behind puts the inode at the back, so
//! inodes take turns (I-21).

use crate::converter::Converter;
use crate::inode::InodeIo;
use e4_sync::{Arc, Condvar, Mutex, Rank};
use std::collections::VecDeque;

struct List<C: Converter> {
    inodes: VecDeque<Arc<InodeIo<C>>>,
    stopped: bool,
}

pub(crate) struct Ready<C: Converter> {
    list: Mutex<List<C>>,
    changed: Condvar,
}

impl<C: Converter> Ready<C> {
    pub(crate) fn new() -> Self {
        Ready {
            list: Mutex::new(
                Rank::ENGINE_READY,
                List {
                    inodes: VecDeque::new(),
                    stopped: false,
                },
            ),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn push(&self, inode: Arc<InodeIo<C>>) {
        self.list.lock().inodes.push_back(inode);
        self.changed.notify_one();
    }

    pub(crate) fn pop(&self) -> Option<Arc<InodeIo<C>>> {
        self.list.lock().inodes.pop_front()
    }

    /// Waits for an inode. `None` once stopped and empty.
    pub(crate) fn wait(&self) -> Option<Arc<InodeIo<C>>> {
        let mut list = self.list.lock();
        loop {
            if let Some(inode) = list.inodes.pop_front() {
                return Some(inode);
            }
            if list.stopped {
                return None;
            }
            self.changed.wait(&mut list);
        }
    }

    pub(crate) fn stop(&self) {
        self.list.lock().stopped = true;
        self.changed.notify_all();
    }

    pub(crate) fn len(&self) -> usize {
        self.list.lock().inodes.len()
    }
}
