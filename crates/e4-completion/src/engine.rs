//! The engine: the shell around the machines of all inodes.

use crate::clock::Clock;
use crate::complete::{deliver, splice, take_in};
use crate::converter::{Converter, Private};
use crate::dump::{Dump, PendingIoEnd};
use crate::gate::Gate;
use crate::inode::{InodeIo, InodeKey, Observer};
use crate::io_end::{Admission, RequestRef};
use crate::limits::Limits;
use crate::machine::{Event, Intent, Policy};
use crate::ready::Ready;
use crate::sync_point::Point;
use crate::wait::{self, Drain, DrainGuard, Drive, NO_DRIVE, Refused};
use e4_sync::{Arc, Duration, Mutex, Rank, Weak};
use std::ops::Range;

pub(crate) struct Shared<C: Converter> {
    pub(crate) converter: C,
    pub(crate) limits: Limits,
    pub(crate) clock: Clock,
    pub(crate) gate: Gate,
    pub(crate) ready: Ready<C>,
    inodes: Mutex<Registry<C>>,
    #[cfg(feature = "sync-points")]
    pub(crate) sync_points: crate::sync_point::SyncPoints,
}

/// Every registered inode, for the dump and for an abort.
struct Registry<C: Converter> {
    inodes: Vec<Weak<InodeIo<C>>>,
    /// Dead entries are swept when the list reaches this length.
    sweep_at: usize,
    aborted: Option<C::Error>,
}

/// A device request and its outcome.
type Done<C> = (RequestRef<C>, Result<(), <C as Converter>::Error>);

/// The completed-IO engine. Cheap to clone.
pub struct Engine<C: Converter> {
    shared: Arc<Shared<C>>,
}

