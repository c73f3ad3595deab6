//! The line: admissions and drains that had to wait, and the drains being held, in the order of
//! arrival. It is what makes an I/O barrier terminate under continuous submission (I-15) and a
//! submission terminate under continuous draining.
//!
//! Rules:
//! - An element is granted only if no *earlier* element of the line conflicts with it. A drain
//!   conflicts with overlapping drains and overlapping admissions that still wait; an admission
//!   conflicts with overlapping drains; two admissions never conflict.
//! - A drain is granted when, besides, no overlapping slot is in flight (`remaining` is zero).
//! - A granted drain stays in the line until it ends, holding overlapping newcomers off. A granted
//!   admission is a slot already; its entry only carries the slot to the waiter.
//! - An admission made under a held drain (by its owner) ignores range conflicts.
//! - A shared drain holds nobody off and waits only for slots older than itself.
//!
//! Since an element waits only for earlier ones and for slots in flight, and those never wait for
//! the line, it terminates.

use super::Intent;
use std::ops::Range;

/// Names an element of the line.
pub type WaiterId = u64;

/// One element.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Waiter {
    /// Position in the order of arrival; shared with the slots' ids.
    pub id: WaiterId,
    /// Bytes concerned.
    pub range: Range<u64>,
    /// What it waits for.
    pub kind: WaiterKind,
}

/// What an element of the line is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum WaiterKind {
    /// Wants a slot.
    Admission {
        intent: Intent,
        /// Made by the owner of a held drain.
        under: bool,
        granted: Option<u32>,
    },
    /// Wants the range quiet.
    Drain {
        exclusive: bool,
        /// Overlapping slots still in flight.
        remaining: u32,
        granted: bool,
    },
}

/// True if the ranges share a byte. Empty ranges overlap nothing.
#[inline]
pub fn overlaps(a: &Range<u64>, b: &Range<u64>) -> bool {
    a.start < b.end && b.start < a.end && a.start < a.end && b.start < b.end
}

/// The line itself.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Line {
    waiters: Vec<Waiter>,
}

impl Line {
    pub const fn new() -> Self {
        Line {
            waiters: Vec::new(),
        }
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty()
    }

    pub fn len(&self) -> usize {
        self.waiters.len()
    }

    pub fn push(&mut self, waiter: Waiter) {
        self.waiters.push(waiter);
    }

    pub fn find(&self, id: WaiterId) -> Option<&Waiter> {
        self.waiters.iter().find(|w| w.id == id)
    }

    pub fn at(&mut self, position: usize) -> &mut Waiter {
        &mut self.waiters[position]
    }

    pub fn remove(&mut self, id: WaiterId) -> Option<Waiter> {
        let at = self.waiters.iter().position(|w| w.id == id)?;
        Some(self.waiters.remove(at))
    }

    /// True if some exclusive drain, waiting or held, overlaps `range`.
    pub fn held_off(&self, range: &Range<u64>) -> bool {
        self.waiters.iter().any(|w| {
            matches!(
                w.kind,
                WaiterKind::Drain {
                    exclusive: true,
                    ..
                }
            ) && overlaps(&w.range, range)
        })
    }

    /// True if an earlier element conflicts with the one at `position`.
    pub fn blocked(&self, position: usize) -> bool {
        let me = &self.waiters[position];
        let earlier = self.waiters[..position]
            .iter()
            .filter(|w| overlaps(&w.range, &me.range));
        match me.kind {
            WaiterKind::Admission { under: true, .. } => false,
            WaiterKind::Drain {
                exclusive: false, ..
            } => false,
            WaiterKind::Admission { .. } => earlier.into_iter().any(|w| {
                matches!(
                    w.kind,
                    WaiterKind::Drain {
                        exclusive: true,
                        ..
                    }
                )
            }),
            WaiterKind::Drain { .. } => earlier.into_iter().any(|w| {
                matches!(
                    w.kind,
                    WaiterKind::Drain {
                        exclusive: true,
                        ..
                    } | WaiterKind::Admission { granted: None, .. }
                )
            }),
        }
    }

    /// Adjusts the in-flight count of every drain that waits for a slot with this range and id:
    /// called with `up` when the slot is taken and without when it is given back. A drain cannot
    /// be granted between the two, so the calls pair up.
    #[inline]
    pub fn count(&mut self, range: &Range<u64>, id: u64, up: bool) {
        for w in &mut self.waiters {
            if let WaiterKind::Drain {
                exclusive,
                remaining,
                granted: false,
            } = &mut w.kind
                && (*exclusive || id < w.id)
                && overlaps(&w.range, range)
            {
                *remaining = if up { *remaining + 1 } else { *remaining - 1 };
            }
        }
    }
}
