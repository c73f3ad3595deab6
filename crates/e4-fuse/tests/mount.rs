//! A mounted image beside a plain directory, the kernel's ext4 and e2fsck: every operation answers the same,
//! deleted files live while they are open, and a killed server leaves an image that recovers.
//!
//! The server is this program started again (`serve_half`), so that it can be killed. Needs root and
//! `/dev/fuse`; skipped without, unless `E4_REQUIRE_ORACLES` is set.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use support::{Mounted, cannot_mount, skip};

mod support;

/// The server's half; a test only by name.
#[test]
fn serve_half() {
    support::serve_half();
}

fn pattern(len: usize, seed: u8) -> Vec<u8> {
    (0..len).map(|i| (i / 7 % 251) as u8 ^ seed).collect()
}

/// One operation's outcome, as comparable text.
fn said<T: std::fmt::Debug>(log: &mut Vec<String>, what: &str, result: io::Result<T>) {
    let text = match result {
        Ok(value) => format!("{value:?}"),
        Err(e) => format!("errno {:?}", e.raw_os_error()),
    };
    log.push(format!("{what}: {text}"));
}

fn facts(path: &Path) -> io::Result<(u32, u64, u64, u32, u64)> {
    let m = fs::symlink_metadata(path)?;
    let size = if m.is_dir() { 0 } else { m.size() };
    Ok((m.mode(), size, m.nlink(), m.uid(), m.rdev()))
}

fn namespace(d: &Path, log: &mut Vec<String>) {
    let p = |name: &str| d.join(name);
    said(log, "mkdir", fs::create_dir(p("d")));
    said(log, "mkdir again", fs::create_dir(p("d")));
    said(log, "write", fs::write(p("a"), pattern(10_000, 1)));
    said(log, "create_new", File::create_new(p("a")).map(drop));
    said(log, "link", fs::hard_link(p("a"), p("d/b")));
    said(log, "stat", facts(&p("a")));
    said(log, "symlink", symlink("a", p("s")));
    said(log, "long symlink", symlink("x".repeat(500), p("s2")));
    said(log, "readlink", fs::read_link(p("s2")));
    said(log, "through", fs::read(p("s")).map(|v| v.len()));
    said(log, "rename over", fs::rename(p("d/b"), p("a")));
    said(log, "rmdir full", fs::remove_dir(p("d")));
    said(log, "unlink", fs::remove_file(p("d/b")));
    said(log, "unlink dir", fs::remove_file(p("d")));
    said(log, "rmdir", fs::remove_dir(p("d")));
    said(log, "missing", fs::read(p("nothing")));
    said(log, "255", fs::write(p(&"n".repeat(255)), b"x"));
    said(log, "256", fs::write(p(&"n".repeat(256)), b"x"));
    said(log, "long lookup", facts(&p(&"n".repeat(300))));
    said(
        log,
        "chmod",
        fs::set_permissions(p("a"), fs::Permissions::from_mode(0o6751)),
    );
    said(
        log,
        "chown",
        std::os::unix::fs::chown(p("a"), Some(7), Some(8)),
    );
    said(log, "stat", facts(&p("a")));
    said(
        log,
        "mkfifo",
        rustix_mknod(&p("fifo"), rustix::fs::FileType::Fifo),
    );
    said(log, "fifo", facts(&p("fifo")));
    for i in 0..300 {
        fs::write(p(&format!("many{i:04}")), b"").expect("many");
    }
    let names = fs::read_dir(d).map(|dir| {
        let names = dir.map(|e| e.expect("entry").file_name());
        let mut names: Vec<_> = names.filter(|n| n != "lost+found").collect();
        names.sort();
        names
    });
    said(log, "listing", names);
}

fn rustix_mknod(path: &Path, kind: rustix::fs::FileType) -> io::Result<()> {
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    Ok(rustix::fs::mknodat(rustix::fs::CWD, path, kind, mode, 0)?)
}

fn contents(d: &Path, log: &mut Vec<String>) {
    use rustix::fs::FallocateFlags as F;
    let path = d.join("f");
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let mut f = open.expect("open");
    said(
        log,
        "write_at",
        f.write_all_at(&pattern(100_001, 3), 12_345),
    );
    said(
        log,
        "append",
        f.seek(SeekFrom::End(0)).and_then(|_| f.write_all(b"tail")),
    );
    said(log, "shrink", f.set_len(70_000));
    said(log, "grow", f.set_len(90_000));
    let fallocate = |how, at, len| rustix::fs::fallocate(&f, how, at, len).map_err(Into::into);
    said(log, "allocate", fallocate(F::empty(), 80_000, 40_000));
    said(log, "keep size", fallocate(F::KEEP_SIZE, 200_000, 40_000));
    said(
        log,
        "punch",
        fallocate(F::PUNCH_HOLE | F::KEEP_SIZE, 20_000, 20_000),
    );
    said(log, "zero", fallocate(F::ZERO_RANGE, 60_000, 3_000));
    said(log, "fsync", f.sync_all());
    said(log, "size", f.metadata().map(|m| m.len()));
    let direct = OpenOptions::new()
        .write(true)
        .custom_flags(rustix::fs::OFlags::DSYNC.bits().cast_signed())
        .open(&path);
    said(
        log,
        "dsync",
        direct.and_then(|f| f.write_all_at(&[9; 5_000], 4_096)),
    );
    let times = f.set_times(
        fs::FileTimes::new()
            .set_modified(std::time::UNIX_EPOCH - std::time::Duration::new(3, 250_000_000)),
    );
    said(log, "times before 1970", times);
    said(
        log,
        "mtime",
        f.metadata().map(|m| (m.mtime(), m.mtime_nsec())),
    );
    let mut all = Vec::new();
    said(log, "rewind", f.rewind());
    said(log, "read", f.read_to_end(&mut all));
    log.push(format!("{:?}", all));
    said(log, "copy", fs::copy(&path, d.join("g")));
    said(log, "same", fs::read(d.join("g")).map(|g| g == all));
}

