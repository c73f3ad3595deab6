//! Replays a log up to a position: what is certainly on the medium, and what may be.
//!
//! The rules, for a power cut at a position:
//! - A write that completed before a successful flush *began*, where that flush has ended, is *durable*.
//! - Every other submitted write is *pending*: it may be on the medium, or not, or torn at sector size.
//! - A write covered by a failed flush is *tainted*: pending for ever, no later flush saves it. It can
//!   still be overwritten: sectors written by a durable write that completed after it are settled.
//! - Where writes overlap, they lie in the order in which they completed, since that is what reads saw;
//!   one still in flight may have taken effect at any moment since its submission.

use crate::image::Image;
use crate::log::{Event, Log, Payload, WriteRecord};
use e4_sync::Arc;
use hashbrown::HashMap;

const SECTOR: u64 = crate::tag::SECTOR as u64;

/// The state of the medium at a position.
#[derive(Clone)]
pub(crate) struct Replay {
    /// Events replayed (relative to the log's origin).
    pub(crate) events: usize,
    /// Everything durable.
    pub(crate) medium: Arc<Image>,
    /// What the contents of the medium are, compared with the log's base: equal contents, equal numbers.
    pub(crate) fingerprint: u64,
    /// In the order of submission.
    pub(crate) pending: Vec<Pending>,
    /// Where the flushes under way began.
    flushes: HashMap<usize, usize>,
}

/// A write that may be on the medium.
#[derive(Clone)]
pub(crate) struct Pending {
    pub(crate) write: usize,
    /// Event index of the submission.
    pub(crate) submitted: usize,
    /// Event index of the completion.
    pub(crate) completed: Option<usize>,
    /// Bytes that were stored or may be.
    pub(crate) len: u64,
    tainted: bool,
    /// Sectors (relative to the write) that a later durable write has settled.
    pub(crate) settled: Vec<u64>,
}

impl Replay {
    pub(crate) fn new(log: &Log) -> Replay {
        Replay {
            events: 0,
            medium: Arc::clone(&log.base),
            fingerprint: 0,
            pending: Vec::new(),
            flushes: HashMap::new(),
        }
    }

    /// Replays on to `events` events.
    pub(crate) fn advance(&mut self, log: &Log, events: usize) {
        while self.events < events {
            let Some(&event) = log.events.get(self.events) else {
                return;
            };
            self.step(log, event);
            self.events += 1;
        }
    }

    fn step(&mut self, log: &Log, event: Event) {
        match event {
            Event::Submitted(write) => self.pending.push(Pending {
                write,
                submitted: self.events,
                completed: None,
                len: log.writes[write].len(),
                tainted: false,
                settled: Vec::new(),
            }),
            Event::Completed { write, bytes } => {
                let found = self.pending.iter().rposition(|p| p.write == write);
                if let Some(n) = found {
                    self.pending[n].completed = Some(self.events);
                    self.pending[n].len = bytes;
                    if bytes == 0 {
                        self.pending.remove(n);
                    }
                }
            }
            Event::FlushBegun(flush) => {
                self.flushes.insert(flush, self.events);
            }
            Event::FlushEnded { flush, ok } => {
                if let Some(begun) = self.flushes.remove(&flush) {
                    self.flushed(log, begun, ok);
                }
            }
            Event::Mark(_) => {}
        }
    }

    fn flushed(&mut self, log: &Log, begun: usize, ok: bool) {
        let covered =
            |p: &Pending| !p.tainted && p.completed.is_some_and(|completed| completed < begun);
        if !ok {
            for pending in self.pending.iter_mut().filter(|p| covered(p)) {
                pending.tainted = true;
            }
            return;
        }
        let all = std::mem::take(&mut self.pending);
        let (mut durable, mut rest): (Vec<_>, Vec<_>) = all.into_iter().partition(covered);
        durable.sort_by_key(|p| p.completed);
        let medium = Arc::make_mut(&mut self.medium);
        for write in &durable {
            let (at, len) = (log.writes[write.write].at, write.len);
            self.fingerprint ^= medium.hash_range(at, len);
            apply(medium, &log.writes[write.write], write.len);
            self.fingerprint ^= medium.hash_range(at, len);
            for below in &mut rest {
                if below
                    .completed
                    .is_some_and(|end| Some(end) < write.completed)
                {
                    below.settle(log, &log.writes[write.write], write.len);
                }
            }
        }
        rest.retain(|p| p.settled.len() < p.sectors());
        self.pending = rest;
    }
}

impl Pending {
    /// Sectors of the write, a last incomplete one included.
    pub(crate) fn sectors(&self) -> usize {
        self.len.div_ceil(SECTOR) as usize
    }

    /// Marks the sectors that a later durable write covers.
    fn settle(&mut self, log: &Log, above: &WriteRecord, above_len: u64) {
        let at = log.writes[self.write].at;
        let first = above.at.max(at);
        let last = (above.at + above_len).min(at + self.len);
        if first >= last {
            return;
        }
        let sectors = (first - at) / SECTOR..(last - at).div_ceil(SECTOR);
        self.settled.extend(sectors);
        self.settled.sort_unstable();
        self.settled.dedup();
    }
}

/// Puts the first `len` bytes of a write on an image.
pub(crate) fn apply(image: &mut Image, record: &WriteRecord, len: u64) {
    match &record.payload {
        Payload::Bytes(data) => image.write(record.at, &data[..len as usize]),
        Payload::Refill(_) => image.refill(record.at, len),
    }
}
