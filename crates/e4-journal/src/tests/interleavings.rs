//! Random schedules under shuttle: `RUSTFLAGS="--cfg shuttle" cargo test -p e4-journal interleavings`.

use e4_format::{FsBlock, Tid};
use e4_sync::{Arc, thread};

use super::medium::Medium;
use super::world::World;
use crate::{CommitHooks, Handle, JournalError, MetaStore, Planted, Verify};

const SCHEDULES: usize = 3000;

fn explore(body: impl Fn() + Send + Sync + Copy + 'static) {
    shuttle::check_random(body, SCHEDULES);
    shuttle::check_pct(body, SCHEDULES, 3);
}

fn get(bytes: &[u8], slot: usize) -> u8 {
    bytes[slot]
}

/// Sets slot `t` of two blocks in one handle.
fn pair(store: &MetaStore, first: u64, t: usize, value: u8) -> Result<Tid, JournalError> {
    let mut handle = store.start(2)?;
    for i in 0..2 {
        let block = store.read(FsBlock::new(first + i), Verify::NONE)?;
        handle.modify(&block)?[t] = value;
    }
    Ok(handle.tid())
}

/// Handles are atomic and commits durable, whoever leads, with a checkpoint in between, at any crash.
#[test]
fn commits_under_any_schedule() {
    explore(|| {
        let world = World::tiny();
        let medium = world.format(0);
        medium.record();
        let store = world.open(&medium);
        let first = world.usable();
        let threads: Vec<_> = (0..3usize)
            .map(|t| {
                let (store, medium) = (Arc::clone(&store), Arc::clone(&medium));
                thread::spawn(move || {
                    for value in 1..=2u8 {
                        let tid = pair(&store, first, t, value).unwrap();
                        match t {
                            0 => store.sync(tid).unwrap(),
                            1 => store.commit(tid).unwrap(),
                            _ => store.checkpoint_all().unwrap(),
                        }
                        if t < 2 {
                            assert!(store.is_committed(tid));
                            medium.mark(t as u64, u64::from(value));
                        }
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
        let recording = medium.recording();
        recording.crashes(1, 0, |crash| {
            let image = Medium::new(crash.bytes);
            world.recover(&image).unwrap();
            let bytes = image.bytes();
            for t in 0..3 {
                let a = get(world.block(&bytes, first), t);
                let b = get(world.block(&bytes, first + 1), t);
                assert_eq!(a, b);
                assert!(u64::from(a) >= recording.marked(t as u64, crash.events));
            }
        });
        store.shutdown().unwrap();
        let bytes = medium.bytes();
        for t in 0..3 {
            assert_eq!(get(world.block(&bytes, first), t), 2);
        }
    });
}

/// A freed block is never written again once its transaction has committed.
#[test]
fn frees_under_any_schedule() {
    explore(|| frees(Planted::Nothing));
}

/// The schedules are worth nothing unless they find the bug.
#[test]
#[should_panic(expected = "freed block was overwritten")]
fn a_missing_wait_is_found() {
    explore(|| frees(Planted::SkipInFlightWait));
}

fn frees(planted: Planted) {
    let world = World {
        planted,
        ..World::tiny()
    };
    let medium = world.format(0);
    let store = world.open(&medium);
    let first = world.usable();
    let tid = pair(&store, first, 0, 1).unwrap();
    store.commit(tid).unwrap();
    let checkpoint = thread::spawn({
        let store = Arc::clone(&store);
        move || store.checkpoint_all().unwrap()
    });
    let other = thread::spawn({
        let store = Arc::clone(&store);
        move || {
            store
                .commit(pair(&store, first + 2, 1, 7).unwrap())
                .unwrap()
        }
    });
    let mut handle = store.start(2).unwrap();
    handle.forget(FsBlock::new(first)).unwrap();
    let tid = handle.tid();
    drop(handle);
    store.commit(tid).unwrap();
    e4_device::Device::write_at(&*medium, first * 1024, &[0xDA; 1024]).unwrap();
    checkpoint.join().unwrap();
    other.join().unwrap();
    store.checkpoint_all().unwrap();
    assert!(
        world.block(&medium.bytes(), first) == [0xDA; 1024],
        "freed block was overwritten"
    );
    drop(store);
    let image = Medium::new(medium.bytes());
    world.recover(&image).unwrap();
    assert_eq!(world.block(&image.bytes(), first), [0xDA; 1024]);
}

/// Whatever fails, wherever the others are: everybody comes back.
#[test]
fn aborts_under_any_schedule() {
    explore(|| {
        let world = World::tiny();
        let medium = world.format(0);
        let store = world.open(&medium);
        let first = world.usable();
        medium.fail_flush_in(3);
        let threads: Vec<_> = (0..3usize)
            .map(|t| {
                let store = Arc::clone(&store);
                thread::spawn(move || -> Result<(), JournalError> {
                    for value in 1..=3u8 {
                        let tid = pair(&store, first, t, value)?;
                        if t == 0 {
                            store.commit_all()?;
                        } else {
                            store.sync(tid)?;
                        }
                    }
                    Ok(())
                })
            })
            .collect();
        let failed = threads
            .into_iter()
            .filter(|_| true)
            .map(|t| t.join().unwrap());
        assert!(failed.filter(Result::is_err).count() > 0);
        assert!(store.is_aborted());
    });
}

struct Epochs {
    published: e4_sync::Mutex<(u64, u64)>,
}

impl CommitHooks for Epochs {
    fn record(&self, handle: &mut Handle) -> Result<(), JournalError> {
        let mut state = self.published.lock();
        state.1 = state.0;
        drop(state);
        drop(handle.create(FsBlock::new(90))?);
        Ok(())
    }

    fn has_unrecorded(&self) -> bool {
        let state = self.published.lock();
        state.0 > state.1
    }

    fn committed(&self, _tid: Tid) {}

    fn aborted(&self, _cause: &JournalError) {}
}

/// `commit_all` leaves nothing unrecorded that was published before it.
#[test]
fn commit_all_under_any_schedule() {
    explore(|| {
        let world = World {
            record_credits: 1,
            ..World::tiny()
        };
        let medium = world.format(0);
        let hooks = Arc::new(Epochs {
            published: e4_sync::Mutex::new(e4_sync::Rank::LEAF, (0, 0)),
        });
        let store = world.open_with(&medium, Arc::<Epochs>::clone(&hooks));
        let first = world.usable();
        let threads: Vec<_> = (1..=2u64)
            .map(|value| {
                let (store, hooks) = (Arc::clone(&store), Arc::clone(&hooks));
                thread::spawn(move || {
                    let mine = {
                        let mut state = hooks.published.lock();
                        state.0 += 1;
                        state.0
                    };
                    if value == 1 {
                        pair(&store, first, 0, 1).unwrap();
                    }
                    store.commit_all().unwrap();
                    assert!(hooks.published.lock().1 >= mine);
                })
            })
            .collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
}
