//! The in-flight registry of one inode: a slab of slots, and the list of unsettled tickets.
//!
//! A slot is one admission: a read, an overwrite, or an io_end. It exists from admission until the
//! admission is released or the io_end is acknowledged, which is exactly the interval a drain has
//! to wait for (I-14, R9).
//!
//! The tickets of completed io_ends form one doubly linked list through the slots, oldest first.
//! Tickets are given on enqueue and the queue is FIFO, so the still-queued io_ends are always the
//! tail of that list: one pointer, `first_queued`, separates the drained from the queued. The
//! watermark is the ticket at the head. Nothing here allocates after the slab has grown to the
//! inode's depth (I-12).

use super::{Class, Intent};
use std::ops::Range;

/// "No slot".
pub const NIL: u32 = u32::MAX;

/// Where an io_end (or a plain admission) is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Stage {
    /// The slot is unused.
    Free,
    /// Admitted; no io_end (reads and overwrites stay here).
    Admitted,
    /// The io_end exists, its submitter still holds its reference.
    Begun,
    /// Every request is at the device or done; the submitter has let go.
    Submitted,
    /// The last request is done; on the inode's list.
    Completed,
    /// In one drainer's private list, not yet published.
    Converting,
    /// Published or failed for good; not yet acknowledged.
    Converted,
}

/// One admission.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slot<P, E> {
    /// Byte range, for drains.
    pub range: Range<u64>,
    /// What the admission is for.
    pub intent: Intent,
    /// Where it is.
    pub stage: Stage,
    /// Decided at the last put.
    pub class: Class,
    /// Per-inode number, in the order of arrival.
    pub id: u64,
    /// Requests outstanding, plus one while the submitter holds its reference.
    pub pending: u32,
    /// True once the submitter said that conversion or a size update is owed.
    pub owed: bool,
    /// Order of completion; meaningful from `Completed` on.
    pub ticket: u64,
    /// First failure.
    pub error: Option<E>,
    /// What the submitter left for the drainer; present from `Submitted` to `Completed`.
    pub payload: Option<P>,
    /// When the current stage began, in the shell's unit.
    pub stamp: u64,
    /// Previous in ticket order; next free slot when free.
    pub older: u32,
    /// Next in ticket order.
    pub newer: u32,
}

/// The slab and its ticket list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Slots<P, E> {
    slots: Vec<Slot<P, E>>,
    free: u32,
    in_use: u32,
    oldest: u32,
    newest: u32,
    first_queued: u32,
    queued: u32,
    next_ticket: u64,
}

impl<P, E> Slots<P, E> {
    pub const fn new() -> Self {
        Slots {
            slots: Vec::new(),
            free: NIL,
            in_use: 0,
            oldest: NIL,
            newest: NIL,
            first_queued: NIL,
            queued: 0,
            next_ticket: 0,
        }
    }

    /// Slots in use.
    #[inline]
    pub fn in_use(&self) -> u32 {
        self.in_use
    }

    /// io_ends on the completed list.
    #[inline]
    pub fn queued(&self) -> u32 {
        self.queued
    }

    /// The ticket the next completed io_end will get.
    #[inline]
    pub fn next_ticket(&self) -> u64 {
        self.next_ticket
    }

    /// Everything below is converted or failed, and acknowledged.
    #[inline]
    pub fn watermark(&self) -> u64 {
        match self.slots.get(self.oldest as usize) {
            Some(slot) => slot.ticket,
            None => self.next_ticket,
        }
    }

    /// The ticket at the front of the completed list.
    #[inline]
    pub fn front_ticket(&self) -> Option<u64> {
        self.slots.get(self.first_queued as usize).map(|s| s.ticket)
    }

    #[inline]
    pub fn get(&self, slot: u32) -> &Slot<P, E> {
        &self.slots[slot as usize]
    }

    #[inline]
    pub fn get_mut(&mut self, slot: u32) -> &mut Slot<P, E> {
        &mut self.slots[slot as usize]
    }

    /// Slots in use, with their index.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &Slot<P, E>)> {
        let numbered = self.slots.iter().enumerate();
        numbered
            .filter(|(_, s)| s.stage != Stage::Free)
            .map(|(i, s)| (i as u32, s))
    }

    /// Takes a slot. The only function here that may allocate.
    #[inline]
    pub fn allocate(&mut self, range: Range<u64>, intent: Intent, id: u64, stamp: u64) -> u32 {
        self.in_use += 1;
        let index = self.free;
        if index == NIL {
            return self.grow(range, intent, id, stamp);
        }
        // A free slot is canonical: only what differs is written.
        let slot = self.get_mut(index);
        let next = std::mem::replace(&mut slot.older, NIL);
        slot.range = range;
        slot.intent = intent;
        slot.stage = Stage::Admitted;
        slot.id = id;
        slot.stamp = stamp;
        self.free = next;
        index
    }

    #[cold]
    fn grow(&mut self, range: Range<u64>, intent: Intent, id: u64, stamp: u64) -> u32 {
        self.slots.push(Slot {
            range,
            intent,
            stage: Stage::Admitted,
            class: Class::Finish,
            id,
            pending: 0,
            owed: false,
            ticket: 0,
            error: None,
            payload: None,
            stamp,
            older: NIL,
            newer: NIL,
        });
        (self.slots.len() - 1) as u32
    }

    /// Gives a slot back in a canonical form, so that equal histories give equal states.
    #[inline]
    pub fn free(&mut self, index: u32) {
        let free = self.free;
        let slot = self.get_mut(index);
        slot.range = 0..0;
        slot.intent = Intent::Read;
        slot.stage = Stage::Free;
        slot.class = Class::Finish;
        slot.id = 0;
        slot.pending = 0;
        slot.owed = false;
        slot.ticket = 0;
        if slot.error.is_some() {
            slot.error = None;
        }
        if slot.payload.is_some() {
            slot.payload = None;
        }
        slot.stamp = 0;
        slot.newer = NIL;
        slot.older = free;
        self.free = index;
        self.in_use -= 1;
    }

    /// Appends to the completed list and gives the next ticket.
    #[inline]
    pub fn enqueue(&mut self, index: u32) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let newest = self.newest;
        let slot = self.get_mut(index);
        slot.ticket = ticket;
        slot.older = newest;
        slot.newer = NIL;
        match newest {
            NIL => self.oldest = index,
            before => self.get_mut(before).newer = index,
        }
        self.newest = index;
        if self.first_queued == NIL {
            self.first_queued = index;
        }
        self.queued += 1;
        ticket
    }

    /// Takes the front of the completed list; it stays unsettled.
    #[inline]
    pub fn dequeue(&mut self) -> Option<u32> {
        let index = self.first_queued;
        if index == NIL {
            return None;
        }
        self.first_queued = self.get(index).newer;
        self.queued -= 1;
        Some(index)
    }

    /// Takes an acknowledged io_end off the ticket list. True if the watermark moved.
    #[inline]
    pub fn settle(&mut self, index: u32) -> bool {
        let (older, newer) = {
            let slot = self.get(index);
            (slot.older, slot.newer)
        };
        match older {
            NIL => self.oldest = newer,
            o => self.get_mut(o).newer = newer,
        }
        match newer {
            NIL => self.newest = older,
            n => self.get_mut(n).older = older,
        }
        older == NIL
    }

    /// The neighbours of an unsettled io_end in ticket order, by id.
    pub fn neighbours(&self, index: u32) -> (Option<u64>, Option<u64>) {
        let slot = self.get(index);
        let id = |i: u32| self.slots.get(i as usize).map(|s| s.id);
        (id(slot.older), id(slot.newer))
    }
}
