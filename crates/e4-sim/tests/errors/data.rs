//! Data writes and reads that fail (I-2, I-32, I-35): the caller hears of it, so does the next fsync of every open
//! file, once each; and nothing that was not written is ever shown.

use crate::world::{BLOCK, World, fail_once, generation, place, tagged, watched, write};
use e4::{Error, FallocateMode, File, OpenFlags};
use e4_sim::explore::unsettled;
use e4_sim::{Effect, Fault, OpKind, Times, When};

fn is_eio<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    let error = result.expect_err("the disk has failed");
    assert!(matches!(error, Error::Device(_)), "{error}");
    error.errno() == 5
}

/// Each open file's next fsync tells it, the one after that does not.
fn told_once(files: &[&File]) {
    for (n, file) in files.iter().enumerate() {
        assert!(is_eio(file.fsync()), "open file {n}");
        file.fsync()
            .unwrap_or_else(|error| panic!("open file {n} is told twice: {error}"));
    }
}

#[test]
fn a_failed_write_into_unwritten_blocks() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let other = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        fail_once(&world.disk, OpKind::Write, place(&file, 3));
        assert!(is_eio(write(&file, 3, 1, 1)));
        assert_eq!(write(&file, 4, 1, 1).unwrap() as u64, BLOCK);
        assert_eq!(generation(&file, 3), 0);
        told_once(&[&file, &other]);
        let later = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        later
            .fsync()
            .expect("somebody has learned of it before this one was opened");
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        assert_eq!([generation(&file, 3), generation(&file, 4)], [0, 1]);
        // The block is as good as any other.
        write(&file, 3, 1, 2).unwrap();
        file.fsync().unwrap();
        assert_eq!(generation(&file, 3), 2);
        world.must_be_sound();
    });
}

#[test]
fn a_failed_overwrite() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let other = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        write(&file, 2, 4, 1).unwrap();
        file.fsync().unwrap();
        fail_once(&world.disk, OpKind::Write, place(&file, 3));
        assert!(is_eio(write(&file, 2, 4, 2)));
        told_once(&[&file, &other]);
        for block in 2..6 {
            assert!([1, 2].contains(&generation(&file, block)));
        }
        assert_eq!(generation(&file, 3), 1);
        world.cut().must_be_sound();
    });
}

/// Only the first sectors arrive: nothing of it is shown.
#[test]
fn a_short_write() {
    watched(|| {
        for sectors in [1, 2, 3, 5] {
            let world = World::new();
            let file = world.preallocated("/f", 16);
            world.disk.inject(Fault {
                op: OpKind::Write,
                when: When::Touching(place(&file, 5)),
                effect: Effect::Partial {
                    bytes: sectors * 512,
                    errno: 5,
                },
                times: Times::Once,
            });
            assert!(is_eio(write(&file, 4, 4, 1)));
            told_once(&[&file]);
            let world = world.cut();
            let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
            assert_eq!((4..8).map(|b| generation(&file, b)).max(), Some(0));
            world.must_be_sound();
        }
    });
}

/// One of several requests of a write fails: what is shown is zeros or what was written.
#[test]
fn one_piece_of_a_write_fails() {
    watched(|| {
        for failing in [1, 5, 9] {
            let world = World::new();
            let file = world.preallocated("/f", 4);
            let wedge = world.preallocated("/wedge", 4);
            for step in 1..3 {
                file.fallocate(FallocateMode::Allocate, step * 4 * BLOCK, 4 * BLOCK)
                    .unwrap();
                wedge
                    .fallocate(FallocateMode::Allocate, step * 4 * BLOCK, 4 * BLOCK)
                    .unwrap();
            }
            world.fs.sync().unwrap();
            assert!(
                file.extents().unwrap().len() > 1,
                "the file is in one piece"
            );
            fail_once(&world.disk, OpKind::Write, place(&file, failing));
            assert!(is_eio(write(&file, 0, 12, 1)));
            let live: Vec<u64> = (0..12).map(|b| generation(&file, b)).collect();
            assert_eq!(live[failing as usize], 0);
            told_once(&[&file]);
            let world = world.cut();
            let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
            let after: Vec<u64> = (0..12).map(|b| generation(&file, b)).collect();
            assert_eq!(live, after, "fsync has succeeded in between");
            world.must_be_sound();
        }
    });
}

