//! The life of an io_end through the public handles, one property per test.
#![cfg(not(any(loom, shuttle)))]

mod port;

use e4_completion::{Drain, Intent, Limits, NO_DRIVE, Refused, SizeUpdate, Stage};
use e4_sync::Duration;
use port::*;

const BLOCK: u64 = 4096;

#[test]
fn a_write_is_published_then_acknowledged_once() {
    let e = engine();
    let f = file(&e, 7);
    let request = write(&e, &f, 1, 3..5);
    assert!(readable(&f).is_empty());
    assert_eq!(f.pending(), 1);
    e.request_done(request, Ok(()));
    let log = e.converter().log.0.lock().clone();
    let want = [
        Happened::Published(7, 1),
        Happened::Acknowledged(7, 1, Ok(())),
    ];
    assert_eq!(log, want);
    assert_eq!(readable(&f), [3, 4]);
    assert!(f.is_idle());
    assert_eq!(e.writes_in_flight(), 0);
}

#[test]
fn the_first_request_may_complete_before_the_second_is_submitted() {
    let e = engine();
    let f = file(&e, 1);
    let admission = e.admit(&f, 0..8 * BLOCK, Intent::Write).expect("admitted");
    let mut io_end = admission.begin(9);
    io_end.convert(0..8);
    let first = io_end.add_request();
    e.request_done(first, Ok(()));
    assert!(readable(&f).is_empty(), "I-38: half of the data is missing");
    let second = io_end.add_request();
    io_end.submitted();
    assert!(delivered(&e).is_empty());
    e.request_done(second, Ok(()));
    assert_eq!(delivered(&e), [(9, Ok(()))]);
    assert_eq!(readable(&f).len(), 8);
}

#[test]
fn the_submitter_may_be_last() {
    let e = engine();
    let f = file(&e, 1);
    let mut io_end = e
        .admit(&f, 0..BLOCK, Intent::Write)
        .expect("admitted")
        .begin(1);
    io_end.convert(0..1);
    io_end.update_size(SizeUpdate {
        end: BLOCK,
        generation: 0,
    });
    let request = io_end.add_request();
    e.request_done(request, Ok(()));
    assert!(delivered(&e).is_empty());
    io_end.submitted();
    assert_eq!(delivered(&e), [(1, Ok(()))]);
}

#[test]
fn one_failed_request_of_three_converts_nothing() {
    for failing in 0..3 {
        let e = engine();
        let f = file(&e, 1);
        let observers = [f.observer(), f.observer()];
        let mut io_end = e
            .admit(&f, 0..3 * BLOCK, Intent::Write)
            .expect("admitted")
            .begin(4);
        io_end.convert(0..3);
        let requests: Vec<_> = (0..3).map(|_| io_end.add_request()).collect();
        io_end.submitted();
        for (n, request) in requests.into_iter().enumerate() {
            let result = if n == failing { Err(-5) } else { Ok(()) };
            e.request_done(request, result);
        }
        assert!(readable(&f).is_empty(), "I-2");
        assert_eq!(delivered(&e), [(4, Err(-5))]);
        for o in &observers {
            assert_eq!(e.barrier(&f, o), Err(-5), "I-32: every observer learns");
            assert_eq!(e.barrier(&f, o), Ok(()), "once");
        }
    }
}

#[test]
fn a_failing_conversion_reaches_the_writer_and_every_observer() {
    let e = engine();
    let f = file(&e, 1);
    let o = f.observer();
    *e.converter().refuse.0.lock() = Some((5, -28));
    let requests: Vec<_> = (0..3)
        .map(|n| (write(&e, &f, n, n * 4..n * 4 + 4), Ok(())))
        .collect();
    e.complete_batch(requests);
    assert_eq!(
        delivered(&e),
        [(0, Ok(())), (1, Err(-28)), (2, Ok(()))],
        "I-33, I-34"
    );
    let all = 0..u64::MAX;
    let punch = e.drain(&f, all.clone(), Drain::Exclusive, &o, NO_DRIVE);
    assert_eq!(punch.err(), Some(-28), "I-35: punch refuses to go on");
    assert!(e.drain(&f, all, Drain::Exclusive, &o, NO_DRIVE).is_ok());
    assert!(f.is_idle());
}

#[test]
fn nothing_owed_is_delivered_at_once() {
    let e = engine();
    let f = file(&e, 1);
    // S27: an empty range, no request at all.
    let mut io_end = e.admit(&f, 8..8, Intent::Write).expect("admitted").begin(1);
    io_end.convert(4..4);
    io_end.submitted();
    assert_eq!(delivered(&e), [(1, Ok(()))]);
    let log = e.converter().log.0.lock().len();
    assert_eq!(log, 1, "published nothing");
    assert_eq!(f.dump().watermark, 0, "took no ticket");
}

