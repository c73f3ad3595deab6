//! The simulated disk: determinism, held requests, faults.

use e4_device::{
    AlignedBuf, Completion, Device, DeviceError, IoSlice, Op, QueueId, Request, Token, Wait,
};
use e4_sim::{
    Bound, Effect, Event, Fault, OpKind, SimDisk, SimOptions, Times, When, find_poison, is_poison,
    poison,
};
use e4_sync::{Arc, thread};

const Q: QueueId = QueueId(0);

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(&SimOptions::new(1 << 20, seed))
}

fn write(token: u64, at: u64, byte: u8, len: usize) -> Request {
    let mut buf = AlignedBuf::recycled(len);
    buf.fill(byte);
    let data = IoSlice::Owned(buf);
    Request {
        token: Token(token),
        op: Op::Write { at, data },
    }
}

fn flush(token: u64) -> Request {
    Request {
        token: Token(token),
        op: Op::Flush,
    }
}

fn drain(disk: &SimDisk) -> Vec<(u64, Result<(), DeviceError>)> {
    let mut out = Vec::new();
    while disk.poll(Q, &mut out, Wait::One) > 0 {}
    let plain = |c: Completion| (c.token.0, c.result.map_err(|e| *e));
    out.into_iter().map(plain).collect()
}

fn failed(result: &Result<(), DeviceError>) -> bool {
    matches!(result, Err(DeviceError::Io { errno: 5, .. }))
}

fn bytes(dev: &dyn Device, at: u64, len: usize) -> Vec<u8> {
    let mut buf = vec![0; len];
    dev.read_at(at, &mut buf).expect("read_at");
    buf
}

#[test]
fn born_poisoned() {
    let disk = disk(1);
    assert_eq!(bytes(&disk, 12 * 4096, 4096), poison(12, 4096));
    disk.write_at(12 * 4096, &[1; 4096]).expect("write_at");
    assert_eq!(bytes(&disk, 12 * 4096, 4096), [1; 4096]);
    disk.discard(12 * 4096, 4096).expect("discard");
    assert_eq!(is_poison(&bytes(&disk, 12 * 4096, 4096)), Some(96));
}

/// The same seed and calls: the same events, order of completion, and crash states.
#[test]
fn a_seed_reproduces_everything() {
    let run = |seed| {
        let disk = disk(seed);
        let mut order = Vec::new();
        for round in 0..10 {
            let batch = (0..12).map(|n| write(round * 12 + n, n * 4096, n as u8, 4096));
            disk.submit(Q, &mut batch.collect());
            let mut out = Vec::new();
            disk.poll(Q, &mut out, Wait::One);
            disk.submit(Q, &mut vec![flush(1000 + round)]);
            disk.poll(Q, &mut out, Wait::No);
            order.extend(out.into_iter().map(|c| c.token.0));
        }
        order.extend(drain(&disk).into_iter().map(|(token, _)| token));
        let log = disk.log();
        let states: Vec<String> = log
            .crash_points()
            .flat_map(|p| log.states_at(p, Bound::default()))
            .map(|s| s.describe())
            .collect();
        (order, log.events().to_vec(), states)
    };
    assert_eq!(run(5), run(5));
    assert_ne!(run(5).0, run(6).0);
    let (order, events, _) = run(5);
    let mut sorted = order.clone();
    sorted.sort_unstable();
    assert_ne!(order, sorted, "completions are reordered");
    let submitted = events.iter().filter(|e| matches!(e, Event::Submitted(_)));
    assert_eq!(submitted.count(), 120);
}

#[test]
fn held_requests_wait_for_the_test() {
    let disk = Arc::new(disk(1));
    disk.hold(|h| h.kind == OpKind::Write && h.at == 4096);
    disk.submit(
        Q,
        &mut vec![write(1, 0, 1, 4096), write(2, 4096, 2, 4096), flush(3)],
    );
    let mut out = Vec::new();
    while out.len() < 2 {
        disk.poll(Q, &mut out, Wait::One);
    }
    assert!(out.iter().all(|c| c.token.0 != 2));
    assert_eq!(disk.poll(Q, &mut out, Wait::No), 0);
    let short = Wait::For(e4_sync::Duration::from_millis(1));
    assert_eq!(disk.poll(Q, &mut out, short), 0);
    assert!(
        find_poison(&bytes(&*disk, 4096, 4096)).is_some(),
        "not written yet"
    );
    let held = disk.held();
    assert_eq!(
        (held.len(), held[0].token, held[0].len),
        (1, Token(2), 4096)
    );
    // A poller that waits is woken by the release.
    let poller = {
        let disk = Arc::clone(&disk);
        thread::spawn(move || {
            let mut out = Vec::new();
            disk.poll(Q, &mut out, Wait::One);
            out.len()
        })
    };
    assert!(disk.release(held[0].id));
    assert_eq!(poller.join().expect("poller"), 1);
    assert!(!disk.release(held[0].id));
    assert_eq!(bytes(&*disk, 4096, 4096), [2; 4096]);
    disk.hold_nothing();
    disk.submit(Q, &mut vec![write(4, 4096, 3, 4096)]);
    assert_eq!(drain(&disk).len(), 1);
}

