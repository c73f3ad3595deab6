//! Failing devices: the journal stops, everybody hears of it, nothing is retried, reads go on, and what was acknowledged is
//! still there after recovery.

use e4_format::FsBlock;
use e4_sync::atomic::{AtomicU32, Ordering};
use e4_sync::{Arc, thread};

use super::medium::Medium;
use super::world::World;
use crate::{CommitHooks, Handle, JournalError, MetaStore, Verify};

#[derive(Default)]
struct Witness {
    aborts: AtomicU32,
    commits: AtomicU32,
    refuse: AtomicU32,
    panic: AtomicU32,
}

#[derive(Debug, thiserror::Error)]
#[error("no more")]
struct NoMore;

impl CommitHooks for Witness {
    fn record(&self, _handle: &mut Handle) -> Result<(), JournalError> {
        assert_eq!(self.panic.load(Ordering::Relaxed), 0, "asked to panic");
        if self.refuse.load(Ordering::Relaxed) > 0 {
            return Err(JournalError::filesystem(NoMore));
        }
        Ok(())
    }

    fn has_unrecorded(&self) -> bool {
        false
    }

    fn committed(&self, _tid: e4_format::Tid) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn aborted(&self, _cause: &JournalError) {
        self.aborts.fetch_add(1, Ordering::Relaxed);
    }
}

fn write(store: &MetaStore, value: u8) -> Result<e4_format::Tid, JournalError> {
    let mut handle = store.start(3)?;
    for i in 0..3 {
        let block = store.read(FsBlock::new(100 + i), Verify::NONE)?;
        handle.modify(&block)?[0] = value;
    }
    Ok(handle.tid())
}

/// The last acknowledged value, after a power cut and a recovery.
fn survives(world: &World, medium: &Medium) -> u8 {
    let again = Medium::new(medium.bytes());
    world.recover(&again).unwrap();
    let bytes = again.bytes();
    let values: Vec<u8> = (0..3).map(|i| world.block(&bytes, 100 + i)[0]).collect();
    assert!(values.iter().all(|v| *v == values[0]), "{values:?}");
    values[0]
}

fn everything_fails(store: &MetaStore, witness: &Witness) {
    assert!(store.is_aborted());
    assert_eq!(witness.aborts.load(Ordering::Relaxed), 1);
    let aborted = |e: JournalError| assert!(matches!(e, JournalError::Aborted { .. }), "{e}");
    aborted(write(store, 99).unwrap_err());
    aborted(store.flush_device().unwrap_err());
    aborted(store.commit_all().unwrap_err());
    aborted(store.checkpoint_all().unwrap_err());
    aborted(store.commit(store.running_tid()).unwrap_err());
    aborted(store.shutdown().unwrap_err());
    // Reads go on, cached or not.
    drop(store.read(FsBlock::new(100), Verify::NONE).unwrap());
    drop(store.read(FsBlock::new(300), Verify::NONE).unwrap());
}

#[test]
fn a_failed_flush_is_final() {
    let world = World::small();
    for nth in 0..2 {
        let medium = world.format(0);
        let witness = Arc::new(Witness::default());
        let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
        store.commit(write(&store, 1).unwrap()).unwrap();
        let tid = write(&store, 2).unwrap();
        medium.fail_flush_in(nth);
        let flushes = medium.counts().1;
        let error = store.commit(tid).unwrap_err();
        assert!(matches!(error.root(), JournalError::Flush { .. }));
        assert_eq!(
            medium.counts().1,
            flushes + nth + 1,
            "no flush after the failed one"
        );
        everything_fails(&store, &witness);
        assert_eq!(medium.counts().1, flushes + nth + 1);
        assert_eq!(witness.commits.load(Ordering::Relaxed), 1);
        assert_eq!(
            store.read(FsBlock::new(100), Verify::NONE).unwrap().data()[0],
            2
        );
        let layout = world.layout(&medium).unwrap();
        assert_eq!(layout.superblock().errno(), -5);
        // Unacknowledged: either is fine, but whole.
        assert!((1..=2).contains(&survives(&world, &medium)));
    }
}

