//! The page cache when writing back fails, and what it must not do before: every test names the planted bug it is the
//! death of, if there is one.

use crate::world::{BLOCK, World, fail_once, generation, place, tagged, watched};
use e4::{Error, FallocateMode, File, OpenFlags};
use e4_sim::explore::unsettled;
use e4_sim::{Effect, Fault, OpKind, Tag, TagVerdict, Times, When};

fn is_eio<T: std::fmt::Debug>(result: Result<T, Error>) -> bool {
    let error = result.expect_err("the disk has failed");
    assert!(matches!(error, Error::Device(_)), "{error}");
    error.errno() == 5
}

pub(crate) fn put(file: &File, block: u64, count: u64, generation: u64) {
    let bytes = tagged(block, count, generation);
    let written = file.write_buffered(block * BLOCK, &bytes).unwrap();
    assert_eq!(written, bytes.len());
}

/// The generation a block shows through the page cache; 0 for zeros.
pub(crate) fn shows(file: &File, block: u64) -> u64 {
    let mut bytes = vec![0; BLOCK as usize];
    file.read_buffered(block * BLOCK, &mut bytes).unwrap();
    match Tag::verify(&bytes) {
        TagVerdict::Zeros => 0,
        TagVerdict::Tag(tag) => {
            assert_eq!((tag.file, tag.block), (1, block), "another block's data");
            tag.generation
        }
        other => panic!("block {block}: {other:?}"),
    }
}

/// Kills `LoseWritebackError`: the second fsync says yes, so the data must be there.
#[test]
fn a_failed_writeback_is_told_once_and_tried_again() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let other = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        let at = place(&file, 3);
        put(&file, 3, 2, 1);
        fail_once(&world.disk, OpKind::Write, at);
        assert!(is_eio(file.fsync()));
        assert!(world.fs.stats().dirty_bytes > 0, "dropped");
        assert_eq!([shows(&file, 3), shows(&file, 4)], [1, 1]);
        file.fsync()
            .expect("it has been told, and this time it was written");
        assert!(is_eio(other.fsync()), "another open file is told too");
        other.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!([generation(&file, 3), generation(&file, 4)], [1, 1]);
        world.must_be_sound();
    });
}

/// A page that cannot be written stays, whatever the pressure; each fsync tells the truth; unmounting ends all the same.
#[test]
fn a_page_that_cannot_be_written_stays() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 16);
        let big = world.fs.open_file("/big", OpenFlags::create()).unwrap();
        big.write_buffered(0, &vec![7; 300 << 10]).unwrap();
        world.fs.sync().unwrap();
        world.disk.inject(Fault {
            op: OpKind::Write,
            when: When::Touching(place(&file, 3)),
            effect: Effect::Fail { errno: 5 },
            times: Times::Forever,
        });
        put(&file, 3, 1, 1);
        for _ in 0..3 {
            assert!(is_eio(file.fsync()));
            let mut all = vec![0; 300 << 10];
            assert_eq!(big.read_buffered(0, &mut all).unwrap(), all.len());
            assert_eq!(shows(&file, 3), 1, "evicted");
        }
        assert!(is_eio(
            file.read_at(3 * BLOCK, &mut vec![0; BLOCK as usize])
        ));
        drop((file, big));
        assert!(is_eio(world.fs.clone().unmount()));
        crate::world::check(&world.disk);
    });
}

/// Kills `SizeBeforeData`.
#[test]
fn the_size_on_disk_does_not_run_ahead() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        let other = world.fs.open_file("/g", OpenFlags::create()).unwrap();
        world.fs.sync().unwrap();
        put(&file, 0, 3, 1);
        assert_eq!(file.size(), 3 * BLOCK);
        other.write_at(0, &[1; BLOCK as usize]).unwrap();
        other.fsync().unwrap();
        let world = world.cut();
        assert_eq!(world.fs.stat("/f").unwrap().size, 0, "zeros nobody wrote");
        world.must_be_sound();
    });
}

/// Kills `ReservationLeak`.
#[test]
fn reservations_come_back() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        put(&file, 0, 12, 1);
        file.truncate(5 * BLOCK).unwrap();
        file.fallocate(FallocateMode::PunchHole, BLOCK, BLOCK)
            .unwrap();
        assert_eq!(unsettled(&world.fs).unwrap(), None);
        put(&file, 0, 12, 2);
        world.fs.unlink("/f").unwrap();
        drop(file);
        assert_eq!(unsettled(&world.fs).unwrap(), None);
        world.must_be_sound();
    });
}

/// Rule 8. Kills `RenameWithoutWriteback`.
#[test]
fn a_file_that_replaces_another_is_not_empty() {
    watched(|| {
        let world = World::new();
        let old = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        put(&old, 0, 2, 1);
        old.fsync().unwrap();
        let new = world.fs.open_file("/f.new", OpenFlags::create()).unwrap();
        put(&new, 0, 2, 2);
        world
            .fs
            .rename("/f.new", "/f", e4::RenameFlags::Replace)
            .unwrap();
        let other = world.fs.open_file("/g", OpenFlags::create()).unwrap();
        other.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!(file.size(), 2 * BLOCK);
        assert_eq!([generation(&file, 0), generation(&file, 1)], [2, 2]);
        world.must_be_sound();
    });
}

/// Rule 8: cut to nothing, written anew, closed; and then the power goes, after somebody else's fsync.
#[test]
fn a_file_that_was_emptied_is_written_when_it_is_closed() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        put(&file, 0, 2, 1);
        file.fsync().unwrap();
        file.truncate(0).unwrap();
        put(&file, 0, 2, 2);
        drop(file);
        let other = world.fs.open_file("/g", OpenFlags::create()).unwrap();
        other.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!([generation(&file, 0), generation(&file, 1)], [2, 2]);
        world.must_be_sound();
    });
}

/// S38: what a write does not cover of an allocated block is zeros, not what the device holds.
#[test]
fn the_rest_of_a_new_block_is_zeros() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 4);
        let hole = world.fs.open_file("/g", OpenFlags::create()).unwrap();
        for file in [&file, &hole] {
            file.write_buffered(BLOCK + 300, &[9; 100]).unwrap();
            file.fsync().unwrap();
        }
        let world = world.cut();
        for path in ["/f", "/g"] {
            let file = world.fs.open_file(path, OpenFlags::read()).unwrap();
            let mut bytes = vec![1; 2 * BLOCK as usize];
            let n = file.read_buffered(0, &mut bytes).unwrap();
            let wrong = (0..n).find(|i| bytes[*i] != if (1324..1424).contains(i) { 9 } else { 0 });
            assert_eq!(wrong, None, "{path}");
        }
        world.must_be_sound();
    });
}
