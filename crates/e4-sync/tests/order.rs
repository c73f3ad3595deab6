//! The lock order is asserted in debug builds and costs nothing in release builds.
#![cfg(not(any(loom, shuttle)))]

use e4_sync::{
    Arc, Condvar, Duration, Held, Mutex, Rank, RwLock, atomic, may_wait_for_completion,
    may_wait_for_device, thread,
};
use std::panic::{AssertUnwindSafe, catch_unwind};

fn panics(f: impl FnOnce()) -> bool {
    catch_unwind(AssertUnwindSafe(f)).is_err()
}

#[test]
fn upwards_is_accepted_in_any_release_order() {
    let a = Mutex::new(Rank::INODE_IO, 1);
    let b = RwLock::new(Rank::EXTENT_TREE, 2);
    let ga = a.lock();
    let gb = b.read();
    drop(ga);
    let h = Mutex::new(Rank::LEAF, 3);
    assert_eq!(*h.lock() + *gb, 5);
}

#[test]
fn ranks_ascend_and_have_names() {
    assert!(Rank::ALL.windows(2).all(|w| w[0] < w[1]));
    assert!(Rank::ALL.iter().all(|r| r.name() != "unnamed rank"));
}

#[test]
#[cfg(debug_assertions)]
fn downwards_and_equal_are_refused() {
    let io = Mutex::new(Rank::INODE_IO, ());
    let tree = RwLock::new(Rank::EXTENT_TREE, ());
    let _t = tree.write();
    assert!(panics(|| drop(io.lock())));
    assert!(panics(|| drop(tree.read())));
    assert!(
        io.try_lock().is_some(),
        "try_lock cannot wait, so it is not checked"
    );
}

#[test]
#[cfg(debug_assertions)]
fn equal_ranks_go_by_sub_order() {
    let a = Mutex::new(Rank::EXTENT_TREE, ());
    let b = Mutex::new(Rank::EXTENT_TREE, ());
    let _a = a.lock_nested(12);
    drop(b.lock_nested(13));
    assert!(panics(|| drop(b.lock_nested(12))));
    assert!(panics(|| drop(b.lock_nested(11))));
}

#[test]
#[cfg(debug_assertions)]
fn waiting_rules() {
    let io = Mutex::new(Rank::INODE_IO, ());
    let _io = io.lock();
    may_wait_for_completion();
    {
        let _handle = Held::acquire(Rank::HANDLE);
        assert!(panics(may_wait_for_completion));
        may_wait_for_device();
        let _es = Held::acquire(Rank::EXTENT_STATUS);
        assert!(panics(may_wait_for_device));
    }
    may_wait_for_completion();
}

#[test]
#[cfg(not(debug_assertions))]
fn free_of_charge_in_release() {
    assert_eq!(size_of::<Mutex<u64>>(), 16);
    assert_eq!(size_of::<Held>(), 0);
    assert!(!panics(may_wait_for_device));
}

#[test]
fn condvar_hands_over_and_times_out() {
    let pair = Arc::new((Mutex::new(Rank::LEAF, false), Condvar::new()));
    let other = Arc::clone(&pair);
    let t = thread::spawn(move || {
        *other.0.lock() = true;
        other.1.notify_all();
    });
    let mut ready = pair.0.lock();
    while !*ready {
        pair.1.wait(&mut ready);
    }
    t.join().unwrap();
    assert!(pair.1.wait_for(&mut ready, Duration::from_millis(1)));
    let _ = atomic::AtomicU64::new(1);
}
