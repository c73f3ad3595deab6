//! The store without crashes: blocks, credits, commits, checkpoints, wrap-around.

use e4_device::Device;
use e4_format::{FormatError, FsBlock, Tid};
use e4_sync::Arc;
use e4_sync::atomic::{AtomicU32, Ordering};

use super::medium::{Medium, Random};
use super::world::World;
use crate::{
    CommitHooks, Handle, JournalError, JournalMode, LogChecksum, MetaStore, NoHooks, Verify,
    VerifyTag,
};

fn b(n: u64) -> FsBlock {
    FsBlock::new(n)
}

#[test]
fn reads_are_snapshots_and_writers_copy() {
    let world = World::small();
    let medium = world.format(0x69);
    let store = world.open(&medium);
    let block = store.read(b(100), Verify::NONE).unwrap();
    let before = block.data();
    let mut handle = store.start(1).unwrap();
    handle.modify(&block).unwrap()[0] = 1;
    assert_eq!((before[0], block.data()[0]), (0x69, 1));
    handle.modify(&block).unwrap()[1] = 2;
    assert_eq!(handle.credits_left(), 0);
    assert_eq!(&block.data()[..3], &[1, 2, 0x69]);
    assert!(matches!(
        store.read(b(512), Verify::NONE),
        Err(JournalError::OutOfRange { .. })
    ));
}

#[test]
fn verification_runs_once_per_load_and_tag() {
    let world = World::small();
    let medium = world.format(0x69);
    let store = world.open(&medium);
    let runs = AtomicU32::new(0);
    let good = |_: FsBlock, _: &[u8]| {
        runs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    };
    let bad = |_: FsBlock, bytes: &[u8]| {
        Err(FormatError::Truncated {
            what: "test",
            len: bytes.len(),
        })
    };
    let (one, two) = (VerifyTag::new(1), VerifyTag::new(2));
    for _ in 0..3 {
        drop(store.read(b(100), Verify::new(one, &good)).unwrap());
        drop(store.read(b(100), Verify::NONE).unwrap());
    }
    assert_eq!(runs.load(Ordering::Relaxed), 1);
    let error = store.read(b(100), Verify::new(two, &bad)).unwrap_err();
    assert!(matches!(error, JournalError::Verify { block, .. } if block == b(100)));
    assert!(error.to_string().contains("metadata block 100"));
    drop(store.read(b(100), Verify::new(two, &good)).unwrap());
    assert_eq!(runs.load(Ordering::Relaxed), 2);
    let mut handle = store.start(1).unwrap();
    let fresh = handle.create(b(101)).unwrap();
    handle.modify(&fresh).unwrap().set_verified(two);
    drop(store.read(b(101), Verify::new(two, &bad)).unwrap());
}

#[test]
fn credits_are_checked_and_given_back() {
    let world = World::small();
    let medium = world.format(0);
    let store = world.open(&medium);
    let max = store.limits().max_handle_credits;
    assert!(matches!(
        store.start(max + 1),
        Err(JournalError::TooManyCredits { .. })
    ));
    let mut handle = store.start(1).unwrap();
    let first = handle.create(b(100)).unwrap();
    assert!(matches!(
        handle.create(b(101)),
        Err(JournalError::NoCredits { reserved: 1, .. })
    ));
    drop(handle.modify(&first).unwrap());
    assert!(handle.extend(1));
    handle.create(b(101)).unwrap();
    assert!(!handle.extend(max), "no room for that much more");
    drop(handle);
    // Two blocks are used up; the rest is available to one handle.
    let handle = store.start(max - 2).unwrap();
    drop(handle);
    let tid = store.running_tid();
    // One more than fits: the running transaction is committed to make room.
    let handle = store.start(max - 1).unwrap();
    assert_eq!(handle.tid(), tid.next());
    assert!(store.is_committed(tid) && !store.is_committed(tid.next()));
}

#[test]
fn restart_moves_on_when_the_transaction_is_full() {
    let world = World::small();
    let medium = world.format(0);
    let store = world.open(&medium);
    let max = store.limits().max_handle_credits;
    let mut handle = store.start(max).unwrap();
    let first = handle.tid();
    for i in 0..u64::from(max) {
        handle.create(b(100 + i)).unwrap();
    }
    assert!(!handle.extend(1));
    handle.restart(max).unwrap();
    assert_eq!(handle.tid(), first.next());
    assert!(store.is_committed(first));
}

