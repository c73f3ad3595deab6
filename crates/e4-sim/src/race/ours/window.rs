//! S01 to S11 in e4's engine.

use super::lab::Note;
use super::{Lab, Outcome, Place, ensure};
use crate::race::ours::lab::Port;
use e4_completion::{Drain, Intent, NO_DRIVE, RequestRef};
use e4_sync::atomic::{AtomicBool, AtomicU32, Ordering};
use e4_sync::{Arc, Mutex, Rank, thread};
use std::collections::VecDeque;

/// A truncate holds the inode lock and waits for direct I/O: the conversion needs no such lock.
pub(super) fn s01(lab: &Lab) -> Outcome {
    let inode_lock = Arc::new(Mutex::new(Rank::INODE_IO, ()));
    let request = lab.write(1, 0..1);
    let truncate = lab.actor("truncate", move |lab| {
        let _held = inode_lock.lock();
        lab.truncate(0..1, &lab.file.observer())
    });
    lab.asleep(1)?;
    lab.complete(request, Ok(())).done()?;
    let told = truncate.done()?;
    ensure(told.is_ok(), "truncate reports an error")
}

/// A drainer holds the former list: barrier and truncate wait for it all the same.
pub(super) fn s02(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Drained, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    let flush = lab.actor("flush", |lab| {
        lab.engine.barrier(&lab.file, &lab.file.observer())
    });
    lab.asleep(1)?;
    let truncate = lab.actor("truncate", |lab| lab.truncate(0..1, &lab.file.observer()));
    lab.asleep(2)?;
    ensure(
        !flush.is_done() && !truncate.is_done(),
        "I-13: somebody went on",
    )?;
    gate.open();
    drainer.done()?;
    flush.done()?.map_err(|e| format!("flush reports {e}"))?;
    truncate
        .done()?
        .map_err(|e| format!("truncate reports {e}"))?;
    let delivered = Note::Delivered(1, Ok(()), true);
    ensure(
        lab.ordered(&delivered, &Note::Said("freed")),
        "the blocks were freed before the conversion was delivered",
    )
}

/// fsync while a drainer is at P3: it returns after the conversion.
pub(super) fn s03(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Drained, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    let fsync = lab.actor("fsync", |lab| {
        let told = lab.engine.barrier(&lab.file, &lab.file.observer());
        lab.say("fsync returned");
        told
    });
    lab.asleep(1)?;
    gate.open();
    drainer.done()?;
    fsync.done()?.map_err(|e| format!("fsync reports {e}"))?;
    ensure(
        lab.ordered(
            &Note::Delivered(1, Ok(()), true),
            &Note::Said("fsync returned"),
        ),
        "I-24: fsync returned before the data was readable",
    )
}

/// fsync of buffered data whose io_end is on no list yet: waiting for writeback is a shared drain,
/// and writeback ends in the delivery.
pub(super) fn s04(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let fsync = lab.actor("fsync", |lab| {
        let o = lab.file.observer();
        let all = 0..u64::MAX;
        let told = lab
            .engine
            .drain(&lab.file, all, Drain::Shared, &o, NO_DRIVE)
            .map(drop);
        lab.say("fsync returned");
        told
    });
    lab.asleep(1)?;
    ensure(
        !fsync.is_done(),
        "I-24: fsync returned with the data in flight",
    )?;
    lab.complete(request, Ok(())).done()?;
    fsync.done()?.map_err(|e| format!("fsync reports {e}"))?;
    ensure(
        lab.ordered(
            &Note::Delivered(1, Ok(()), true),
            &Note::Said("fsync returned"),
        ),
        "I-25: writeback ended before the conversion",
    )
}

/// A direct read after buffered writeback waits for the range, whatever stage it is in, and sees
/// the data.
pub(super) fn s05(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Drained, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    let reader = lab.actor("direct reader", |lab| {
        let o = lab.file.observer();
        let waited = lab
            .engine
            .drain(&lab.file, 0..4096, Drain::Shared, &o, NO_DRIVE);
        drop(waited);
        lab.reads(0)
    });
    lab.asleep(1)?;
    gate.open();
    drainer.done()?;
    ensure(
        reader.done()? == Some(1),
        "I-26: the direct read returned zeros",
    )
}

