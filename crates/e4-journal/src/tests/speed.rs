//! Figures, for people: `cargo test --release -p e4-journal speed -- --ignored --nocapture`.

use core::hint::black_box;

use e4_format::FsBlock;
use e4_sync::now;

use super::world::World;
use crate::Verify;

#[test]
#[ignore = "figures, not a test"]
fn speed() {
    let mut world = World::small();
    (world.size, world.blocks, world.journal) = (e4_format::BlockSize::KIB4, 40_000, 16_384);
    world.cache_bytes = 256 << 20;
    let medium = world.format(0);
    let store = world.open(&medium);
    let first = world.usable();
    let block = store.read(FsBlock::new(first), Verify::NONE).unwrap();
    drop(store.start(1).unwrap().modify(&block).unwrap());

    let n = 2_000_000u64;
    let begin = now();
    for i in 0..n {
        let mut handle = store.start(1).unwrap();
        handle.modify(&block).unwrap()[8] = black_box(i.to_le_bytes()[0]);
    }
    per("start + modify of a dirty block + stop", begin.elapsed(), n);

    let begin = now();
    let mut handle = store.start(1).unwrap();
    for i in 0..n {
        handle.modify(&block).unwrap()[8] = black_box(i.to_le_bytes()[0]);
    }
    per("modify of a dirty block", begin.elapsed(), n);
    drop(handle);

    let begin = now();
    for _ in 0..n {
        black_box(
            store
                .read(FsBlock::new(first), Verify::NONE)
                .unwrap()
                .data()[0],
        );
    }
    per("read of a cached block", begin.elapsed(), n);

    for round in 0..3u64 {
        let begin = now();
        let mut handle = store.start(1000).unwrap();
        for i in 0..1000 {
            let block = store.read(FsBlock::new(first + i), Verify::NONE).unwrap();
            handle.modify(&block).unwrap()[0] = round.to_le_bytes()[0];
        }
        drop(handle);
        per(
            "first modify in a transaction (1000 blocks)",
            begin.elapsed(),
            1000,
        );
        let begin = now();
        store.core_commit_all();
        per(
            "commit of 1000 blocks of 4 KiB, per commit",
            begin.elapsed(),
            1,
        );
    }
    let begin = now();
    store.checkpoint_all().unwrap();
    per(
        "checkpoint of 1000 blocks, per checkpoint",
        begin.elapsed(),
        1,
    );
}

fn per(what: &str, took: core::time::Duration, n: u64) {
    eprintln!("{what}: {} ns", took.as_nanos() / u128::from(n));
}
