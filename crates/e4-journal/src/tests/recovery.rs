//! How logs end, and what hostile ones may not do.

use e4_device::Device;
use e4_format::jbd2::{BlockHeader, BlockKind, JBD2_MAGIC, JournalIncompat};
use e4_format::{FsBlock, Tid};
use e4_sync::Arc;

use super::medium::{Event, Medium, Random};
use super::workload::Workload;
use super::world::World;
use crate::recovery::{CorruptPolicy, Damage, RecoveryEnd, clear_errno, examine, recover};
use crate::{JournalError, LogChecksum, MetaStore, Verify};

const VALUES: u8 = 5;

fn stamp(store: &MetaStore, block: u64, value: u8) -> Tid {
    let mut handle = store.start(1).unwrap();
    let block = store.read(FsBlock::new(block), Verify::NONE).unwrap();
    handle.modify(&block).unwrap().fill(value);
    handle.tid()
}

/// Five transactions of one block each: descriptor, data, record. Transaction n+1 fills block 100 + n with n.
fn five(world: &World) -> Arc<Medium> {
    let medium = world.format(0);
    let store = world.open(&medium);
    for n in 0..VALUES {
        store
            .commit(stamp(&store, 100 + u64::from(n), n + 1))
            .unwrap();
    }
    medium
}

/// Journal block of part `part` (0 descriptor, 1 data, 2 record) of the n-th transaction of [`five`].
fn part(n: u32, part: u32) -> u32 {
    1 + n * 3 + part
}

fn smash(world: &World, medium: &Medium, logical: u32, offset: usize) {
    let at = world.log_byte(logical);
    let mut block = vec![0; world.size.len()];
    medium.read_at(at, &mut block).unwrap();
    block[offset] ^= 0x40;
    medium.write_at(at, &block).unwrap();
}

fn replayed(world: &World, medium: &Medium) -> Vec<u8> {
    let bytes = medium.bytes();
    (0..VALUES)
        .map(|n| world.block(&bytes, 100 + u64::from(n))[77])
        .collect()
}

fn worlds() -> [World; 3] {
    [LogChecksum::None, LogChecksum::V2, LogChecksum::V3].map(|checksum| World {
        checksum,
        ..World::small()
    })
}

#[test]
fn a_clean_end() {
    for world in worlds() {
        let medium = five(&world);
        let report = world.recover(&medium).unwrap();
        assert_eq!(report.end, RecoveryEnd::Clean);
        assert_eq!((report.transactions, report.blocks), (5, 5));
        assert_eq!(report.first, Tid::new(2));
        assert_eq!(replayed(&world, &medium), [1, 2, 3, 4, 5]);
        // The number of the transaction that might have come next is not used again.
        let layout = world.layout(&medium).unwrap();
        assert_eq!(layout.superblock().sequence(), Tid::new(8));
        assert_eq!(layout.superblock().start(), None);
        let again = world.recover(&medium).unwrap();
        assert_eq!((again.transactions, again.end), (0, RecoveryEnd::Clean));
    }
}

#[test]
fn a_torn_tail() {
    for world in worlds() {
        // The record is missing, or the descriptor, or the magic number of either.
        for (which, offset) in [(2, 0), (0, 0), (2, 11), (0, 11)] {
            let medium = five(&world);
            smash(&world, &medium, part(4, which), offset);
            let report = world.recover(&medium).unwrap();
            let is_torn = matches!(report.end, RecoveryEnd::TornTail { tid, damage: Damage::Missing, .. } if tid == Tid::new(6));
            // Without a descriptor the record alone tells that there was something; without checksums and with
            // the right time it is believed.
            assert!(is_torn, "{which} {offset}: {:?}", report.end);
            assert_eq!(replayed(&world, &medium), [1, 2, 3, 4, 0]);
        }
    }
}

#[test]
fn a_bad_checksum_in_the_last_transaction() {
    for world in &worlds()[1..] {
        for (which, offset) in [(0, 20), (1, 500), (2, 0x30)] {
            let medium = five(world);
            smash(world, &medium, part(4, which), offset);
            let report = world.recover(&medium).unwrap();
            let RecoveryEnd::TornTail { tid, at, damage } = report.end else {
                panic!("{:?}", report.end);
            };
            assert_eq!((tid, at), (Tid::new(6), part(4, which)));
            assert!(matches!(damage, Damage::Format(_)), "{damage}");
            assert_eq!(replayed(world, &medium), [1, 2, 3, 4, 0]);
        }
    }
}