/// Whenever the delivery (which ends writeback) happens, the tree already says written: a page
/// dropped after it is read back with its data.
pub(super) fn s06(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let at_p3 = lab.park(Place::Drained, 1);
    let at_p6 = lab.park(Place::Deliver, 1);
    let drainer = lab.complete(request, Ok(()));
    at_p3.reached()?;
    ensure(
        lab.notes().is_empty(),
        "I-25: writeback ended at P3: the page could be dropped",
    )?;
    at_p3.open();
    at_p6.reached()?;
    ensure(
        lab.reads(0) == Some(1),
        "I-25: the page may be dropped and reads as zeros",
    )?;
    at_p6.open();
    drainer.done()
}

/// Requests in flight, none completed: the truncate waits for them.
pub(super) fn s07(lab: &Lab) -> Outcome {
    let io = Lab::io(&lab.file, 1, 0..1);
    let request = lab.write_to(&lab.file, io.clone());
    let truncate = lab.actor("truncate", |lab| lab.truncate(0..1, &lab.file.observer()));
    lab.asleep(1)?;
    ensure(
        !truncate.is_done(),
        "I-14: truncate went on with a request at the device",
    )?;
    Lab::arrive(&lab.file, &io);
    lab.complete(request, Ok(())).done()?;
    truncate
        .done()?
        .map_err(|e| format!("truncate reports {e}"))?;
    ensure(
        lab.ordered(&Note::Arrived(1), &Note::Said("freed")),
        "I-14: the data arrived in a freed block",
    )
}

/// The count covers the conversion and the delivery.
pub(super) fn s08(lab: &Lab) -> Outcome {
    for place in [
        Place::Drained,
        Place::Published,
        Place::Deliver,
        Place::Delivered,
    ] {
        let number = place as u32;
        let request = lab.write(number, 0..1);
        let gate = lab.park(place, number);
        let drainer = lab.complete(request, Ok(()));
        gate.reached()?;
        let truncate = lab.actor("truncate", |lab| lab.truncate(0..1, &lab.file.observer()));
        lab.asleep(1)?;
        let early = truncate.is_done();
        gate.open();
        drainer.done()?;
        truncate
            .done()?
            .map_err(|e| format!("truncate reports {e}"))?;
        ensure(!early, &format!("I-14: truncate went on at {place:?}"))?;
    }
    Ok(())
}

/// The device of S09: it never runs dry unless somebody waits, so the file is never quiet by
/// itself.
struct Stream {
    queue: Mutex<VecDeque<RequestRef<Port>>>,
    stop: AtomicBool,
    submitted: AtomicU32,
    /// Submitters that have ended.
    ended: AtomicU32,
}

impl Stream {
    fn submit(&self, lab: &Lab, number: u32) {
        while !self.stop.load(Ordering::Relaxed) {
            // Few enough that nobody waits for room: who stands in line waits for the range.
            if self.queue.lock().len() >= 8 {
                thread::yield_now();
                continue;
            }
            let request = lab.write(number, 0..2);
            self.queue.lock().push_back(request);
            self.submitted.fetch_add(1, Ordering::Relaxed);
        }
        self.ended.fetch_add(1, Ordering::Release);
    }

    fn serve(&self, lab: &Lab) {
        loop {
            let stopped = self.ended.load(Ordering::Acquire) == 2;
            let pressed = stopped || lab.file.dump().in_line > 0;
            let next = {
                let mut queue = self.queue.lock();
                let spare = queue.len() > usize::from(!pressed);
                spare.then(|| queue.pop_front()).flatten()
            };
            match next {
                Some(request) => lab.engine.request_done(request, Ok(())),
                None if stopped => return,
                None => thread::yield_now(),
            }
        }
    }
}

