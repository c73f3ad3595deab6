//! The record of everything that reached the simulated disk.
//!
//! Decisions: a write has two events, submitted and completed, because between them it may be on the
//! medium, partly or not at all; a flush has two, because it covers only what had completed when it
//! *began*. A failed write's completed event says how much of it was stored.
//!
//! A *position* counts events since the disk was made: position k is the moment after k events and before
//! the next. A log that was restarted begins at a later position, never at a reused one.

use crate::crash::replay::Replay;
use crate::image::Image;
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Arc, Mutex, Rank};

/// The bytes of a logged write.
#[derive(Clone, Debug)]
pub enum Payload {
    /// Data.
    Bytes(Arc<[u8]>),
    /// A discard: the device's fill comes back.
    Refill(u64),
}

/// One write, whole.
#[derive(Clone, Debug)]
pub struct WriteRecord {
    /// Device byte offset.
    pub at: u64,
    /// What.
    pub payload: Payload,
}

impl WriteRecord {
    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.payload {
            Payload::Bytes(data) => data.len() as u64,
            Payload::Refill(len) => *len,
        }
    }

    /// True if it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Something that happened. Writes and flushes are numbered from 0 in the order of submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A write may be on the medium from now on.
    Submitted(usize),
    /// A write is over; its first `bytes` bytes were stored (all, unless it failed).
    Completed {
        /// Which write.
        write: usize,
        /// Bytes stored.
        bytes: u64,
    },
    /// A flush begins; it covers what has completed so far.
    FlushBegun(usize),
    /// A flush is over. A failed one leaves what it covered uncertain for ever.
    FlushEnded {
        /// Which flush.
        flush: usize,
        /// Whether it succeeded.
        ok: bool,
    },
    /// A label of the test's.
    Mark(u64),
}

/// Counts events; shared with [`crate::History`], so that acknowledgements can be placed in the log.
#[derive(Clone, Debug, Default)]
pub struct Clock(Arc<AtomicU64>);

impl Clock {
    /// The current position.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn set(&self, position: u64) {
        self.0.store(position, Ordering::SeqCst);
    }
}

/// Everything that happened to a disk since its log began. Cheap to clone.
#[derive(Clone)]
pub struct Log {
    /// Position of the first event.
    pub(crate) origin: u64,
    pub(crate) base: Arc<Image>,
    pub(crate) writes: Arc<Vec<WriteRecord>>,
    pub(crate) events: Arc<Vec<Event>>,
    /// The last replay, kept because states are usually asked for in order.
    pub(crate) cursor: Arc<Mutex<Option<Replay>>>,
}

impl Log {
    /// The events, oldest first.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// The writes, in the order of submission.
    #[must_use]
    pub fn writes(&self) -> &[WriteRecord] {
        &self.writes
    }

    /// The position before the first event.
    #[must_use]
    pub fn begin(&self) -> u64 {
        self.origin
    }

    /// The position after the last event.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.origin + self.events.len() as u64
    }

    /// The position right after the first `Mark(label)`.
    #[must_use]
    pub fn position_of_mark(&self, label: u64) -> Option<u64> {
        let at = self.events.iter().position(|e| *e == Event::Mark(label))?;
        Some(self.origin + at as u64 + 1)
    }
}

/// A log being written.
pub(crate) struct Recorder {
    origin: u64,
    base: Arc<Image>,
    writes: Arc<Vec<WriteRecord>>,
    events: Arc<Vec<Event>>,
    flushes: usize,
    clock: Clock,
}

impl Recorder {
    pub(crate) fn new(base: Image) -> Recorder {
        Recorder {
            origin: 0,
            base: Arc::new(base),
            writes: Arc::default(),
            events: Arc::default(),
            flushes: 0,
            clock: Clock::default(),
        }
    }

    /// Forgets the past: `base` is what the medium holds, durably.
    pub(crate) fn restart(&mut self, base: Image) {
        self.origin += self.events.len() as u64;
        self.base = Arc::new(base);
        self.writes = Arc::default();
        self.events = Arc::default();
        self.flushes = 0;
    }

    pub(crate) fn clock(&self) -> Clock {
        self.clock.clone()
    }

    pub(crate) fn event(&mut self, event: Event) {
        let events = Arc::make_mut(&mut self.events);
        events.push(event);
        self.clock.set(self.origin + events.len() as u64);
    }

    pub(crate) fn submitted(&mut self, at: u64, payload: Payload) -> usize {
        let writes = Arc::make_mut(&mut self.writes);
        writes.push(WriteRecord { at, payload });
        let write = writes.len() - 1;
        self.event(Event::Submitted(write));
        write
    }

    pub(crate) fn flush_begun(&mut self) -> usize {
        let flush = self.flushes;
        self.flushes += 1;
        self.event(Event::FlushBegun(flush));
        flush
    }

    pub(crate) fn snapshot(&self) -> Log {
        Log {
            origin: self.origin,
            base: Arc::clone(&self.base),
            writes: Arc::clone(&self.writes),
            events: Arc::clone(&self.events),
            cursor: Arc::new(Mutex::new(Rank::LEAF, None)),
        }
    }
}
