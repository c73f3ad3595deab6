//! `errors=`: what each policy does when an extent node turns out to be damaged, and what the image remembers. dumpe2fs reads
//! the fields, e2fsck repairs what is damaged and takes the notes away.

use std::path::{Path, PathBuf};
use std::process::Command;

use e4::{ErrorPolicy, FallocateMode, Filesystem, MountOptions, OpenFlags};
use e4_judges::{fsck, have, scratch};

struct Image {
    _dir: tempfile::TempDir,
    path: PathBuf,
    /// The inode whose extent tree is damaged.
    ino: u32,
}

fn device(path: &Path, size: Option<u64>) -> std::sync::Arc<dyn e4::device::Device> {
    let options = e4::device::OpenOptions {
        create: size,
        ..Default::default()
    };
    e4::device::open(path, &options).unwrap()
}

impl Image {
    /// `/bad` has an extent node with a wrong byte, `/good` has none.
    fn new() -> Self {
        let dir = scratch();
        let path = dir.path().join("disk.img");
        let params = e4_mkfs::Params {
            block_size: Some(4096),
            ..Default::default()
        };
        e4_mkfs::format(&*device(&path, Some(64 << 20)), &params, &mut |_| {}).unwrap();
        let fs = Filesystem::open(device(&path, None), &MountOptions::default()).unwrap();
        let bad = fs.open_file("/bad", OpenFlags::create()).unwrap();
        bad.write_at(0, &vec![1; 40 * 4096]).unwrap();
        for block in 0..10 {
            bad.fallocate(FallocateMode::PunchHole, block * 4 * 4096, 4096)
                .unwrap();
        }
        let good = fs.open_file("/good", OpenFlags::create()).unwrap();
        good.write_at(0, &[2; 4096]).unwrap();
        let ino = bad.ino().get();
        drop((bad, good));
        fs.unmount().unwrap();
        // The node, and its copies in the journal: an extent header of depth 0 at the start of a block.
        let mut bytes = std::fs::read(&path).unwrap();
        let nodes: Vec<usize> = (0..bytes.len())
            .step_by(4096)
            .filter(|&at| {
                bytes[at..at + 4] == [0x0a, 0xf3, 10, 0] && bytes[at + 6..at + 8] == [0, 0]
            })
            .collect();
        assert!(!nodes.is_empty());
        // A bit of the first extent's physical block: only the checksum tells.
        for at in nodes {
            bytes[at + 20] ^= 1;
        }
        std::fs::write(&path, &bytes).unwrap();
        Self {
            _dir: dir,
            path,
            ino,
        }
    }

    fn open(&self, errors: Option<ErrorPolicy>) -> Filesystem {
        let options = MountOptions {
            errors,
            commit_interval: None,
            ..MountOptions::default()
        };
        Filesystem::open(device(&self.path, None), &options).unwrap()
    }

    fn superblock(&self) -> String {
        let out = Command::new("dumpe2fs").arg("-h").arg(&self.path).output();
        String::from_utf8_lossy(&out.unwrap().stdout).into_owned()
    }

    /// What dumpe2fs says of a field.
    fn field(&self, name: &str) -> Option<String> {
        let all = self.superblock();
        let line = all.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    }

    fn remembers(&self) {
        if !have("dumpe2fs") {
            return;
        }
        let state = self.field("Filesystem state").unwrap_or_default();
        assert!(state.contains("with errors"), "{state}");
        let count: u32 = self.field("FS Error count").unwrap().parse().unwrap();
        assert!(count >= 1);
        assert_eq!(
            self.field("First error function").as_deref(),
            Some("InodeBlock")
        );
        assert_eq!(
            self.field("First error inode #"),
            Some(self.ino.to_string())
        );
        assert_eq!(
            self.field("First error err").as_deref(),
            Some("EFSCORRUPTED")
        );
        assert!(self.field("Last error time").is_some());
    }

    fn repair(&self) {
        if !have("e2fsck") {
            return;
        }
        let out = Command::new("e2fsck")
            .arg("-fy")
            .arg(&self.path)
            .output()
            .unwrap();
        assert_eq!(
            out.status.code(),
            Some(1),
            "{}",
            String::from_utf8_lossy(&out.stdout)
        );
        fsck(&self.path, "repaired");
        assert_eq!(self.field("FS Error count"), None, "{}", self.superblock());
    }
}

fn meet(fs: &Filesystem) {
    let bad = fs.open_file("/bad", OpenFlags::read()).unwrap();
    let error = bad.read_at(4096, &mut [0; 4096]).unwrap_err();
    assert_eq!(error.errno(), 117, "{error}");
    assert!(fs.errors_found() > 0);
}

fn good(fs: &Filesystem) {
    let mut back = [0; 4096];
    let good = fs.open_file("/good", OpenFlags::read()).unwrap();
    assert_eq!(good.read_at(0, &mut back).unwrap(), 4096);
    assert!(back.iter().all(|&byte| byte == 2));
}

#[test]
fn continue_notes_it_and_goes_on() {
    let image = Image::new();
    let fs = image.open(None);
    meet(&fs);
    fs.mkdir("/later", 0o755).unwrap();
    good(&fs);
    fs.sync().unwrap();
    fs.unmount().unwrap();
    image.remembers();
    image.repair();
}

#[test]
fn remount_ro_notes_it_and_changes_nothing_more() {
    let image = Image::new();
    let fs = image.open(Some(ErrorPolicy::RemountReadOnly));
    fs.mkdir("/before", 0o755).unwrap();
    let open = fs.open_file("/good", OpenFlags::read_write()).unwrap();
    meet(&fs);
    assert_eq!(fs.mkdir("/later", 0o755).unwrap_err().errno(), 30);
    assert_eq!(open.write_at(0, &[3; 4096]).unwrap_err().errno(), 30);
    assert_eq!(open.truncate(0).unwrap_err().errno(), 30);
    good(&fs);
    drop(open);
    fs.unmount().unwrap();
    image.remembers();
    let fs = image.open(None);
    assert!(fs.stat("/before").is_ok(), "what was done before is kept");
    fs.unmount().unwrap();
    image.repair();
}

#[test]
fn abort_stops_at_once() {
    let image = Image::new();
    let fs = image.open(Some(ErrorPolicy::Abort));
    fs.mkdir("/synced", 0o755).unwrap();
    fs.sync().unwrap();
    fs.mkdir("/lost", 0o755).unwrap();
    meet(&fs);
    assert_eq!(fs.mkdir("/later", 0o755).unwrap_err().errno(), 5);
    good(&fs);
    assert!(fs.sync().is_err());
    assert!(fs.unmount().is_err());
    image.remembers();
    // Recovery replays older copies of the superblock; the notes stay.
    let fs = image.open(None);
    assert!(fs.stat("/synced").is_ok());
    assert_eq!(fs.stat("/lost").unwrap_err().errno(), 2);
    fs.unmount().unwrap();
    image.remembers();
    image.repair();
}

#[test]
fn a_read_only_mount_keeps_no_note() {
    let image = Image::new();
    let before = std::fs::read(&image.path).unwrap();
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    let fs = Filesystem::open(device(&image.path, None), &options).unwrap();
    meet(&fs);
    good(&fs);
    fs.unmount().unwrap();
    assert!(before == std::fs::read(&image.path).unwrap());
}
