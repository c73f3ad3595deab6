//! Images that are not what they should be: the error names what is wrong, and a refused image is not touched.

use crate::world::{BLOCK, World, open, watched, write};
use e4::{Error, OpenFlags};
use e4_device::Device;
use e4_sim::explore::{Params, formatted};
use e4_sim::{Rng, SimDisk, SimOptions};
use std::sync::Arc;

fn bytes(disk: &SimDisk) -> Vec<u8> {
    let mut all = vec![0; disk.info().size as usize];
    disk.read_at(0, &mut all).unwrap();
    all
}

fn disk_with(content: &[u8]) -> Arc<SimDisk> {
    let disk = SimDisk::new(&SimOptions::new(content.len() as u64, 1));
    disk.write_at(0, content).unwrap();
    Arc::new(disk)
}

/// Opening is refused with a message that contains `names`; not a byte is written.
fn refused(content: &[u8], names: &[&str]) -> Error {
    let disk = disk_with(content);
    let before = disk.stats().writes;
    let error = open(&disk).map(drop).expect_err("it was opened");
    let text = error.to_string();
    for name in names {
        assert!(text.contains(name), "{name:?} is missing in: {text}");
    }
    assert!(bytes(&disk) == content, "the image was changed: {text}");
    assert_eq!(disk.stats().writes, before, "the image was written: {text}");
    error
}

fn sound() -> Vec<u8> {
    bytes(&formatted(&Params::small(1)))
}

#[test]
fn not_ext4() {
    let mut noise = vec![0; 1 << 20];
    Rng::new(4).fill(&mut noise);
    refused(&noise, &["not an ext4 filesystem", "magic"]);
    refused(&vec![0; 1 << 20], &["not an ext4 filesystem", "magic"]);
    refused(&[0; 1024], &["superblock"]);
    refused(&[0; 512], &["superblock"]);
}

#[test]
fn truncated() {
    let image = sound();
    for len in [image.len() / 2, image.len() - 4096, 8192] {
        let error = refused(&image[..len], &["truncated", &image.len().to_string()]);
        assert!(matches!(error, Error::Truncated { .. }), "{error}");
    }
}

#[test]
fn corrupt_superblock() {
    let image = sound();
    // Anywhere in it, the checksum tells.
    for at in [0x00, 0x04, 0x18, 0x20, 0x28, 0x60, 0x100, 0x3fc] {
        let mut bad = image.clone();
        bad[1024 + at] ^= 0x10;
        refused(&bad, &["superblock"]);
    }
}

#[test]
fn corrupt_group_descriptor() {
    let image = sound();
    for at in [0, 4, 8, 12, 0x1e] {
        let mut bad = image.clone();
        bad[2048 + at] ^= 1;
        refused(&bad, &["group", "0"]);
    }
}

/// Where the journal begins: its superblock's magic with block type 4.
fn journal_at(image: &[u8]) -> usize {
    let magic = [0xc0, 0x3b, 0x39, 0x98, 0, 0, 0, 4];
    let blocks = (0..image.len()).step_by(BLOCK as usize);
    blocks
        .into_iter()
        .find(|&at| image[at..].starts_with(&magic))
        .unwrap()
}

#[test]
fn corrupt_journal_superblock() {
    let image = sound();
    let journal = journal_at(&image);
    // Never used, it has no checksum yet: what is wrong must be seen by itself.
    for at in [0, 4, 12, 16, 0x28] {
        let mut bad = image.clone();
        bad[journal + at] ^= 0x40;
        refused(&bad, &["journal"]);
    }
    let image = dirty();
    let journal = journal_at(&image);
    for at in [0, 4, 12, 16, 0x18, 0x1c, 0x28, 0xfc] {
        let mut bad = image.clone();
        bad[journal + at] ^= 0x40;
        refused(&bad, &["journal"]);
    }
}

/// A dirty journal: several transactions in it, none checkpointed.
fn dirty() -> Vec<u8> {
    let world = World::new();
    let file = world.preallocated("/f", 16);
    for block in 0..6 {
        write(&file, block, 1, 1).unwrap();
        file.fsync().unwrap();
    }
    drop((file, world.fs));
    bytes(&world.disk)
}

