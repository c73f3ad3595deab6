//! Long random histories with several numbers of pointers per block.

use e4_format::indirect::blocks_max;
use e4_format::{FileBlock, FsBlock};
use e4_indirect::{RemoveLimits, insert};

use crate::exhaustive::remove;
use crate::store::{MemStore, Model};

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        u32::try_from(self.0 % u64::from(n.max(1))).unwrap()
    }
}

#[test]
fn histories() {
    for seed in 1..60_u64 {
        let mut rng = Rng(seed * 0x9E37_79B9);
        let per = 2 + rng.below(7);
        let end = blocks_max(per);
        let (mut store, mut model) = (MemStore::new(per), Model::default());
        let mut next = 100;
        for _ in 0..60 {
            let start = rng.below(end);
            let len = 1 + rng.below(3 * per).min(end - start - 1);
            if rng.below(3) > 0 && model.is_free(start, len) {
                insert(&mut store, FileBlock::new(start), len, FsBlock::new(next)).unwrap();
                model.insert(start, len, next);
                next += u64::from(len + rng.below(2));
            } else {
                let limits = RemoveLimits {
                    nodes: 3 + rng.below(9),
                    runs: 1 + rng.below(9),
                };
                let stop = start + 1 + rng.below(end);
                remove(&mut store, &mut model, start..stop, limits);
            }
            store.check(&model);
        }
        remove(
            &mut store,
            &mut model,
            0..u32::MAX,
            RemoveLimits { nodes: 5, runs: 7 },
        );
        assert!(store.nodes.is_empty() && store.root == [0; 60]);
    }
}