impl<C: Converter> Clone for Engine<C> {
    fn clone(&self) -> Self {
        Engine {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<C: Converter> Engine<C> {
    /// An engine that publishes and delivers through `converter`.
    pub fn new(converter: C, limits: Limits) -> Self {
        Engine {
            shared: Arc::new(Shared {
                converter,
                limits,
                clock: Clock::new(),
                gate: Gate::new(limits.writes),
                ready: Ready::new(),
                inodes: Mutex::new(
                    Rank::ENGINE_READY,
                    Registry {
                        inodes: Vec::new(),
                        sweep_at: 64,
                        aborted: None,
                    },
                ),
                #[cfg(feature = "sync-points")]
                sync_points: crate::sync_point::SyncPoints::default(),
            }),
        }
    }

    /// The port.
    pub fn converter(&self) -> &C {
        &self.shared.converter
    }

    /// The bounds.
    pub fn limits(&self) -> Limits {
        self.shared.limits
    }

    /// Writes admitted and not yet acknowledged, over all inodes.
    pub fn writes_in_flight(&self) -> u64 {
        self.shared.gate.in_use()
    }

    /// The controller of the sync points (tests and the race lab).
    #[cfg(feature = "sync-points")]
    pub fn sync_points(&self) -> &crate::sync_point::SyncPoints {
        &self.shared.sync_points
    }

    /// Makes an inode known. Dropping the last reference forgets it.
    pub fn register(&self, key: InodeKey, data: C::Inode) -> Arc<InodeIo<C>> {
        let inode = Arc::new(InodeIo::new(Arc::clone(&self.shared), key, data));
        let mut registry = self.shared.inodes.lock();
        if registry.inodes.len() >= registry.sweep_at {
            registry.inodes.retain(|w| w.strong_count() > 0);
            registry.sweep_at = (registry.inodes.len() * 2).max(64);
        }
        registry.inodes.push(Arc::downgrade(&inode));
        let aborted = registry.aborted.clone();
        drop(registry);
        if let Some(error) = aborted {
            inode.feed(Event::Abort(error));
        }
        inode
    }

    // ---- admission --------------------------------------------------------------------------

    /// Admits I/O on a byte range. Waits while an exclusive drain that came earlier overlaps, or
    /// while slots are full. The caller holds no rank from the transaction handle up, and no other
    /// admission (two admissions by one thread can wait for each other's slot; use
    /// [`Engine::try_admit`] for a second one).
    ///
    /// # Errors
    /// [`Refused::Aborted`].
    #[inline]
    pub fn admit(
        &self,
        inode: &Arc<InodeIo<C>>,
        bytes: Range<u64>,
        intent: Intent,
    ) -> Result<Admission<C>, Refused> {
        wait::admit(inode, bytes, intent, Policy::Wait, NO_DRIVE)
    }

    /// As [`Engine::admit`], reaping with `drive` while it waits.
    ///
    /// # Errors
    /// [`Refused::Aborted`].
    #[inline]
    pub fn admit_with(
        &self,
        inode: &Arc<InodeIo<C>>,
        bytes: Range<u64>,
        intent: Intent,
        drive: Drive<'_>,
    ) -> Result<Admission<C>, Refused> {
        wait::admit(inode, bytes, intent, Policy::Wait, drive)
    }

    /// Admits without waiting (I-50).
    ///
    /// # Errors
    /// Why it would have to wait.
    #[inline]
    pub fn try_admit(
        &self,
        inode: &Arc<InodeIo<C>>,
        bytes: Range<u64>,
        intent: Intent,
    ) -> Result<Admission<C>, Refused> {
        wait::admit(inode, bytes, intent, Policy::Now, NO_DRIVE)
    }

    // ---- completion -------------------------------------------------------------------------

    /// One device request is over. If it was the io_end's last, it is published and acknowledged
    /// here. The caller holds no rank from the transaction handle up; see
    /// [`Engine::collect_batch`] for those who do.
    #[inline]
    pub fn request_done(&self, request: RequestRef<C>, result: Result<(), C::Error>) {
        let (inode, slot, id) = request.into_parts();
        crate::complete::pass(&self.shared, Point::P1, inode.key().0, id);
        let stamp = self.shared.clock.stamp();
        let event = Event::RequestDone {
            slot,
            error: result.err(),
            inline: true,
            stamp,
        };
        take_in(&inode, std::iter::once(event), true);
    }

    /// A reaped batch: one critical section per inode to take it in, one publish per inode.
    pub fn complete_batch(&self, done: impl IntoIterator<Item = Done<C>>) {
        self.batch(done.into_iter().collect(), true);
    }

    /// As [`Engine::complete_batch`], for a context that may not publish or run callbacks (it
    /// waits for plain device I/O under an inner lock, or holds a handle): what completed is left
    /// for a worker, a barrier or a drain.
    pub fn collect_batch(&self, done: impl IntoIterator<Item = Done<C>>) {
        self.batch(done.into_iter().collect(), false);
    }

    fn batch(&self, mut done: Vec<Done<C>>, inline: bool) {
        if done.is_empty() {
            return;
        }
        let stamp = self.shared.clock.refresh();
        let key = |(request, _): &Done<C>| request.inode().key().0;
        for part in &done {
            crate::complete::pass(&self.shared, Point::P1, key(part), part.0.id());
        }
        if !done.is_sorted_by_key(key) {
            // Stable: the order of completion within an inode is kept.
            done.sort_by_key(key);
        }
        let mut parts = done.into_iter().peekable();
        while let Some((first, _)) = parts.peek() {
            let inode = Arc::clone(first.inode());
            let events = std::iter::from_fn(|| {
                let (request, result) = parts.next_if(|(r, _)| Arc::ptr_eq(r.inode(), &inode))?;
                let (_, slot, _) = request.into_parts();
                Some(Event::RequestDone {
                    slot,
                    error: result.err(),
                    inline,
                    stamp,
                })
            });
            take_in(&inode, events, inline);
        }
    }

    /// Drains up to `turns` inodes of the ready list, one bounded turn each. Returns how many had
    /// work. A reaper calls it after a batch, workers call it in a loop.
    pub fn run_ready(&self, turns: usize) -> usize {
        for turn in 0..turns {
            match self.shared.ready.pop() {
                Some(inode) => Self::run_one(&inode),
                None => return turn,
            }
        }
        turns
    }

    /// A worker's whole life: drains ready inodes until [`Engine::stop_workers`].
    pub fn work(&self) {
        while let Some(inode) = self.shared.ready.wait() {
            Self::run_one(&inode);
        }
    }

    /// Ends every [`Engine::work`] once the ready list is empty. Call it last (I-44): submissions
    /// stopped, everything drained, reapers ended. A reaper may still be about to list an inode
    /// whose io_ends a drain has finished already.
    pub fn stop_workers(&self) {
        self.shared.ready.stop();
    }

    fn run_one(inode: &Arc<InodeIo<C>>) {
        let mut private = Private::new();
        let mut core = inode.lock();
        splice(inode, &mut core, &mut private);
        drop(core);
        if !private.is_empty() {
            deliver(inode, &mut private);
        }
        inode.feed(Event::Leave { scheduled: true });
    }

    // ---- barriers ---------------------------------------------------------------------------

    /// Conversion barrier: returns when every io_end of the inode that completed before the call
    /// is converted or failed, and acknowledged, whoever drained it (I-13). Helps; waits for
    /// nothing that completes later. Then reports what `observer` has not learned yet.
    ///
    /// # Errors
    /// The first failed write or conversion since the observer's last check.
    pub fn barrier(&self, inode: &Arc<InodeIo<C>>, observer: &Observer<C>) -> Result<(), C::Error> {
        wait::barrier(inode);
        observer.check()
    }

    /// I/O barrier: returns when every operation admitted before the call that overlaps `bytes` is
    /// over, converted and acknowledged (I-14). An exclusive drain holds overlapping newcomers off
    /// until the guard is dropped (I-15). A truncate publishes the new size *first*, then drains,
    /// then frees (I-16). `drive` lets the waiter reap device queues.
    ///
    /// # Errors
    /// What `observer` has not learned yet: the caller must not go on (I-35). Nothing is held then.
    pub fn drain(
        &self,
        inode: &Arc<InodeIo<C>>,
        bytes: Range<u64>,
        mode: Drain,
        observer: &Observer<C>,
        drive: Drive<'_>,
    ) -> Result<DrainGuard<C>, C::Error> {
        let guard = wait::drain(inode, bytes, mode, drive);
        observer.check()?;
        Ok(guard)
    }

    /// As an exclusive drain of everything, whatever the inode's errors: eviction, unmount.
    pub fn quiesce(&self, inode: &Arc<InodeIo<C>>, drive: Drive<'_>) -> DrainGuard<C> {
        wait::drain(inode, 0..u64::MAX, Drain::Exclusive, drive)
    }

    /// As [`Engine::drain`], whatever the inode's errors: for who changes nothing that they could concern.
    pub fn hold_off(
        &self,
        inode: &Arc<InodeIo<C>>,
        bytes: Range<u64>,
        mode: Drain,
        drive: Drive<'_>,
    ) -> DrainGuard<C> {
        wait::drain(inode, bytes, mode, drive)
    }

    /// Nothing can become durable any more: newcomers and waiters in line are refused unless they only read,
    /// io_ends that still owe a conversion fail with `error` when they complete, and everybody wakes
    /// (I-36).
    pub fn abort(&self, error: C::Error) {
        let inodes = {
            let mut registry = self.shared.inodes.lock();
            registry.aborted.get_or_insert_with(|| error.clone());
            registry.inodes.clone()
        };
        for inode in inodes.iter().filter_map(Weak::upgrade) {
            inode.feed(Event::Abort(error.clone()));
            inode.wake_all();
        }
    }

    // ---- visibility -------------------------------------------------------------------------

    /// Every registered inode, its io_ends and admissions (I-51). Changes nothing.
    pub fn dump(&self) -> Dump {
        let at = self.shared.clock.refresh();
        let mut inodes: Vec<_> = self.inodes().iter().map(|i| i.dump_at(at)).collect();
        inodes.sort_by_key(|d| d.inode);
        Dump {
            inodes,
            ready: self.shared.ready.len(),
            writes: self.shared.gate.in_use(),
        }
    }

    /// The watchdog's question (I-52): what has been in one stage for longer than `limit`?
    pub fn older_than(&self, limit: Duration) -> Vec<PendingIoEnd> {
        let dump = self.dump();
        let all = dump.inodes.into_iter().flat_map(|i| i.pending);
        all.filter(|p| p.age > limit).collect()
    }

    fn inodes(&self) -> Vec<Arc<InodeIo<C>>> {
        let weak = self.shared.inodes.lock().inodes.clone();
        weak.iter().filter_map(Weak::upgrade).collect()
    }
}