/// A damaged block in the middle of the log, with whole transactions behind it, is not a torn tail: replaying
/// half of it would lose what was acknowledged. Refused, named, untouched.
#[test]
fn corrupt_journal_block() {
    let image = dirty();
    let journal = journal_at(&image);
    let mut outcomes = Vec::new();
    for block in 1..8 {
        let mut bad = image.clone();
        bad[journal + block * BLOCK as usize + 20] ^= 0x40;
        let disk = disk_with(&bad);
        match open(&disk) {
            Ok(_) => outcomes.push(format!("log block {block}: opened")),
            Err(error) => {
                let text = error.to_string();
                assert!(text.contains("journal") || text.contains("log"), "{text}");
                assert!(bytes(&disk) == bad, "the image was changed: {text}");
                outcomes.push(format!("log block {block}: {text}"));
            }
        }
    }
    eprintln!("{}", outcomes.join("\n"));
    let refused = outcomes.iter().filter(|o| !o.ends_with("opened")).count();
    assert!(refused >= 5, "{outcomes:#?}");
}

/// A file's damage is the file's: the image opens, the file's error names inode and block.
#[test]
fn corrupt_extent_block() {
    watched(|| {
        let world = World::new();
        let file = world.preallocated("/f", 40);
        for block in (0..40).step_by(2) {
            write(&file, block, 1, 1).unwrap();
        }
        file.fsync().unwrap();
        let ino = file.ino();
        drop(file);
        world.fs.unmount().unwrap();
        let mut image = bytes(&world.disk);
        // The node: an extent header of depth 0 at the start of a block.
        let header = |at: usize| image[at..].starts_with(&[0x0a, 0xf3]) && image[at + 6] == 0;
        // Not its copies in the journal.
        let journal = journal_at(&image);
        let log = journal..journal + 1024 * BLOCK as usize;
        let blocks = (0..image.len())
            .step_by(1024)
            .filter(|at| !log.contains(at));
        let node = blocks.into_iter().find(|&at| header(at)).unwrap();
        for at in [0, 2, 12 + 8, 1020] {
            image[node + at] ^= 0x20;
            let disk = disk_with(&image);
            let fs = open(&disk).unwrap();
            let error = fs
                .open_file("/f", OpenFlags::read())
                .and_then(|f| f.read_at(0, &mut [0; 4096]).map(drop))
                .expect_err("a damaged map was believed");
            let text = error.to_string();
            assert!(text.contains(&format!("inode {ino}")), "{text}");
            assert!(text.contains(&format!("block {}", node / 1024)), "{text}");
            fs.open_file("/other", OpenFlags::create()).unwrap();
            fs.unmount().unwrap();
            image[node + at] ^= 0x20;
        }
    });
}

/// Random damage anywhere in the metadata: an error or a sound answer, never a panic or a hang.
#[test]
fn random_damage() {
    watched(|| {
        let image = dirty();
        let mut rng = Rng::new(12);
        let (mut opened, mut errors) = (0, 0);
        for _ in 0..300 {
            let mut bad = image.clone();
            for _ in 0..1 + rng.below(8) {
                // Most of the metadata lies in the first blocks and around the journal.
                let span = if rng.chance(1, 2) {
                    128 * BLOCK
                } else {
                    bad.len() as u64
                };
                bad[rng.below(span) as usize] ^= 1 << rng.below(8);
            }
            let disk = disk_with(&bad);
            let used = open(&disk).and_then(|fs| {
                let file = fs.open_file("/f", OpenFlags::read_write())?;
                file.read_at(0, &mut [0; 4096])?;
                file.write_at(2000, &[1; 3000])?;
                file.truncate(100)?;
                drop(file);
                fs.unmount()
            });
            match used {
                Ok(()) => opened += 1,
                Err(_) => errors += 1,
            }
        }
        eprintln!("{opened} usable, {errors} errors");
        assert!(errors > 20);
    });
}
