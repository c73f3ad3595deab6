//! The simulated disk: a [`Device`] that is deterministic, honest about what a power cut may do, and as
//! unpleasant as the contract of [`e4_device`] allows.
//!
//! - A queued request is executed when it is *delivered* (in some poll), not when it is submitted; in between a
//!   write may or may not be on the medium. Delivery order is drawn from the seed.
//! - A request can be *held*: it stays in flight until the test releases it.
//! - Discarded ranges hold the fill again (poison, usually): the harshest reading of "contents unspecified".
//! - A failed flush leaves what it covered uncertain for ever; a later successful flush does not
//!   save it. That is what hosts really do.
//!
//! With one thread (or a deterministic scheduler) everything is a function of the seed and the calls.

mod fault;

pub use fault::{Effect, Fault, OpKind, Times, When};

use crate::crash::CrashImage;
use crate::fill::Fill;
use crate::image::Image;
use crate::log::{Clock, Event, Log, Payload, Recorder};
use crate::rng::Rng;
use e4_device::{
    Backend, Completion, Device, DeviceError, DeviceInfo, Op, QueueId, Request, Token, Wait,
};
use e4_sync::{Condvar, Mutex, MutexGuard, Rank, now};
use fault::Plan;

/// In which order and how eagerly requests complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Delivery {
    /// A poll delivers some of the requests, in random order.
    #[default]
    Seeded,
    /// A poll delivers everything, in submission order.
    Fifo,
}

/// How to build a [`SimDisk`].
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Bytes.
    pub size: u64,
    /// Decides the delivery order and the garbage of lying reads.
    pub seed: u64,
    /// What unwritten and discarded bytes hold.
    pub fill: Fill,
    /// Order of completions.
    pub delivery: Delivery,
    /// Number of queues.
    pub queues: usize,
    /// Alignment demanded of queued requests, bytes.
    pub alignment: u32,
}

impl SimOptions {
    /// A poisoned disk with two queues, 512-byte alignment and seeded delivery.
    #[must_use]
    pub fn new(size: u64, seed: u64) -> SimOptions {
        SimOptions {
            size,
            seed,
            fill: Fill::Poison,
            delivery: Delivery::Seeded,
            queues: 2,
            alignment: 512,
        }
    }
}

/// What a disk has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SimStats {
    /// Reads executed.
    pub reads: u64,
    /// Writes executed.
    pub writes: u64,
    /// Bytes of them.
    pub bytes_written: u64,
    /// Flushes executed.
    pub flushes: u64,
    /// Bytes discarded.
    pub bytes_discarded: u64,
}

/// A request that the test keeps from completing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// Names it in [`SimDisk::release`].
    pub id: u64,
    /// Where it was submitted.
    pub queue: QueueId,
    /// The submitter's token.
    pub token: Token,
    /// What it does.
    pub kind: OpKind,
    /// Device byte offset; 0 for a flush.
    pub at: u64,
    /// Bytes; 0 for a flush.
    pub len: u64,
}

type HoldRule = Box<dyn Fn(&Held) -> bool + Send>;

/// The simulated disk.
pub struct SimDisk {
    info: DeviceInfo,
    clock: Clock,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// What a read sees: every completed write.
    now: Image,
    record: Recorder,
    rng: Rng,
    plan: Plan,
    delivery: Delivery,
    queues: Vec<Vec<Flight>>,
    hold: Option<HoldRule>,
    /// Held requests complete when somebody waits and there is nothing else.
    lazy: bool,
    next_id: u64,
    waiters: usize,
    stats: SimStats,
}

/// A request in flight.
struct Flight {
    held: bool,
    about: Held,
    request: Request,
    /// Judged unfit at submission.
    refused: Option<DeviceError>,
    /// The log's number of the write or flush.
    logged: Option<usize>,
}

impl SimDisk {
    /// A blank disk.
    #[must_use]
    pub fn new(options: &SimOptions) -> SimDisk {
        Self::over(Image::new(options.size, options.fill), options)
    }

    /// A disk that begins with the (durable) contents of a crash image; `options.size` and `fill` are ignored.
    #[must_use]
    pub fn from_crash(image: &CrashImage, options: &SimOptions) -> SimDisk {
        Self::over(image.flatten(), options)
    }

