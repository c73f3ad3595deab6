//! Power cuts after every write and flush, with every kind of loss in between; and planted bugs, which must be found.

use super::medium::{CrashState, Medium};
use super::workload::Workload;
use super::world::World;
use crate::{ALL_PLANTED, LogChecksum, Planted};

/// Judges every crash state of one run; returns how many there were, or the first violation.
fn crash_everywhere(world: World, seed: u64, ops: u64) -> Result<u64, String> {
    let workload = Workload::run(world, seed, ops);
    let mut states = 0;
    let mut violation = None;
    workload.recording.crashes(seed, 3, |crash| {
        if violation.is_none() {
            states += 1;
            if let Err(e) = workload.judge(&crash) {
                violation = Some(format!("seed {seed}, {}: {e}", crash.description));
            }
        }
    });
    match violation {
        None => Ok(states),
        Some(v) => Err(v),
    }
}

fn variants() -> impl Iterator<Item = World> {
    [LogChecksum::None, LogChecksum::V2, LogChecksum::V3]
        .into_iter()
        .flat_map(|checksum| {
            [false, true].map(|wide| World {
                checksum,
                wide,
                ..World::tiny()
            })
        })
}

#[test]
fn every_crash_recovers_to_an_acknowledged_state() {
    let mut states = 0;
    for (i, world) in variants().enumerate() {
        for seed in 0..4 {
            let seed = seed * 10 + i as u64;
            states +=
                crash_everywhere(world, seed, 60).unwrap_or_else(|e| panic!("{world:?}: {e}"));
        }
    }
    eprintln!("{states} crash states recovered");
    assert!(
        states > 20_000,
        "the enumeration has shrunk to {states} states"
    );
}

#[test]
#[ignore = "minutes: many seeds"]
fn every_crash_recovers_many_seeds() {
    let mut states = 0;
    for (i, world) in variants().enumerate() {
        for seed in 100..200 {
            let seed = seed * 10 + i as u64;
            states +=
                crash_everywhere(world, seed, 80).unwrap_or_else(|e| panic!("{world:?}: {e}"));
        }
    }
    eprintln!("{states} crash states recovered");
}

/// The oracle is worth nothing unless it sees every bug we can think of.
#[test]
fn planted_bugs_are_found() {
    for planted in ALL_PLANTED {
        let found = (0..60).find_map(|seed| {
            let world = World {
                planted: *planted,
                checksum: LogChecksum::None,
                ..World::tiny()
            };
            crash_everywhere(world, seed, 60).err().map(|e| (seed, e))
        });
        match found {
            Some((seed, e)) => eprintln!("{planted:?} found by seed {seed}: {e}"),
            None => panic!("{planted:?} was not found"),
        }
    }
}

/// With checksums the log protects itself where it can: a record that overtook its blocks is recognised. What a
/// missing flush loses then is what was acknowledged, and data.
#[test]
fn a_skipped_flush_is_found_with_checksums_too() {
    let world = World {
        planted: Planted::SkipFlushBeforeRecord,
        ..World::tiny()
    };
    assert!((0..60).any(|seed| crash_everywhere(world, seed, 60).is_err()));
}

/// A power cut during recovery, then another recovery: the same state.
#[test]
fn recovery_can_be_interrupted_anywhere() {
    let world = World::tiny();
    let workload = Workload::run(world, 3, 40);
    let mut outer = 0;
    let mut inner = 0;
    let mut n = 0;
    workload.recording.crashes(5, 1, |crash| {
        n += 1;
        if n % 23 != 0 {
            return;
        }
        outer += 1;
        let wanted = workload.judge(&crash).unwrap();
        let medium = Medium::new(crash.bytes.clone());
        medium.record();
        world.recover(&medium).unwrap();
        medium.recording().crashes(n, 2, |again| {
            inner += 1;
            let again = CrashState {
                events: crash.events,
                ..again
            };
            let found = workload.judge(&again);
            assert_eq!(found.as_ref(), Ok(&wanted), "{}", again.description);
        });
    });
    eprintln!("{outer} recoveries interrupted at {inner} places");
    assert!(outer > 20 && inner > 200);
}

/// After a crash the filesystem goes on, crashes again, and so forth; nothing of an earlier life comes back.
#[test]
fn lives_after_crashes() {
    let world = World::small();
    let medium = world.format(0);
    let mut bytes = medium.bytes();
    let (mut last, mut written) = (0u64, 0u64);
    for life in 0..60u64 {
        let medium = e4_sync::Arc::new(Medium::new(bytes));
        world.recover(&medium).unwrap();
        let image = medium.bytes();
        let word = |block: u64| {
            let b = world.block(&image, block);
            u64::from_le_bytes(b[..8].try_into().unwrap())
        };
        let found = word(world.usable());
        assert!(
            (last..=written).contains(&found),
            "{last}..={written}, found {found}"
        );
        for i in 0..5 {
            assert_eq!(word(world.usable() + i), found, "life {life}, block {i}");
        }
        written = found;
        medium.record();
        let store = world.open(&medium);
        for _ in 0..12 {
            written += 1;
            let mut handle = store.start(5).unwrap();
            for i in 0..5 {
                let block = e4_format::FsBlock::new(world.usable() + i);
                let block = store.read(block, crate::Verify::NONE).unwrap();
                handle.modify(&block).unwrap()[..8].copy_from_slice(&written.to_le_bytes());
            }
            drop(handle);
            if written % 3 == 0 {
                store.commit(store.running_tid()).unwrap();
                medium.mark(9, written);
            }
        }
        // Cut somewhere in this life.
        let recording = medium.recording();
        let mut states = Vec::new();
        recording.crashes(life, 1, |crash| states.push(crash));
        let chosen = states.swap_remove(usize::try_from(life * 7919).unwrap() % states.len());
        last = recording.marked(9, chosen.events).max(found);
        bytes = chosen.bytes;
    }
}
