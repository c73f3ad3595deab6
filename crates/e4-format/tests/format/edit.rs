//! Directory blocks and bitmaps against simple models.

use crate::sample::Shape;
use e4_format::dir::{self, DirFormat};
use e4_format::features::RoCompatFeatures;
use e4_format::{Bitmap, BitmapMut, FileType, Inode, InodeNo, Timestamp};
use proptest::prelude::*;
use std::collections::BTreeMap;

fn contents(block: &[u8], format: &DirFormat) -> BTreeMap<Vec<u8>, (u32, Option<FileType>)> {
    let mut covered = 0;
    let mut names = BTreeMap::new();
    for e in dir::entries(block, format) {
        let e = e.unwrap();
        assert_eq!(e.offset, covered);
        covered += e.rec_len;
        if let Some(ino) = e.inode {
            assert_eq!(
                names.insert(e.name.to_vec(), (ino.get(), e.file_type)),
                None
            );
        }
    }
    assert_eq!(covered, format.usable());
    names
}

fn formats() -> impl Iterator<Item = DirFormat> {
    [RoCompatFeatures::METADATA_CSUM, RoCompatFeatures::EMPTY]
        .into_iter()
        .flat_map(|ro| {
            let small = Shape { ro, ..Shape::FULL }.superblock().dir_format();
            [
                small,
                DirFormat {
                    block_size: e4_format::BlockSize::from_bytes(65536).unwrap(),
                    ..small
                },
            ]
        })
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u8, usize),
    Remove(u8, usize),
    Set(u8, usize, u32),
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![1usize..20, 1usize..=255];
    (0u8..4, 0u8..12, len, 1u32..4096).prop_map(|(kind, letter, len, ino)| match kind {
        0 | 1 => Op::Insert(letter, len),
        2 => Op::Remove(letter, len),
        _ => Op::Set(letter, len, ino),
    })
}

fn name(letter: u8, len: usize) -> Vec<u8> {
    vec![b'a' + letter; len]
}

proptest! {
    #[test]
    fn directory_block_is_a_map(ops in proptest::collection::vec(op(), 1..200), big: bool) {
        for format in formats().filter(|f| (f.block_size.len() > 4096) == big) {
            let mut block = vec![0x55; format.block_size.len()];
            dir::init_block(&mut block, &format).unwrap();
            let mut model: BTreeMap<Vec<u8>, (u32, Option<FileType>)> = BTreeMap::new();
            let kind = FileType::Regular;
            for op in &ops {
                match *op {
                    Op::Insert(letter, len) => {
                        let name = name(letter, len);
                        let ino = InodeNo::new(u32::from(letter) + 20).unwrap();
                        if model.contains_key(&name) {
                            continue;
                        }
                        if dir::insert(&mut block, &format, &name, ino, kind).unwrap() {
                            model.insert(name, (ino.get(), Some(kind)));
                        } else {
                            let used: usize = model.keys().map(|n| dir::record_size(n.len())).sum();
                            // Only fragmentation may refuse what fits in total.
                            prop_assert!(used + dir::record_size(len) > format.usable() / 2);
                        }
                    }
                    Op::Remove(letter, len) => {
                        let gone = dir::remove(&mut block, &format, &name(letter, len)).unwrap();
                        let expected = model.remove(&name(letter, len)).map(|(ino, _)| ino);
                        prop_assert_eq!(gone.map(InodeNo::get), expected);
                    }
                    Op::Set(letter, len, ino) => {
                        let name = name(letter, len);
                        let new = InodeNo::new(ino).unwrap();
                        let old = dir::set_inode(&mut block, &format, &name, new, FileType::Fifo);
                        let slot = model.get_mut(&name);
                        prop_assert_eq!(old.unwrap().map(InodeNo::get), slot.as_ref().map(|s| s.0));
                        if let Some(slot) = slot {
                            *slot = (ino, Some(FileType::Fifo));
                        }
                    }
                }
                prop_assert_eq!(&contents(&block, &format), &model);
            }
            for (name, (ino, _)) in &model {
                let found = dir::find(&block, &format, name).unwrap().unwrap();
                prop_assert_eq!(found.inode.unwrap().get(), *ino);
            }
            prop_assert_eq!(dir::is_empty(&block, &format).unwrap(), model.is_empty());
        }
    }

    #[test]
    fn bitmap_is_a_list_of_bools(
        bytes in proptest::collection::vec(any::<u8>(), 0..40),
        bits in 0u32..330, from in 0u32..330, to in 0u32..330, on: bool, min in 1u32..20, max in 1u32..30,
    ) {
        let map = Bitmap::new(&bytes, bits);
        let bits = map.bits();
        let model: Vec<bool> =
            (0..bits).map(|b| bytes[b as usize / 8] & (1 << (b % 8)) != 0).collect();
        let end = to.min(bits);
        let zeros: Vec<u32> = (from..end).filter(|b| !model[*b as usize]).collect();
        for (bit, set) in (0..).zip(&model) {
            prop_assert_eq!(map.test(bit), *set);
        }
        prop_assert!(map.test(bits) && map.test(u32::MAX));
        prop_assert_eq!(map.count_zeros(from..to) as usize, zeros.len());
        prop_assert_eq!(map.find_zero(from..to), zeros.first().copied());
        let one = (from..end).find(|b| model[*b as usize]);
        prop_assert_eq!(map.find_one(from..to), one);

        let runs = runs(&model, from, end);
        let expected = runs.iter().find(|r| r.len() >= min.min(max) as usize);
        let cut = expected.map(|r| r.start..r.end.min(r.start + max));
        if min <= max {
            prop_assert_eq!(map.find_zero_run(from..to, min, max), cut);
        }
        let longest = runs.iter().map(ExactSizeIterator::len).max();
        let longest = longest.and_then(|n| runs.iter().find(|r| r.len() == n).cloned());
        prop_assert_eq!(map.longest_zero_run(from..to), longest);

        let mut changed = bytes.clone();
        let mut map = BitmapMut::new(&mut changed, bits);
        let n = if on { map.set_range(from..to) } else { map.clear_range(from..to) };
        let expected = (from..end).filter(|b| model[*b as usize] != on).count();
        prop_assert_eq!(n as usize, expected);
        for b in 0..bits {
            let inside = (from..end).contains(&b);
            prop_assert_eq!(map.view().test(b), if inside { on } else { model[b as usize] });
        }
        if bits > 0 {
            let was = map.view().test(0);
            prop_assert_eq!(map.set(0), !was);
            prop_assert!(map.clear(0) && !map.clear(0));
        }
        prop_assert!(!map.set(bits) && !map.clear(bits));
    }
}