#[test]
fn every_failed_write_aborts_cleanly() {
    let world = World::small();
    let mut aborts = 0;
    for nth in 0..200 {
        let medium = world.format(0);
        let witness = Arc::new(Witness::default());
        let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
        medium.fail_writes_in(nth);
        let mut acknowledged = 0;
        let mut attempted = 0;
        for value in 1..60 {
            attempted = value;
            let Ok(tid) = write(&store, value) else { break };
            if store.commit(tid).is_err() {
                break;
            }
            acknowledged = value;
        }
        if !store.is_aborted() {
            continue;
        }
        aborts += 1;
        everything_fails(&store, &witness);
        let value = survives(&world, &medium);
        assert!(
            (acknowledged..=attempted).contains(&value),
            "write {nth}: {value}"
        );
    }
    assert!(aborts > 100, "only {aborts} runs failed");
}

#[test]
fn the_filesystem_can_give_up() {
    let world = World::small();
    let medium = world.format(0);
    let witness = Arc::new(Witness::default());
    let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
    let tid = write(&store, 1).unwrap();
    let mut open = store.start(1).unwrap();
    let first = store.abort(JournalError::filesystem(NoMore));
    let second = store.abort(JournalError::Closed);
    assert!(matches!(second.root(), JournalError::Filesystem { .. }));
    assert_eq!(
        first.to_string(),
        "the journal was aborted: the filesystem gave up: no more"
    );
    let block = store.read(FsBlock::new(100), Verify::NONE).unwrap();
    assert!(matches!(
        open.modify(&block),
        Err(JournalError::Aborted { .. })
    ));
    drop(open);
    assert!(store.commit(tid).is_err());
    everything_fails(&store, &witness);
}

#[test]
fn a_record_hook_that_fails_aborts() {
    let world = World::small();
    let medium = world.format(0);
    let witness = Arc::new(Witness::default());
    let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
    let tid = write(&store, 1).unwrap();
    witness.refuse.store(1, Ordering::Relaxed);
    let error = store.commit(tid).unwrap_err();
    assert!(matches!(error.root(), JournalError::Filesystem { .. }));
    everything_fails(&store, &witness);
    assert_eq!(survives(&world, &medium), 0);
}

/// A panic in the leader must not leave the others waiting.
#[test]
fn a_record_hook_that_panics_aborts() {
    let world = World::small();
    let medium = world.format(0);
    let witness = Arc::new(Witness::default());
    let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
    let tid = write(&store, 1).unwrap();
    witness.panic.store(1, Ordering::Relaxed);
    let leader = thread::spawn({
        let store = Arc::clone(&store);
        move || store.commit(tid)
    });
    assert!(leader.join().is_err());
    let error = store.commit(tid).unwrap_err();
    assert!(matches!(error.root(), JournalError::CommitUnwound { .. }));
    witness.panic.store(0, Ordering::Relaxed);
    everything_fails(&store, &witness);
}

/// Waiters of every kind wake when the journal is aborted under them (I-36).
#[test]
fn waiters_wake() {
    let world = World::small();
    let medium = world.format(0);
    let witness = Arc::new(Witness::default());
    let store = world.open_with(&medium, Arc::<Witness>::clone(&witness));
    write(&store, 1).unwrap();
    // Keeps the transaction from closing: the committer waits for us, the starters wait for the committer.
    let open = store.start(1).unwrap();
    let tid = open.tid();
    let waiters: Vec<_> = (0..4)
        .map(|i| {
            let store = Arc::clone(&store);
            thread::spawn(move || match i {
                0 => store.commit(tid),
                1 => store.commit_all(),
                2 => store.sync(tid),
                _ => loop {
                    // Succeeds until the transaction is locked, then waits.
                    match store.start(1) {
                        Ok(handle) => drop(handle),
                        Err(e) => break Err(e),
                    }
                    thread::yield_now();
                },
            })
        })
        .collect();
    while !store.core().state.lock().locked {
        thread::yield_now();
    }
    store.abort(JournalError::filesystem(NoMore));
    for waiter in waiters {
        assert!(waiter.join().unwrap().is_err());
    }
    drop(open);
    everything_fails(&store, &witness);
}
