//! S22 to S32 in e4's engine.

use super::lab::Note;
use super::{Lab, Outcome, Place, ensure};
use e4_completion::{Drain, Intent, NO_DRIVE, Whole};
use e4_sync::Arc;

fn deliveries(lab: &Lab, number: u32) -> usize {
    let notes = lab.notes();
    let of = |n: &&Note| matches!(n, Note::Delivered(m, ..) if *m == number);
    notes.iter().filter(of).count()
}

/// A scheduled worker finds that a flush has done its work: nothing happens twice.
pub(super) fn s22(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    lab.engine.collect_batch([(request, Ok(()))]);
    lab.truncate(0..1, &lab.file.observer())
        .map_err(|e| format!("truncate reports {e}"))?;
    let worker = lab.actor("worker", |lab| lab.engine.run_ready(4));
    ensure(
        worker.done()? == 1,
        "I-11: the scheduled inode was forgotten",
    )?;
    ensure(deliveries(lab, 1) == 1, "I-10: delivered twice")?;
    ensure(lab.file.is_idle(), "something is left over")
}

/// Eviction while the worker still has its last step to do: it waits, and the inode lives.
pub(super) fn s23(lab: &Lab) -> Outcome {
    let b = lab.another(2);
    let request = lab.write_to(&b, Lab::io(&b, 7, 0..1));
    let gate = lab.park_on(&b, Place::Delivered, 7);
    let worker = lab.complete(request, Ok(()));
    gate.reached()?;
    let evict = lab.actor("eviction", {
        let b = Arc::clone(&b);
        move |lab| {
            drop(lab.engine.quiesce(&b, NO_DRIVE));
            // The cache forgets the inode; the worker may still own a reference.
            drop(b);
        }
    });
    ensure(!evict.is_done(), "I-39: evicted under the worker")?;
    drop(b);
    gate.open();
    worker.done()?;
    evict.done()
}

/// A failed write: one decision, and eviction waits for its delivery.
pub(super) fn s24(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Deliver, 1);
    let worker = lab.complete(request, Err(-5));
    gate.reached()?;
    let evict = lab.actor("eviction", |lab| {
        drop(lab.engine.quiesce(&lab.file, NO_DRIVE))
    });
    lab.asleep(1)?;
    let early = evict.is_done();
    gate.open();
    worker.done()?;
    evict.done()?;
    ensure(
        !early,
        "I-39: evicted before the failed write was delivered",
    )?;
    ensure(deliveries(lab, 1) == 1, "I-40: delivered more than once")
}

/// A conversion and an unlocked overwrite at once: each has its own state.
pub(super) fn s25(lab: &Lab) -> Outcome {
    let first = lab.write(1, 0..1);
    let overwrite = lab
        .engine
        .admit(&lab.file, 4096..8192, Intent::Overwrite)
        .map_err(|e| e.to_string())?;
    lab.complete(first, Ok(())).done()?;
    drop(overwrite);
    let want = [Note::published(1, 0..1), Note::Delivered(1, Ok(()), true)];
    ensure(
        lab.notes() == want,
        "I-41: the overwrite disturbed the conversion",
    )
}

/// After any mixture the counters are zero, and a direct reader that waits for zero returns.
pub(super) fn s26(lab: &Lab) -> Outcome {
    let results = [Ok(()), Err(-5), Ok(())];
    for (n, result) in (0_u32..).zip(results) {
        let request = lab.write(n, n..n + 1);
        lab.complete(request, result).done()?;
    }
    let admission = lab
        .engine
        .admit(&lab.file, 0..4096, Intent::Write)
        .map_err(|e| e.to_string())?;
    drop(admission.begin(Lab::io(&lab.file, 9, 0..1)));
    let reader = lab.actor("direct reader", |lab| {
        let o = lab.file.observer();
        drop(
            lab.engine
                .drain(&lab.file, 0..u64::MAX, Drain::Shared, &o, NO_DRIVE),
        );
    });
    reader.done()?;
    ensure(lab.file.pending() == 0, "I-42: a counter is not zero")
}

/// Nothing mapped, nothing to convert: released at once, on no list.
pub(super) fn s27(lab: &Lab) -> Outcome {
    let admission = lab
        .engine
        .admit(&lab.file, 0..0, Intent::Write)
        .map_err(|e| e.to_string())?;
    let request = admission.submit_whole(Whole {
        io: Lab::io(&lab.file, 1, 0..0),
        blocks: 0..0,
        size: None,
    });
    lab.complete(request, Ok(())).done()?;
    ensure(deliveries(lab, 1) == 1, "I-37: not delivered")?;
    ensure(
        lab.file.dump().watermark == 0,
        "I-37: it went through the list",
    )
}

/// Beyond 4 GiB: bytes and blocks are different types, and neither is narrowed.
pub(super) fn s28(lab: &Lab) -> Outcome {
    let block = (5_u64 << 30) / 4096;
    let blocks = block as u32..block as u32 + 1;
    let request = lab.write(1, blocks.clone());
    let o = lab.file.observer();
    let low = lab
        .engine
        .drain(&lab.file, 0..4 << 30, Drain::Exclusive, &o, NO_DRIVE)
        .map_err(|e| format!("a drain reports {e}"))?;
    let high = lab
        .engine
        .try_admit(&lab.file, 5 << 30..(5 << 30) + 1, Intent::Read);
    ensure(
        high.is_ok(),
        "a drain of the first 4 GiB holds off block 5 GiB",
    )?;
    drop((low, high));
    lab.complete(request, Ok(())).done()?;
    ensure(
        lab.notes().contains(&Note::published(1, blocks)),
        "I-3: another range was converted",
    )
}

/// Publishing needs no journal space, and one that is stuck holds up nobody else's.
pub(super) fn s30(lab: &Lab) -> Outcome {
    let (stuck, free) = (lab.write(1, 0..1), lab.write(2, 1..2));
    let gate = lab.park(Place::Drained, 1);
    let first = lab.complete(stuck, Ok(()));
    gate.reached()?;
    lab.complete(free, Ok(())).done()?;
    ensure(
        lab.reads(1) == Some(2),
        "I-47: queued behind one that waits",
    )?;
    gate.open();
    first.done()
}

/// A long list: another inode gets its turn after one batch.
pub(super) fn s32(lab: &Lab) -> Outcome {
    let b = lab.another(2);
    let long: Vec<_> = (0..1000).map(|n| (lab.write(n, 0..1), Ok(()))).collect();
    let short = lab.write_to(&b, Lab::io(&b, 5000, 0..1));
    lab.engine.collect_batch(long);
    lab.engine.collect_batch([(short, Ok(()))]);
    lab.engine.run_ready(2);
    let done = lab
        .notes()
        .iter()
        .filter(|n| matches!(n, Note::Delivered(..)))
        .count();
    ensure(b.is_idle(), "I-21: the other inode still waits")?;
    ensure(
        done <= lab.engine.limits().drain_batch,
        "I-21: the turn was not bounded",
    )?;
    while lab.engine.run_ready(1) > 0 {}
    Ok(())
}