#[test]
fn commits_are_free_when_there_is_nothing() {
    let world = World::small();
    let medium = world.format(0);
    let store = world.open(&medium);
    let before = medium.counts();
    store.core_commit_all();
    drop(store.start(5).unwrap());
    let tid = store.running_tid();
    store.core_commit_all();
    store.commit(tid).unwrap();
    assert_eq!(medium.counts(), before, "an empty transaction was written");
    assert_eq!(store.running_tid(), tid, "its number is still in use");
    let mut handle = store.start(1).unwrap();
    handle.create(b(100)).unwrap();
    drop(handle);
    store.commit(tid).unwrap();
    let after = medium.counts();
    assert_eq!(after.1 - before.1, 2, "a commit takes two flushes");
    assert_eq!(after.0 - before.0, 3, "superblock, transaction, record");
    store.commit(tid).unwrap();
    store.commit(Tid::new(tid.get().wrapping_sub(7))).unwrap();
    assert_eq!(medium.counts(), after, "committed already");
    store.sync(tid).unwrap();
    assert_eq!(medium.counts().1, after.1 + 1, "sync flushes the data");
    let mut handle = store.start(1).unwrap();
    handle.create(b(100)).unwrap();
    let tid = handle.tid();
    drop(handle);
    store.sync(tid).unwrap();
    assert_eq!(medium.counts().1, after.1 + 3, "the commit flushed it");
}

#[test]
fn a_large_commit_is_one_write() {
    let mut world = World::small();
    (world.blocks, world.journal) = (10_000, 5000);
    let medium = world.format(0);
    let store = world.open(&medium);
    let mut handle = store.start(1000).unwrap();
    for i in 0..1000 {
        handle.create(b(world.usable() + i)).unwrap();
    }
    drop(handle);
    let before = medium.counts();
    store.core_commit_all();
    let after = medium.counts();
    assert_eq!(after.0 - before.0, 3, "superblock, transaction, record");
    assert!(after.2 > 1000 * 1024);
}

#[test]
fn forgotten_blocks_refuse_stale_writers() {
    let world = World::small();
    let medium = world.format(7);
    let store = world.open(&medium);
    let old = store.read(b(100), Verify::NONE).unwrap();
    let mut handle = store.start(4).unwrap();
    handle.modify(&old).unwrap()[0] = 1;
    handle.forget(b(100)).unwrap();
    assert!(matches!(
        handle.modify(&old),
        Err(JournalError::Forgotten { .. })
    ));
    let new = handle.create(b(100)).unwrap();
    assert_eq!((new.data()[0], old.data()[0]), (0, 1));
    assert!(matches!(
        handle.create(b(20)),
        Err(JournalError::InsideJournal { .. })
    ));
}

/// One credit pays for a block full of revoke records, and records are only needed for what is in the log.
#[test]
fn revokes_are_paid_by_the_block() {
    let mut world = World::small();
    (world.blocks, world.journal) = (10_000, 4000);
    let medium = world.format(0);
    let store = world.open(&medium);
    let per = u64::from(store.limits().revokes_per_credit);
    let mut handle = store.start(u32::try_from(per).unwrap() + 1).unwrap();
    for i in 0..=per {
        handle.create(b(world.usable() + i)).unwrap();
    }
    drop(handle);
    store.core_commit_all();
    let mut handle = store.start(2).unwrap();
    for i in 0..100 {
        handle.forget(b(9000 + i)).unwrap();
    }
    assert_eq!(handle.credits_left(), 2, "never logged: no record needed");
    for i in 0..per {
        handle.forget(b(world.usable() + i)).unwrap();
    }
    assert_eq!(handle.credits_left(), 1);
    handle.forget(b(world.usable() + per)).unwrap();
    assert_eq!(handle.credits_left(), 0);
    drop(handle);
    store.core_commit_all();
    assert_eq!(
        store.status().unwritten,
        0,
        "freed blocks need no checkpoint"
    );
    store.checkpoint_all().unwrap();
    assert_eq!(store.status().logged, 0);
}