#[test]
fn transient_sticky_and_ranged_faults() {
    let disk = disk(1);
    disk.inject(Fault::nth(OpKind::Write, 2));
    assert!(disk.write_at(0, &[1; 512]).is_ok());
    assert!(failed(&disk.write_at(512, &[1; 512])));
    assert!(disk.write_at(512, &[1; 512]).is_ok());
    disk.inject(Fault {
        times: Times::Forever,
        ..Fault::nth(OpKind::Flush, 2)
    });
    assert!(disk.flush().is_ok());
    assert!(failed(&disk.flush()) && failed(&disk.flush()));
    disk.clear_faults();
    assert!(disk.flush().is_ok());
    disk.inject(Fault::range(OpKind::Read, 8192..8193));
    let mut buf = [0; 4096];
    assert!(disk.read_at(4096, &mut buf).is_ok());
    assert!(failed(&disk.read_at(4097, &mut buf)));
    disk.submit(Q, &mut vec![write(1, 8192, 7, 4096), flush(2)]);
    assert!(drain(&disk).iter().all(|(_, r)| r.is_ok()), "reads only");
    disk.inject(Fault::range(OpKind::Write, 8192..12288));
    disk.submit(Q, &mut vec![write(1, 8192, 7, 4096), write(2, 0, 7, 4096)]);
    for (token, result) in drain(&disk) {
        assert_eq!(failed(&result), token == 1);
    }
}

#[test]
fn partial_transfers_and_lies() {
    let disk = disk(1);
    disk.write_at(0, &[1; 4096]).expect("write_at");
    disk.inject(Fault {
        op: OpKind::Write,
        when: When::Always,
        effect: Effect::Partial {
            bytes: 1030,
            errno: 5,
        },
        times: Times::Once,
    });
    assert!(failed(&disk.write_at(0, &[2; 4096])));
    let now = bytes(&disk, 0, 4096);
    assert!(now[..1024] == [2; 1024] && now[1024..] == [1; 3072]);
    let lie = |op| Fault {
        op,
        when: When::Always,
        effect: Effect::Lie,
        times: Times::Once,
    };
    disk.inject(lie(OpKind::Write));
    assert!(disk.write_at(0, &[3; 4096]).is_ok());
    assert_eq!(bytes(&disk, 0, 4096), now);
    disk.inject(lie(OpKind::Read));
    assert_ne!(bytes(&disk, 0, 4096), now);
    assert_eq!(bytes(&disk, 0, 4096), now);
    // A lying flush makes nothing durable.
    disk.settle();
    disk.write_at(0, &[4; 512]).expect("write_at");
    disk.inject(lie(OpKind::Flush));
    assert!(disk.flush().is_ok());
    let log = disk.log();
    assert_eq!(bytes(&log.state(log.end(), false), 0, 4096), now);
    disk.flush().expect("flush");
    let log = disk.log();
    assert_eq!(bytes(&log.state(log.end(), false), 0, 512), [4; 512]);
}

/// After a failed flush, a later successful one proves nothing about what the first one covered.
#[test]
fn a_failed_flush_is_never_made_good() {
    let disk = disk(1);
    disk.write_at(0, &[1; 1024]).expect("write_at");
    disk.inject(Fault::nth(OpKind::Flush, 1));
    assert!(disk.flush().is_err());
    disk.write_at(8192, &[2; 512]).expect("write_at");
    disk.flush().expect("flush");
    let lost = |at: u64, len| {
        let log = disk.log();
        find_poison(&bytes(&log.state(log.end(), false), at, len)).is_some()
    };
    assert!(lost(0, 1024), "still uncertain");
    assert!(!lost(8192, 512));
    // Writing it again does help, sector by sector.
    disk.write_at(0, &[3; 512]).expect("write_at");
    disk.flush().expect("flush");
    let log = disk.log();
    for all in [false, true] {
        let state = log.state(log.end(), all);
        assert_eq!(bytes(&state, 0, 512), [3; 512]);
    }
    assert!(lost(512, 512));
    assert_eq!(bytes(&log.state(log.end(), true), 512, 512), [1; 512]);
}

#[test]
fn requests_are_checked_and_counted() {
    let disk = disk(1);
    disk.submit(
        Q,
        &mut vec![
            write(1, 100, 0, 512),
            write(2, 1 << 20, 0, 512),
            write(3, 0, 0, 512),
        ],
    );
    let mut done = drain(&disk);
    done.sort_by_key(|(token, _)| *token);
    assert!(matches!(done[0].1, Err(DeviceError::Misaligned { .. })));
    assert!(matches!(done[1].1, Err(DeviceError::OutOfRange { .. })));
    assert_eq!(done[2].1, Ok(()));
    let stats = disk.stats();
    assert_eq!(
        (stats.writes, stats.bytes_written, stats.flushes),
        (1, 512, 0)
    );
    assert_eq!(
        disk.log().writes().len(),
        1,
        "refused requests leave no trace"
    );
}

#[test]
#[should_panic(expected = "in flight")]
fn settle_needs_a_quiet_disk() {
    let disk = disk(1);
    disk.submit(Q, &mut vec![flush(1)]);
    disk.settle();
}
