//! The barriers against everybody else who drains: a lost wake-up would be a deadlock here, an
//! early return a failed assertion (I-13, I-14).
#![cfg(loom)]

mod port;

use e4_completion::{Drain, NO_DRIVE};
use e4_sync::thread;
use port::*;

#[test]
fn barrier_against_a_worker_that_drained() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let o = f.observer();
        let request = write(&e, &f, 1, 0..1);
        e.collect_batch([(request, Ok(()))]);
        let worker = {
            let e = e.clone();
            thread::spawn(move || e.run_ready(1))
        };
        assert_eq!(e.barrier(&f, &o), Ok(()));
        assert_eq!(delivered(&e), [(1, Ok(()))], "whoever drained it");
        worker.join().expect("worker");
    });
}

#[test]
fn barrier_against_an_enqueue() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let o = f.observer();
        let request = write(&e, &f, 1, 0..1);
        let device = {
            let e = e.clone();
            thread::spawn(move || e.request_done(request, Err(-5)))
        };
        // Before or after, but an error that is not learned now is learned next time, once.
        let first = e.barrier(&f, &o);
        device.join().expect("device");
        let second = e.barrier(&f, &o);
        let learned = [first, second].iter().filter(|r| r.is_err()).count();
        assert_eq!(learned, 1);
    });
}

#[test]
fn drain_against_a_completion() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let o = f.observer();
        let request = write(&e, &f, 1, 0..1);
        let device = {
            let e = e.clone();
            thread::spawn(move || e.request_done(request, Ok(())))
        };
        let guard = e
            .drain(&f, 0..4096, Drain::Exclusive, &o, NO_DRIVE)
            .expect("no error");
        assert_eq!(delivered(&e), [(1, Ok(()))]);
        drop(guard);
        device.join().expect("device");
        assert!(f.is_idle());
    });
}

#[test]
fn drain_against_a_collected_completion_without_a_worker() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let o = f.observer();
        let request = write(&e, &f, 1, 0..1);
        let device = {
            let e = e.clone();
            thread::spawn(move || e.collect_batch([(request, Ok(()))]))
        };
        let guard = e
            .drain(&f, 0..4096, Drain::Exclusive, &o, NO_DRIVE)
            .expect("no error");
        assert_eq!(
            delivered(&e),
            [(1, Ok(()))],
            "the drain converted it itself"
        );
        drop(guard);
        device.join().expect("device");
    });
}

#[test]
fn barrier_against_an_enqueue_and_a_worker() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let o = f.observer();
        let (first, second) = (write(&e, &f, 1, 0..1), write(&e, &f, 2, 1..2));
        e.collect_batch([(first, Ok(()))]);
        let device = {
            let e = e.clone();
            thread::spawn(move || e.collect_batch([(second, Ok(()))]))
        };
        let worker = {
            let e = e.clone();
            thread::spawn(move || e.run_ready(1))
        };
        assert_eq!(e.barrier(&f, &o), Ok(()));
        assert!(delivered(&e).contains(&(1, Ok(()))));
        device.join().expect("device");
        worker.join().expect("worker");
        while e.run_ready(1) > 0 {}
        assert_eq!(delivered(&e).len(), 2);
        assert!(f.is_idle());
    });
}
