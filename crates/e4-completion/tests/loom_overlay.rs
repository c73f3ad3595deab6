//! The overlay: concurrent publishes and clears of neighbouring blocks lose nothing and count runs
//! exactly, also across the boundary of two words (blocks 31 and 32) and of two chunks (63 and 64
//! in loom builds).
#![cfg(loom)]

use e4_completion::{Overlay, Parity, Planes};
use e4_sync::{Arc, thread};

/// Starts with `before` published, runs `a` and `b` concurrently, and returns the runs left.
fn race(
    before: &[u32],
    a: impl Fn(&Overlay) -> i64 + Send + 'static,
    b: impl Fn(&Overlay) -> i64,
) -> (Vec<std::ops::Range<u32>>, i64) {
    let overlay = Arc::new(Overlay::new());
    let mut runs = 0;
    for &block in before {
        runs += overlay.publish(block..block + 1, Parity::Even);
    }
    let other = {
        let overlay = Arc::clone(&overlay);
        thread::spawn(move || a(&overlay))
    };
    runs += b(&overlay);
    runs += other.join().expect("other");
    assert_eq!(runs, overlay.runs() as i64, "the deltas are the sum");
    (overlay.collect(Planes::Both, 0..1000), runs)
}

#[test]
fn two_publishes_meet_at_a_word_boundary() {
    loom::model(|| {
        let (ranges, runs) = race(
            &[40],
            |o| o.publish(31..32, Parity::Even),
            |o| o.publish(32..33, Parity::Odd),
        );
        assert_eq!((ranges, runs), (vec![31..33, 40..41], 2));
    });
}

#[test]
fn publish_and_clear_on_the_two_sides_of_a_boundary() {
    loom::model(|| {
        let (ranges, runs) = race(
            &[31, 1],
            |o| o.publish(32..33, Parity::Even),
            |o| o.clear(31..32),
        );
        assert_eq!((ranges, runs), (vec![1..2, 32..33], 2));
    });
}

#[test]
fn clear_never_loses_a_neighbour_in_the_same_word() {
    loom::model(|| {
        let (ranges, runs) = race(&[5], |o| o.publish(6..7, Parity::Odd), |o| o.clear(5..6));
        assert_eq!((ranges, runs), (vec![6..7], 1));
    });
}

#[test]
fn one_block_published_twice_counts_once() {
    loom::model(|| {
        let (ranges, runs) = race(
            &[40],
            |o| o.publish(7..8, Parity::Even),
            |o| o.publish(7..8, Parity::Odd),
        );
        assert_eq!((ranges, runs), (vec![7..8, 40..41], 2));
    });
}

#[test]
fn chunks_come_and_go_under_a_publish() {
    loom::model(|| {
        // Clearing 63 empties its chunk, which is dropped while the neighbour is published.
        let (ranges, runs) = race(
            &[63],
            |o| o.publish(64..65, Parity::Even),
            |o| o.clear(63..64),
        );
        assert_eq!((ranges, runs), (vec![64..65], 1));
    });
}

#[test]
fn a_reader_sees_what_was_published_before() {
    loom::model(|| {
        let overlay = Arc::new(Overlay::new());
        overlay.publish(3..4, Parity::Even);
        let other = {
            let overlay = Arc::clone(&overlay);
            thread::spawn(move || overlay.publish(4..5, Parity::Even))
        };
        assert!(overlay.lookup(3, 5).published);
        assert!(!overlay.is_empty());
        other.join().expect("other");
        assert_eq!(overlay.lookup(3, 9).until, 5);
    });
}

#[test]
fn three_neighbours_across_a_boundary() {
    loom::model(|| {
        let overlay = Arc::new(Overlay::new());
        overlay.publish(50..51, Parity::Even);
        let others = [(31, Parity::Even), (33, Parity::Odd)].map(|(block, parity)| {
            let overlay = Arc::clone(&overlay);
            thread::spawn(move || overlay.publish(block..block + 1, parity))
        });
        overlay.publish(32..33, Parity::Even);
        for other in others {
            other.join().expect("other");
        }
        assert_eq!(overlay.runs(), 2);
        assert_eq!(overlay.collect(Planes::Both, 0..60), vec![31..34, 50..51]);
    });
}
