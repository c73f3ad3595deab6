//! What a read shows in the windows of a recording, and after blocks were taken away.

use crate::world::{BLOCK, World, generation, write};
use e4::{FallocateMode, File};
use e4_sync::{Arc, Mutex, Rank};

/// Between the publication of a write and the moment after its recording, a read sees it: the overlay is cleared only
/// when the tree says written (rule 5). A bug that opens a window between the two pauses in it.
#[test]
fn a_recording_hides_nothing() {
    let watched: Arc<Mutex<Option<File>>> = Arc::new(Mutex::new(Rank::LEAF, None));
    let seen: Arc<Mutex<Vec<u64>>> = Arc::new(Mutex::new(Rank::LEAF, Vec::new()));
    let (file_in, seen_in) = (Arc::clone(&watched), Arc::clone(&seen));
    e4_planted::on_pause(move || {
        let Some(file) = file_in.lock().clone() else {
            return;
        };
        // From another thread: this one holds what a recording holds.
        let reader = std::thread::spawn(move || generation(&file, 3));
        let generation = reader.join().unwrap_or(u64::MAX);
        seen_in.lock().push(generation);
    });
    let world = World::new();
    let file = world.preallocated("/f", 16);
    write(&file, 2, 4, 1).unwrap();
    *watched.lock() = Some(file.clone());
    assert_eq!(generation(&file, 3), 1);
    world.fs.sync().unwrap();
    *watched.lock() = None;
    assert_eq!(generation(&file, 3), 1);
    let seen = seen.lock().clone();
    assert!(
        seen.iter().all(|&g| g == 1),
        "I-27: a write that was acknowledged reads as generation {seen:?} while it is recorded"
    );
    drop(file);
    world.must_be_sound();
}

/// A file is cut inside a block and grows again: the rest of that block is zeros, whether it grows by truncation, by a
/// write behind it or by preallocation, at once or after a remount.
#[test]
fn what_was_cut_off_does_not_come_back() {
    let cut = 5 * BLOCK + 300;
    for how in 0..6 {
        let mut world = World::new();
        let file = world.preallocated("/f", 8);
        write(&file, 0, 8, 1).unwrap();
        file.fsync().unwrap();
        file.truncate(cut).unwrap();
        drop(file);
        if how >= 3 {
            world.fs.sync().unwrap();
            world = world.cut();
        }
        let flags = e4::OpenFlags::read_write();
        let file = world.fs.open_file("/f", flags).unwrap();
        match how % 3 {
            0 => file.truncate(8 * BLOCK).unwrap(),
            1 => assert_eq!(write(&file, 7, 1, 2).unwrap() as u64, BLOCK),
            _ => file
                .fallocate(FallocateMode::Allocate, 6 * BLOCK, 2 * BLOCK)
                .unwrap(),
        }
        let mut rest = vec![0xff; (7 * BLOCK - cut) as usize];
        assert_eq!(file.read_at(cut, &mut rest).unwrap(), rest.len());
        assert!(
            rest.iter().all(|&b| b == 0),
            "what was cut off came back (way {how} of growing)"
        );
        drop(file);
        world.must_be_sound();
    }
}

/// Enough lookups to fill the cache of extents; then the map changes in every way there is.
#[test]
fn the_cache_of_extents_follows_the_tree() {
    let world = World::new();
    let file = world.preallocated("/f", 24);
    write(&file, 0, 24, 1).unwrap();
    file.fsync().unwrap();
    let warm = |file: &File| {
        for n in 0..200 {
            generation(file, n % 24);
        }
    };
    warm(&file);
    file.fallocate(FallocateMode::PunchHole, 4 * BLOCK, 4 * BLOCK)
        .unwrap();
    let holes: Vec<u64> = (0..24).map(|b| generation(&file, b)).collect();
    let want = |b: u64| u64::from(!(4..8).contains(&b));
    assert_eq!(
        holes,
        (0..24).map(want).collect::<Vec<_>>(),
        "after a punch"
    );
    warm(&file);
    // The blocks go to somebody else, who fills them; then the hole is filled with others.
    let other = world.preallocated("/g", 8);
    let into_other = other.write_at(0, &vec![0xab; 8 * BLOCK as usize]);
    into_other.unwrap();
    other.fsync().unwrap();
    file.fallocate(FallocateMode::Allocate, 4 * BLOCK, 4 * BLOCK)
        .unwrap();
    warm(&file);
    assert_eq!(generation(&file, 5), 0, "preallocated blocks read as zeros");
    write(&file, 5, 1, 2).unwrap();
    assert_eq!(generation(&file, 5), 2);
    world.fs.sync().unwrap();
    assert_eq!([4, 5, 6].map(|b| generation(&file, b)), [0, 2, 0]);
    warm(&file);
    file.truncate(12 * BLOCK).unwrap();
    file.truncate(24 * BLOCK).unwrap();
    assert_eq!([11, 12, 23].map(|b| generation(&file, b)), [1, 0, 0]);
    drop((file, other));
    world.must_be_sound();
}
