//! I-22, I-23: neither the order of completion nor batching changes what can be read or what each
//! writer is told.
#![cfg(not(any(loom, shuttle)))]

mod port;

use port::*;

/// xorshift.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// How completions reach the engine.
#[derive(Clone, Copy, Debug)]
enum How {
    OneByOne,
    Batched,
    Collected,
}

/// Readable blocks, and what each writer was told.
type Seen = (Vec<u32>, Vec<(u32, Result<(), i32>)>);

fn run(seed: u64, shuffle: u64, how: How) -> Seen {
    let e = engine();
    let f = file(&e, 1);
    *e.converter().refuse.0.lock() = Some((17, -28));
    let mut rng = Rng(seed);
    let mut requests: Vec<_> = (0..24)
        .map(|n| {
            let start = rng.below(40) as u32;
            let len = 1 + rng.below(6) as u32;
            let result = if rng.below(5) == 0 { Err(-5) } else { Ok(()) };
            (write(&e, &f, n, start..start + len), result)
        })
        .collect();
    let mut order = Rng(shuffle);
    for i in (1..requests.len()).rev() {
        requests.swap(i, order.below(i as u64 + 1) as usize);
    }
    match how {
        How::OneByOne => requests.into_iter().for_each(|(r, x)| e.request_done(r, x)),
        How::Batched => e.complete_batch(requests),
        How::Collected => {
            e.collect_batch(requests);
            while e.run_ready(1) > 0 {}
        }
    }
    assert!(f.is_idle());
    let mut told = delivered(&e);
    told.sort_unstable();
    (readable(&f), told)
}

#[test]
fn order_and_batching_are_not_observable() {
    for seed in 1..=60 {
        let want = run(seed, 1, How::OneByOne);
        assert_eq!(want.1.len(), 24);
        for shuffle in 2..=6 {
            for how in [How::OneByOne, How::Batched, How::Collected] {
                assert_eq!(
                    run(seed, shuffle, how),
                    want,
                    "seed {seed} {shuffle} {how:?}"
                );
            }
        }
    }
}
