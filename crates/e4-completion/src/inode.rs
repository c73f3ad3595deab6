//! One inode as the engine sees it: the machine's state under a small lock, and the threads that
//! wait for it to move.

use crate::converter::{Body, Converter};
use crate::engine::Shared;
use crate::machine::{Event, Outcome, State};
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Arc, Condvar, Mutex, MutexGuard, Rank};

/// Names an inode in dumps and sync points. The engine does not interpret it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub struct InodeKey(pub u64);

pub(crate) type Machine<C> = State<Body<C>, <C as Converter>::Error>;
pub(crate) type EngineEvent<C> = Event<Body<C>, <C as Converter>::Error>;
pub(crate) type EngineOutcome<C> = Outcome<Body<C>, <C as Converter>::Error>;

pub(crate) struct Core<C: Converter> {
    pub(crate) machine: Machine<C>,
    /// Threads asleep on `moved`.
    pub(crate) sleepers: u32,
}

/// An inode registered with the engine. Everything in flight owns a reference to it (I-39).
pub struct InodeIo<C: Converter> {
    key: InodeKey,
    data: C::Inode,
    pub(crate) shared: Arc<Shared<C>>,
    core: Mutex<Core<C>>,
    moved: Condvar,
    /// Cursor of the operations that have no open file: truncate by path, eviction.
    own_cursor: AtomicU64,
}

impl<C: Converter> InodeIo<C> {
    pub(crate) fn new(shared: Arc<Shared<C>>, key: InodeKey, data: C::Inode) -> Self {
        let machine = State::new(shared.limits.per_inode);
        InodeIo {
            key,
            data,
            shared,
            core: Mutex::new(
                Rank::ENGINE_INODE,
                Core {
                    machine,
                    sleepers: 0,
                },
            ),
            moved: Condvar::new(),
            own_cursor: AtomicU64::new(0),
        }
    }

    /// The key it was registered under.
    pub fn key(&self) -> InodeKey {
        self.key
    }

    /// The filesystem's own part.
    pub fn data(&self) -> &C::Inode {
        &self.data
    }

    /// Operations admitted and not yet over.
    pub fn pending(&self) -> u32 {
        self.core.lock().machine.in_flight()
    }

    /// True if nothing is in flight, queued, waiting or scheduled.
    pub fn is_idle(&self) -> bool {
        self.core.lock().machine.is_idle()
    }

    /// True if an error is recorded that no observer has learned yet.
    pub fn has_unlearned_error(&self) -> bool {
        self.core.lock().machine.errors().has_unlearned()
    }

    /// Records an error found outside the engine (a failed record, a journal abort), so that the
    /// next check of every observer reports it (I-33, I-35).
    pub fn record_error(&self, error: C::Error) {
        self.core.lock().machine.record_error(error);
    }

    /// A new observer: one for each open file. It learns every error from now on, and those that
    /// nobody has learned yet.
    pub fn observer(self: &Arc<Self>) -> Observer<C> {
        let cursor = self.core.lock().machine.errors().start();
        Observer {
            inode: Arc::clone(self),
            cursor: AtomicU64::new(cursor),
        }
    }

    /// As [`Observer::check`], for operations that have no open file.
    ///
    /// # Errors
    /// The first error since the last such check.
    pub fn check_own(&self) -> Result<(), C::Error> {
        self.learn(&self.own_cursor)
    }

    fn learn(&self, cursor: &AtomicU64) -> Result<(), C::Error> {
        let mut core = self.core.lock();
        // The cursor is only touched under the inode's lock; the atomic is for shared access.
        let from = cursor.load(Ordering::Relaxed);
        match core.machine.apply(Event::Learn { cursor: from }).out {
            Outcome::Learned(to, error) => {
                cursor.store(to, Ordering::Relaxed);
                error.map_or(Ok(()), Err)
            }
            _ => Ok(()),
        }
    }

    #[inline]
    pub(crate) fn lock(&self) -> MutexGuard<'_, Core<C>> {
        self.core.lock()
    }

    /// Feeds one event and carries out what follows.
    #[inline]
    pub(crate) fn feed(self: &Arc<Self>, event: EngineEvent<C>) -> EngineOutcome<C> {
        let mut core = self.core.lock();
        let actions = core.machine.apply(event);
        self.follow_up(core, actions.wake, actions.schedule);
        actions.out
    }

    /// Unlocks, then wakes and schedules as the machine demanded.
    #[inline]
    pub(crate) fn follow_up(
        self: &Arc<Self>,
        core: MutexGuard<'_, Core<C>>,
        wake: bool,
        schedule: bool,
    ) {
        let wake = wake && core.sleepers > 0;
        drop(core);
        if wake {
            self.moved.notify_all();
        }
        if schedule {
            self.shared.ready.push(Arc::clone(self));
        }
    }

    /// Sleeps until the inode moves. Spurious wake-ups are possible.
    pub(crate) fn sleep(&self, core: &mut MutexGuard<'_, Core<C>>) {
        core.sleepers += 1;
        self.moved.wait(core);
        core.sleepers -= 1;
    }

    /// Wakes everybody who waits on this inode.
    pub(crate) fn wake_all(&self) {
        drop(self.core.lock());
        self.moved.notify_all();
    }
}

impl<C: Converter> std::fmt::Debug for InodeIo<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "InodeIo({})", self.key.0)
    }
}

/// A cursor into one inode's errors. Each observer learns each error once (I-32, I-35); errors
/// that came together are learned together, the first one is returned.
pub struct Observer<C: Converter> {
    inode: Arc<InodeIo<C>>,
    cursor: AtomicU64,
}

impl<C: Converter> Observer<C> {
    /// What went wrong since the last check.
    ///
    /// # Errors
    /// The first failed write or conversion this observer has not learned yet.
    pub fn check(&self) -> Result<(), C::Error> {
        self.inode.learn(&self.cursor)
    }

    /// The inode observed.
    pub fn inode(&self) -> &Arc<InodeIo<C>> {
        &self.inode
    }
}
