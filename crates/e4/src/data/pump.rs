//! The reaper's seat: who polls the device, and how waiters share that duty.
//!
//! A waiter drives the completion queue itself (a completion handled in the caller's context saves
//! a thread switch per I/O). Several threads may wait for I/O of one queue, so the duty is a *role*:
//! whoever finds it free polls; everyone else sleeps until a round of completions has been handled.
//! A fallback thread per filesystem takes the role when I/O is in flight and nobody waits, so an
//! I/O that nobody waits for still completes (a queue owned by one sleeping thread would hang
//! truncate, S09's cousin). A server, where nobody waits for any I/O, asks for an *attendant* instead: a
//! thread that sleeps in the device's queue as long as something is in flight there.
//!
//! Invariants:
//! - Every poll happens in the role: a completion is never in a thread's private hands while another
//!   thread believes that the queue is empty and sleeps without being woken afterwards.
//! - Nobody waits here with a lock of rank 70 or above (first waiting rule).

use std::time::Duration;

use e4_device::{Backend, Completion, Device, QueueId, Request, Token, Wait};
use e4_sync::atomic::{AtomicBool, AtomicUsize, Ordering, fence};
use e4_sync::{Arc, Condvar, Mutex, Rank, Weak, may_wait_for_completion};

use super::slab::Slab;

/// What becomes of completed requests. Called in the role, with no lock held.
pub(crate) trait Sink<T> {
    /// Handles one reaped batch; leaves it empty.
    fn completed(&self, batch: &mut Vec<(T, Completion)>);
}

struct Role {
    taken: bool,
    waiters: usize,
}

struct Queue<T> {
    in_flight: Mutex<Slab<T>>,
    count: AtomicUsize,
    role: Mutex<Role>,
    turn: Condvar,
    /// Mirror of `role.waiters`, so that a completion with no sleeper costs one load.
    sleepers: AtomicUsize,
}

/// The queues of one filesystem's device.
pub(crate) struct Pump<T> {
    device: Arc<dyn Device>,
    queues: Vec<Queue<T>>,
    next: AtomicUsize,
    idle: Arc<Idle>,
    /// For the attendant of queue 0, if there is one.
    attendant: Arc<Idle>,
    attended: AtomicBool,
}

/// How the fallback reaper sleeps.
pub(crate) struct Idle {
    stop: AtomicBool,
    /// True while it sleeps because nothing is in flight.
    state: Mutex<bool>,
    wake: Condvar,
}

/// How long in-flight I/O may lie unattended before the fallback reaper looks at it.
const FALLBACK_TICK: Duration = Duration::from_millis(2);
/// Upper bound of its sleep when nothing is in flight (a missed wake-up costs this much).
const IDLE_TICK: Duration = Duration::from_millis(100);

