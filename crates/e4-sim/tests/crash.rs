//! Crash states: complete where they claim to be, legal always, reproducible, and cheap.

use e4_device::{AlignedBuf, Device, IoSlice, Op, QueueId, Request, Token, Wait};
use e4_sim::{Bound, CrashPoint, Fault, Log, OpKind, PointKind, Rng, SimDisk, SimOptions, poison};
use std::collections::{BTreeMap, BTreeSet};

const Q: QueueId = QueueId(0);
const ALL: Bound = Bound {
    exhaustive: 16,
    reorderings: 0,
    torn: 0,
    seed: 1,
};

fn disk() -> SimDisk {
    SimDisk::new(&SimOptions::new(64 << 10, 1))
}

fn last_point(log: &Log) -> CrashPoint {
    log.crash_points().last().expect("there is always a point")
}

/// The first byte of each of the first `count` blocks; 0 for poison.
fn firsts(dev: &dyn Device, count: u64) -> Vec<u8> {
    (0..count)
        .map(|n| {
            let mut block = [0; 512];
            dev.read_at(n * 4096, &mut block).expect("read_at");
            if block[..] == poison(n, 4096)[..512] {
                0
            } else {
                assert!(block.iter().all(|&b| b == block[0]), "a torn sector");
                block[0]
            }
        })
        .collect()
}

#[test]
fn every_subset_between_flushes() {
    let disk = disk();
    disk.write_at(0, &[1; 4096]).expect("write_at");
    disk.flush().expect("flush");
    disk.write_at(4096, &[2; 4096]).expect("write_at");
    disk.write_at(8192, &[3; 4096]).expect("write_at");
    disk.write_at(0, &[4; 4096]).expect("write_at");
    let log = disk.log();
    let states: BTreeSet<Vec<u8>> = log
        .states_at(last_point(&log), ALL)
        .map(|s| firsts(&s, 3))
        .collect();
    let expected: BTreeSet<Vec<u8>> = (0..8u8)
        .map(|n| {
            vec![
                if n & 4 == 0 { 1 } else { 4 },
                (n & 1) * 2,
                (n >> 1 & 1) * 3,
            ]
        })
        .collect();
    assert_eq!(states, expected);
    // Every prefix appears at its own point.
    let kinds: Vec<PointKind> = log.crash_points().map(|p| p.kind).collect();
    assert_eq!(
        kinds.iter().filter(|k| **k == PointKind::Submitted).count(),
        4
    );
    assert_eq!(
        kinds.iter().filter(|k| **k == PointKind::Flushed).count(),
        1
    );
    for (point, all) in log.crash_points().zip([0, 1, 1, 1, 2, 2, 3, 3]) {
        let state = log.state(point.position, true);
        let written = firsts(&state, 3).iter().filter(|b| **b != 0).count();
        assert_eq!(written, all, "{point:?}");
    }
}

/// A flush covers what completed before it began, not what was still in flight.
#[test]
fn in_flight_writes_are_not_flushed() {
    let disk = disk();
    disk.hold(|_| true);
    let mut data = AlignedBuf::zeroed(4096);
    data.fill(7);
    let op = Op::Write {
        at: 0,
        data: IoSlice::Owned(data),
    };
    let token = Token(1);
    disk.submit(Q, &mut vec![Request { token, op }]);
    disk.flush().expect("flush");
    let log = disk.log();
    assert_eq!(firsts(&log.state(log.end(), false), 1), [0]);
    assert_eq!(firsts(&log.state(log.end(), true), 1), [7], "may be there");
    // A flush that begins before the completion does not cover it either.
    let op = Op::Flush;
    disk.submit(Q, &mut vec![Request { token, op }]);
    let held = disk.held();
    let (write, flush) = (held[0].id, held[1].id);
    disk.release(write);
    let mut out = Vec::new();
    disk.poll(Q, &mut out, Wait::One);
    disk.release(flush);
    disk.poll(Q, &mut out, Wait::One);
    let log = disk.log();
    assert_eq!(firsts(&log.state(log.end(), false), 1), [0]);
    disk.flush().expect("flush");
    let log = disk.log();
    assert_eq!(firsts(&log.state(log.end(), false), 1), [7]);
}