fn churn(world: World, rounds: u64, seed: u64) {
    let medium = world.format(0);
    let store = world.open(&medium);
    let max = store.limits().max_handle_credits;
    let mut rng = Random::new(seed);
    let span = world.blocks - world.usable();
    let mut model = vec![0u64; usize::try_from(span).unwrap()];
    for round in 1..=rounds {
        let n = 1 + rng.below(u64::from(max));
        let mut handle = store.start(u32::try_from(n).unwrap()).unwrap();
        for _ in 0..n {
            let i = rng.below(span);
            let block = store.read(b(world.usable() + i), Verify::NONE).unwrap();
            let mut bytes = handle.modify(&block).unwrap();
            let len = bytes.len();
            bytes[..8].copy_from_slice(&round.to_le_bytes());
            bytes[len - 8..].copy_from_slice(&round.to_le_bytes());
            model[usize::try_from(i).unwrap()] = round;
        }
        drop(handle);
        if rng.below(3) == 0 {
            store.commit(store.running_tid()).unwrap();
        }
        if rng.below(50) == 0 {
            store.checkpoint_all().unwrap();
        }
    }
    store.shutdown().unwrap();
    assert_eq!(
        store.status().log_free,
        store.limits().log_blocks - 1 - reserved(&store)
    );
    assert!(matches!(store.start(1), Err(JournalError::Closed)));
    let layout = world.layout(&medium).unwrap();
    assert_eq!(layout.superblock().start(), None, "marked as empty");
    let bytes = medium.bytes();
    for (i, round) in model.iter().enumerate() {
        let block = world.block(&bytes, world.usable() + i as u64);
        for at in [0, block.len() - 8] {
            let found = u64::from_le_bytes(block[at..at + 8].try_into().unwrap());
            assert_eq!(found, *round, "block {i}");
        }
    }
}

/// An empty transaction that was opened last keeps its reservation.
fn reserved(store: &MetaStore) -> u32 {
    let running = store.running_tid();
    let spare = store.limits().log_blocks / 4;
    if store.status().log_free + spare < store.limits().log_blocks
        && store.committed_tid().next() == running
    {
        spare
    } else {
        0
    }
}

#[test]
fn the_log_wraps_many_times() {
    for checksum in [LogChecksum::None, LogChecksum::V2, LogChecksum::V3] {
        for wide in [false, true] {
            let world = World {
                checksum,
                wide,
                ..World::small()
            };
            churn(world, 2000, 1);
        }
    }
    let world = World {
        blocks: 3000,
        journal: 1024,
        cache_bytes: 64 << 10,
        ..World::small()
    };
    churn(world, 600, 2);
}

#[test]
fn the_cache_stays_bounded() {
    let mut world = World::small();
    (world.blocks, world.cache_bytes) = (20_000, 256 << 10);
    let medium = world.format(3);
    let store = world.open(&medium);
    for i in world.usable()..world.blocks {
        drop(store.read(b(i), Verify::NONE).unwrap());
    }
    assert!(store.status().cached <= 256 + 64, "{:?}", store.status());
}

#[test]
fn prefetch_keeps_what_is_newer() {
    let world = World::small();
    let medium = world.format(3);
    let store = world.open(&medium);
    let block = store.read(b(102), Verify::NONE).unwrap();
    let mut handle = store.start(1).unwrap();
    handle.modify(&block).unwrap()[0] = 4;
    drop((handle, block));
    store.prefetch(b(100), 5);
    store.prefetch(b(510), 100);
    store.prefetch(b(u64::MAX), 1);
    medium.fail_reads(true);
    store.prefetch(b(200), 5);
    for i in [100, 101, 103, 104, 510, 511] {
        assert_eq!(store.read(b(i), Verify::NONE).unwrap().data()[0], 3);
    }
    assert_eq!(store.read(b(102), Verify::NONE).unwrap().data()[0], 4);
    assert!(store.read(b(200), Verify::NONE).is_err());
    medium.fail_reads(false);
    drop(store.read(b(200), Verify::NONE).unwrap());
}

#[test]
fn a_freeze_leaves_nothing_to_recover_and_goes_on() {
    let world = World::small();
    let medium = world.format(0);
    let store = world.open(&medium);
    for round in 1..=20u8 {
        for _ in 0..round % 4 {
            let mut handle = store.start(1).unwrap();
            let block = handle.create(b(100)).unwrap();
            handle.modify(&block).unwrap()[0] = round;
        }
        store.freeze().unwrap();
        let image = Medium::new(medium.bytes());
        assert_eq!(world.layout(&image).unwrap().superblock().start(), None);
        let wanted = if round % 4 == 0 { round - 1 } else { round };
        assert_eq!(world.block(&image.bytes(), 100)[0], wanted);
        // And a crash after that finds the commit.
        let mut handle = store.start(1).unwrap();
        handle.create(b(101)).unwrap();
        drop(handle);
        store.core_commit_all();
        let image = Medium::new(medium.bytes());
        assert_eq!(world.recover(&image).unwrap().transactions, 1);
    }
    store.shutdown().unwrap();
    assert!(store.commit_all().is_ok() && store.freeze().is_ok());
}

