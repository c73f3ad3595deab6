//! The named schedules of buffered writeback, on the whole filesystem: its data is held at the device (P1), and others come.
//! `EndWritebackBeforeConversion` is planted to show that each of them can fail.

use crate::pages::{put, shows};
use crate::world::{BLOCK, World, generation, tagged, watched};
use e4::{File, OpenFlags};
use e4_sim::{OpKind, SimDisk};

/// Waits until the disk holds a write.
fn until_held(disk: &SimDisk) {
    while disk.held().is_empty() {
        std::thread::yield_now();
    }
}

/// A file whose first block is being written back, and held; runs `look` meanwhile, then lets it go.
fn in_writeback<T>(world: &World, file: &File, look: impl FnOnce() -> T) -> T {
    let expected = world.fs.stats().dirty_bytes;
    assert!(expected > 0);
    world.disk.hold(|h| h.kind == OpKind::Write);
    std::thread::scope(|scope| {
        let fsync = scope.spawn(|| file.fsync());
        until_held(&world.disk);
        assert_eq!(
            world.fs.stats().dirty_bytes,
            expected,
            "I-25: the page is out of writeback while its data is in flight"
        );
        let seen = look();
        world.disk.hold_nothing();
        world.disk.release_all();
        fsync.join().unwrap().unwrap();
        assert_eq!(world.fs.stats().dirty_bytes, 0);
        seen
    })
}

/// S03, S04: fsync returns when the data is readable and durable; a cut afterwards shows it.
#[test]
fn s03_s04_fsync_waits_for_the_conversion() {
    watched(|| {
        for preallocated in [true, false] {
            let world = World::new();
            let file = match preallocated {
                true => world.preallocated("/f", 4),
                false => world.fs.open_file("/f", OpenFlags::create()).unwrap(),
            };
            put(&file, 0, 1, 1);
            in_writeback(&world, &file, || ());
            let world = world.cut();
            let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
            assert_eq!(generation(&file, 0), 1);
            world.must_be_sound();
        }
    });
}

/// S05, S37: a direct read in the window waits, and returns the data: neither zeros nor what the device held.
#[test]
fn s05_s37_a_direct_read_sees_what_is_being_written() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        let reader = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        put(&file, 0, 1, 1);
        let reading = in_writeback(&world, &file, || {
            std::thread::spawn(move || generation(&reader, 0))
        });
        assert_eq!(reading.join().unwrap(), 1);
        world.must_be_sound();
    });
}

/// S06: memory is short while the page is in writeback: it stays, and nobody reads zeros instead.
#[test]
fn s06_a_page_in_writeback_is_not_reclaimed() {
    watched(|| {
        let world = World::new();
        let big = world.fs.open_file("/big", OpenFlags::create()).unwrap();
        big.write_buffered(0, &vec![7; 300 << 10]).unwrap();
        world.fs.sync().unwrap();
        let file = world.preallocated("/f", 4);
        put(&file, 0, 1, 1);
        in_writeback(&world, &file, || {
            let mut all = vec![0; 300 << 10];
            assert_eq!(big.read_buffered(0, &mut all).unwrap(), all.len());
            assert_eq!(shows(&file, 0), 1);
        });
        assert_eq!(generation(&file, 0), 1);
        world.must_be_sound();
    });
}

/// A page changed while its copy is on the way is dirty again, and written again.
#[test]
fn what_changes_during_writeback_is_written_too() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        let other = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        put(&file, 0, 1, 1);
        world.disk.hold(|h| h.kind == OpKind::Write);
        std::thread::scope(|scope| {
            let fsync = scope.spawn(|| file.fsync());
            until_held(&world.disk);
            put(&other, 0, 1, 2);
            world.disk.hold_nothing();
            world.disk.release_all();
            fsync.join().unwrap().unwrap();
        });
        assert_eq!(shows(&file, 0), 2);
        assert!(world.fs.stats().dirty_bytes > 0);
        other.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!(generation(&file, 0), 2);
        world.must_be_sound();
    });
}

/// S34, and whoever reads into the cache while a direct write is in flight: what was read is not kept. Kills
/// `KeepPageAfterDirectWrite`.
#[test]
fn s34_a_direct_write_leaves_no_older_page() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        put(&file, 0, 2, 1);
        file.fsync().unwrap();
        assert_eq!(shows(&file, 1), 1);
        world.disk.hold(|h| h.kind == OpKind::Write);
        // Over the second block, and one block further.
        let write = file.write(BLOCK, tagged(1, 2, 2));
        assert_eq!(shows(&file, 1), 1, "not written yet");
        assert_eq!(shows(&file, 2), 0, "S35: nothing behind the size");
        world.disk.hold_nothing();
        world.disk.release_all();
        write.wait().0.unwrap();
        assert_eq!(
            [shows(&file, 0), shows(&file, 1), shows(&file, 2)],
            [1, 2, 2]
        );
        world.must_be_sound();
    });
}

/// S35: the last page is read while the file grows within it: the bytes that come are those of the size they were read
/// under, and what is cached is not short afterwards.
#[test]
fn s35_a_growing_last_page_is_not_torn() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        let grower = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        file.write_buffered(0, &[1; 100]).unwrap();
        file.fsync().unwrap();
        world.disk.hold(|h| h.kind == OpKind::Write);
        std::thread::scope(|scope| {
            let grow = scope.spawn(|| grower.write_at(100, &[2; 500]));
            until_held(&world.disk);
            assert_eq!(file.size(), 100);
            let read = scope.spawn(|| {
                let mut bytes = vec![0; 1000];
                let n = file.read_buffered(0, &mut bytes).unwrap();
                (n, bytes)
            });
            world.disk.hold_nothing();
            world.disk.release_all();
            grow.join().unwrap().unwrap();
            let (n, bytes) = read.join().unwrap();
            assert!([100, 600].contains(&n), "{n} bytes");
            assert!(bytes[..n].iter().all(|b| *b != 0), "zeros nobody wrote");
        });
        let mut bytes = vec![0; 1000];
        assert_eq!(file.read_buffered(0, &mut bytes).unwrap(), 600);
        assert!(bytes[100..600].iter().all(|b| *b == 2));
        world.must_be_sound();
    });
}

/// H1 for pages: truncate waits for the writeback of what it cuts off.
#[test]
fn truncate_waits_for_writeback() {
    watched(|| {
        let world = World::new();
        let file = world.fs.open_file("/f", OpenFlags::create()).unwrap();
        let cutter = world.fs.open_file("/f", OpenFlags::read_write()).unwrap();
        put(&file, 0, 4, 1);
        let cutting = in_writeback(&world, &file, || {
            std::thread::spawn(move || cutter.truncate(BLOCK))
        });
        cutting.join().unwrap().unwrap();
        assert_eq!((file.size(), shows(&file, 0)), (BLOCK, 1));
        world.must_be_sound();
    });
}