#[test]
fn dropped_handles_leak_nothing() {
    let e = engine();
    let f = file(&e, 1);
    drop(e.admit(&f, 0..BLOCK, Intent::Write).expect("admitted"));
    drop(
        e.admit(&f, 0..BLOCK, Intent::Write)
            .expect("admitted")
            .begin(1),
    );
    let cancelled = e
        .admit(&f, 0..BLOCK, Intent::Write)
        .expect("admitted")
        .begin(2);
    assert_eq!(cancelled.cancel().ok(), Some(2));
    assert!(delivered(&e).is_empty());
    assert_eq!((f.pending(), e.writes_in_flight()), (0, 0));

    drop(write(&e, &f, 3, 0..1));
    let mut io_end = e
        .admit(&f, 0..BLOCK, Intent::Write)
        .expect("admitted")
        .begin(4);
    let request = io_end.add_request();
    drop(io_end);
    e.request_done(request, Ok(()));
    // A drop never calls back, wherever it happens; the list is drained by whoever may.
    e.run_ready(8);
    let want = [(3, Err(-125)), (4, Err(-125))];
    let mut got = delivered(&e);
    got.sort_unstable();
    assert_eq!(got, want);
    assert!(f.is_idle());
    assert_eq!(e.writes_in_flight(), 0);
}

#[test]
fn collected_completions_wait_for_a_drainer() {
    let e = engine();
    let (a, b) = (file(&e, 1), file(&e, 2));
    let batch = vec![
        (write(&e, &a, 1, 0..1), Ok(())),
        (write(&e, &b, 2, 0..1), Ok(())),
        (write(&e, &a, 3, 1..2), Ok(())),
    ];
    e.collect_batch(batch);
    assert!(delivered(&e).is_empty());
    let o = a.observer();
    assert_eq!(
        e.barrier(&a, &o),
        Ok(()),
        "I-19: the barrier converts itself"
    );
    assert_eq!(delivered(&e), [(1, Ok(())), (3, Ok(()))]);
    assert_eq!(e.run_ready(8), 2, "both inodes are still listed");
    assert_eq!(delivered(&e).len(), 3);
    assert!(a.is_idle() && b.is_idle());
}

#[test]
fn a_drainer_is_bounded_and_inodes_take_turns() {
    let limits = Limits {
        drain_batch: 4,
        ..Limits::DEFAULT
    };
    let e = e4_completion::Engine::new(Port::default(), limits);
    let (a, b) = (file(&e, 1), file(&e, 2));
    let long: Vec<_> = (0..100)
        .map(|n| (write(&e, &a, n, n..n + 1), Ok(())))
        .collect();
    e.collect_batch(long);
    e.collect_batch([(write(&e, &b, 1000, 0..1), Ok(()))]);
    e.run_ready(2);
    let got = delivered(&e);
    assert_eq!(
        got.len(),
        5,
        "I-21: four of the long list, then the other inode"
    );
    assert_eq!(got.last(), Some(&(1000, Ok(()))));
    while e.run_ready(1) > 0 {}
    let order: Vec<u32> = delivered(&e)
        .iter()
        .map(|d| d.0)
        .filter(|&n| n < 1000)
        .collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>(), "first in, first out");
}

#[test]
fn admission_without_waiting_says_why() {
    let limits = Limits {
        per_inode: 2,
        writes: 3,
        ..Limits::DEFAULT
    };
    let e = e4_completion::Engine::new(Port::default(), limits);
    let (a, b) = (file(&e, 1), file(&e, 2));
    let why = |r: Result<e4_completion::Admission<Port>, Refused>| r.err();
    let first = e.try_admit(&a, 0..BLOCK, Intent::Write).expect("room");
    let second = e.try_admit(&a, 0..BLOCK, Intent::Read).expect("room");
    assert_eq!(
        why(e.try_admit(&a, 0..BLOCK, Intent::Read)),
        Some(Refused::Full)
    );
    let more: Vec<_> = (0..2)
        .map(|_| e.try_admit(&b, 0..BLOCK, Intent::Write).expect("room"))
        .collect();
    drop(second);
    assert_eq!(
        why(e.try_admit(&a, 0..BLOCK, Intent::Write)),
        Some(Refused::Full),
        "the engine's own bound"
    );
    drop(more);
    drop(first);
    let guard = e.quiesce(&a, NO_DRIVE);
    assert_eq!(
        why(e.try_admit(&a, 0..BLOCK, Intent::Read)),
        Some(Refused::Drained)
    );
    let own = guard
        .admit(0..BLOCK, Intent::Write, NO_DRIVE)
        .expect("the holder's own");
    drop(own);
    drop(guard);
    e.abort(-30);
    assert_eq!(
        why(e.try_admit(&a, 0..BLOCK, Intent::Write)),
        Some(Refused::Aborted)
    );
    // What is there can still be read.
    assert_eq!(why(e.try_admit(&a, 0..BLOCK, Intent::Read)), None);
    assert_eq!(e.writes_in_flight(), 0);
}

#[test]
fn abort_fails_what_is_still_to_complete() {
    let e = engine();
    let f = file(&e, 1);
    let o = f.observer();
    let (first, second) = (write(&e, &f, 1, 0..1), write(&e, &f, 2, 1..2));
    e.request_done(first, Ok(()));
    e.abort(-30);
    e.request_done(second, Ok(()));
    assert_eq!(delivered(&e), [(1, Ok(())), (2, Err(-30))], "I-36");
    assert_eq!(e.barrier(&f, &o), Err(-30));
    drop(e.quiesce(&f, NO_DRIVE));
    let late = file(&e, 2);
    assert!(e.admit(&late, 0..1, Intent::Write).is_err());
}

