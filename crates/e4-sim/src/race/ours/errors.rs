//! S19 to S21, S33, S34, S37 and S44 in e4's engine.

use super::lab::Note;
use super::{Lab, Outcome, Place, ensure};
use e4_completion::{Drain, Intent, NO_DRIVE};

/// A failed write is not published; the caller and every observer are told.
pub(super) fn s19(lab: &Lab) -> Outcome {
    let observers = [lab.file.observer(), lab.file.observer()];
    let request = lab.write(1, 0..1);
    lab.complete(request, Err(-5)).done()?;
    ensure(
        lab.reads(0).is_none(),
        "I-32: a failed write became readable",
    )?;
    let told = lab.notes().contains(&Note::Delivered(1, Err(-5), false));
    ensure(told, "I-32: the caller was not told")?;
    for o in &observers {
        ensure(
            lab.engine.barrier(&lab.file, o) == Err(-5),
            "I-32: an fsync was not told",
        )?;
        ensure(
            lab.engine.barrier(&lab.file, o) == Ok(()),
            "I-32: an fsync was told twice",
        )?;
    }
    Ok(())
}

/// A failed conversion is delivered as an error, not as a byte count.
pub(super) fn s20(lab: &Lab) -> Outcome {
    let o = lab.file.observer();
    let mut io = Lab::io(&lab.file, 1, 0..1);
    io.refuse = Some(-28);
    let request = lab.write_to(&lab.file, io);
    lab.complete(request, Ok(())).done()?;
    let told = lab.notes().contains(&Note::Delivered(1, Err(-28), false));
    ensure(told, "I-33: the caller was told success")?;
    ensure(
        lab.engine.barrier(&lab.file, &o) == Err(-28),
        "I-33: fsync was not told",
    )
}

/// The worker converts and fails first; the punch that comes later refuses to go on.
pub(super) fn s21(lab: &Lab) -> Outcome {
    let observers = [lab.file.observer(), lab.file.observer()];
    let mut io = Lab::io(&lab.file, 1, 0..1);
    io.refuse = Some(-5);
    let request = lab.write_to(&lab.file, io);
    lab.engine.collect_batch([(request, Ok(()))]);
    let worker = lab.actor("worker", |lab| lab.engine.run_ready(1));
    worker.done()?;
    ensure(lab.file.is_idle(), "something is still queued")?;
    let punch = lab.truncate(0..1, &observers[0]);
    ensure(punch == Err(-5), "I-35: punch goes on over a damaged inode")?;
    ensure(
        !lab.notes().contains(&Note::Said("freed")),
        "I-35: blocks were freed",
    )?;
    ensure(
        lab.truncate(0..1, &observers[0]) == Ok(()),
        "I-35: told twice",
    )?;
    ensure(
        lab.engine.barrier(&lab.file, &observers[1]) == Err(-5),
        "I-35: fsync was not told",
    )
}

/// The size travels with the conversion: both are in place before delivery (S33), and so before
/// the caller invalidates its cache (S34).
pub(super) fn s33(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let before = lab.park(Place::Drained, 1);
    let after = lab.park(Place::Deliver, 1);
    let drainer = lab.complete(request, Ok(()));
    before.reached()?;
    ensure(
        lab.file.data().lock().size == 0,
        "I-9: the size is ahead of the conversion",
    )?;
    before.open();
    after.reached()?;
    let size = lab.file.data().lock().size;
    let read = lab.reads(0);
    after.open();
    drainer.done()?;
    ensure(
        (size, read) == (4096, Some(1)),
        "I-27: delivered before the size was raised",
    )
}

/// Nothing is readable while any request of the write is in flight.
pub(super) fn s37(lab: &Lab) -> Outcome {
    let admission = lab
        .engine
        .admit(&lab.file, 0..8192, Intent::Write)
        .map_err(|e| e.to_string())?;
    let io = Lab::io(&lab.file, 1, 0..2);
    let mut io_end = admission.begin(io);
    io_end.convert(0..2);
    let (first, second) = (io_end.add_request(), io_end.add_request());
    io_end.submitted();
    lab.complete(first, Ok(())).done()?;
    let o = lab.file.observer();
    lab.engine
        .barrier(&lab.file, &o)
        .map_err(|e| format!("a barrier reports {e}"))?;
    ensure(lab.reads(0).is_none(), "I-1: readable before the data")?;
    ensure(lab.notes().is_empty(), "I-28: flipped before the data")?;
    lab.complete(second, Ok(())).done()?;
    let guard = lab
        .engine
        .drain(&lab.file, 0..8192, Drain::Exclusive, &o, NO_DRIVE)
        .map_err(|e| format!("a drain reports {e}"))?;
    drop(guard);
    ensure(lab.reads(1) == Some(1), "the data is not readable")
}