/// Overwrites: the later one wins whenever it is there; concurrent ones may land in either order.
#[test]
fn order_of_overlapping_writes() {
    let sequential = disk();
    sequential.write_at(0, &[1; 4096]).expect("write_at");
    sequential.write_at(0, &[2; 4096]).expect("write_at");
    let log = sequential.log();
    let bound = Bound {
        exhaustive: 0,
        reorderings: 200,
        torn: 0,
        seed: 3,
    };
    for state in log.states_at(last_point(&log), bound) {
        let both = state.describe().matches("write").count() == 2;
        if both {
            assert_eq!(firsts(&state, 1), [2], "{}", state.describe());
        }
    }
    let concurrent = disk();
    concurrent.hold(|_| true);
    let requests = (1..=2u8).map(|n| {
        let data = IoSlice::Owned(AlignedBuf::from(&[n; 4096][..]));
        Request {
            token: Token(u64::from(n)),
            op: Op::Write { at: 0, data },
        }
    });
    concurrent.submit(Q, &mut requests.collect());
    let log = concurrent.log();
    let seen: BTreeSet<(usize, Vec<u8>)> = log
        .states_at(last_point(&log), bound)
        .map(|s| (s.describe().matches("write").count(), firsts(&s, 1)))
        .collect();
    assert!(seen.contains(&(2, vec![1])) && seen.contains(&(2, vec![2])));
}

/// Torn writes: whole sectors of the new or the old contents, many different ways.
#[test]
fn torn_at_sectors() {
    let disk = disk();
    disk.write_at(0, &[1; 4096]).expect("write_at");
    disk.flush().expect("flush");
    disk.settle();
    disk.write_at(0, &[2; 4096]).expect("write_at");
    let log = disk.log();
    let bound = Bound {
        torn: 200,
        ..Bound::default()
    };
    let mut ways = BTreeSet::new();
    for state in log.states_at(last_point(&log), bound) {
        let mut block = [0; 4096];
        state.read_at(0, &mut block).expect("read_at");
        let sectors: Vec<u8> = block
            .chunks(512)
            .map(|s| {
                assert!(s.iter().all(|&b| b == s[0]));
                s[0]
            })
            .collect();
        assert!(sectors.iter().all(|&b| b == 1 || b == 2));
        ways.insert(sectors);
    }
    assert!(ways.len() > 20, "only {} ways", ways.len());
    assert!(ways.contains(&vec![1; 8]) && ways.contains(&vec![2; 8]));
}

/// Against an independent model: per sector, replay the log naively and list what it may contain.
#[test]
fn every_state_is_legal() {
    for seed in 0..40 {
        let disk = SimDisk::new(&SimOptions::new(16 * 4096, seed));
        let mut rng = Rng::new(seed ^ 99);
        random_traffic(&disk, &mut rng);
        let log = disk.log();
        let bound = Bound {
            exhaustive: 4,
            reorderings: 10,
            torn: 10,
            seed,
        };
        for point in log.crash_points() {
            let allowed = naive(&log, point.position);
            for state in log.states_at(point, bound) {
                let mut all = vec![0; 128 * 512];
                state.read_at(0, &mut all).expect("read_at");
                for (sector, bytes) in all.chunks(512).enumerate() {
                    let sector = sector as u64;
                    // Contents name the write; poison is write "none".
                    let found = (bytes[..8] == [0xaa; 8]).then(|| {
                        u64::from_le_bytes(bytes[8..16].try_into().expect("8 bytes")) as usize
                    });
                    assert!(
                        allowed[&sector].contains(&found),
                        "seed {seed}, {}, sector {sector}: {found:?} not in {:?}",
                        state.describe(),
                        allowed[&sector]
                    );
                }
            }
        }
        what_reads_see_is_a_crash_state(&disk);
    }
}

/// With everything completed, "all pending writes made it" is exactly what the disk holds now.
fn what_reads_see_is_a_crash_state(disk: &SimDisk) {
    let mut out = Vec::new();
    while disk.poll(Q, &mut out, Wait::One) > 0 {}
    let (mut now, mut then) = (vec![0; 64 << 10], vec![0; 64 << 10]);
    disk.read_at(0, &mut now).expect("read_at");
    let log = disk.log();
    let state = log.state(log.end(), true);
    state.read_at(0, &mut then).expect("read_at");
    assert!(now == then, "{}", state.describe());
}

