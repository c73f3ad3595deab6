//! Enqueue against a drainer that is about to leave: nothing is left behind unseen (I-11).
#![cfg(loom)]

mod port;

use e4_sync::thread;
use port::*;

#[test]
fn enqueue_against_a_leaving_drainer() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let (first, second) = (write(&e, &f, 1, 0..1), write(&e, &f, 2, 1..2));
        e.collect_batch([(first, Ok(()))]);
        let worker = {
            let e = e.clone();
            thread::spawn(move || e.run_ready(1))
        };
        e.collect_batch([(second, Ok(()))]);
        worker.join().expect("worker");
        // Whatever is still queued is listed; whatever is listed gets done.
        while e.run_ready(1) > 0 {}
        assert_eq!(delivered(&e).len(), 2);
        assert!(f.is_idle());
    });
}

#[test]
fn a_sleeping_worker_is_woken() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let request = write(&e, &f, 1, 0..1);
        let worker = {
            let e = e.clone();
            thread::spawn(move || e.work())
        };
        e.collect_batch([(request, Ok(()))]);
        e.stop_workers();
        worker.join().expect("worker");
        assert_eq!(
            delivered(&e),
            [(1, Ok(()))],
            "stopping empties the list first"
        );
        assert!(f.is_idle());
    });
}