impl<T: Send + 'static> Pump<T> {
    pub(crate) fn new(device: Arc<dyn Device>) -> Self {
        let queues = (0..device.info().queues.max(1))
            .map(|_| Queue {
                in_flight: Mutex::new(Rank::ENGINE_READY, Slab::new()),
                count: AtomicUsize::new(0),
                role: Mutex::new(
                    Rank::DEVICE_RING,
                    Role {
                        taken: false,
                        waiters: 0,
                    },
                ),
                turn: Condvar::new(),
                sleepers: AtomicUsize::new(0),
            })
            .collect();
        Self {
            device,
            queues,
            next: AtomicUsize::new(0),
            idle: Idle::new(),
            attendant: Idle::new(),
            attended: AtomicBool::new(false),
        }
    }

    /// The queue of operations that nobody waits for: one, so that one attendant is enough and finds
    /// several completions at a time.
    pub(crate) fn unattended_queue(&self) -> QueueId {
        QueueId(0)
    }

    /// Starts the requests of an operation that nobody waits for, and sees to it that somebody reaps them.
    pub(crate) fn submit_unattended(
        &self,
        sink: &impl Sink<T>,
        queue: QueueId,
        requests: &mut Vec<Request>,
        done: impl Fn() -> bool,
    ) {
        if requests.is_empty() {
            return;
        }
        self.device.submit(queue, requests);
        match self.device.info().backend {
            // Over already, or in the hands of another submitter: nothing to sleep for.
            Backend::Inline | Backend::Memory => self.wait_until(queue, sink, done),
            _ if self.attended.load(Ordering::Acquire) => self.attendant.rouse(),
            _ => self.idle.rouse(),
        }
    }

    /// A queue for a new context, round robin.
    pub(crate) fn assign_queue(&self) -> QueueId {
        QueueId(self.next.fetch_add(1, Ordering::Relaxed) % self.queues.len())
    }

    /// Requests in flight on all queues.
    pub(crate) fn in_flight(&self) -> usize {
        self.queues
            .iter()
            .map(|q| q.count.load(Ordering::Acquire))
            .sum()
    }

    /// Registers what a request belongs to and returns the token to submit it with.
    pub(crate) fn register(&self, queue: QueueId, what: T) -> Token {
        let q = &self.queues[queue.0];
        q.count.fetch_add(1, Ordering::AcqRel);
        Token(q.in_flight.lock().insert(what))
    }

    /// Starts the requests.
    pub(crate) fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        if requests.is_empty() {
            return;
        }
        self.device.submit(queue, requests);
        // Relaxed is enough: a missed wake-up costs at most one fallback tick, and only I/O that
        // nobody waits for depends on the fallback at all.
        self.idle.rouse();
    }

    /// Polls `queue` once if the role is free. Returns whether it was.
    pub(crate) fn reap(&self, queue: QueueId, wait: Wait, sink: &impl Sink<T>) -> bool {
        let q = &self.queues[queue.0];
        {
            let mut role = q.role.lock();
            if role.taken {
                return false;
            }
            role.taken = true;
        }
        self.reap_in_role(queue, wait, sink);
        self.leave_role(q);
        true
    }

    /// Polls every queue without waiting; what a drain calls while it waits for I/O of any thread.
    pub(crate) fn reap_all(&self, sink: &impl Sink<T>) {
        for i in 0..self.queues.len() {
            if self.queues[i].count.load(Ordering::Acquire) > 0 {
                self.reap(QueueId(i), Wait::No, sink);
            }
        }
    }

    /// Polls the first queue with something in flight whose role is free. False if there is none.
    pub(crate) fn reap_some(&self, sink: &impl Sink<T>, wait: Wait) -> bool {
        (0..self.queues.len()).any(|i| {
            self.queues[i].count.load(Ordering::Acquire) > 0 && self.reap(QueueId(i), wait, sink)
        })
    }

    /// Waits until `ready`, driving the queue while the role is free.
    pub(crate) fn wait_until(&self, queue: QueueId, sink: &impl Sink<T>, ready: impl Fn() -> bool) {
        if ready() {
            return;
        }
        may_wait_for_completion();
        let q = &self.queues[queue.0];
        loop {
            let mut role = q.role.lock();
            if ready() {
                return;
            }
            if role.taken || q.count.load(Ordering::Acquire) == 0 {
                // Somebody else reaps, or the I/O is already in a helper's hands: whoever delivers
                // calls `delivered`, whoever leaves the role wakes everyone. Announce first, then
                // look again: `delivered` makes ready first, then looks for announcements.
                role.waiters += 1;
                q.sleepers.store(role.waiters, Ordering::Relaxed);
                fence(Ordering::SeqCst);
                if !ready() {
                    q.turn.wait(&mut role);
                }
                role.waiters -= 1;
                q.sleepers.store(role.waiters, Ordering::Relaxed);
                continue;
            }
            role.taken = true;
            drop(role);
            self.reap_in_role(queue, Wait::One, sink);
            self.leave_role(q);
        }
    }

    /// To be called after an I/O of `queue` has been made ready outside the role.
    pub(crate) fn delivered(&self, queue: QueueId) {
        let q = &self.queues[queue.0];
        fence(Ordering::SeqCst);
        if q.sleepers.load(Ordering::Relaxed) > 0 {
            // The lock waits out a sleeper between its announcement and its sleep.
            drop(q.role.lock());
            q.turn.notify_all();
        }
    }

    fn leave_role(&self, q: &Queue<T>) {
        let mut role = q.role.lock();
        role.taken = false;
        let wake = role.waiters > 0;
        drop(role);
        if wake {
            q.turn.notify_all();
        }
    }

    fn reap_in_role(&self, queue: QueueId, wait: Wait, sink: &impl Sink<T>) {
        e4_sync::thread_local! {
            static SCRATCH: std::cell::Cell<Vec<Completion>> = const { std::cell::Cell::new(Vec::new()) };
        }
        let q = &self.queues[queue.0];
        let mut polled = SCRATCH.with(std::cell::Cell::take);
        self.device.poll(queue, &mut polled, wait);
        let mut batch = Vec::with_capacity(polled.len());
        {
            let mut slab = q.in_flight.lock();
            for completion in polled.drain(..) {
                // A token the device made up would be a bug of the backend; it cannot be attributed.
                if let Some(what) = slab.remove(completion.token.0) {
                    batch.push((what, completion));
                } else {
                    tracing::error!(
                        token = completion.token.0,
                        "completion of an unknown request"
                    );
                }
            }
        }
        SCRATCH.with(|s| s.set(polled));
        let n = batch.len();
        if n > 0 {
            sink.completed(&mut batch);
            // Only now: whoever sees the count at zero may rely on the effects.
            q.count.fetch_sub(n, Ordering::AcqRel);
        }
    }

    /// What ends and wakes the fallback reaper.
    pub(crate) fn stopper(&self) -> Arc<Idle> {
        Arc::clone(&self.idle)
    }

    /// What ends and wakes the attendant; from here on it is relied upon.
    pub(crate) fn attend(&self) -> Arc<Idle> {
        self.attended.store(true, Ordering::Release);
        Arc::clone(&self.attendant)
    }

    /// Ends the fallback reaper and the attendant.
    pub(crate) fn shutdown(&self) {
        self.attended.store(false, Ordering::Release);
        for idle in [&self.idle, &self.attendant] {
            let _state = idle.state.lock();
            idle.stop.store(true, Ordering::Release);
            idle.wake.notify_all();
        }
    }
}