fn runs(model: &[bool], from: u32, end: u32) -> Vec<std::ops::Range<u32>> {
    let mut runs: Vec<std::ops::Range<u32>> = Vec::new();
    for b in (from..end).filter(|b| !model[*b as usize]) {
        match runs.last_mut() {
            Some(run) if run.end == b => run.end += 1,
            _ => runs.push(b..b + 1),
        }
    }
    runs
}

#[test]
fn names_that_cannot_be() {
    let format = Shape::FULL.superblock().dir_format();
    let mut block = vec![0; format.block_size.len()];
    dir::init_block(&mut block, &format).unwrap();
    let ino = InodeNo::new(12).unwrap();
    for bad in [&b""[..], &[b'x'; 256]] {
        assert!(dir::insert(&mut block, &format, bad, ino, FileType::Regular).is_err());
    }
    assert!(dir::insert(&mut block, &format, b"ab", ino, FileType::Regular).unwrap());
    let at = block.windows(2).position(|w| w == b"ab").unwrap();
    for evil in [b'/', 0] {
        block[at] = evil;
        assert!(
            dir::entries(&block, &format).any(|e| e.is_err()),
            "{evil} was shown"
        );
    }
}

#[test]
fn times_do_not_wrap_in_small_inodes() {
    let sb = Shape {
        inode_size: 128,
        ..Shape::FULL
    }
    .superblock();
    let ino = InodeNo::new(12).unwrap();
    let late = Timestamp {
        sec: 1 << 32,
        nsec: 5,
    };
    let inode = Inode {
        mtime: late,
        atime: late,
        ctime: late,
        ..Inode::empty(&sb)
    };
    let mut bytes = vec![0; 128];
    inode.encode(&mut bytes, &sb, ino).unwrap();
    let last = Timestamp {
        sec: i64::from(i32::MAX),
        nsec: 0,
    };
    let read = Inode::decode(&bytes, &sb, ino).unwrap();
    assert_eq!((read.mtime, read.atime, read.ctime), (last, last, last));
}

#[test]
fn sectors_in_every_unit() {
    let sb = Shape::FULL.superblock();
    let ino = InodeNo::new(12).unwrap();
    for sectors in [
        0,
        8,
        u64::from(u32::MAX) + 1,
        (1 << 48) - 1,
        1 << 48,
        (1 << 49) - 2,
    ] {
        let inode = Inode {
            sectors,
            ..Inode::empty(&sb)
        };
        let mut bytes = vec![0; 256];
        inode.encode(&mut bytes, &sb, ino).unwrap();
        let huge = bytes[0x22] & 4 != 0;
        assert_eq!(huge, sectors >> 48 != 0);
        assert_eq!(Inode::decode(&bytes, &sb, ino).as_ref(), Ok(&inode));
    }
    for sectors in [(1 << 48) + 1, 1 << 49] {
        let inode = Inode {
            sectors,
            ..Inode::empty(&sb)
        };
        assert!(inode.encode(&mut [0; 256], &sb, ino).is_err());
    }
}
