//! What a mount carries beyond reads and writes: birth times, files without a name, privileges that go with a
//! write, pages that another way of writing has made stale; and a mount by somebody who is not root.
//!
//! Needs root and `/dev/fuse`; skipped without, unless `E4_REQUIRE_ORACLES` is set.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, UNIX_EPOCH};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, XattrFlags};
use support::{Mounted, cannot_mount, skip};

mod support;

/// The server's half; a test only by name.
#[test]
fn serve_half() {
    support::serve_half();
}

/// The half that unmounts as somebody else; a test only by name.
#[test]
fn umount_half() {
    if let Ok(dir) = std::env::var("E4_FUSE_UMOUNT") {
        e4_fuse::umount(Path::new(&dir), false).expect("umount");
    }
}

#[test]
fn births_and_files_without_a_name() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let root = mounted.root();
    let path = root.join("f");
    fs::write(&path, b"x").expect("write");
    let born = fs::metadata(&path)
        .expect("stat")
        .created()
        .expect("a birth time");
    let old = UNIX_EPOCH - Duration::new(1 << 30, 250);
    let times = fs::FileTimes::new().set_modified(old);
    File::options()
        .write(true)
        .open(&path)
        .expect("open")
        .set_times(times)
        .expect("set times");
    let stat = fs::metadata(&path).expect("stat");
    assert_eq!(stat.created().expect("born"), born, "it is born once");
    assert_eq!(
        (stat.mtime(), stat.mtime_nsec()),
        (-(1 << 30) - 1, 999_999_750)
    );

    let open = rustix::fs::openat(CWD, &root, OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR);
    let file = File::from(open.expect("O_TMPFILE"));
    file.write_all_at(&[7; 10_000], 5).expect("write");
    assert_eq!(file.metadata().expect("stat").nlink(), 0);
    let from = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
    let named = root.join("named");
    rustix::fs::linkat(CWD, from, CWD, &named, AtFlags::SYMLINK_FOLLOW).expect("a name for it");
    assert_eq!(fs::metadata(&named).expect("stat").len(), 10_005);
    let lost = rustix::fs::openat(CWD, &root, OFlags::TMPFILE | OFlags::RDWR, Mode::RUSR);
    drop(lost.expect("one that nobody names"));
    drop(file);
    mounted.umount();
}

fn as_nobody() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    command
}

#[test]
fn a_write_takes_privileges_away() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let capability: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let has = |path: &Path| {
        let mut value = [0; 64];
        rustix::fs::getxattr(path, "security.capability", &mut value[..]).is_ok()
    };
    for direct in [false, true] {
        let path = mounted.root().join(format!("direct-{direct}"));
        fs::write(&path, vec![1; 8192]).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).expect("chmod");
        let set = rustix::fs::setxattr(
            &path,
            "security.capability",
            capability,
            XattrFlags::empty(),
        );
        set.expect("setcap");
        // Who is not root, and then who is: capabilities go with any write, set-user-id not with root's.
        let flag = if direct {
            "oflag=direct"
        } else {
            "oflag=append"
        };
        let dd = as_nobody()
            .args([
                "dd",
                "if=/dev/zero",
                "bs=4096",
                "count=1",
                "conv=notrunc",
                "status=none",
                flag,
            ])
            .arg(format!("of={}", path.display()))
            .status();
        match dd {
            Ok(status) => assert!(status.success(), "{status}"),
            Err(error) => drop(skip(&format!("setpriv: {error}"))),
        }
        let mode = fs::metadata(&path).expect("stat").mode() & 0o7777;
        assert_eq!((mode, has(&path)), (0o777, false), "direct: {direct}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o6777)).expect("chmod");
        let set = rustix::fs::setxattr(
            &path,
            "security.capability",
            capability,
            XattrFlags::empty(),
        );
        set.expect("setcap");
        let mut open = OpenOptions::new();
        open.write(true);
        if direct {
            open.custom_flags(OFlags::DIRECT.bits().cast_signed());
        }
        open.open(&path)
            .expect("open")
            .write_all(&[2; 4096])
            .expect("write");
        let mode = fs::metadata(&path).expect("stat").mode() & 0o7777;
        assert_eq!(
            (mode, has(&path)),
            (0o6777, false),
            "root, direct: {direct}"
        );
    }
    mounted.umount();
}

