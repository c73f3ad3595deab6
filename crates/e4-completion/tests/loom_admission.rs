//! Admission against a drain that ends, and against the engine-wide bound: nobody sleeps for ever,
//! nobody overlaps a held drain.
#![cfg(loom)]

mod port;

use e4_completion::{Engine, Intent, Limits, NO_DRIVE};
use e4_sync::atomic::{AtomicUsize, Ordering};
use e4_sync::{Arc, thread};
use port::*;

#[test]
fn admission_against_a_drain() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let inside = Arc::new(AtomicUsize::new(0));
        let reader = {
            let (e, f, inside) = (e.clone(), Arc::clone(&f), Arc::clone(&inside));
            thread::spawn(move || {
                let admission = e.admit(&f, 0..1, Intent::Read).expect("admitted");
                inside.fetch_add(1, Ordering::Relaxed);
                inside.fetch_sub(1, Ordering::Relaxed);
                drop(admission);
            })
        };
        let guard = e.quiesce(&f, NO_DRIVE);
        assert_eq!(inside.load(Ordering::Relaxed), 0, "I-14");
        drop(guard);
        reader.join().expect("reader");
        assert!(f.is_idle());
    });
}

#[test]
fn the_last_slot_goes_round() {
    loom::model(|| {
        let limits = Limits {
            writes: 1,
            ..Limits::DEFAULT
        };
        let e = Engine::new(Port::default(), limits);
        let (a, b) = (file(&e, 1), file(&e, 2));
        let other = {
            let (e, b) = (e.clone(), Arc::clone(&b));
            thread::spawn(move || drop(e.admit(&b, 0..1, Intent::Write).expect("admitted")))
        };
        drop(e.admit(&a, 0..1, Intent::Write).expect("admitted"));
        other.join().expect("other");
        assert_eq!(e.writes_in_flight(), 0);
    });
}
