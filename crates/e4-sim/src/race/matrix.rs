//! The matrix of the invariants (2.H): an operation arrives while an io_end of the same range is in
//! each stage. One test per cell, named by row and column. P1 is "in flight", P2 "completed, on
//! the list", P3 "drained", P4 "published", P6 "about to be delivered".

use super::ours::{Actor, Gate, Lab, Outcome, Place};
use e4_completion::{Drain, Intent, NO_DRIVE, RequestRef};

/// A stage of the io_end (write 1, block 0), and how to move on from it.
enum Stage<'a> {
    P1(RequestRef<super::ours::Port>),
    P2,
    Parked(Gate<'a>, Actor<()>),
}

impl Stage<'_> {
    /// Lets the io_end go on to its end.
    fn go_on(self, lab: &Lab) -> Outcome {
        match self {
            Stage::P1(request) => lab.complete(request, Ok(())).done(),
            // Whoever waits has converted it; a worker finds nothing more.
            Stage::P2 => lab
                .actor("worker", |lab| lab.engine.run_ready(8))
                .done()
                .map(|_| ()),
            Stage::Parked(gate, drainer) => {
                gate.open();
                drainer.done()
            }
        }
    }
}

/// Brings write 1 of block 0 into the stage of column `p`.
fn reach(lab: &Lab, p: u8) -> Result<Stage<'_>, String> {
    let request = lab.write(1, 0..1);
    let place = match p {
        1 => return Ok(Stage::P1(request)),
        2 => {
            lab.engine.collect_batch([(request, Ok(()))]);
            return Ok(Stage::P2);
        }
        3 => Place::Drained,
        4 => Place::Published,
        _ => Place::Deliver,
    };
    let gate = lab.park(place, 1);
    let drainer = lab.complete(request, Ok(()));
    gate.reached()?;
    Ok(Stage::Parked(gate, drainer))
}

/// What a cell demands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Must {
    /// Sleeps until the io_end has gone on; then returns, after the delivery.
    Wait,
    /// Converts the io_end itself and returns without anybody's help.
    Help,
    /// Returns at once although the io_end stays where it is.
    MayReturn,
}

fn cell(p: u8, must: Must, operation: impl FnOnce(&Lab) + Send + 'static) {
    let lab = Lab::new();
    let outcome = (|| {
        let stage = reach(&lab, p)?;
        let actor = lab.actor("the operation", move |lab| {
            operation(lab);
            lab.say("returned");
        });
        match must {
            Must::Wait => {
                lab.asleep(1)?;
                super::ours::ensure(!actor.is_done(), "it did not wait")?;
                stage.go_on(&lab)?;
                actor.done()?;
            }
            Must::Help | Must::MayReturn => {
                actor.done()?;
                stage.go_on(&lab)?;
            }
        }
        let delivered = super::ours::Note::Delivered(1, Ok(()), true);
        let returned = super::ours::Note::Said("returned");
        let after = lab.ordered(&delivered, &returned);
        super::ours::ensure(
            must == Must::MayReturn || after,
            "it returned before the delivery",
        )?;
        // I-51: a dump changes nothing, wherever it is taken.
        lab.engine.dump();
        Ok(())
    })();
    let outcome: Outcome = outcome.and_then(|()| {
        lab.actor("worker", |lab| while lab.engine.run_ready(1) > 0 {})
            .done()?;
        lab.at_rest()
    });
    if let Err(what) = outcome {
        panic!("P{p}: {what}\n{}", lab.engine.dump());
    }
}

fn truncate(lab: &Lab) {
    lab.truncate(0..1, &lab.file.observer()).expect("no error");
}

/// Punch: as truncate, over a range in the middle.
fn punch(lab: &Lab) {
    lab.truncate(0..4, &lab.file.observer()).expect("no error");
}

/// Zero range: as punch, exactly the range.
fn zero(lab: &Lab) {
    lab.truncate(0..1, &lab.file.observer()).expect("no error");
}

/// Collapse and insert range: from the range to the end of the largest file.
fn shift(lab: &Lab) {
    let o = lab.file.observer();
    let everything = 0..u64::MAX;
    let guard = lab
        .engine
        .drain(&lab.file, everything, Drain::Exclusive, &o, NO_DRIVE)
        .expect("no error");
    lab.free(&guard, 0..4);
}

/// fallocate over the range re-validates after waiting for what is in flight.
fn fallocate(lab: &Lab) {
    let o = lab.file.observer();
    let guard = lab
        .engine
        .drain(&lab.file, 0..8192, Drain::Exclusive, &o, NO_DRIVE);
    drop(guard.expect("no error"));
}

/// fsync of buffered data: waits for writeback, which is a shared drain.
fn fsync_buffered(lab: &Lab) {
    let o = lab.file.observer();
    let guard = lab
        .engine
        .drain(&lab.file, 0..u64::MAX, Drain::Shared, &o, NO_DRIVE);
    drop(guard.expect("no error"));
    assert_eq!(lab.reads(0), Some(1), "I-24");
}

