//! From "the device answered" to "delivered": taking completions in, and draining.
//!
//! Each step is one critical section of the inode's lock; nothing is called under it.
//!
//! ```text
//!   take_in   P1 | RequestDone*, Splice*, Leave | P2
//!   deliver   P3   publish   P4 | Converted* | P5   P6 acknowledge   P7 | Acknowledged* |
//! ```
//!
//! Errors are recorded (`RequestDone`, `Converted`) before anything is acknowledged, and the
//! watermark moves (`Acknowledged`) after everything is.

use crate::converter::{Batch, Converter, Private};
use crate::engine::Shared;
use crate::inode::{Core, EngineEvent, InodeIo};
use crate::machine::{Class, Event, Outcome};
use crate::sync_point::Point;
use e4_sync::{Arc, Held, MutexGuard, Rank, assert_no_rank_at_or_above};

#[inline]
#[allow(
    unused_variables,
    reason = "compiled out without the sync-points feature"
)]
pub(crate) fn pass<C: Converter>(shared: &Shared<C>, point: Point, inode: u64, io_end: u64) {
    #[cfg(feature = "sync-points")]
    shared.sync_points.pass(point, inode, io_end);
}

/// Feeds completions of one inode in one critical section. `inline`: this context may publish and
/// deliver, and does; otherwise what completed is left on the list and a drainer is scheduled.
#[inline]
pub(crate) fn take_in<C: Converter>(
    inode: &Arc<InodeIo<C>>,
    events: impl Iterator<Item = EngineEvent<C>>,
    inline: bool,
) {
    if inline {
        // Before anything is taken in: a caller that may not deliver must not lose completions.
        assert_no_rank_at_or_above(Rank::HANDLE);
    }
    let mut private = Private::new();
    let mut core = inode.lock();
    for event in events {
        if let Outcome::Item(item) = core.machine.apply(event).out {
            private.push(item);
        }
    }
    if inline && core.machine.queued() > 0 {
        splice(inode, &mut core, &mut private);
    }
    let left = core.machine.apply(Event::Leave { scheduled: false });
    // P2 lies between the enqueue and the wake-up; both are decided in this critical section, so
    // the only thing that can still be late is carrying the wake-up out.
    #[cfg(feature = "sync-points")]
    let queued: Vec<u64> = core.machine.queued_ids();
    if left.schedule || left.wake {
        #[cfg(feature = "sync-points")]
        {
            drop(core);
            for id in queued {
                pass(&inode.shared, Point::P2, inode.key().0, id);
            }
            core = inode.lock();
        }
        inode.follow_up(core, left.wake, left.schedule);
    } else {
        drop(core);
    }
    if !private.is_empty() {
        deliver(inode, &mut private);
    }
}

/// Moves up to one turn's worth of the list into a private one.
#[inline]
pub(crate) fn splice<C: Converter>(
    inode: &InodeIo<C>,
    core: &mut MutexGuard<'_, Core<C>>,
    private: &mut Private<C>,
) {
    let stamp = inode.shared.clock.stamp();
    while private.len() < inode.shared.limits.drain_batch {
        match core.machine.apply(Event::Splice { stamp }).out {
            Outcome::Item(item) => private.push(item),
            _ => break,
        }
    }
}

/// Publishes, records, acknowledges and settles a private list. No lock is held on entry.
pub(crate) fn deliver<C: Converter>(inode: &Arc<InodeIo<C>>, private: &mut Private<C>) {
    let shared = &*inode.shared;
    let key = inode.key().0;
    let at = |private: &Private<C>, point| {
        if cfg!(feature = "sync-points") {
            for item in private.iter() {
                pass(shared, point, key, item.id);
            }
        }
    };
    at(private, Point::P3);
    // While this is held, debug builds refuse to wait for completions or to take outer locks.
    let converting = Held::acquire(Rank::HANDLE);
    if private.iter().any(|i| i.class == Class::Convert) {
        shared
            .converter
            .publish(inode, &mut Batch { items: private });
        at(private, Point::P4);
        let stamp = shared.clock.stamp();
        let mut core = inode.lock();
        for item in private.iter().filter(|i| i.class == Class::Convert) {
            let _ = core.machine.apply(Event::Converted {
                slot: item.slot,
                error: item.error.clone(),
                stamp,
            });
        }
    }
    at(private, Point::P5);
    for item in private.iter_mut() {
        pass(shared, Point::P6, key, item.id);
        tracing::trace!(
            target: "e4::io_end", inode = key, io_end = item.id, ticket = item.ticket,
            failed = item.error.is_some(), stage = "acknowledged"
        );
        if let Some(body) = item.payload.take() {
            let outcome = item.error.take().map_or(Ok(()), Err);
            shared.converter.acknowledge(inode, body.io, outcome);
        }
    }
    drop(converting);
    at(private, Point::P7);
    settle(inode, private);
}

/// Gives the slots of delivered items back.
fn settle<C: Converter>(inode: &Arc<InodeIo<C>>, private: &Private<C>) {
    let mut core = inode.lock();
    let mut wake = false;
    for item in private.iter() {
        wake |= core.machine.apply(Event::Acknowledged(item.slot)).wake;
    }
    inode.follow_up(core, wake, false);
    inode.shared.gate.leave(private.len() as u64);
}
