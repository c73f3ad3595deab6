//! The seed images are sound, the same every time, and hold every class of piece between them; the targets survive
//! the whole corpus.

use e4::device::MemoryDevice;
use e4_hostile::layout::Class;
use e4_hostile::{corpus, seeds, target};
use std::collections::BTreeSet;

#[test]
fn seeds_are_sound() {
    let mut classes = BTreeSet::new();
    for seed in seeds::all() {
        let device = MemoryDevice::from_bytes(&seed.image);
        let options = e4_check::Options {
            replay: true,
            ..e4_check::Options::default()
        };
        let report = e4_check::check(&device, &options, &mut |_| {});
        let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
        assert!(report.is_clean(), "{}: {problems:#?}", seed.name);
        classes.extend(seed.layout.pieces.iter().map(|p| p.class));
    }
    let missing: Vec<_> = Class::ALL.iter().filter(|c| !classes.contains(c)).collect();
    // e4 does not write block maps; the resize inode has one. One group has no backups.
    let excused = [Class::BackupSuperblock, Class::BackupDescriptors];
    assert!(missing.iter().all(|c| excused.contains(c)), "{missing:?}");
}

/// By e2fsck as well, where it is installed.
#[test]
fn seeds_are_sound_by_e2fsck() {
    let dir = tempfile::tempdir().unwrap();
    for seed in seeds::all() {
        let path = dir.path().join("seed");
        std::fs::write(&path, &seed.image).unwrap();
        let fsck = |how: &str| {
            std::process::Command::new("e2fsck")
                .arg(how)
                .arg(&path)
                .output()
        };
        let out = if seed.name.contains("replay") {
            fsck("-fp")
        } else {
            fsck("-fn")
        };
        let Ok(out) = out else {
            e4_judges::skipped("e2fsck", "it is not installed");
            return;
        };
        let text = String::from_utf8_lossy(&out.stdout);
        assert!(
            matches!(out.status.code(), Some(0 | 1)),
            "{}: {text}",
            seed.name
        );
        assert!(
            seed.name.contains("replay") || out.status.success(),
            "{}: {text}",
            seed.name
        );
    }
}

#[test]
fn targets_survive_the_corpus() {
    for target in &target::ALL {
        for input in corpus::of(target).unwrap() {
            (target.run)(&input);
        }
    }
}
