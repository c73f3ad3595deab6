//! The overlay against a set of blocks.

use super::*;
use std::collections::BTreeSet;

/// A small deterministic generator (xorshift).
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn model_runs(set: &BTreeSet<u32>) -> u64 {
    let starts = |b: &&u32| b.checked_sub(1).is_none_or(|p| !set.contains(&p));
    set.iter().filter(starts).count() as u64
}

fn model_ranges(set: &BTreeSet<u32>, within: &Range<u32>) -> Vec<Range<u32>> {
    let mut out = Vec::new();
    for &b in set.range(within.clone()) {
        push_merged(&mut out, b..b + 1);
    }
    out
}

#[test]
fn agrees_with_a_set_of_blocks() {
    for seed in 1..=200 {
        let mut rng = Rng(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
        let overlay = Overlay::new();
        let mut planes = [BTreeSet::new(), BTreeSet::new()];
        // Around a chunk boundary, with gaps of whole chunks.
        let bases = [0, 4096 - 64, 3 * 4096 - 32, 9 * 4096 + 100];
        for _ in 0..300 {
            let base = bases[rng.below(4) as usize];
            let start = base + rng.below(128) as u32;
            let longest = if rng.below(4) == 0 { 300 } else { 4 };
            let len = 1 + rng.below(longest) as u32;
            let range = start..start + len;
            let union = |p: &[BTreeSet<u32>; 2]| &p[0] | &p[1];
            let before = model_runs(&union(&planes)) as i64;
            let delta = match rng.below(3) {
                0 => {
                    planes[0].extend(range.clone());
                    overlay.publish(range, Parity::Even)
                }
                1 => {
                    planes[1].extend(range.clone());
                    overlay.publish(range, Parity::Odd)
                }
                _ => {
                    planes
                        .iter_mut()
                        .for_each(|p| p.retain(|b| !range.contains(b)));
                    overlay.clear(range)
                }
            };
            let all = union(&planes);
            assert_eq!(delta, model_runs(&all) as i64 - before, "seed {seed}");
            assert_eq!(overlay.runs(), model_runs(&all));
            assert_eq!(overlay.is_empty(), all.is_empty());
            let probe = base + rng.below(500) as u32;
            let within = probe..probe + 5000;
            let collected = overlay.collect(Planes::Both, within.clone());
            assert_eq!(collected, model_ranges(&all, &within));
            let even = overlay.collect(Planes::One(Parity::Even), within.clone());
            assert_eq!(even, model_ranges(&planes[0], &within));
            let span = overlay.lookup(probe, within.end);
            assert_eq!(span.published, all.contains(&probe), "seed {seed}");
            assert!((probe + 1..=within.end).contains(&span.until));
            let same = |b| all.contains(&b) == span.published;
            assert!(
                (probe..span.until).all(same),
                "seed {seed} {probe} {span:?}"
            );
        }
    }
}

#[test]
fn lookup_reaches_over_words_and_absent_chunks() {
    let overlay = Overlay::new();
    overlay.publish(10..20_000, Parity::Even);
    let inside = overlay.lookup(10, 1_000_000);
    assert_eq!((inside.published, inside.until), (true, 20_000));
    assert_eq!(
        overlay.lookup(0, 100),
        Span {
            published: false,
            until: 10
        }
    );
    assert_eq!(
        overlay.lookup(50, 100),
        Span {
            published: true,
            until: 100
        }
    );
    assert_eq!(
        overlay.lookup(30_000, 1_000_000),
        Span {
            published: false,
            until: 1_000_000
        }
    );
    overlay.publish(5_000_000..5_000_001, Parity::Odd);
    let before = overlay.lookup(30_000, u32::MAX);
    assert!(!before.published && before.until <= 5_000_000 && before.until > 30_000);
}

#[test]
fn the_last_block_of_the_largest_file() {
    let overlay = Overlay::new();
    assert_eq!(overlay.publish(u32::MAX - 40..u32::MAX, Parity::Odd), 1);
    assert_eq!(
        overlay.collect(Planes::Both, 0..u32::MAX),
        vec![u32::MAX - 40..u32::MAX]
    );
    assert!(overlay.lookup(u32::MAX - 1, u32::MAX).published);
    assert_eq!(overlay.clear(0..u32::MAX), -1);
    assert!(overlay.is_empty());
    assert_eq!(overlay.memory_bytes(), 0);
}

#[test]
fn random_publishes_that_fill_a_file_end_as_one_run() {
    let overlay = Overlay::new();
    let blocks = 3 * CHUNK_BLOCKS;
    // 4099 is coprime to the block count: every block once, scattered.
    for i in 0..blocks {
        let block = (u64::from(i) * 4099 % u64::from(blocks)) as u32;
        overlay.publish(block..block + 1, Parity::Even);
    }
    assert_eq!(overlay.runs(), 1);
    assert_eq!(overlay.collect(Planes::Both, 0..u32::MAX), vec![0..blocks]);
    assert_eq!(overlay.clear(100..101), 1);
    assert_eq!(overlay.runs(), 2);
}

#[test]
fn memory_per_million_random_ranges() {
    // A 64 GiB file of 4 KiB blocks, one million unrecorded single-block ranges.
    let overlay = Overlay::new();
    let mut rng = Rng(42);
    let mut published = 0_u64;
    while published < 1_000_000 {
        let block = rng.below(16 << 20) as u32;
        if !overlay.lookup(block, block + 1).published {
            overlay.publish(block..block + 1, Parity::Even);
            published += 1;
        }
    }
    let bytes = overlay.memory_bytes();
    println!(
        "overlay: {bytes} bytes for 1,000,000 random ranges ({} runs)",
        overlay.runs()
    );
    assert!(bytes <= 6 << 20);
}