    fn over(image: Image, options: &SimOptions) -> SimDisk {
        let info = DeviceInfo {
            size: image.size(),
            alignment: options.alignment,
            direct: false,
            read_only: false,
            queues: options.queues.max(1),
            backend: Backend::Simulated,
            reason: "asked for a simulated disk".into(),
            name: format!("simulated disk (seed {})", options.seed),
        };
        let record = Recorder::new(image.clone());
        SimDisk {
            clock: record.clock(),
            state: Mutex::new(
                Rank::DEVICE_RING,
                State {
                    now: image,
                    record,
                    rng: Rng::new(options.seed),
                    plan: Plan::default(),
                    delivery: options.delivery,
                    queues: (0..info.queues).map(|_| Vec::new()).collect(),
                    hold: None,
                    lazy: false,
                    next_id: 0,
                    waiters: 0,
                    stats: SimStats::default(),
                },
            ),
            changed: Condvar::new(),
            info,
        }
    }

    /// Everything that happened so far, as of now.
    #[must_use]
    pub fn log(&self) -> Log {
        self.state.lock().record.snapshot()
    }

    /// The log's clock, for [`crate::History::with_clock`].
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.clock.clone()
    }

    /// Declares everything written so far durable and restarts the log here (after mkfs, for instance).
    ///
    /// # Panics
    /// If requests are in flight.
    pub fn settle(&self) {
        let mut state = self.state.lock();
        let idle = state.queues.iter().all(Vec::is_empty);
        assert!(idle, "requests are in flight");
        let now = state.now.clone();
        state.record.restart(now);
    }

    /// Puts a label into the log.
    pub fn mark(&self, label: u64) {
        self.state.lock().record.event(Event::Mark(label));
    }

    /// Arms a fault.
    pub fn inject(&self, fault: Fault) {
        self.state.lock().plan.arm(fault);
    }

    /// Disarms all faults.
    pub fn clear_faults(&self) {
        self.state.lock().plan.clear();
    }

    /// From now on, requests for which `rule` says so stay in flight until released. Replaces the
    /// rule before; requests already held stay so.
    pub fn hold(&self, rule: impl Fn(&Held) -> bool + Send + 'static) {
        let mut state = self.state.lock();
        state.hold = Some(Box::new(rule));
        state.lazy = false;
    }

    /// As [`SimDisk::hold`], but a poll that waits and finds nothing else gets what is held: a request stays in flight
    /// just as long as nobody waits for it. With one thread, whoever must wait does, and whoever need not is seen not to.
    pub fn hold_until_awaited(&self, rule: impl Fn(&Held) -> bool + Send + 'static) {
        let mut state = self.state.lock();
        state.hold = Some(Box::new(rule));
        state.lazy = true;
    }

    /// New requests are no longer held.
    pub fn hold_nothing(&self) {
        self.state.lock().hold = None;
    }

    /// The requests being held, oldest first.
    #[must_use]
    pub fn held(&self) -> Vec<Held> {
        let state = self.state.lock();
        let flights = state.queues.iter().flatten();
        let mut held: Vec<Held> = flights.filter(|f| f.held).map(|f| f.about).collect();
        held.sort_by_key(|h| h.id);
        held
    }

    /// Lets a held request complete; false if there is none with this id.
    pub fn release(&self, id: u64) -> bool {
        self.release_where(|h| h.id == id) > 0
    }

    /// Lets every held request complete; new ones are still held if a rule says so.
    pub fn release_all(&self) -> usize {
        self.release_where(|_| true)
    }

    fn release_where(&self, which: impl Fn(&Held) -> bool) -> usize {
        let mut state = self.state.lock();
        let mut released = 0;
        for flight in state.queues.iter_mut().flatten() {
            if flight.held && which(&flight.about) {
                flight.held = false;
                released += 1;
            }
        }
        self.wake(&state);
        released
    }

    /// Requests submitted and not yet delivered, held ones included.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.state.lock().queues.iter().map(Vec::len).sum()
    }

    /// Counters since the disk was made.
    #[must_use]
    pub fn stats(&self) -> SimStats {
        self.state.lock().stats
    }

    fn wake(&self, state: &State) {
        if state.waiters > 0 {
            self.changed.notify_all();
        }
    }

    /// Waits until a request of the queue can be delivered; false if there is none left, or no time.
    fn wait_for_delivery<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        queue: QueueId,
        wait: Wait,
    ) -> (MutexGuard<'a, State>, bool) {
        let deadline = match wait {
            Wait::For(limit) => now().checked_add(limit),
            _ => None,
        };
        loop {
            if state.queues[queue.0].iter().any(|f| !f.held) {
                return (state, true);
            }
            if wait == Wait::No || state.queues[queue.0].is_empty() {
                return (state, false);
            }
            if state.lazy {
                state.queues[queue.0]
                    .iter_mut()
                    .for_each(|f| f.held = false);
                return (state, true);
            }
            state.waiters += 1;
            let timed_out = match deadline {
                None => {
                    self.changed.wait(&mut state);
                    false
                }
                Some(end) => {
                    let left = end.saturating_duration_since(now());
                    left.is_zero() || self.changed.wait_for(&mut state, left)
                }
            };
            state.waiters -= 1;
            if timed_out {
                return (state, false);
            }
        }
    }
}

