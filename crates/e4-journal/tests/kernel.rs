//! Journals exchanged with the kernel, over a loop mount: needs root and loop devices.

mod image;

use std::io::Write as _;
use std::path::PathBuf;

use e4_format::FsBlock;
use e4_journal::recovery::RecoveryEnd;
use e4_journal::{JournalError, LogChecksum, Options, Verify};
use image::{Fs, Image, has_e2fsprogs, run, skip, text};

/// A mounted image; unmounted on drop.
struct Mount {
    point: PathBuf,
}

impl Mount {
    fn new(image: &Image, options: &str) -> Option<Self> {
        let point = image.dir().join("mnt");
        std::fs::create_dir_all(&point).unwrap();
        let options = format!("loop{options}");
        let point_str = point.to_str().unwrap();
        let output = run(
            "mount",
            &["-t", "ext4", "-o", &options, image.str(), point_str],
        );
        if !output.status.success() {
            eprintln!("mount: {}", text(&output));
        }
        output.status.success().then_some(Self { point })
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        let mut file = std::fs::File::create(self.point.join(name)).unwrap();
        file.write_all(bytes).unwrap();
        file.sync_all().unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let output = run("umount", &[self.point.to_str().unwrap()]);
        if !output.status.success() {
            eprintln!("umount: {}", text(&output));
        }
    }
}

fn can_mount() -> bool {
    if !has_e2fsprogs() {
        return false;
    }
    let image = Image::make(16, &["-b", "1024"]);
    Mount::new(&image, "").is_some()
}

const VARIANTS: [(&[&str], LogChecksum, bool); 3] = [
    (
        &["-b", "1024", "-J", "size=1", "-O", "^metadata_csum,^64bit"],
        LogChecksum::None,
        false,
    ),
    (
        &["-b", "1024", "-J", "size=1", "-O", "metadata_csum,64bit"],
        LogChecksum::V3,
        true,
    ),
    (
        &["-b", "4096", "-J", "size=4", "-O", "metadata_csum,64bit"],
        LogChecksum::V3,
        true,
    ),
];

/// A power cut under the kernel: the image as it is while mounted. We and e2fsck recover it to the same bytes.
#[test]
fn we_replay_journals_of_the_kernel() {
    if skip("a loop mount of ext4", can_mount()) {
        return;
    }
    for (args, ..) in VARIANTS {
        let image = Image::make(24, args);
        let crashed = {
            let mount = Mount::new(&image, ",commit=600").unwrap();
            for i in 0..200u32 {
                std::fs::create_dir(mount.point.join(format!("dir{i}"))).unwrap();
                std::fs::write(mount.point.join(format!("dir{i}/file")), [7; 3000]).unwrap();
                if i % 40 == 39 {
                    mount.write(&format!("synced{i}"), b"content");
                    // Freed directories: revokes.
                    for j in 0..i {
                        drop(std::fs::remove_dir_all(mount.point.join(format!("dir{j}"))));
                    }
                }
            }
            mount.write("last", b"acknowledged");
            std::fs::read(&image.path).unwrap()
        };
        std::fs::write(&image.path, &crashed).unwrap();
        let places = image.places("<8>", 1024);
        let mut ours = Fs::new(&crashed);
        assert!(ours.superblock.needs_recovery());
        let report = ours.recover(&places).unwrap();
        eprintln!("{args:?}: {report:?}");
        assert!(report.transactions > 0 && report.blocks > 0);

        let output = run("e2fsck", &["-y", "-E", "journal_only", image.str()]);
        assert!(
            matches!(output.status.code(), Some(0 | 1)),
            "{}",
            text(&output)
        );
        let theirs = image.load();
        let differ: Vec<u64> = (0..ours.superblock.blocks_count())
            .filter(|b| ours.block(*b) != theirs.block(*b))
            .collect();
        let first = u64::from(ours.superblock.first_data_block());
        let allowed = |b: &u64| *b == first || *b == places[0];
        assert!(
            differ.iter().all(allowed),
            "{args:?}: blocks {differ:?} differ"
        );

        image.save(&ours);
        let mount = Mount::new(&image, "").unwrap();
        assert_eq!(
            std::fs::read(mount.point.join("last")).unwrap(),
            b"acknowledged"
        );
        drop(mount);
        image.e2fsck_is_clean();
    }
}

#[test]
fn the_kernel_replays_our_journal() {
    if skip("a loop mount of ext4", can_mount()) {
        return;
    }
    for (args, checksum, wide) in VARIANTS {
        let image = Image::make(24, args);
        let size = args[1].parse::<usize>().unwrap();
        let blocks = image.add_file("victim", &vec![0x11; 100 * size], 100);
        let places = image.places("<8>", 1024);
        let options = || Options {
            checksum,
            wide,
            commit_interval: None,
            ..Options::default()
        };
        let content = |block: u64, version: u8| {
            let mut bytes = vec![version; size];
            if block.is_multiple_of(2) {
                bytes[..4].copy_from_slice(&e4_format::jbd2::JBD2_MAGIC.to_be_bytes());
            }
            bytes
        };
        // Three rounds: ours crashes, the kernel recovers and works on, ours takes over again.
        for round in 1..=3u8 {
            let mut fs = image.load();
            assert!(!fs.superblock.needs_recovery());
            fs.needs_recovery(true);
            let store = fs.open(&places, options());
            for version in 0..20u8 {
                let mut handle = store.start(100).unwrap();
                for block in &blocks {
                    let cached = store.read(FsBlock::new(*block), Verify::NONE).unwrap();
                    let bytes = content(*block, round * 20 + version);
                    handle.modify(&cached).unwrap().copy_from_slice(&bytes);
                }
                drop(handle);
                store.commit_all().unwrap();
            }
            drop(store);
            image.save(&fs);
            let mount = Mount::new(&image, "").unwrap();
            let found = std::fs::read(mount.point.join("victim")).unwrap();
            let wanted: Vec<u8> = blocks
                .iter()
                .flat_map(|b| content(*b, round * 20 + 19))
                .collect();
            assert!(found == wanted, "{args:?}, round {round}");
            mount.write("theirs", &[round; 5000]);
            drop(mount);
            image.e2fsck_is_clean();
        }
    }
}

/// With fast commits the kernel puts what fsync acknowledged where plain recovery does not look.
#[test]
fn live_fast_commits_of_the_kernel_are_refused() {
    if skip("a loop mount of ext4", can_mount()) {
        return;
    }
    let image = Image::make(64, &["-b", "4096", "-O", "fast_commit"]);
    let crashed = {
        let mount = Mount::new(&image, ",commit=600").unwrap();
        mount.write("first", b"x");
        run("sync", &[]);
        for i in 0..5 {
            mount.write(&format!("file{i}"), b"fast");
        }
        std::fs::read(&image.path).unwrap()
    };
    let blocks = image.debugfs("stat <8>\n");
    let count = blocks
        .split("Size: ")
        .nth(1)
        .and_then(|s| s.split_whitespace().next())
        .unwrap();
    let journal = count.parse::<u32>().unwrap() / 4096;
    let places = image.places("<8>", journal);
    let mut fs = Fs::new(&crashed);
    let before = fs.bytes();
    let error = fs.recover(&places).unwrap_err();
    assert!(matches!(error, JournalError::FastCommits { .. }), "{error}");
    assert!(before == fs.bytes());
    // After an orderly end nothing is left to refuse.
    let mut fs = image.load();
    let report = fs.recover(&places).unwrap();
    assert_eq!((report.end, report.transactions), (RecoveryEnd::Clean, 0));
}
