//! S12 to S18 in e4's engine.

use super::lab::Note;
use super::{Lab, Outcome, Place, ensure};
use e4_completion::{Drain, Intent, NO_DRIVE};

/// A reader (S12; S15 for a swap instead of a truncate) is counted before it maps: whoever takes
/// its block away waits, and a later reader is held off.
pub(super) fn s12(lab: &Lab) -> Outcome {
    let read = lab
        .engine
        .admit(&lab.file, 0..4096, Intent::Read)
        .map_err(|e| e.to_string())?;
    let owner = lab.file.data().lock().owners[0];
    let truncate = lab.actor("truncate", |lab| lab.truncate(0..1, &lab.file.observer()));
    lab.asleep(1)?;
    ensure(
        !truncate.is_done(),
        "I-16: the block was freed under a read",
    )?;
    let late = lab.engine.try_admit(&lab.file, 0..4096, Intent::Read);
    ensure(late.is_err(), "I-15: a reader overtook the truncate")?;
    ensure(
        lab.file.data().lock().owners[0] == owner,
        "I-16: another file owns the block",
    )?;
    drop(read);
    truncate
        .done()?
        .map_err(|e| format!("truncate reports {e}"))
}

/// A pure overwrite is counted before the inode lock would be dropped.
pub(super) fn s14(lab: &Lab) -> Outcome {
    let overwrite = lab
        .engine
        .admit(&lab.file, 0..4096, Intent::Overwrite)
        .map_err(|e| e.to_string())?;
    let io = Lab::io(&lab.file, 1, 0..1);
    let truncate = lab.actor("truncate", |lab| lab.truncate(0..1, &lab.file.observer()));
    lab.asleep(1)?;
    Lab::arrive(&lab.file, &io);
    ensure(
        !truncate.is_done(),
        "I-16: truncate did not see the overwrite",
    )?;
    drop(overwrite);
    truncate
        .done()?
        .map_err(|e| format!("truncate reports {e}"))?;
    ensure(
        lab.ordered(&Note::Arrived(1), &Note::Said("freed")),
        "I-16: the overwrite landed in another file",
    )
}

/// Exactly the io_end's range is published, whatever the extent has become meanwhile.
pub(super) fn s16(lab: &Lab) -> Outcome {
    let request = lab.write(1, 0..1);
    let gate = lab.park(Place::Drained, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    // The preallocation of block 1 next to it goes on without waiting.
    let beside = lab.engine.try_admit(&lab.file, 4096..8192, Intent::Write);
    ensure(beside.is_ok(), "a neighbour had to wait")?;
    drop(beside);
    gate.open();
    drainer.done()?;
    let exact = lab.notes().contains(&Note::published(1, 0..1));
    ensure(
        exact && lab.reads(1).is_none(),
        "I-3: the neighbouring block became readable",
    )
}

/// Two unaligned writers of one block: each holds the block to itself and does its I/O under the
/// drain, so the second one sees what the first one left.
pub(super) fn s18(lab: &Lab) -> Outcome {
    let half = |number: u32| {
        move |lab: &Lab| -> Result<Option<u32>, String> {
            let o = lab.file.observer();
            let guard = lab
                .engine
                .drain(&lab.file, 0..4096, Drain::Exclusive, &o, NO_DRIVE)
                .map_err(|e| e.to_string())?;
            let before = lab.reads(0);
            let admission = guard
                .admit(0..4096, Intent::Write, NO_DRIVE)
                .map_err(|e| e.to_string())?;
            let request = admission.submit_whole(e4_completion::Whole {
                io: Lab::io(&lab.file, number, 0..1),
                blocks: 0..1,
                size: None,
            });
            lab.engine.request_done(request, Ok(()));
            Ok(before)
        }
    };
    let gate = lab.park(Place::Drained, 1);
    let first = lab.actor("writer of half 1", half(1));
    gate.reached()?;
    let second = lab.actor("writer of half 2", half(2));
    lab.asleep(1)?;
    ensure(
        !second.is_done(),
        "I-48: two unaligned writers in one block",
    )?;
    gate.open();
    ensure(first.done()??.is_none(), "the first writer found data")?;
    ensure(
        second.done()?? == Some(1),
        "I-48: the second writer took the block for new",
    )
}