impl State {
    fn error(&self, info: &DeviceInfo, about: &Held, errno: i32) -> DeviceError {
        DeviceError::Io {
            op: match about.kind {
                OpKind::Read => "read",
                OpKind::Write => "write",
                OpKind::Flush => "flush",
            },
            device: info.name.clone(),
            at: about.at,
            len: about.len,
            errno,
        }
    }

    fn read(&mut self, info: &DeviceInfo, about: &Held, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.stats.reads += 1;
        match self.strike(about) {
            None => self.now.read(about.at, buf),
            Some(Effect::Fail { errno }) => return Err(self.error(info, about, errno)),
            Some(Effect::Partial { bytes, errno }) => {
                let bytes = bytes.min(about.len) as usize;
                self.now.read(about.at, &mut buf[..bytes]);
                return Err(self.error(info, about, errno));
            }
            Some(Effect::Lie) => self.rng.fill(buf),
        }
        Ok(())
    }

    fn write(
        &mut self,
        info: &DeviceInfo,
        about: &Held,
        logged: usize,
        data: &[u8],
    ) -> Result<(), DeviceError> {
        let (bytes, result) = match self.strike(about) {
            None => (about.len, Ok(())),
            Some(Effect::Fail { errno }) => (0, Err(self.error(info, about, errno))),
            Some(Effect::Partial { bytes, errno }) => {
                // A disk stores whole sectors.
                let bytes = bytes.min(about.len) / 512 * 512;
                (bytes, Err(self.error(info, about, errno)))
            }
            Some(Effect::Lie) => (0, Ok(())),
        };
        self.stats.writes += 1;
        self.stats.bytes_written += bytes;
        self.now.write(about.at, &data[..bytes as usize]);
        let write = logged;
        self.record.event(Event::Completed { write, bytes });
        result
    }

    fn flush(&mut self, info: &DeviceInfo, about: &Held, flush: usize) -> Result<(), DeviceError> {
        self.stats.flushes += 1;
        match self.strike(about) {
            None => {
                self.record.event(Event::FlushEnded { flush, ok: true });
                Ok(())
            }
            // Nothing happened, nobody was told: not even that the data are now uncertain.
            Some(Effect::Lie) => Ok(()),
            Some(Effect::Fail { errno } | Effect::Partial { errno, .. }) => {
                self.record.event(Event::FlushEnded { flush, ok: false });
                Err(self.error(info, about, errno))
            }
        }
    }

    fn strike(&mut self, about: &Held) -> Option<Effect> {
        self.plan
            .strike(about.kind, &(about.at..about.at + about.len))
    }

    /// Writes what happened at submission into the log.
    fn log_submission(&mut self, op: &Op) -> Option<usize> {
        match op {
            Op::Read { .. } => None,
            Op::Write { at, data } => {
                let payload = Payload::Bytes((**data).into());
                Some(self.record.submitted(*at, payload))
            }
            Op::Flush => Some(self.record.flush_begun()),
        }
    }