impl Idle {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            stop: AtomicBool::new(false),
            state: Mutex::new(Rank::LEAF, false),
            wake: Condvar::new(),
        })
    }

    /// Wakes whoever sleeps here for want of I/O.
    fn rouse(&self) {
        let mut asleep = self.state.lock();
        if *asleep {
            *asleep = false;
            self.wake.notify_one();
        }
    }
}

/// The attendant's life: sleeps in the device's queue while something is in flight there, else until it is
/// roused; until [`Pump::shutdown`].
pub(crate) fn run_attendant<S: Sink<T>, T: Send + 'static>(
    idle: &Idle,
    owner: &Weak<S>,
    pump: impl Fn(&S) -> &Pump<T>,
) {
    loop {
        {
            let Some(sink) = owner.upgrade() else { return };
            let pump = pump(&sink);
            let queue = pump.unattended_queue();
            let count = &pump.queues[queue.0].count;
            pump.wait_until(queue, &*sink, || count.load(Ordering::Acquire) == 0);
        }
        let mut asleep = idle.state.lock();
        if idle.stop.load(Ordering::Acquire) {
            return;
        }
        // Looked at under the lock: whoever registers later finds us asleep and rouses us.
        let Some(sink) = owner.upgrade() else { return };
        let pump = pump(&sink);
        let quiet = pump.queues[pump.unattended_queue().0]
            .count
            .load(Ordering::Acquire)
            == 0;
        drop(sink);
        if quiet {
            *asleep = true;
            idle.wake.wait_for(&mut asleep, IDLE_TICK);
            *asleep = false;
        }
    }
}

/// The fallback reaper's life: attends to I/O that nobody waits for, until [`Pump::shutdown`]. Holds the
/// filesystem only while it works for it.
pub(crate) fn run_fallback<S: Sink<T>, T: Send + 'static>(
    idle: &Idle,
    owner: &Weak<S>,
    pump: impl Fn(&S) -> &Pump<T>,
) {
    while !idle.stop.load(Ordering::Acquire) {
        let Some(sink) = owner.upgrade() else { return };
        let pump = pump(&sink);
        if pump.in_flight() > 0 {
            pump.reap_all(&*sink);
        }
        let quiet = pump.in_flight() == 0;
        drop(sink);
        let mut asleep = idle.state.lock();
        if idle.stop.load(Ordering::Acquire) {
            return;
        }
        *asleep = quiet;
        let nap = if quiet { IDLE_TICK } else { FALLBACK_TICK };
        idle.wake.wait_for(&mut asleep, nap);
        *asleep = false;
    }
}