#[test]
fn damage_in_the_middle_is_refused() {
    for (i, world) in worlds().into_iter().enumerate() {
        for n in 0..4u32 {
            for (which, offset) in [(0, 0), (2, 0), (0, 20), (1, 500), (2, 0x30)] {
                // What checksums would tell; and without them the first transaction has no time to compare with.
                if i == 0 && (offset >= 20 || n == 0) {
                    continue;
                }
                let medium = five(&world);
                smash(&world, &medium, part(n, which), offset);
                let before = medium.bytes();
                let error = world.recover(&medium).unwrap_err();
                assert!(
                    matches!(error, JournalError::CorruptBeforeCommit { tid, later, .. }
                        if tid == Tid::new(2 + n) && later == Tid::new(6)),
                    "{n} {which} {offset}: {error}"
                );
                assert!(before == medium.bytes(), "a refused log was touched");
                let mut layout = world.layout(&medium).unwrap();
                let report = recover(&*medium, &mut layout, CorruptPolicy::ReplayUpTo).unwrap();
                assert_eq!(report.transactions, n);
                assert!(layout.superblock().sequence().at_or_after(Tid::new(7)));
                let wanted: Vec<u8> = (0..VALUES)
                    .map(|v| if u32::from(v) < n { v + 1 } else { 0 })
                    .collect();
                assert_eq!(replayed(&world, &medium), wanted);
            }
        }
    }
}

/// A journal made over an old one without clearing it: records with higher numbers, but older.
#[test]
fn leftovers_of_another_journal_do_not_count() {
    let world = World {
        checksum: LogChecksum::None,
        ..World::small()
    };
    let medium = five(&world);
    let mut old = vec![0; world.size.len()];
    BlockHeader {
        kind: BlockKind::Commit,
        tid: Tid::new(9),
    }
    .encode(&mut old)
    .unwrap();
    medium.write_at(world.log_byte(30), &old).unwrap();
    assert_eq!(world.recover(&medium).unwrap().end, RecoveryEnd::Clean);
}

#[test]
fn targets_outside_are_refused() {
    let world = World {
        checksum: LogChecksum::None,
        ..World::small()
    };
    for (target, onto_journal) in [(512, false), (u32::MAX, false), (8, true), (40, true)] {
        let medium = five(&world);
        let mut block = vec![0; world.size.len()];
        let at = world.log_byte(part(2, 0));
        medium.read_at(at, &mut block).unwrap();
        block[12..16].copy_from_slice(&u32::to_be_bytes(target));
        medium.write_at(at, &block).unwrap();
        let before = medium.bytes();
        let error = world.recover(&medium).unwrap_err();
        assert_eq!(
            matches!(error, JournalError::ReplayOntoJournal { .. }),
            onto_journal
        );
        assert_eq!(
            matches!(error, JournalError::ReplayOutside { .. }),
            !onto_journal
        );
        assert!(before == medium.bytes());
    }
}

#[test]
fn unknown_features_are_refused_by_name() {
    let world = World::small();
    let medium = world.format(0);
    let mut block = vec![0; world.size.len()];
    medium.read_at(world.log_byte(0), &mut block).unwrap();
    block[0x28..0x2C].copy_from_slice(&0x40u32.to_be_bytes());
    medium.write_at(world.log_byte(0), &block).unwrap();
    let error = world.layout(&medium).unwrap_err();
    assert!(matches!(error, JournalError::UnsupportedFeatures { .. }));
    assert!(error.to_string().contains("FEATURE_I6"), "{error}");
}

/// The superblock of a version 1 journal has no features; it becomes version 2 when we write to it.
#[test]
fn version_one_journals_are_taken_over() {
    let world = World::small();
    let medium = world.format(0);
    let mut raw = world.raw_superblock();
    raw.h_blocktype.set(3);
    raw.s_feature_incompat.set(0xFFFF_FFFF);
    raw.s_uuid = [0xEE; 16];
    world.put_superblock(&medium, raw);
    let store = world.open(&medium);
    store.commit(stamp(&store, 100, 9)).unwrap();
    drop(store);
    let layout = world.layout(&medium).unwrap();
    let wanted = JournalIncompat::REVOKE.union(JournalIncompat::CSUM_V3);
    assert_eq!(layout.superblock().incompat(), wanted);
    assert_eq!(world.recover(&medium).unwrap().blocks, 1);
}

fn crc32_be(mut crc: u32, data: &[u8]) -> u32 {
    for byte in data {
        crc ^= u32::from(*byte) << 24;
        for _ in 0..8 {
            crc = if crc & 0x8000_0000 != 0 {
                (crc << 1) ^ 0x04C1_1DB7
            } else {
                crc << 1
            };
        }
    }
    crc
}