#[test]
fn read_errors_are_reported_and_not_cached() {
    let world = World::small();
    let medium = world.format(3);
    let store = world.open(&medium);
    medium.fail_reads(true);
    assert!(matches!(
        store.read(b(100), Verify::NONE),
        Err(JournalError::Read { block, .. }) if block == b(100)
    ));
    medium.fail_reads(false);
    assert_eq!(store.read(b(100), Verify::NONE).unwrap().data()[0], 3);
}

/// A hook that has something to record until it did.
struct Recorder {
    pending: AtomicU32,
    recorded: AtomicU32,
    committed: AtomicU32,
    store: e4_sync::OnceLock<e4_sync::Weak<MetaStore>>,
}

impl CommitHooks for Recorder {
    fn record(&self, handle: &mut Handle) -> Result<(), JournalError> {
        let n = self.pending.swap(0, Ordering::Relaxed);
        let store = self.store.get().and_then(e4_sync::Weak::upgrade).unwrap();
        for _ in 0..n {
            let at = self.recorded.fetch_add(1, Ordering::Relaxed);
            let block = store.read(b(200 + u64::from(at % 8)), Verify::NONE)?;
            handle.modify(&block)?[0] += 1;
        }
        assert!(!handle.extend(1));
        Ok(())
    }

    fn has_unrecorded(&self) -> bool {
        self.pending.load(Ordering::Relaxed) > 0
    }

    fn committed(&self, tid: Tid) {
        self.committed.store(tid.get(), Ordering::Relaxed);
    }

    fn aborted(&self, _cause: &JournalError) {}
}

#[test]
fn the_record_hook_has_credits_of_its_own() {
    let world = World {
        record_credits: 1000,
        ..World::small()
    };
    let medium = world.format(0);
    let hooks = Arc::new(Recorder {
        pending: AtomicU32::new(0),
        recorded: AtomicU32::new(0),
        committed: AtomicU32::new(0),
        store: e4_sync::OnceLock::new(),
    });
    let store = world.open_with(&medium, Arc::<Recorder>::clone(&hooks));
    hooks.store.set(Arc::downgrade(&store)).unwrap();
    let limits = store.limits();
    assert!(limits.record_credits >= 4 && limits.record_credits <= limits.max_handle_credits);
    // A transaction filled to the brim still has room for the record.
    let mut handle = store.start(limits.max_handle_credits).unwrap();
    for i in 0..u64::from(limits.max_handle_credits) {
        handle.create(b(100 + i)).unwrap();
    }
    let tid = handle.tid();
    drop(handle);
    hooks
        .pending
        .store(limits.record_credits, Ordering::Relaxed);
    store.commit(tid).unwrap();
    assert_eq!(hooks.committed.load(Ordering::Relaxed), tid.get());
    assert_eq!(
        hooks.recorded.load(Ordering::Relaxed),
        limits.record_credits
    );
    // Nothing runs, but something was published.
    hooks.pending.store(1, Ordering::Relaxed);
    store.core_commit_all();
    assert_eq!(hooks.committed.load(Ordering::Relaxed), tid.next().get());
    drop(store);
    world.recover(&medium).unwrap();
    let bytes = medium.bytes();
    let sum: u32 = (200..208)
        .map(|i| u32::from(world.block(&bytes, i)[0]))
        .sum();
    assert_eq!(sum, limits.record_credits + 1);
}

#[test]
fn without_a_journal_commits_write_home() {
    let world = World::small();
    let medium = world.format(0);
    let device: Arc<dyn Device> = Arc::<Medium>::clone(&medium);
    let mode = JournalMode::None {
        blocks: world.blocks,
    };
    let store =
        MetaStore::open(device, world.size, mode, world.options(), Arc::new(NoHooks)).unwrap();
    let mut handle = store.start(10).unwrap();
    for i in 0..10 {
        let block = handle.create(b(100 + i)).unwrap();
        handle.modify(&block).unwrap()[0] = 9;
    }
    handle.forget(b(105)).unwrap();
    let tid = handle.tid();
    drop(handle);
    assert_eq!(world.block(&medium.bytes(), 100)[0], 0);
    let before = medium.counts();
    store.commit(tid).unwrap();
    let after = medium.counts();
    assert_eq!(
        (after.0 - before.0, after.1 - before.1),
        (2, 2),
        "two runs, two flushes"
    );
    for i in 0..10 {
        let wanted = if i == 5 { 0 } else { 9 };
        assert_eq!(world.block(&medium.bytes(), 100 + i)[0], wanted);
    }
    assert!(store.is_committed(tid));
    store.shutdown().unwrap();
}

impl MetaStore {
    /// Commits everything without flushing for data.
    pub(crate) fn core_commit_all(&self) {
        self.core().commit_all().unwrap();
    }
}