fn random_traffic(disk: &SimDisk, rng: &mut Rng) {
    let mut out = Vec::new();
    for write in 0..25u64 {
        let (at, len) = (rng.below(100), 1 + rng.below(12));
        let mut data = AlignedBuf::zeroed(len as usize * 512);
        for sector in data.chunks_mut(512) {
            sector[..8].fill(0xaa);
            sector[8..16].copy_from_slice(&write.to_le_bytes());
        }
        let op = Op::Write {
            at: at * 512,
            data: IoSlice::Owned(data),
        };
        let token = Token(write);
        disk.submit(Q, &mut vec![Request { token, op }]);
        match rng.below(6) {
            0 => disk.flush().unwrap_or(()),
            1 => {
                let op = Op::Flush;
                disk.submit(Q, &mut vec![Request { token, op }]);
            }
            2 => {
                disk.inject(Fault::nth(OpKind::Flush, 1));
            }
            3 | 4 => {
                disk.poll(Q, &mut out, Wait::One);
            }
            _ => {}
        }
    }
}

/// Per sector, the writes (by number) whose contents it may hold: straight from the rules, one sector at a
/// time, with no shared code.
fn naive(log: &Log, position: u64) -> BTreeMap<u64, BTreeSet<Option<usize>>> {
    use e4_sim::Event;
    let events = &log.events()[..(position - log.begin()) as usize];
    let when = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
    let submitted = |w: usize| when(&|e| *e == Event::Submitted(w));
    let completed =
        |w: usize| when(&|e| matches!(e, Event::Completed { write, .. } if *write == w));
    let flushes: Vec<(usize, usize, bool)> = events
        .iter()
        .enumerate()
        .filter_map(|(end, e)| match e {
            Event::FlushEnded { flush, ok } => {
                let begun = when(&|e| *e == Event::FlushBegun(*flush))?;
                Some((begun, end, *ok))
            }
            _ => None,
        })
        .collect();
    let over: Vec<Option<usize>> = (0..log.writes().len()).map(completed).collect();
    // Durable: a successful flush began after the completion, and no failed one ended before it that
    // also began after the completion.
    let durable = |w: usize| {
        over[w].is_some_and(|done| {
            let mut covering = flushes.iter().filter(|(begun, _, _)| done < *begun);
            covering.next().is_some_and(|(_, _, ok)| *ok)
        })
    };
    let writes: Vec<usize> = (0..log.writes().len())
        .filter(|&w| submitted(w).is_some())
        .collect();
    (0..128)
        .map(|sector| {
            let here: Vec<usize> = writes
                .iter()
                .copied()
                .filter(|&w| {
                    let (at, len) = (log.writes()[w].at / 512, log.writes()[w].len() / 512);
                    (at..at + len).contains(&sector)
                })
                .collect();
            let mut allowed: BTreeSet<Option<usize>> = here
                .iter()
                .filter(|&&w| {
                    // Allowed unless a durable write lies above it.
                    !here
                        .iter()
                        .any(|&d| durable(d) && over[w].is_some_and(|end| Some(end) < over[d]))
                })
                .map(|&w| Some(w))
                .collect();
            if !here.iter().any(|&w| durable(w)) {
                allowed.insert(None);
            }
            (sector, allowed)
        })
        .collect()
}

#[test]
fn a_restarted_log_keeps_counting() {
    let disk = disk();
    disk.write_at(0, &[1; 4096]).expect("write_at");
    let before = disk.clock().position();
    disk.settle();
    let log = disk.log();
    assert_eq!((log.begin(), log.end()), (before, before));
    assert_eq!(
        firsts(&log.state(before, false), 1),
        [1],
        "settled means durable"
    );
    disk.mark(42);
    assert_eq!(disk.log().position_of_mark(42), Some(before + 1));
}

/// Recovery after a crash can itself be cut short.
#[test]
fn a_crash_image_can_become_a_disk_again() {
    let disk = disk();
    disk.write_at(0, &[1; 512]).expect("write_at");
    let log = disk.log();
    let image = log.state(log.end(), true);
    image.write_at(4096, &[2; 512]).expect("recovery writes");
    image.discard(0, 4096).expect("recovery discards");
    let again = SimDisk::from_crash(&image, &SimOptions::new(0, 2));
    assert_eq!(again.info().size, 64 << 10);
    assert_eq!(firsts(&again, 2), [0, 2]);
    again.write_at(0, &[3; 512]).expect("write_at");
    let log = again.log();
    assert_eq!(firsts(&log.state(log.end(), false), 2), [0, 2]);
    assert_eq!(firsts(&log.state(log.end(), true), 2), [3, 2]);
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    log.state(log.end(), true).save(&path).expect("save");
    let saved = std::fs::read(&path).expect("read");
    assert_eq!(saved.len(), 64 << 10);
    assert_eq!((saved[0], saved[4096], saved[8192]), (3, 2, 0));
}