/// Checksums of version 1 are recognised and verified, never written.
#[test]
fn version_one_checksums() {
    let world = World {
        checksum: LogChecksum::None,
        ..World::small()
    };
    let upgrade = |medium: &Medium| {
        let mut superblock = world.layout(medium).unwrap().superblock().raw().clone();
        superblock.s_feature_compat.set(1);
        world.put_superblock(medium, superblock);
        for n in 0..u32::from(VALUES) {
            let mut blocks = [(); 3].map(|()| vec![0; world.size.len()]);
            for (i, block) in (0..).zip(&mut blocks) {
                medium.read_at(world.log_byte(part(n, i)), block).unwrap();
            }
            let [descriptor, data, record] = &mut blocks;
            let sum = crc32_be(crc32_be(!0, descriptor), data);
            (record[12], record[13]) = (1, 4);
            record[16..20].copy_from_slice(&sum.to_be_bytes());
            medium.write_at(world.log_byte(part(n, 2)), record).unwrap();
        }
    };
    let medium = five(&world);
    upgrade(&medium);
    assert_eq!(world.recover(&medium).unwrap().end, RecoveryEnd::Clean);
    assert_eq!(replayed(&world, &medium), [1, 2, 3, 4, 5]);
    // From now on without.
    let store = world.open(&medium);
    store.commit(stamp(&store, 100, 9)).unwrap();
    assert_eq!(
        world.layout(&medium).unwrap().superblock().compat().bits(),
        0
    );

    let medium = five(&world);
    upgrade(&medium);
    smash(&world, &medium, part(4, 1), 500);
    let end = world.recover(&medium).unwrap().end;
    assert!(
        matches!(
            end,
            RecoveryEnd::TornTail {
                damage: Damage::Checksum { .. },
                ..
            }
        ),
        "{end:?}"
    );
}

fn with_fast_commits(world: &World, tid: u32) -> Arc<Medium> {
    let medium = world.format(0);
    let mut raw = world.raw_superblock();
    raw.s_feature_incompat
        .set(JournalIncompat::FAST_COMMIT.bits());
    raw.s_num_fc_blks.set(8);
    world.put_superblock(&medium, raw);
    let store = world.open(&medium);
    for n in 0..VALUES {
        store
            .commit(stamp(&store, 100 + u64::from(n), n + 1))
            .unwrap();
    }
    // Head: tag, length, features, transaction; little-endian.
    let mut head = vec![0u8; world.size.len()];
    (head[0], head[2]) = (9, 8);
    head[8..12].copy_from_slice(&tid.to_le_bytes());
    medium
        .write_at(world.log_byte(world.journal - 7), &head)
        .unwrap();
    medium
}

#[test]
fn live_fast_commits_are_refused_and_old_ones_ignored() {
    let world = World::small();
    // The log holds 2..=6.
    let live = with_fast_commits(&world, 7);
    let before = live.bytes();
    let error = world.recover(&live).unwrap_err();
    assert!(
        matches!(error, JournalError::FastCommits { tid } if tid == Tid::new(6)),
        "{error}"
    );
    assert!(before == live.bytes());
    for old in [2, 6, 0] {
        let medium = with_fast_commits(&world, old);
        assert_eq!(world.recover(&medium).unwrap().transactions, 5);
        assert_eq!(replayed(&world, &medium), [1, 2, 3, 4, 5]);
        // The feature and the area stay as they are.
        let layout = world.layout(&medium).unwrap();
        assert!(layout.superblock().has_fast_commit());
        assert_eq!(layout.superblock().log_end(), world.journal - 8);
    }
}

#[test]
fn the_error_of_an_abort_is_reported_until_cleared() {
    let world = World::small();
    let medium = five(&world);
    let mut raw = world.layout(&medium).unwrap().superblock().raw().clone();
    raw.s_errno.set((-5i32).cast_unsigned());
    world.put_superblock(&medium, raw);
    for _ in 0..2 {
        assert_eq!(world.recover(&medium).unwrap().errno, -5);
    }
    let mut layout = world.layout(&medium).unwrap();
    clear_errno(&*medium, &mut layout).unwrap();
    assert_eq!(world.recover(&medium).unwrap().errno, 0);
    assert_eq!(layout.superblock().errno(), 0);
}

#[test]
fn an_unrecovered_journal_is_not_opened() {
    let world = World::small();
    let medium = five(&world);
    let layout = world.layout(&medium).unwrap();
    assert_eq!(examine(&*medium, &layout).unwrap().copies().len(), 5);
    let error = crate::MetaStore::open(
        medium,
        world.size,
        crate::JournalMode::Journal(layout),
        world.options(),
        Arc::new(crate::NoHooks),
    );
    assert!(matches!(error, Err(JournalError::NeedsRecovery { .. })));
}

