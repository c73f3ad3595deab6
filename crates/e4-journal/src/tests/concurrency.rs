//! Threads: pairs of blocks that must stay equal, counters that must not lose a beat, shared commits, a
//! checkpoint that meets a freed block.

use e4_device::{Completion, Device, DeviceError, DeviceInfo, QueueId, Request, Wait};
use e4_format::FsBlock;
use e4_sync::atomic::{AtomicU64, Ordering};
use e4_sync::{Arc, Condvar, Mutex, Rank, thread};

use super::medium::{Medium, Random};
use super::world::World;
use crate::{CommitHooks, Handle, JournalError, JournalMode, MetaStore, NoHooks, Planted, Verify};

const THREADS: u64 = 4;

fn word(bytes: &[u8], slot: u64) -> u64 {
    let at = usize::try_from(slot).unwrap() * 8;
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn set(bytes: &mut [u8], slot: u64, value: u64) {
    let at = usize::try_from(slot).unwrap() * 8;
    bytes[at..at + 8].copy_from_slice(&value.to_le_bytes());
}

/// Thread `t` counts in slot `t` of two blocks, which it picks anew each time, and in its own.
fn count(
    store: &MetaStore,
    medium: &Medium,
    first: u64,
    t: u64,
    rounds: u64,
) -> Result<(), JournalError> {
    let mut rng = Random::new(t + 1);
    for round in 1..=rounds {
        let mut handle = store.start(3)?;
        let own = store.read(FsBlock::new(first + t), Verify::NONE)?;
        set(&mut handle.modify(&own)?, t, round);
        for twin in 0..2 {
            let block = FsBlock::new(first + THREADS + twin * 4 + round % 4);
            let shared = store.read(block, Verify::NONE)?;
            set(&mut handle.modify(&shared)?, t, round);
        }
        let tid = handle.tid();
        drop(handle);
        match rng.below(6) {
            0 => {
                store.commit(tid)?;
                medium.mark(t, round);
            }
            1 => {
                store.sync(tid)?;
                medium.mark(t, round);
            }
            2 if rng.below(4) == 0 => store.checkpoint_all()?,
            _ => {}
        }
    }
    Ok(())
}

/// Checks an image: everything a thread did in one handle is there, or nothing of it.
fn check(world: &World, bytes: &[u8], at_least: impl Fn(u64) -> u64) {
    let first = world.usable();
    for t in 0..THREADS {
        let own = word(world.block(bytes, first + t), t);
        assert!(own >= at_least(t), "thread {t}: {own} < {}", at_least(t));
        for k in 0..4 {
            let a = word(world.block(bytes, first + THREADS + k), t);
            let b = word(world.block(bytes, first + THREADS + 4 + k), t);
            assert_eq!(a, b, "thread {t}, pair {k}");
            // The newest round that used this pair.
            let wanted = if own % 4 >= k {
                own - (own - k) % 4
            } else {
                own.saturating_sub(own % 4 + 4 - k)
            };
            assert_eq!(a, wanted, "thread {t}, pair {k}, own {own}");
        }
    }
}

#[test]
fn handles_of_many_threads_are_atomic() {
    let world = World::small();
    let medium = world.format(0);
    medium.record();
    let store = world.open(&medium);
    let rounds = 1500;
    thread::scope(|scope| {
        for t in 0..THREADS {
            let (store, medium) = (&store, &medium);
            let first = world.usable();
            scope.spawn(move || count(store, medium, first, t, rounds).unwrap());
        }
    });
    store.shutdown().unwrap();
    check(&world, &medium.bytes(), |_| rounds);
    // And at any moment on the way, after a power cut.
    let recording = medium.recording();
    let (mut n, mut states) = (0u64, 0);
    recording.crashes(1, 1, |crash| {
        n += 1;
        if n.is_multiple_of(41) {
            states += 1;
            let image = Medium::new(crash.bytes);
            world.recover(&image).unwrap();
            check(&world, &image.bytes(), |t| {
                recording.marked(t, crash.events)
            });
        }
    });
    assert!(states > 100, "{states}");
    let (_, flushes, _) = medium.counts();
    eprintln!(
        "{} handles, {flushes} flushes, {states} crash states",
        rounds * THREADS
    );
}

/// A device whose write to one block waits until it is let through.
struct Gate {
    medium: Arc<Medium>,
    at: AtomicU64,
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn wait_until_held(&self) {
        let mut state = self.state.lock();
        while !state.0 {
            self.changed.wait(&mut state);
        }
    }

    fn open(&self) {
        self.state.lock().1 = true;
        self.changed.notify_all();
    }
}

impl Device for Gate {
    fn info(&self) -> &DeviceInfo {
        self.medium.info()
    }

    fn read_at(&self, at: u64, buf: &mut [u8]) -> Result<(), DeviceError> {
        self.medium.read_at(at, buf)
    }

    fn write_at(&self, at: u64, data: &[u8]) -> Result<(), DeviceError> {
        if at == self.at.load(Ordering::Relaxed) {
            let mut state = self.state.lock();
            state.0 = true;
            self.changed.notify_all();
            while !state.1 {
                self.changed.wait(&mut state);
            }
        }
        self.medium.write_at(at, data)
    }

    fn flush(&self) -> Result<(), DeviceError> {
        self.medium.flush()
    }

    fn discard(&self, at: u64, len: u64) -> Result<(), DeviceError> {
        self.medium.discard(at, len)
    }

    fn submit(&self, queue: QueueId, requests: &mut Vec<Request>) {
        self.medium.submit(queue, requests);
    }

    fn poll(&self, queue: QueueId, out: &mut Vec<Completion>, wait: Wait) -> usize {
        self.medium.poll(queue, out, wait)
    }
}

fn gated(world: &World) -> (Arc<Gate>, Arc<MetaStore>) {
    let gate = Arc::new(Gate {
        medium: world.format(0),
        at: AtomicU64::new(u64::MAX),
        state: Mutex::new(Rank::LEAF, (false, false)),
        changed: Condvar::new(),
    });
    let mode = JournalMode::Journal(world.layout(&gate.medium).unwrap());
    let device: Arc<dyn Device> = Arc::<Gate>::clone(&gate);
    let store =
        MetaStore::open(device, world.size, mode, world.options(), Arc::new(NoHooks)).unwrap();
    (gate, store)
}

fn stamp(store: &MetaStore, block: u64, value: u8) -> e4_format::Tid {
    let mut handle = store.start(1).unwrap();
    let block = store.read(FsBlock::new(block), Verify::NONE).unwrap();
    handle.modify(&block).unwrap()[0] = value;
    handle.tid()
}

/// A checkpoint is writing block 100 home; a transaction that frees it commits. The block must not be handed out
/// before that write is over: it would land on somebody's data.
fn freed_during_checkpoint(planted: Planted) -> bool {
    let world = World {
        planted,
        ..World::small()
    };
    let (gate, store) = gated(&world);
    store.commit(stamp(&store, 100, 1)).unwrap();
    gate.at.store(100 * 1024, Ordering::Relaxed);
    let checkpoint = thread::spawn({
        let store = Arc::clone(&store);
        move || store.checkpoint_all().unwrap()
    });
    gate.wait_until_held();
    let commit = thread::spawn({
        let (store, gate) = (Arc::clone(&store), Arc::clone(&gate));
        move || {
            let mut handle = store.start(2).unwrap();
            handle.forget(FsBlock::new(100)).unwrap();
            let tid = handle.tid();
            drop(handle);
            store.commit(tid).unwrap();
            // Free at last: data, past the gate.
            gate.medium.write_at(100 * 1024, &[0xDA; 1024]).unwrap();
        }
    });
    // The record of that commit is on the device, or the commit is over.
    while store.core().log.as_ref().unwrap().lists.lock().logged.len() < 2 && !commit.is_finished()
    {
        thread::yield_now();
    }
    // With the bug the commit gets through before the gate opens; without it, it cannot.
    let tries = if planted == Planted::Nothing {
        1000
    } else {
        u32::MAX
    };
    let mut early = false;
    for _ in 0..tries {
        if commit.is_finished() {
            early = true;
            break;
        }
        thread::yield_now();
    }
    gate.open();
    checkpoint.join().unwrap();
    commit.join().unwrap();
    let bytes = gate.medium.bytes();
    let data_lost = world.block(&bytes, 100)[0] != 0xDA;
    assert_eq!(early, data_lost);
    data_lost
}

#[test]
fn a_freed_block_waits_for_its_checkpoint() {
    assert!(!freed_during_checkpoint(Planted::Nothing));
    assert!(
        freed_during_checkpoint(Planted::SkipInFlightWait),
        "the planted bug"
    );
}

/// While a transaction is being written, the next one runs: blocks of the committing one can be modified.
#[test]
fn the_next_transaction_runs_during_a_commit() {
    let world = World::small();
    let (gate, store) = gated(&world);
    let first = stamp(&store, 100, 1);
    gate.at.store(world.log_byte(1), Ordering::Relaxed);
    let commit = thread::spawn({
        let store = Arc::clone(&store);
        move || store.commit(first).unwrap()
    });
    gate.wait_until_held();
    let second = stamp(&store, 100, 2);
    assert_eq!(second, first.next());
    assert!(!store.is_committed(first));
    gate.open();
    commit.join().unwrap();
    assert!(store.is_committed(first) && !store.is_committed(second));
    // The first transaction holds the version it was sealed with.
    let image = Medium::new(gate.medium.bytes());
    world.recover(&image).unwrap();
    assert_eq!(world.block(&image.bytes(), 100)[0], 1);
    store.commit(second).unwrap();
}

/// Callers that wait for the same transaction share one commit; those that arrive during it share the next.
#[test]
fn callers_share_commits() {
    let world = World::small();
    let (gate, store) = gated(&world);
    let first = stamp(&store, 100, 1);
    gate.at.store(world.log_byte(1), Ordering::Relaxed);
    let leader = thread::spawn({
        let store = Arc::clone(&store);
        move || store.commit(first).unwrap()
    });
    gate.wait_until_held();
    let before = gate.medium.counts().1;
    let followers: Vec<_> = (0..8u64)
        .map(|i| {
            let store = Arc::clone(&store);
            thread::spawn(move || {
                let tid = stamp(&store, 101 + i, 1);
                store.commit(tid).unwrap();
                tid
            })
        })
        .collect();
    // All of them have changed something in the running transaction.
    loop {
        let state = store.core().state.lock();
        if state.usage.blocks == 8 && state.usage.handles == 0 {
            break;
        }
        drop(state);
        thread::yield_now();
    }
    gate.open();
    leader.join().unwrap();
    for follower in followers {
        assert_eq!(follower.join().unwrap(), first.next());
    }
    assert_eq!(
        gate.medium.counts().1 - before,
        4,
        "two commits, two flushes each"
    );
}

/// A hook that publishes in one thread and records in the committer's, as the filesystem does.
#[derive(Default)]
struct Publisher {
    published: AtomicU64,
    recorded: AtomicU64,
    durable: AtomicU64,
    store: e4_sync::OnceLock<e4_sync::Weak<MetaStore>>,
    block: u64,
}

impl CommitHooks for Publisher {
    fn record(&self, handle: &mut Handle) -> Result<(), JournalError> {
        let upto = self.published.load(Ordering::Acquire);
        if upto > self.recorded.load(Ordering::Relaxed) {
            let store = self.store.get().and_then(e4_sync::Weak::upgrade).unwrap();
            let block = store.read(FsBlock::new(self.block), Verify::NONE)?;
            set(&mut handle.modify(&block)?, 0, upto);
            self.recorded.store(upto, Ordering::Release);
        }
        Ok(())
    }

    fn has_unrecorded(&self) -> bool {
        self.published.load(Ordering::Acquire) > self.recorded.load(Ordering::Acquire)
    }

    fn committed(&self, _tid: e4_format::Tid) {
        self.durable
            .store(self.recorded.load(Ordering::Relaxed), Ordering::Release);
    }

    fn aborted(&self, _cause: &JournalError) {}
}

/// What was published before a commit is in it (commit-all), also when the timer's thread does the committing.
#[test]
fn published_work_is_recorded_by_the_next_commit() {
    let world = World {
        record_credits: 2,
        ..World::small()
    };
    let medium = world.format(0);
    let hooks = Arc::new(Publisher {
        block: 100,
        ..Publisher::default()
    });
    let mut options = world.options();
    options.commit_interval = Some(core::time::Duration::from_millis(1));
    let device: Arc<dyn Device> = Arc::<Medium>::clone(&medium);
    let mode = JournalMode::Journal(world.layout(&medium).unwrap());
    let store = MetaStore::open(
        device,
        world.size,
        mode,
        options,
        Arc::<Publisher>::clone(&hooks),
    )
    .unwrap();
    hooks.store.set(Arc::downgrade(&store)).unwrap();
    for round in 1..=300u64 {
        hooks.published.store(round, Ordering::Release);
        match round % 3 {
            0 => {
                store.commit_all().unwrap();
                assert!(hooks.durable.load(Ordering::Acquire) >= round);
            }
            1 => store.commit(stamp(&store, 101, 1)).unwrap(),
            _ => store.arm_timer(),
        }
    }
    // No transaction runs and nobody calls: the timer does it.
    hooks.published.store(301, Ordering::Release);
    store.arm_timer();
    while hooks.durable.load(Ordering::Acquire) < 301 {
        thread::yield_now();
    }
    drop(store);
    world.recover(&medium).unwrap();
    assert_eq!(word(world.block(&medium.bytes(), 100), 0), 301);
}

/// The background thread keeps the log from filling up, so that starters need not checkpoint.
#[test]
fn the_background_thread_checkpoints_ahead() {
    let world = World::small();
    let medium = world.format(0);
    let mut options = world.options();
    options.commit_interval = Some(core::time::Duration::from_secs(3600));
    let device: Arc<dyn Device> = Arc::<Medium>::clone(&medium);
    let mode = JournalMode::Journal(world.layout(&medium).unwrap());
    let store = MetaStore::open(device, world.size, mode, options, Arc::new(NoHooks)).unwrap();
    for i in 0..10 {
        store.commit(stamp(&store, 100 + i, 1)).unwrap();
    }
    while store.status().logged == 10 {
        thread::yield_now();
    }
    store.shutdown().unwrap();
}