#[test]
fn every_operation_answers_as_on_a_plain_directory() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    // The judge: the filesystem of the temporary directory.
    let plain = mounted.scratch.path().join("plain");
    fs::create_dir(&plain).expect("mkdir");
    for step in [namespace, contents] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        step(&mounted.root(), &mut ours);
        step(&plain, &mut theirs);
        for (ours, theirs) in ours.iter().zip(&theirs) {
            assert_eq!(ours, theirs);
        }
        assert_eq!(ours.len(), theirs.len());
    }
    mounted.umount();
    kernel_shows_the_same(&mounted, &plain);
}

/// The kernel's ext4, over a loop device, beside the plain directory.
fn kernel_shows_the_same(mounted: &Mounted, plain: &Path) {
    let at = mounted.root();
    let loops = Command::new("mount")
        .args(["-o", "loop,ro"])
        .arg(mounted.image())
        .arg(&at)
        .status();
    if !loops.is_ok_and(|s| s.success()) {
        skip("no loop mounts here");
        return;
    }
    let same = fs::read_dir(plain).expect("list").all(|entry| {
        let name = entry.expect("entry").file_name();
        let (ours, theirs) = (at.join(&name), plain.join(&name));
        let regular = |p: &Path| facts(p).is_ok_and(|f| f.0 & 0o170_000 == 0o100_000);
        let content = |p: &Path| regular(p).then(|| fs::read(p).ok());
        facts(&ours).ok() == facts(&theirs).ok() && content(&ours) == content(&theirs)
    });
    let count = |d: &Path| fs::read_dir(d).expect("list").count();
    let counts = (count(&at), count(plain) + 1);
    let _ = Command::new("umount").arg(&at).status();
    assert!(same, "the kernel shows another tree");
    assert_eq!(counts.0, counts.1, "lost+found and nothing else more");
}

#[test]
fn a_deleted_file_lives_while_it_is_open() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let path = mounted.root().join("f");
    fs::write(&path, pattern(1 << 20, 5)).expect("write");
    let open = File::options()
        .read(true)
        .write(true)
        .open(&path)
        .expect("open");
    let ino = open.metadata().expect("stat").ino();
    fs::remove_file(&path).expect("unlink");
    // Whoever comes next gets another inode.
    fs::write(&path, b"new").expect("write");
    assert_ne!(fs::metadata(&path).expect("stat").ino(), ino);
    fs::write("/proc/sys/vm/drop_caches", "3").expect("drop caches");
    let mut back = vec![0; 1 << 20];
    open.read_exact_at(&mut back, 0).expect("read");
    assert!(back == pattern(1 << 20, 5) && open.metadata().expect("stat").nlink() == 0);
    open.write_all_at(b"still here", 4 << 20).expect("write");
    assert!(e4_fuse::umount(&mounted.root(), false).is_err(), "busy");
    drop(open);
    mounted.umount();
}

#[test]
fn a_killed_server_leaves_an_image_that_recovers() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let root = mounted.root();
    for i in 0..20 {
        let mut f = File::create(root.join(format!("kept{i}"))).expect("create");
        f.write_all(&pattern(50_000, i)).expect("write");
        f.sync_all().expect("fsync");
        fs::write(root.join(format!("loose{i}")), pattern(50_000, i)).expect("write");
    }
    mounted.server.kill().expect("kill");
    mounted.server.wait().expect("wait");
    let not_clean = e4_fuse::umount(&root, true)
        .expect_err("not clean")
        .to_string();
    assert!(not_clean.contains("not clean"), "{not_clean}");
    mounted.server = Mounted::serve(mounted.scratch.path());
    for i in 0..20 {
        let back = fs::read(root.join(format!("kept{i}"))).expect("what was fsynced");
        assert!(back == pattern(50_000, i), "kept{i}");
    }
    mounted.umount();
}

#[test]
fn direct_writes_and_cached_reads_agree() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let path = mounted.root().join("f");
    fs::write(&path, vec![1; 1 << 20]).expect("write");
    let cached = File::open(&path).expect("open");
    let mut back = vec![0; 1 << 20];
    cached.read_exact_at(&mut back, 0).expect("read");
    let direct = OpenOptions::new()
        .write(true)
        .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
        .open(&path)
        .expect("open");
    for round in 2..10 {
        direct
            .write_all_at(&vec![round; 1 << 19], 1 << 18)
            .expect("write");
        cached.read_exact_at(&mut back, 0).expect("read");
        let middle = &back[1 << 18..3 << 18];
        assert!(
            middle.iter().all(|&b| b == round),
            "stale pages in round {round}"
        );
    }
    drop((cached, direct));
    mounted.umount();
}

#[test]
fn fsx_finds_nothing() {
    if cannot_mount() {
        return;
    }
    if Command::new("fsx").arg("--version").output().is_err() {
        skip("fsx is not installed (cargo install fsx)");
        return;
    }
    let mut mounted = Mounted::new();
    for seed in ["1", "2"] {
        let out = Command::new("fsx")
            .args(["-q", "-N", "5000", "-S", seed])
            .arg(mounted.root().join("fsx"))
            .current_dir(mounted.scratch.path())
            .output()
            .expect("fsx");
        assert!(
            out.status.success(),
            "{}",
            String::from_utf8_lossy(&out.stderr)
        );
    }
    mounted.umount();
}
