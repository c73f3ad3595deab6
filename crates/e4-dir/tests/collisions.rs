//! More names with one hash than fit into a leaf: runs of leaves that continue each other.

mod support;

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use e4_dir::{Cursor, DirError, iterate};
use e4_format::FileType;
use e4_format::htree::HashAlgorithm;
use support::checker::check;
use support::collide::{COLLISION, colliding_names};
use support::{MemDir, MemError, Rng, context, ino};

fn insert(dir: &mut MemDir, name: &[u8]) {
    dir.reset();
    e4_dir::insert(dir, name, ino(20), FileType::Regular).expect("insert");
}

#[test]
fn a_run_of_equal_hashes_over_many_leaves() {
    let names = colliding_names();
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), 40);
    for csum in [true, false] {
        let cx = context(1024, csum, HashAlgorithm::Legacy, false);
        assert!(
            names
                .iter()
                .all(|n| cx.default_hash.unwrap().hash(n, cx.hash_seed).major == COLLISION)
        );
        let mut dir = MemDir::initialised(cx);
        let mut rng = Rng(3);
        let mut others = Vec::new();
        for name in &names {
            for _ in 0..6 {
                let other = rng.name();
                insert(&mut dir, &other);
                others.push(other);
            }
            insert(&mut dir, name);
            check(&dir);
        }
        dir.reads.set(0);
        for name in &names {
            assert!(e4_dir::lookup(&dir, name).expect("lookup").is_some());
            dir.reset();
            let again = e4_dir::insert(&mut dir, name, ino(21), FileType::Regular);
            assert_eq!(
                again,
                Err(MemError::Dir(DirError::Exists { inode: ino(20) }))
            );
        }
        // Every second one goes, and comes back where there is room.
        let blocks = dir.blocks.len();
        for name in names.iter().step_by(2) {
            dir.reset();
            assert!(e4_dir::remove(&mut dir, name).expect("remove").is_some());
            assert!(e4_dir::lookup(&dir, name).expect("lookup").is_none());
        }
        assert!(
            names
                .iter()
                .skip(1)
                .step_by(2)
                .all(|n| e4_dir::lookup(&dir, n).unwrap().is_some())
        );
        for name in names.iter().step_by(2) {
            insert(&mut dir, name);
            check(&dir);
        }
        assert_eq!(
            dir.blocks.len(),
            blocks,
            "room in later leaves of a run is used"
        );
        assert_eq!(check(&dir).len(), names.len() + others.len());
        assert_eq!(dir.unusable.get(), 0);
    }
}

#[test]
fn a_listing_of_equal_hashes_can_stop_anywhere() {
    let names = colliding_names();
    let mut dir = MemDir::initialised(context(1024, true, HashAlgorithm::Legacy, false));
    for name in &names {
        insert(&mut dir, name);
    }
    // One at a time, removing what was seen: nothing is missed, as rm -r needs it.
    let mut seen = BTreeSet::new();
    let mut at = Cursor::START;
    let mut shrinking = dir.clone();
    while at != Cursor::END {
        let mut this = None;
        at = iterate(&shrinking, at, &mut |e| {
            this = Some(e.name.to_vec());
            ControlFlow::Break(())
        })
        .expect("iterate");
        if let Some(name) = this.filter(|n| n != b"." && n != b"..") {
            shrinking.reset();
            assert!(
                e4_dir::remove(&mut shrinking, &name)
                    .expect("remove")
                    .is_some()
            );
            assert!(seen.insert(name));
        }
    }
    assert_eq!(seen.len(), names.len());
    assert!(e4_dir::is_empty(&shrinking).expect("is_empty"));
    // And through 63 bits.
    let (mut seen, mut at) = (Vec::new(), Cursor::START);
    while at != Cursor::END {
        let next = iterate(&dir, at, &mut |e| {
            seen.push(e.name.to_vec());
            ControlFlow::Break(())
        });
        at = Cursor::from_bits(next.expect("iterate").to_bits());
    }
    assert_eq!(seen.len(), names.len() + 2);
}
