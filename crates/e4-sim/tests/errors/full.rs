//! A full disk: refusals that say so, preallocated space that keeps its promise, and an image that stays sound.

use crate::world::{BLOCK, World, generation, watched, write};
use e4::{Error, FallocateMode, File, OpenFlags};

/// Takes all the space there is.
fn fill(world: &World) -> File {
    let file = world.fs.open_file("/filler", OpenFlags::create()).unwrap();
    let mut chunk = 1024;
    let mut at = 0;
    while chunk > 0 {
        match file.fallocate(FallocateMode::Allocate, at * BLOCK, chunk * BLOCK) {
            Ok(()) => at += chunk,
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                assert_eq!(error.errno(), 28);
                chunk /= 2;
            }
        }
    }
    world.fs.sync().unwrap();
    file
}

#[test]
fn preallocated_space_keeps_its_promise() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 600);
        fill(&world);
        // Every other block: as many extents as possible, with no block left for the tree.
        for block in (0..600).step_by(2) {
            let written = write(&file, block, 1, 1);
            written.unwrap_or_else(|error| panic!("block {block}: {error}"));
            if block % 100 == 0 {
                file.fsync().unwrap();
            }
        }
        file.fsync().unwrap();
        drop(file);
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        for block in 0..600 {
            assert_eq!(generation(&file, block), 1 - block % 2, "block {block}");
        }
        world.must_be_sound();
    });
}

/// The same with a power cut at the end of each stretch, without fsync: zeros or data, never what was there before.
#[test]
fn unaligned_writes_into_preallocated_space() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 300);
        fill(&world);
        for block in (0..300).step_by(3) {
            file.write_at(block * BLOCK + 100, &[5; 200]).unwrap();
        }
        file.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        let mut content = vec![1; 300 * BLOCK as usize];
        file.read_at(0, &mut content).unwrap();
        for (n, &byte) in content.iter().enumerate() {
            let (block, within) = (n as u64 / BLOCK, n as u64 % BLOCK);
            let written = block % 3 == 0 && (100..300).contains(&within);
            assert_eq!(byte, if written { 5 } else { 0 }, "byte {n}");
        }
        world.must_be_sound();
    });
}

#[test]
fn appends_and_holes_are_refused() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 8);
        file.truncate(64 * BLOCK).unwrap();
        let filler = fill(&world);
        for block in [20, 64, 100] {
            let error = write(&file, block, 1, 1).expect_err("there is no space");
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
        }
        assert_eq!(file.size(), 64 * BLOCK);
        file.fsync()
            .expect("an answered write needs no second answer");
        // Space that comes back can be used at once.
        filler.truncate(0).unwrap();
        write(&file, 20, 1, 1).unwrap();
        write(&file, 64, 1, 1).unwrap();
        file.fsync().unwrap();
        let world = world.cut();
        let file = world.fs.open_file("/f", OpenFlags::read()).unwrap();
        assert_eq!([generation(&file, 20), generation(&file, 64)], [1, 1]);
        world.must_be_sound();
    });
}

#[test]
fn creating_is_refused() {
    watched(|| {
        for full in [false, true] {
            let world = World::new();
            if full {
                fill(&world);
            }
            let mut created = 0;
            let error = loop {
                match world
                    .fs
                    .open_file(&format!("/{created:0>200}"), OpenFlags::create())
                {
                    Ok(_) => created += 1,
                    Err(error) => break error,
                }
                assert!(created < 100, "more files than inodes");
            };
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            eprintln!("{created} files, then: {error}");
            let again = world.fs.open_file("/again", OpenFlags::create());
            assert!(full || again.is_err());
            let error = world
                .fs
                .mkdir("/directory", 0o755)
                .expect_err("it needs a block or an inode");
            assert!(matches!(error, Error::NoSpace { .. }), "{error}");
            let world = world.cut();
            world.must_be_sound();
        }
    });
}