#[test]
fn asynchronous_direct_writes_leave_no_stale_pages() {
    if cannot_mount() {
        return;
    }
    let mut mounted = Mounted::new();
    let path = mounted.root().join("f");
    fs::write(&path, vec![1; 8 << 20]).expect("write");
    let cached = File::open(&path).expect("open");
    for round in 0..3 {
        let fio = Command::new("fio")
            .args([
                "--name=w",
                "--rw=randwrite",
                "--bs=4k",
                "--size=8m",
                "--direct=1",
            ])
            .args([
                "--ioengine=io_uring",
                "--iodepth=32",
                "--norandommap",
                "--number_ios=4000",
            ])
            .args([
                "--allow_file_create=0",
                "--minimal",
                &format!("--randseed={round}"),
            ])
            .arg(format!("--filename={}", path.display()))
            .current_dir(mounted.scratch.path())
            .stdout(Stdio::null())
            .spawn();
        let Ok(mut fio) = fio else {
            skip("fio is not installed");
            return;
        };
        let (mut through, mut past) = (vec![0; 8 << 20], vec![0; 8 << 20]);
        let mut racing = 0;
        while fio.try_wait().expect("wait").is_none() {
            cached.read_exact_at(&mut through, 0).expect("read");
            // An open beside it in one round: it must not make good what is stale.
            if round == 2 {
                drop(File::open(&path).expect("open"));
            }
            racing += 1;
        }
        assert!(fio.wait().expect("wait").success() && racing > 0);
        cached.read_exact_at(&mut through, 0).expect("read");
        let direct = OpenOptions::new()
            .read(true)
            .custom_flags(OFlags::DIRECT.bits().cast_signed())
            .open(&path);
        direct
            .expect("open")
            .read_exact_at(&mut past, 0)
            .expect("read");
        let stale = through
            .chunks(4096)
            .zip(past.chunks(4096))
            .filter(|(a, b)| a != b);
        assert_eq!(stale.count(), 0, "stale pages in round {round}");
    }
    drop(cached);
    mounted.umount();
}

#[test]
fn somebody_who_is_not_root_mounts() {
    if cannot_mount() {
        return;
    }
    if as_nobody()
        .args(["fusermount3", "--version"])
        .output()
        .is_ok_and(|o| o.status.success())
    {
        mounted_by_nobody();
    } else {
        skip("setpriv and fusermount3 are not both installed");
    }
}

fn mounted_by_nobody() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let dir = scratch.path();
    let device = e4_device::create(&dir.join("disk.img"), 64 << 20).expect("create");
    e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).expect("format");
    drop(device);
    fs::create_dir(dir.join("m")).expect("mkdir");
    // Where the program lies, nobody may have no business.
    fs::copy(
        std::env::current_exe().expect("this program"),
        dir.join("test"),
    )
    .expect("copy");
    for owned in ["", "disk.img", "m", "test"] {
        std::os::unix::fs::chown(dir.join(owned), Some(65534), Some(65534)).expect("chown");
    }
    // A mount namespace of its own, because not everywhere may everybody open /dev/fuse: there it gets another node.
    let out = Command::new("unshare")
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            AS_NOBODY,
            "sh",
        ])
        .arg(dir)
        .output()
        .expect("unshare");
    let (said, errors) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    assert!(out.status.success(), "{said}\n{errors}");
    assert!(
        said.ends_with("hello\n65534 600\nroot is kept out\nclosed\n"),
        "{said}\n{errors}"
    );
    support::fsck(&dir.join("disk.img"));
}

/// Mounts, uses and unmounts as user 65534; `$1` is the directory with image, mount point and program.
const AS_NOBODY: &str = r#"
cd "$1" || exit 1
if [ "$(stat -c %a /dev/fuse)" != 666 ]; then
    mknod fuse c 10 229 && chmod 666 fuse && mount --bind fuse /dev/fuse || exit 1
fi
half() { setpriv --reuid=65534 --regid=65534 --clear-groups "$1/test" "$2" --exact --nocapture --test-threads=1; }
nobody() { setpriv --reuid=65534 --regid=65534 --clear-groups "$@"; }
E4_FUSE_OPTIONS=uid=65534,gid=65534 E4_FUSE_SERVE="$1/disk.img|$1/m" half "$1" serve_half > log 2>&1 &
for i in $(seq 200); do
    if grep -qx mounted log; then break; fi
    if ! kill -0 $! 2> /dev/null; then cat log; exit 1; fi
    sleep 0.05
done
nobody sh -c 'umask 077; echo hello > m/f && cat m/f && stat -c "%u %a" m/f' || exit 1
if stat m/f > /dev/null 2>&1; then echo "root may"; else echo "root is kept out"; fi
E4_FUSE_UMOUNT="$1/m" half "$1" umount_half > log2 2>&1 || { cat log2; umount -l m; exit 1; }
wait $! && echo closed
"#;
