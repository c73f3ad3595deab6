//! The publish epoch: after a flip, everything published under the old parity is in its plane, and
//! nothing is added to it.
#![cfg(loom)]

use e4_completion::{Overlay, Parity, Planes, PublishEpoch};
use e4_sync::atomic::{AtomicBool, Ordering};
use e4_sync::{Arc, thread};

struct World {
    epoch: PublishEpoch,
    overlay: Overlay,
    told: AtomicBool,
}

fn world() -> Arc<World> {
    let world = Arc::new(World {
        epoch: PublishEpoch::new(),
        overlay: Overlay::new(),
        told: AtomicBool::new(false),
    });
    // The chunk exists: the model is about the epoch.
    world.overlay.publish(9..10, Parity::Even);
    world
}

fn publish(w: &World, block: u32) -> Parity {
    let publisher = w.epoch.enter();
    w.overlay.publish(block..block + 1, publisher.parity());
    publisher.parity()
}

#[test]
fn a_flip_has_every_block_of_its_parity() {
    loom::model(|| {
        let w = world();
        let other = {
            let w = Arc::clone(&w);
            thread::spawn(move || publish(&w, 3))
        };
        let old = w.epoch.flip_and_wait();
        let collected = w.overlay.collect(Planes::One(old), 0..8);
        let parity = other.join().expect("publisher");
        let in_old = parity == old;
        assert_eq!(
            collected.len(),
            usize::from(in_old),
            "all of its parity, nothing else"
        );
        assert_eq!(
            w.overlay.collect(Planes::One(old), 0..8).len(),
            usize::from(in_old)
        );
    });
}

#[test]
fn acknowledged_before_the_flip_means_recorded_by_it() {
    loom::model(|| {
        let w = world();
        let other = {
            let w = Arc::clone(&w);
            thread::spawn(move || {
                publish(&w, 3);
                w.told.store(true, Ordering::Release);
            })
        };
        let told = w.told.load(Ordering::Acquire);
        let old = w.epoch.flip_and_wait();
        if told {
            let collected = w.overlay.collect(Planes::One(old), 0..8);
            assert_eq!(
                collected,
                vec![3..4],
                "commit-all: acknowledged, so in this commit"
            );
        }
        other.join().expect("publisher");
    });
}

#[test]
fn two_flips_take_turns() {
    loom::model(|| {
        let w = Arc::new(PublishEpoch::new());
        let publisher = w.enter();
        let other = {
            let w = Arc::clone(&w);
            thread::spawn(move || w.flip_and_wait())
        };
        drop(publisher);
        let mine = w.flip_and_wait();
        let theirs = other.join().expect("flipper");
        assert_eq!(mine, theirs.other(), "each parity was handed out once");
        assert_eq!(w.current(), Parity::Even);
    });
}

#[test]
fn two_publishers_and_a_flip() {
    loom::model(|| {
        let w = world();
        let others = [3, 5].map(|block| {
            let w = Arc::clone(&w);
            thread::spawn(move || (block, publish(&w, block)))
        });
        let old = w.epoch.flip_and_wait();
        let collected = w.overlay.collect(Planes::One(old), 0..8);
        for other in others {
            let (block, parity) = other.join().expect("publisher");
            let inside = collected.contains(&(block..block + 1));
            assert_eq!(inside, parity == old, "block {block}");
        }
    });
}