/// A failed append does not grow the file, nor does a crash.
#[test]
fn a_failed_append() {
    watched(|| {
        for durable in [false, true] {
            let world = World::new();
            let file = world.preallocated("/f", 4);
            file.fallocate(FallocateMode::AllocateKeepSize, 4 * BLOCK, 4 * BLOCK)
                .unwrap();
            world.fs.sync().unwrap();
            fail_once(&world.disk, OpKind::Write, place(&file, 4));
            let flags = OpenFlags {
                dsync: durable,
                ..OpenFlags::read_write()
            };
            let appender = world.fs.open_file("/f", flags).unwrap();
            assert!(is_eio(appender.write(4 * BLOCK, tagged(4, 2, 1)).wait().0));
            assert_eq!(file.size(), 4 * BLOCK);
            told_once(&[&file, &appender]);
            let world = world.cut();
            assert_eq!(world.fs.stat("/f").unwrap().size, 4 * BLOCK);
            world.must_be_sound();
        }
    });
}

/// Who is about to change the map of a file learns first that a write to it has failed.
#[test]
fn truncate_and_punch_refuse_once() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let truncating = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        let punching = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        fail_once(&world.disk, OpKind::Write, place(&file, 3));
        assert!(is_eio(write(&file, 3, 1, 1)));
        let punch = || punching.fallocate(FallocateMode::PunchHole, 3 * BLOCK, BLOCK);
        assert!(is_eio(punch()));
        punch().unwrap();
        assert!(is_eio(truncating.truncate(2 * BLOCK)));
        assert_eq!(file.size(), 16 * BLOCK);
        truncating.truncate(2 * BLOCK).unwrap();
        assert_eq!(file.size(), 2 * BLOCK);
        world.must_be_sound();
    });
}

/// A write that is not whole blocks reads the edges first; if that fails nothing is written.
#[test]
fn a_failed_read() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        write(&file, 3, 2, 1).unwrap();
        file.fsync().unwrap();
        fail_once(&world.disk, OpKind::Read, place(&file, 3));
        let mut bytes = vec![0; BLOCK as usize];
        assert!(is_eio(file.read_at(3 * BLOCK, &mut bytes)));
        assert_eq!(generation(&file, 3), 1);
        fail_once(&world.disk, OpKind::Read, place(&file, 3));
        assert!(is_eio(file.write_at(3 * BLOCK + 512, &[7; 512])));
        assert_eq!(generation(&file, 3), 1);
        file.fsync().expect("no write was lost");
        world.must_be_sound();
    });
}

/// What was charged for a recording that never comes is given back (I-43).
#[test]
fn charges_come_back() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        write(&file, 2, 2, 1).unwrap();
        file.fallocate(FallocateMode::PunchHole, 2 * BLOCK, 2 * BLOCK)
            .unwrap();
        assert_eq!(unsettled(&world.fs).unwrap(), None);
        fail_once(&world.disk, OpKind::Write, place(&file, 5));
        assert!(is_eio(write(&file, 5, 1, 1)));
        assert_eq!(unsettled(&world.fs).unwrap(), None);
        // One range of the file in two extents: charged as two, published as one.
        let (a, b) = (world.preallocated("/a", 4), world.preallocated("/b", 4));
        a.fallocate(FallocateMode::Allocate, 4 * BLOCK, 4 * BLOCK)
            .unwrap();
        assert_eq!(a.extents().unwrap().len(), 2);
        write(&a, 2, 4, 1).unwrap();
        drop(b);
        assert_eq!(unsettled(&world.fs).unwrap(), None);
    });
}
