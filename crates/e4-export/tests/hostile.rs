//! Damaged images: an error or an answer, never a walk without end, and never a byte outside the destination.

#[path = "../../e4-build/tests/support/mod.rs"]
mod support;
mod trees;

use e4::{Filesystem, MountOptions};
use e4_device::{MemoryDevice, ScratchDevice};
use e4_export::{DiffOptions, ExportError, HostOptions, diff, to_directory, to_tar};
use e4_hostile::{Random, script, seeds};
use e4_sync::Arc;
use std::io::Write;
use std::ops::ControlFlow;
use support::{build, have, must_run, scratch};

fn debugfs(image: &std::path::Path, command: &str) {
    let args = [
        "-w".as_ref(),
        "-R".as_ref(),
        command.as_ref(),
        image.as_os_str(),
    ];
    must_run("debugfs", &args);
}

#[test]
fn a_directory_below_itself_ends_the_walk() {
    if !have("debugfs") {
        return;
    }
    let dir = scratch();
    std::fs::create_dir_all(dir.path().join("source/a/b")).unwrap();
    let image = dir.path().join("image");
    build(Default::default(), &[&dir.path().join("source")], &image);
    debugfs(&image, "link /a /a/b/loop");
    let fs = trees::look(&image);
    let top = fs.root().unwrap();
    let mut go_on = |_| ControlFlow::Continue(());
    let tar = to_tar(&fs, &top, std::io::sink(), &mut go_on);
    assert!(matches!(tar, Err(ExportError::DirectoryTwice { .. })));
    let differences = diff(
        (&fs, &top),
        (&fs, &top),
        &DiffOptions::default(),
        &mut go_on,
    );
    assert!(matches!(
        differences,
        Err(ExportError::DirectoryTwice { .. })
    ));
}

/// Counts what is written, and gives up where a small image has become a large archive.
struct Bounded(u64);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(bytes.len() as u64)
            .expect("bounded output");
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn open(image: &[u8]) -> Option<Filesystem> {
    let device = Arc::new(MemoryDevice::from_bytes(image));
    let options = MountOptions {
        read_only: true,
        ..seeds::quiet()
    };
    Filesystem::open(Arc::new(ScratchDevice::new(device)), &options).ok()
}

#[test]
fn damaged_images_end_in_an_error_or_an_archive() {
    let mut random = Random::new(20_261_128);
    let dir = scratch();
    let (mut opened, mut exported, mut compared) = (0, 0, 0);
    for round in 0..400u32 {
        let records = 1 + random.below(6);
        let input: Vec<u8> = (0..1 + records * 8)
            .map(|_| random.below(256) as u8)
            .collect();
        let Some((seed, image)) = script::image(&input) else {
            continue;
        };
        let Some(fs) = open(&image) else { continue };
        opened += 1;
        let Ok(top) = fs.root() else { continue };
        let mut go_on = |_| ControlFlow::Continue(());
        // Holes are not written, so an archive is at most somewhat larger than its image.
        let room = Bounded(seed.image.len() as u64 * 64);
        exported += u32::from(to_tar(&fs, &top, room, &mut go_on).is_ok());
        if let Some(sound) = open(&seed.image) {
            let other = sound.root().unwrap();
            let sides = ((&sound, &other), (&fs, &top));
            compared +=
                u32::from(diff(sides.0, sides.1, &DiffOptions::default(), &mut go_on).is_ok());
        }
        if round % 8 == 0 {
            let keep = HostOptions {
                owners: false,
                xattrs: false,
            };
            let to = dir.path().join(format!("outer/{round}"));
            std::fs::create_dir_all(&to).unwrap();
            let _ = to_directory(&fs, &top, &to, keep, &mut go_on);
            std::fs::remove_dir_all(dir.path().join("outer")).unwrap();
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        }
    }
    // The damage must neither be so gross that nothing opens, nor so small that everything is well.
    assert!(opened > 100, "{opened}");
    assert!(exported > 20 && exported < opened, "{exported} of {opened}");
    assert!(compared > 20, "{compared} of {opened}");
}