#[test]
fn a_range_drain_waits_only_for_its_range() {
    let e = engine();
    let f = file(&e, 1);
    let o = f.observer();
    let far = write(&e, &f, 1, 100..101);
    let guard = e
        .drain(&f, 0..50 * BLOCK, Drain::Exclusive, &o, NO_DRIVE)
        .expect("nothing in the range");
    let beside = write(&e, &f, 2, 60..61);
    assert!(
        e.try_admit(&f, 49 * BLOCK..51 * BLOCK, Intent::Read)
            .is_err()
    );
    drop(guard);
    e.complete_batch([(far, Ok(())), (beside, Ok(()))]);
    assert_eq!(delivered(&e).len(), 2);
}

#[test]
fn a_waiting_drain_drives_the_device_itself() {
    let e = engine();
    let f = file(&e, 1);
    let o = f.observer();
    let at_device = e4_sync::Mutex::new(e4_sync::Rank::DEVICE_RING, Vec::new());
    for n in 0..5 {
        let request = write(&e, &f, n, n..n + 1);
        at_device.lock().push(request);
    }
    let drive = || {
        let reaped = at_device.lock().pop();
        let some = reaped.is_some();
        e.complete_batch(reaped.map(|r| (r, Ok(()))));
        some
    };
    let guard = e.drain(&f, 0..u64::MAX, Drain::Exclusive, &o, &drive);
    assert!(guard.is_ok(), "one thread, no reaper, no worker");
    assert_eq!(delivered(&e).len(), 5);
}

#[test]
fn an_overwrite_costs_no_io_end() {
    let e = engine();
    let f = file(&e, 1);
    let admission = e.admit(&f, 0..BLOCK, Intent::Overwrite).expect("admitted");
    assert_eq!(f.pending(), 1);
    assert_eq!(e.writes_in_flight(), 0, "I-53");
    assert!(e.older_than(Duration::from_secs(3600)).is_empty());
    drop(admission);
    let d = f.dump();
    assert_eq!((d.watermark, d.pending.len()), (0, 0));
}

#[test]
fn the_dump_changes_nothing_and_shows_everything() {
    let e = engine();
    let f = file(&e, 42);
    let empty = e.dump().to_string();
    assert!(empty.contains("inode 42: 0 pending"), "I-51: {empty}");
    let read = e.admit(&f, 0..BLOCK, Intent::Read).expect("admitted");
    let begun = e
        .admit(&f, 0..BLOCK, Intent::Write)
        .expect("admitted")
        .begin(1);
    let submitted = write(&e, &f, 2, 9..10);
    let queued = [write(&e, &f, 3, 10..11), write(&e, &f, 4, 11..12)];
    e.collect_batch(queued.map(|r| (r, Ok(()))));
    let dump = e.dump();
    assert_eq!(dump, e.dump(), "a snapshot has no side effect");
    let pending = &dump.inodes[0].pending;
    let stages: Vec<Stage> = pending.iter().map(|p| p.stage).collect();
    let want = [
        Stage::Admitted,
        Stage::Begun,
        Stage::Submitted,
        Stage::Completed,
        Stage::Completed,
    ];
    assert_eq!(stages, want);
    assert_eq!(pending[3].neighbours, (None, Some(4)));
    assert_eq!(pending[4].neighbours, (Some(3), None));
    assert_eq!(pending[4].ticket, Some(1));
    println!("{dump}");
    drop((read, begun, submitted));
}

#[test]
fn the_watchdog_reports_what_is_old() {
    let e = engine();
    let f = file(&e, 1);
    let request = write(&e, &f, 1, 0..1);
    assert!(e.older_than(Duration::from_secs(3600)).is_empty());
    // The clock has millisecond steps: spin until the io_end is older than one.
    while e.older_than(Duration::from_millis(1)).is_empty() {
        std::hint::spin_loop();
    }
    let old = e.older_than(Duration::from_millis(1));
    assert_eq!((old[0].id, old[0].stage), (0, Stage::Submitted), "I-52");
    e.request_done(request, Ok(()));
    assert!(e.older_than(Duration::ZERO).is_empty());
}

#[test]
#[cfg(debug_assertions)]
fn waiting_inside_a_conversion_is_refused() {
    use e4_sync::{Held, Rank};
    let e = engine();
    let f = file(&e, 1);
    let o = f.observer();
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _handle = Held::acquire(Rank::HANDLE);
        let _ = e.barrier(&f, &o);
    }));
    assert!(refused.is_err(), "I-18: a barrier with a handle open");
    let request = write(&e, &f, 1, 0..1);
    let refused = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _tree = Held::acquire(Rank::EXTENT_TREE);
        e.request_done(request, Ok(()));
    }));
    assert!(refused.is_err(), "publishing under an inner lock");
}
