//! Full indexes: two levels, three with `large_dir`, and what happens when space runs out.

mod support;

use e4_dir::{DirError, DirRead};
use e4_format::FileType;
use e4_format::htree::HashAlgorithm;
use support::checker::check;
use support::{MemDir, MemError, context, ino};

fn long_name(i: u32) -> Vec<u8> {
    format!("{i:-<255}").into_bytes()
}

fn fill(dir: &mut MemDir, limit: u32) -> (u32, Option<MemError>) {
    for i in 0..limit {
        let before = dir.blocks.len();
        dir.reset();
        if let Err(e) = e4_dir::insert(dir, &long_name(i), ino(20 + i), FileType::Regular) {
            assert!(dir.written.is_empty() && dir.blocks.len() == before);
            return (i, Some(e));
        }
    }
    (limit, None)
}

#[test]
fn a_full_index_refuses_and_stays_whole() {
    let mut dir = MemDir::initialised(context(1024, true, HashAlgorithm::Tea, false));
    let (count, end) = fill(&mut dir, u32::MAX);
    assert_eq!(end, Some(MemError::Dir(DirError::IndexFull { levels: 1 })));
    // Two levels of 123 and 126 pairs, at least half full, leaves of at least one name.
    assert!((8_000..50_000).contains(&count), "{count}");
    assert_eq!(check(&dir).len(), count as usize);
    for i in 0..count {
        assert_eq!(
            e4_dir::lookup(&dir, &long_name(i)).unwrap().unwrap().inode,
            ino(20 + i)
        );
    }
    // Others may still find room in their leaves, and removing makes some.
    dir.reset();
    e4_dir::remove(&mut dir, &long_name(0))
        .unwrap()
        .expect("there");
    dir.reset();
    e4_dir::insert(&mut dir, &long_name(0), ino(20), FileType::Regular).expect("room again");

    // The same directory goes on with large_dir.
    dir.cx.large_dir = true;
    let (count, end) = {
        let (mut n, mut end) = (count, None);
        while n < count + 9_000 && end.is_none() {
            dir.reset();
            end = e4_dir::insert(&mut dir, &long_name(n), ino(20 + n), FileType::Regular).err();
            n += 1;
        }
        (n, end)
    };
    assert_eq!(end, None);
    assert_eq!(check(&dir).len(), count as usize);
    assert_eq!(dir.block(0)[0x1E], 2, "three levels");
    for i in (0..count).step_by(7) {
        assert_eq!(
            e4_dir::lookup(&dir, &long_name(i)).unwrap().unwrap().inode,
            ino(20 + i)
        );
    }
    // Without the feature three levels are damage: names are found all the same, none is added.
    dir.cx.large_dir = false;
    assert!(e4_dir::lookup(&dir, &long_name(5)).unwrap().is_some());
    assert_eq!(dir.unusable.get(), 1);
    dir.reset();
    let refused = e4_dir::insert(&mut dir, b"x", ino(20), FileType::Regular);
    assert!(
        matches!(refused, Err(MemError::Dir(DirError::Block { .. }))),
        "{refused:?}"
    );
}

#[test]
fn without_space_nothing_changes() {
    for dir_index in [true, false] {
        let mut cx = context(1024, true, HashAlgorithm::HalfMd4, false);
        cx.dir_index = dir_index;
        let mut dir = MemDir::initialised(cx);
        for space in [0, 1, 2, 3, 4, 9, 200] {
            dir.space = space;
            let before = dir.clone();
            let (count, end) = fill(&mut dir, 3000);
            assert_eq!(end, Some(MemError::NoSpace), "after {count}");
            // All there were is used but what one operation wants at once.
            assert!(dir.space < 4, "{} left", dir.space);
            assert_eq!(check(&dir).len(), count as usize);
            dir = before;
            dir.space = u32::MAX;
        }
    }
}

#[test]
fn a_plan_changes_nothing() {
    let dir = MemDir::initialised(context(1024, true, HashAlgorithm::HalfMd4, false));
    let plan = e4_dir::plan_insert(&dir, b"name", ino(20), FileType::Regular).unwrap();
    assert_eq!((plan.cost().written, plan.cost().appended), (1, 0));
    assert!(e4_dir::lookup(&dir, b"name").unwrap().is_none());
    let mut dir = dir;
    dir.reset();
    plan.apply(&mut dir).unwrap();
    assert!(e4_dir::lookup(&dir, b"name").unwrap().is_some());
}

#[test]
fn names_and_inodes_that_cannot_be() {
    let mut dir = MemDir::initialised(context(1024, true, HashAlgorithm::HalfMd4, false));
    let mut insert = |name: &[u8], n| {
        dir.reset();
        e4_dir::insert(&mut dir, name, ino(n), FileType::Regular)
    };
    let dir_error = |e| Err(MemError::Dir(e));
    assert_eq!(insert(b"", 20), dir_error(DirError::NameLength { len: 0 }));
    assert_eq!(
        insert(&[b'x'; 256], 20),
        dir_error(DirError::NameLength { len: 256 })
    );
    assert_eq!(
        insert(b"a/b", 20),
        dir_error(DirError::NameByte { at: 1, byte: b'/' })
    );
    assert_eq!(
        insert(b"ab\0", 20),
        dir_error(DirError::NameByte { at: 2, byte: 0 })
    );
    assert_eq!(insert(b".", 20), dir_error(DirError::DotName));
    assert_eq!(insert(b"..", 20), dir_error(DirError::DotName));
    let count = support::INODES;
    let inode = ino(count + 1);
    assert_eq!(
        insert(b"x", count + 1),
        dir_error(DirError::InodeRange { inode, count })
    );
    insert(&[b'x'; 255], count).expect("the longest name, the last inode");
    insert(b"...", 20).expect("three dots");
    assert_eq!(
        e4_dir::remove(&mut dir, b".."),
        Err(MemError::Dir(DirError::DotName))
    );
    let again = e4_dir::init(&mut dir, ino(2), ino(11));
    assert_eq!(again, Err(MemError::Dir(DirError::NotNew { blocks: 1 })));
    let none = MemDir::new(dir.cx);
    assert_eq!(
        e4_dir::is_empty(&none),
        Err(MemError::Dir(DirError::NoBlocks))
    );
    assert_eq!(e4_dir::lookup(&none, b"x"), Ok(None));
}

#[test]
fn the_parent_changes_in_linear_and_indexed_directories() {
    for csum in [true, false] {
        let mut dir = MemDir::initialised(context(1024, csum, HashAlgorithm::HalfMd4, false));
        for (count, parent) in [(0, 40), (30, 41), (900, 42)] {
            for i in 0..count {
                dir.reset();
                let name = format!("{count} {i}");
                e4_dir::insert(&mut dir, name.as_bytes(), ino(20), FileType::Regular).unwrap();
            }
            dir.reset();
            let before = e4_dir::lookup(&dir, b"..").unwrap().unwrap().inode;
            assert_eq!(e4_dir::set_dotdot(&mut dir, ino(parent)), Ok(before));
            assert_eq!(
                e4_dir::lookup(&dir, b"..").unwrap().unwrap().inode,
                ino(parent)
            );
            check(&dir);
        }
        assert!(dir.is_indexed());
    }
}