/// fsync and AIO: promises what has completed, never waits for what has not.
fn barrier(lab: &Lab) {
    let told = lab.engine.barrier(&lab.file, &lab.file.observer());
    told.expect("no error");
}

/// A direct read after buffered writeback of the range.
fn direct_read(lab: &Lab) {
    let o = lab.file.observer();
    let guard = lab
        .engine
        .drain(&lab.file, 0..4096, Drain::Shared, &o, NO_DRIVE);
    drop(guard.expect("no error"));
    assert_eq!(lab.reads(0), Some(1), "I-26");
}

/// A read that does not wait, from P4 on.
fn plain_read(lab: &Lab) {
    let read = lab.engine.try_admit(&lab.file, 0..4096, Intent::Read);
    assert_eq!(lab.reads(0), Some(1), "I-26");
    drop(read.expect("never held off"));
}

fn evict(lab: &Lab) {
    let guard = lab.engine.quiesce(&lab.file, NO_DRIVE);
    assert_eq!(lab.file.pending(), 0);
    drop(guard);
}

fn overwrite(lab: &Lab) {
    let over = lab.engine.try_admit(&lab.file, 0..4096, Intent::Overwrite);
    drop(over.expect("never held off"));
}

macro_rules! row {
    ($operation:ident: $($name:ident $p:literal $must:ident;)*) => {
        $(#[test] fn $name() { cell($p, Must::$must, $operation); })*
    };
}

row! { truncate:
    m_truncate_p1 1 Wait;
    m_truncate_p2 2 Help;
    m_truncate_p3 3 Wait;
    m_truncate_p4 4 Wait;
    m_truncate_p6 6 Wait;
}
row! { punch:
    m_punch_p1 1 Wait;
    m_punch_p2 2 Help;
    m_punch_p3 3 Wait;
    m_punch_p4 4 Wait;
    m_punch_p6 6 Wait;
}
row! { zero:
    m_zero_p1 1 Wait;
    m_zero_p2 2 Help;
    m_zero_p3 3 Wait;
    m_zero_p4 4 Wait;
    m_zero_p6 6 Wait;
}
row! { shift:
    m_collapse_p1 1 Wait;
    m_collapse_p2 2 Help;
    m_collapse_p3 3 Wait;
    m_collapse_p4 4 Wait;
    m_collapse_p6 6 Wait;
}
row! { shift:
    m_insert_p1 1 Wait;
    m_insert_p2 2 Help;
    m_insert_p3 3 Wait;
    m_insert_p4 4 Wait;
    m_insert_p6 6 Wait;
}
row! { fallocate:
    m_fallocate_p1 1 Wait;
    m_fallocate_p2 2 Help;
    m_fallocate_p3 3 Wait;
    m_fallocate_p4 4 Wait;
    m_fallocate_p6 6 Wait;
}
row! { fsync_buffered:
    m_fsync_buffered_p1 1 Wait;
    m_fsync_buffered_p2 2 Help;
    m_fsync_buffered_p3 3 Wait;
    m_fsync_buffered_p4 4 Wait;
}
row! { barrier:
    m_fsync_aio_p1 1 MayReturn;
    m_fsync_aio_p2 2 Help;
    m_fsync_aio_p3 3 Wait;
    m_fsync_aio_p4 4 Wait;
    m_second_flush_p6 6 Wait;
}
row! { direct_read:
    m_direct_read_p1 1 Wait;
    m_direct_read_p2 2 Help;
    m_direct_read_p3 3 Wait;
}
row! { plain_read:
    m_direct_read_p4 4 MayReturn;
    m_direct_read_p6 6 MayReturn;
}
row! { evict:
    m_evict_p1 1 Wait;
    m_evict_p2 2 Help;
    m_evict_p3 3 Wait;
    m_evict_p4 4 Wait;
    m_evict_p6 6 Wait;
}
row! { overwrite:
    m_overwrite_p1 1 MayReturn;
    m_overwrite_p2 2 MayReturn;
    m_overwrite_p3 3 MayReturn;
    m_overwrite_p4 4 MayReturn;
    m_overwrite_p6 6 MayReturn;
}

/// The buffered-read row: the page stays pinned (writeback has not ended, that is the delivery)
/// while the tree still says unwritten, so no read can fill it with zeros.
#[test]
fn m_buffered_read_p1_to_p3() {
    for p in 1..=3 {
        let lab = Lab::new();
        let stage = reach(&lab, p).expect("reached");
        assert!(
            lab.notes().is_empty(),
            "P{p}: delivered before it is published"
        );
        assert_eq!(lab.reads(0), None);
        stage.go_on(&lab).expect("goes on");
        lab.at_rest().expect("at rest");
    }
}

/// The error row: an error that arrives in flight skips the conversion.
#[test]
fn m_io_error_p1() {
    let lab = Lab::new();
    let Ok(Stage::P1(request)) = reach(&lab, 1) else {
        panic!("not in flight");
    };
    lab.complete(request, Err(-5)).done().expect("done");
    assert_eq!(lab.reads(0), None);
    assert_eq!(
        lab.notes(),
        [super::ours::Note::Delivered(1, Err(-5), false)]
    );
}
