//! Who writes dirty pages back when nobody asks: a background thread by age and, early, by pressure; writers themselves
//! when dirty pages reach their bound.

use e4_sync::{Arc, Condvar, Duration, Mutex, Rank, Weak};

use super::budget::{Dirty, Room};
use super::writeback::Job;
use crate::error::Result;
use crate::inode::Hold;
use crate::mount::Shared;

/// Inodes written back together: their allocations share transactions, their data one submission.
const GROUP: usize = 128;
/// Bounds of how often the flusher looks at the ages.
const TICK_MIN: Duration = Duration::from_millis(5);
const TICK_MAX: Duration = Duration::from_secs(1);

/// Wakes and ends the flusher.
pub(crate) struct Bell {
    state: Mutex<Rung>,
    wake: Condvar,
}

#[derive(Default)]
struct Rung {
    work: bool,
    stop: bool,
}

impl Bell {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(Rank::LEAF, Rung::default()),
            wake: Condvar::new(),
        })
    }

    fn ring(&self) {
        let mut state = self.state.lock();
        if !state.work {
            state.work = true;
            self.wake.notify_one();
        }
    }

    /// Ends the flusher.
    pub(crate) fn stop(&self) {
        self.state.lock().stop = true;
        self.wake.notify_all();
    }

    /// Sleeps until it is rung or time has passed. False: the end.
    fn wait(&self, tick: Duration) -> bool {
        let mut state = self.state.lock();
        if !state.work && !state.stop {
            self.wake.wait_for(&mut state, tick);
        }
        state.work = false;
        !state.stop
    }

    fn stopped(&self) -> bool {
        self.state.lock().stop
    }
}

/// The flusher's life, until [`Bell::stop`]. Holds the filesystem only while it works for it.
pub(crate) fn run_flusher(bell: &Bell, tick: Duration, owner: &Weak<Shared>) {
    while bell.wait(tick) {
        let Some(shared) = owner.upgrade() else {
            return;
        };
        shared.flush_due();
    }
}

impl Shared {
    /// How often the flusher looks.
    pub(crate) fn flusher_tick(&self) -> Duration {
        (self.cache.expire / 4).clamp(TICK_MIN, TICK_MAX)
    }

    /// Writes back what is old, and under pressure what is not.
    fn flush_due(&self) {
        while !self.cache.bell.stopped() {
            let pressed = self.cache.is_pressed();
            let before = match pressed {
                true => None,
                false => e4_sync::now().checked_sub(self.cache.expire),
            };
            if !pressed && before.is_none() {
                return;
            }
            let taken = self.cache.take_dirty(GROUP, before);
            if taken.is_empty() {
                return;
            }
            let dirty = self.cache.dirty_bytes();
            // Whom it concerns learns of errors by the inode; here they mean not to try again at once.
            if self.write_back_taken(taken).is_err() && self.cache.dirty_bytes() >= dirty {
                return;
            }
        }
    }

    /// Writes back inodes taken off the queue.
    fn write_back_taken(&self, taken: Vec<Dirty>) -> Result<()> {
        // A deleted inode that nobody holds is being freed, pages and all.
        let mut holds: Vec<Hold> = taken
            .iter()
            .filter_map(|dirty| Hold::new(dirty.inode.clone()))
            .collect();
        holds.sort_by_key(|hold| hold.data().ino);
        let jobs: Vec<Job<'_>> = holds.iter().map(|hold| Job::all(hold)).collect();
        let done = self.write_back(&jobs);
        for dirty in &taken {
            self.cache.unlisted(&dirty.inode);
        }
        done
    }

    /// Everything dirty now, of all inodes. Goes on after an error and returns the first.
    pub(crate) fn flush_all_pages(&self) -> Result<()> {
        let mut done = Ok(());
        let now = e4_sync::now();
        let mut before = self.cache.dirty_bytes();
        loop {
            let taken = self.cache.take_dirty(GROUP, Some(now));
            if taken.is_empty() {
                break;
            }
            let written = self.write_back_taken(taken);
            let failed = written.is_err();
            done = done.and(written);
            // What failed is in the queue again, as of now.
            let after = self.cache.dirty_bytes();
            if failed && after >= before {
                break;
            }
            before = after;
        }
        // What another thread took off the queue is in its hands: its turns are waited for.
        for inode in self.loaded_inodes() {
            if inode.data().cache.is_unclean()
                && let Some(hold) = Hold::new(inode)
            {
                done = done.and(self.write_back(&[Job::all(&hold)]));
            }
        }
        done
    }

    /// Room for a writer: what has to be written back for it is written back here. Nothing is locked.
    pub(super) fn room_to_write(&self, bytes: usize) -> Result<Room<'_>> {
        loop {
            let cache = &self.cache;
            if cache.dirty_bytes() + bytes <= cache.dirty_limit()
                && let Some(room) = cache.try_room(bytes)
            {
                return Ok(room);
            }
            let taken = cache.take_dirty(GROUP / 8, None);
            if taken.is_empty() {
                // It is all in others' hands.
                cache.wait_for_relief();
                continue;
            }
            let dirty = cache.dirty_bytes();
            let written = self.write_back_taken(taken);
            if cache.dirty_bytes() >= dirty {
                written?;
            }
        }
    }

    /// More dirty pages than the flusher should leave alone?
    pub(super) fn ring_if_pressed(&self) {
        if self.cache.is_pressed() {
            self.cache.bell.ring();
        }
    }
}
