//! The submitter letting go against the last completion, and the last two completions against each
//! other: exactly one of them finds itself last (I-38, I-40).
#![cfg(loom)]

mod port;

use e4_completion::Intent;
use e4_sync::thread;
use port::*;

#[test]
fn submitter_against_the_only_completion() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let mut io_end = e
            .admit(&f, 0..4096, Intent::Write)
            .expect("admitted")
            .begin(1);
        io_end.convert(0..1);
        let request = io_end.add_request();
        let device = {
            let e = e.clone();
            thread::spawn(move || e.request_done(request, Ok(())))
        };
        io_end.submitted();
        device.join().expect("device");
        assert_eq!(delivered(&e), [(1, Ok(()))]);
        assert_eq!(readable(&f), [0]);
        assert!(f.is_idle());
    });
}

#[test]
fn two_completions_one_failing() {
    loom::model(|| {
        let e = engine();
        let f = file(&e, 1);
        let mut io_end = e
            .admit(&f, 0..4096, Intent::Write)
            .expect("admitted")
            .begin(1);
        io_end.convert(0..1);
        let requests = [io_end.add_request(), io_end.add_request()];
        io_end.submitted();
        let [first, second] = requests;
        let device = {
            let e = e.clone();
            thread::spawn(move || e.request_done(first, Ok(())))
        };
        e.request_done(second, Err(-5));
        device.join().expect("device");
        assert_eq!(delivered(&e), [(1, Err(-5))], "acknowledged exactly once");
        assert!(readable(&f).is_empty());
        assert_eq!(e.writes_in_flight(), 0);
    });
}