    fn execute(&mut self, info: &DeviceInfo, flight: Flight) -> Completion {
        let Flight {
            about,
            mut request,
            refused,
            logged,
            ..
        } = flight;
        let logged = logged.unwrap_or_default();
        let result = match (refused, &mut request.op) {
            (Some(error), _) => Err(error),
            (None, Op::Read { buf, .. }) => self.read(info, &about, buf),
            (None, Op::Write { data, .. }) => self.write(info, &about, logged, data),
            (None, Op::Flush) => self.flush(info, &about, logged),
        };
        request.finish(result)
    }

    /// The flights of a queue to deliver now, as indexes, in order of delivery.
    fn choose(&mut self, queue: QueueId, wait: Wait) -> Vec<usize> {
        let flights = self.queues[queue.0].iter().enumerate();
        let mut ready: Vec<usize> = flights.filter(|(_, f)| !f.held).map(|(n, _)| n).collect();
        if self.delivery == Delivery::Seeded && !ready.is_empty() {
            self.rng.shuffle(&mut ready);
            // A poll that does not wait may find nothing yet.
            let least = usize::from(wait != Wait::No);
            let count = least + self.rng.index(ready.len() + 1 - least);
            ready.truncate(count);
        }
        ready
    }
}

fn describe(id: u64, queue: QueueId, request: &Request) -> Held {
    let (kind, at, len) = match &request.op {
        Op::Read { at, buf } => (OpKind::Read, *at, buf.len()),
        Op::Write { at, data } => (OpKind::Write, *at, data.len()),
        Op::Flush => (OpKind::Flush, 0, 0),
    };
    Held {
        id,
        queue,
        token: request.token,
        kind,
        at,
        len: len as u64,
    }
}

/// What a synchronous call looks like to the fault plan.
fn synchronous(kind: OpKind, at: u64, len: usize) -> Held {
    Held {
        id: u64::MAX,
        queue: QueueId(0),
        token: Token(u64::MAX),
        kind,
        at,
        len: len as u64,
    }
}

impl Device for SimDisk {
    fn info(&self) -> &DeviceInfo {
        &self.info
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.info.check_range("read", at, buf.len() as u64)?;
        let about = synchronous(OpKind::Read, at, buf.len());
        self.state.lock().read(&self.info, &about, buf)
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        self.info.check_range("write", at, data.len() as u64)?;
        let about = synchronous(OpKind::Write, at, data.len());
        let mut state = self.state.lock();
        let write = state.record.submitted(at, Payload::Bytes(data.into()));
        state.write(&self.info, &about, write, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        e4_sync::may_wait_for_device();
        let mut state = self.state.lock();
        let flush = state.record.flush_begun();
        state.flush(&self.info, &synchronous(OpKind::Flush, 0, 0), flush)
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.info.check_range("discard", at, len)?;
        // What a disk forgets, it forgets by sectors.
        let (from, to) = (at.next_multiple_of(512), (at + len) / 512 * 512);
        if from < to {
            let bytes = to - from;
            let mut state = self.state.lock();
            state.stats.bytes_discarded += bytes;
            let write = state.record.submitted(from, Payload::Refill(bytes));
            state.now.refill(from, bytes);
            state.record.event(Event::Completed { write, bytes });
        }
        Ok(())
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        let mut state = self.state.lock();
        for request in requests.drain(..) {
            let about = describe(state.next_id, queue, &request);
            state.next_id += 1;
            let refused = self.info.check(&request.op).err();
            let logged = match refused {
                Some(_) => None,
                None => state.log_submission(&request.op),
            };
            let held = state.hold.as_ref().is_some_and(|rule| rule(&about));
            state.queues[queue.0].push(Flight {
                held,
                about,
                request,
                refused,
                logged,
            });
        }
        self.wake(&state);
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        let (mut state, any) = self.wait_for_delivery(self.state.lock(), queue, wait);
        if !any {
            return 0;
        }
        let chosen = state.choose(queue, wait);
        let mut flights: Vec<Option<Flight>> = state.queues[queue.0].drain(..).map(Some).collect();
        for &n in &chosen {
            if let Some(flight) = flights[n].take() {
                let completion = state.execute(&self.info, flight);
                out.push(completion);
            }
        }
        state.queues[queue.0].extend(flights.into_iter().flatten());
        self.wake(&state);
        chosen.len()
    }
}
