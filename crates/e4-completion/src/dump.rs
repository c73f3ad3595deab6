//! The dump (I-51) and the watchdog's view (I-52): a consistent snapshot per inode, taken under
//! its lock, changing nothing. An empty list is printed too.

use crate::clock::Clock;
use crate::converter::Converter;
use crate::inode::{InodeIo, InodeKey};
use crate::machine::{Intent, NO_TICKET, Slots, Stage};
use e4_sync::Duration;
use std::fmt;
use std::ops::Range;

/// One admission or io_end in flight.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PendingIoEnd {
    /// Its inode.
    pub inode: InodeKey,
    /// Its number within the inode.
    pub id: u64,
    /// Its place in the order of completion, once completed.
    pub ticket: Option<u64>,
    /// The admitted bytes.
    pub bytes: Range<u64>,
    /// What it was admitted for.
    pub intent: Intent,
    /// Where it is; this names its holder too: up to `Submitted` the submitter and the device, in
    /// `Completed` nobody, then a drainer.
    pub stage: Stage,
    /// Device requests outstanding, plus one while the submitter holds its reference.
    pub requests: u32,
    /// Whether a request failed.
    pub failed: bool,
    /// Time in this stage.
    pub age: Duration,
    /// The io_ends before and after it in the order of completion.
    pub neighbours: (Option<u64>, Option<u64>),
}

/// One inode.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InodeDump {
    /// Which.
    pub inode: InodeKey,
    /// What is in flight, by number.
    pub pending: Vec<PendingIoEnd>,
    /// Admissions and drains in line, held drains included.
    pub in_line: usize,
    /// Threads asleep until the inode moves: waiting admissions, barriers and drains.
    pub asleep: u32,
    /// Everything below this ticket is settled.
    pub watermark: u64,
    /// Errors recorded so far.
    pub errors: u64,
}

/// The whole engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dump {
    /// Every registered inode, by key.
    pub inodes: Vec<InodeDump>,
    /// Inodes waiting for a drainer.
    pub ready: usize,
    /// Writes admitted and not yet acknowledged.
    pub writes: u64,
}

impl<C: Converter> InodeIo<C> {
    /// A snapshot of this inode.
    pub fn dump(&self) -> InodeDump {
        self.dump_at(self.shared.clock.refresh())
    }

    pub(crate) fn dump_at(&self, at: u64) -> InodeDump {
        let core = self.lock();
        let slots = core.machine.slots();
        let mut pending: Vec<_> = slots
            .iter()
            .map(|(index, _)| describe(self.key(), slots, index, at))
            .collect();
        pending.sort_by_key(|p| p.id);
        InodeDump {
            inode: self.key(),
            pending,
            in_line: core.machine.line_len(),
            asleep: core.sleepers,
            watermark: core.machine.watermark(),
            errors: core.machine.errors().count(),
        }
    }
}

fn describe<P, E>(inode: InodeKey, slots: &Slots<P, E>, index: u32, at: u64) -> PendingIoEnd {
    let slot = slots.get(index);
    let completed = slot.stage >= Stage::Completed && slot.ticket != NO_TICKET;
    PendingIoEnd {
        inode,
        id: slot.id,
        ticket: completed.then_some(slot.ticket),
        bytes: slot.range.clone(),
        intent: slot.intent,
        stage: slot.stage,
        requests: slot.pending,
        failed: slot.error.is_some(),
        age: Clock::age(at, slot.stamp),
        neighbours: if completed {
            slots.neighbours(index)
        } else {
            (None, None)
        },
    }
}

impl fmt::Display for PendingIoEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_dash = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        write!(
            f,
            "inode {} io_end {} ticket {} bytes {}+{} {:?} {:?} requests {}{} age {:?} prev {} next {}",
            self.inode.0,
            self.id,
            or_dash(self.ticket),
            self.bytes.start,
            self.bytes.end.saturating_sub(self.bytes.start),
            self.intent,
            self.stage,
            self.requests,
            if self.failed { " FAILED" } else { "" },
            self.age,
            or_dash(self.neighbours.0),
            or_dash(self.neighbours.1),
        )
    }
}

impl fmt::Display for InodeDump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "inode {}: {} pending, {} in line, {} asleep, settled below ticket {}, {} errors",
            self.inode.0,
            self.pending.len(),
            self.in_line,
            self.asleep,
            self.watermark,
            self.errors
        )?;
        for io_end in &self.pending {
            write!(f, "\n  {io_end}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Dump {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "completed-IO engine: {} inodes, {} writes in flight, {} inodes ready",
            self.inodes.len(),
            self.writes,
            self.ready
        )?;
        for inode in &self.inodes {
            write!(f, "\n{inode}")?;
        }
        Ok(())
    }
}