/// Transaction numbers wrap.
#[test]
fn numbers_wrap() {
    for sequence in (u32::MAX - 30..=u32::MAX).step_by(6) {
        let world = World {
            sequence,
            ..World::tiny()
        };
        let workload = Workload::run(world, 7, 60);
        let mut n = 0u64;
        workload.recording.crashes(7, 1, |crash| {
            n += 1;
            if n.is_multiple_of(5) {
                workload
                    .judge(&crash)
                    .unwrap_or_else(|e| panic!("{sequence}: {}: {e}", crash.description));
            }
        });
    }
}

/// Whatever a log contains: no panic, no endless loop, no write outside the filesystem or onto the journal, and none
/// at all if it is refused.
#[test]
fn hostile_logs() {
    let mut rng = Random::new(42);
    let (mut refused, mut accepted) = (0, 0);
    for round in 0..6000u64 {
        let worlds = worlds();
        let world = &worlds[usize::try_from(rng.below(6).saturating_sub(3)).unwrap()];
        let workload_bytes = BASES.with(|bases| {
            let mut bases = bases.borrow_mut();
            let key = format!("{:?}{}", world.checksum, round % 7);
            bases
                .entry(key)
                .or_insert_with(|| dirty(world, round % 7))
                .clone()
        });
        let medium = Medium::new(workload_bytes);
        mutate(world, &medium, &mut rng);
        medium.record();
        let result = world.recover(&medium);
        let journal: Vec<_> = world.extents();
        let inside = |at: u64| {
            journal.iter().any(|e| {
                let from = e.physical.get() * 1024;
                (from..from + u64::from(e.len) * 1024).contains(&at)
            })
        };
        let mut writes = 0;
        for event in medium.recording().events {
            let Event::Write { at, data } = event else {
                continue;
            };
            writes += 1;
            for byte in (at..at + data.len()).step_by(512) {
                let at = byte as u64;
                let superblock = (world.log_byte(0)..world.log_byte(0) + 1024).contains(&at);
                assert!(
                    at < world.blocks * 1024 && (superblock || !inside(at)),
                    "write at {at}"
                );
            }
        }
        match result {
            Ok(_) => accepted += 1,
            Err(_) => {
                refused += 1;
                assert_eq!(writes, 0, "round {round}");
            }
        }
    }
    eprintln!("{accepted} accepted, {refused} refused");
    assert!(refused > 300 && accepted > 300);
}

thread_local! {
    static BASES: std::cell::RefCell<std::collections::BTreeMap<String, Vec<u8>>> = const { std::cell::RefCell::new(std::collections::BTreeMap::new()) };
}

/// An image with several transactions and revokes in the log.
fn dirty(world: &World, seed: u64) -> Vec<u8> {
    let workload = Workload::run(*world, seed * 2 + 1, 45);
    let mut last = Vec::new();
    workload.recording.crashes(0, 0, |crash| last = crash.bytes);
    last
}

fn mutate(world: &World, medium: &Medium, rng: &mut Random) {
    for _ in 0..=rng.below(4) {
        let logical = if rng.below(4) == 0 {
            0
        } else {
            u32::try_from(rng.below(u64::from(world.journal))).unwrap()
        };
        let at = world.log_byte(logical);
        let mut block = vec![0; world.size.len()];
        medium.read_at(at, &mut block).unwrap();
        let reach = if rng.below(2) == 0 { 64 } else { 1024 };
        let offset = usize::try_from(rng.below(reach)).unwrap() & !3;
        let word: u32 = match rng.below(7) {
            0 => 0,
            1 => u32::MAX,
            2 => JBD2_MAGIC,
            3 => u32::try_from(rng.below(520)).unwrap(),
            4 => u32::try_from(rng.below(64)).unwrap(),
            5 => 1 << rng.below(32),
            _ => u32::try_from(rng.below(1 << 32)).unwrap(),
        };
        block[offset..offset + 4].copy_from_slice(&word.to_be_bytes());
        if logical == 0 && rng.below(8) > 0 && block[0x28..0x2C] != [0; 4] {
            restamp(&mut block);
        }
        medium.write_at(at, &block).unwrap();
    }
}

/// A hostile superblock with the right checksum.
fn restamp(block: &mut [u8]) {
    use e4_format::csum::{CRC32C_INIT, crc32c};
    block[0xFC..0x100].fill(0);
    let sum = crc32c(CRC32C_INIT, &block[..1024]);
    block[0xFC..0x100].copy_from_slice(&sum.to_be_bytes());
}