/// Writes admitted while somebody waits from which on it counts as waiting for ever. Each submitter may have one that it
/// had begun before.
const OVERTAKEN: u32 = 1000;

impl Stream {
    /// Watches a truncate until it has its turn.
    fn lets_through(&self, lab: &Lab, through: &AtomicBool) -> Outcome {
        let through = || through.load(Ordering::Acquire);
        while lab.file.dump().in_line == 0 && !through() {
            thread::yield_now();
        }
        let since = self.submitted.load(Ordering::Relaxed);
        loop {
            let more = self.submitted.load(Ordering::Relaxed).wrapping_sub(since);
            if through() {
                return Ok(());
            }
            ensure(
                more < OVERTAKEN,
                "I-15: writes overtake a waiting truncate without end",
            )?;
            thread::yield_now();
        }
    }
}

/// Submitters that never stop: each truncate gets its turn, and so do they between truncates.
pub(super) fn s09(lab: &Lab) -> Outcome {
    let stream = Arc::new(Stream {
        queue: Mutex::new(Rank::LEAF, VecDeque::new()),
        stop: AtomicBool::new(false),
        submitted: AtomicU32::new(0),
        ended: AtomicU32::new(0),
    });
    let actor = |name, run: fn(&Stream, &Lab)| {
        let stream = Arc::clone(&stream);
        lab.actor(name, move |lab| run(&stream, lab))
    };
    let others = [
        actor("device", Stream::serve),
        actor("submitter 1", |s, lab| s.submit(lab, 1)),
        actor("submitter 2", |s, lab| s.submit(lab, 2)),
    ];
    let mut outcome = Ok(());
    for _ in 0..20 {
        let before = stream.submitted.load(Ordering::Relaxed);
        let through = Arc::new(AtomicBool::new(false));
        let truncate = lab.actor("truncate", {
            let through = Arc::clone(&through);
            move |lab| {
                let o = lab.file.observer();
                let bytes = Lab::bytes(&(0..2));
                let held = lab
                    .engine
                    .drain(&lab.file, bytes, Drain::Exclusive, &o, NO_DRIVE);
                // Nobody can be admitted before it is let go.
                through.store(true, Ordering::Release);
                drop(held);
            }
        });
        outcome = match stream.lets_through(lab, &through) {
            Ok(()) => truncate.done(),
            overtaken => overtaken,
        };
        if outcome.is_err() {
            break;
        }
        let stream = Arc::clone(&stream);
        let going = lab.actor("a submitter after the truncate", move |_| {
            while stream.submitted.load(Ordering::Relaxed) == before {
                thread::yield_now();
            }
        });
        going.done()?;
    }
    stream.stop.store(true, Ordering::Relaxed);
    for other in others {
        other.done()?;
    }
    outcome
}

/// A's conversion is stuck; B completes and is evicted.
pub(super) fn s10(lab: &Lab) -> Outcome {
    let b = lab.another(2);
    let stuck = lab.write(1, 0..1);
    let gate = lab.park(Place::Drained, 1);
    let worker = lab.complete(stuck, Ok(()));
    gate.reached()?;
    let io = Lab::io(&b, 2, 0..1);
    let request = lab.write_to(&b, io);
    let evict = lab.actor("eviction of B", {
        let b = Arc::clone(&b);
        move |lab| drop(lab.engine.quiesce(&b, NO_DRIVE))
    });
    lab.complete(request, Ok(())).done()?;
    evict.done()?;
    ensure(b.is_idle() && !worker.is_done(), "I-20: B waited for A")?;
    gate.open();
    worker.done()
}

/// The completion is delivered only when a read sees the data.
pub(super) fn s11(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Deliver, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    let read = lab
        .engine
        .admit(&lab.file, 0..4096, Intent::Read)
        .map_err(|e| e.to_string())?;
    let seen = lab.reads(0);
    drop(read);
    gate.open();
    drainer.done()?;
    ensure(
        seen == Some(1),
        "I-27: zeros are read at the moment of delivery",
    )
}
