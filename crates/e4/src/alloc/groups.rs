//! All groups of a filesystem, and their system zone: a chain of write-once parts, the first from opening, one more for each
//! growth, so that nobody takes a lock to find a group.

use core::iter::successors;

use e4_format::{FsBlock, GroupNo};
use e4_sync::OnceLock;

use super::group::Slot;
use super::zone::SystemZone;

/// See the module documentation.
pub(super) struct Groups {
    /// The number of the first one here.
    first: u32,
    slots: Box<[Slot]>,
    zone: SystemZone,
    next: OnceLock<Box<Self>>,
}

impl Groups {
    pub(super) fn new(first: u32, slots: Vec<Slot>, zone: SystemZone) -> Self {
        Self {
            first,
            slots: slots.into_boxed_slice(),
            zone,
            next: OnceLock::new(),
        }
    }

    fn parts(&self) -> impl Iterator<Item = &Self> {
        successors(Some(self), |part| part.next.get().map(|next| &**next))
    }

    /// Adds groups behind the last one. One growth at a time is the caller's care.
    pub(super) fn append(&self, slots: Vec<Slot>, zone: SystemZone) {
        if let Some(last) = self.parts().last() {
            let first = last.first + u32::try_from(last.slots.len()).unwrap_or(0);
            // Nobody else appends, so the cell is empty.
            let _ = last.next.set(Box::new(Self::new(first, slots, zone)));
        }
    }

    pub(super) fn get(&self, number: GroupNo) -> Option<&Slot> {
        self.parts().find_map(|part| {
            let at = number.get().checked_sub(part.first)?;
            part.slots.get(at as usize)
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Slot> {
        self.parts().flat_map(|part| part.slots.iter())
    }

    /// Adds to the blocks no file may own. Before anybody else has this.
    pub(super) fn protect(&mut self, pieces: impl IntoIterator<Item = (u64, u64)>) {
        self.zone.add(pieces);
    }

    /// True if any of these blocks belongs to the filesystem itself.
    pub(super) fn overlaps_zone(&self, start: FsBlock, len: u64) -> bool {
        self.parts().any(|part| part.zone.overlaps(start, len))
    }

    /// The parts of the system zone inside `start .. end`.
    pub(super) fn zone_within(&self, start: u64, end: u64) -> impl Iterator<Item = (u64, u64)> {
        self.parts()
            .flat_map(move |part| part.zone.within(start, end))
    }
}
