//! An exported tree is the tree: judged by GNU tar, bsdtar, Python and the kernel's mount, and by building it again.

#[path = "../../e4-build/tests/support/mod.rs"]
mod support;
mod trees;

use e4_build::{Builder, Options};
use e4_export::{HostOptions, Report, to_directory, to_tar};
use std::ops::ControlFlow;
use std::path::Path;
use support::{
    LOOK, LoopMount, assert_same, build, fsck_silent, have, is_root, list, must_run, scratch,
};
use trees::{look, populate};

const KEEP: HostOptions = HostOptions {
    owners: true,
    xattrs: true,
};

fn export(image: &Path, to: &Path) -> Report {
    let fs = look(image);
    let top = fs.root().unwrap();
    let file = std::fs::File::create(to).unwrap();
    let out = std::io::BufWriter::new(file);
    to_tar(&fs, &top, out, &mut |_| ControlFlow::Continue(())).unwrap()
}

fn options() -> Options {
    let mut options = Options::default();
    options.mkfs.time = Some(1_700_000_000);
    options
}

#[test]
fn built_exported_and_built_again_is_the_same_image() {
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source);
    let (one, two) = (dir.path().join("one"), dir.path().join("two"));
    let (tar, again) = (dir.path().join("one.tar"), dir.path().join("two.tar"));
    build(options(), &[&source], &one);
    let before = std::fs::read(&one).unwrap();
    let report = export(&one, &tar);
    assert_eq!((report.lost_count, report.lost), (0, vec![]));
    assert!(
        std::fs::read(&one).unwrap() == before,
        "the image was written"
    );
    let mut builder = Builder::new(options()).unwrap();
    builder.add_tar(&tar).unwrap();
    support::write(builder, &two);
    assert!(std::fs::read(&two).unwrap() == before, "another image");
    export(&two, &again);
    assert!(
        std::fs::read(&tar).unwrap() == std::fs::read(&again).unwrap(),
        "another archive"
    );
}

/// Unpacks with other people's programs, and compares with the kernel's mount.
#[test]
fn other_readers_see_the_kernels_tree() {
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source);
    if is_root() {
        trees::socket(&source.join("socket"));
    } else {
        support::skipped("owners, devices and mounts", "not root");
        return;
    }
    let (image, tar) = (dir.path().join("image"), dir.path().join("tar"));
    build(options(), &[&source], &image);
    fsck_silent(&image, "built");
    let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) else {
        return;
    };
    let mut expected = list(mounted.path());
    let to = dir.path().join("directory");
    let fs = look(&image);
    let top = fs.root().unwrap();
    let report = to_directory(&fs, &top, &to, KEEP, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.lost, Vec::<String>::new());
    assert_same(&expected, &list(&to));

    let report = export(&image, &tar);
    assert_eq!(report.lost, ["socket: archives cannot hold sockets"]);
    expected.remove(&b"socket"[..]);
    let extract = |program: &str, args: &[&str]| {
        let to = dir.path().join(format!("by-{program}"));
        std::fs::create_dir(&to).unwrap();
        let mut all: Vec<&std::ffi::OsStr> = args.iter().map(|a| a.as_ref()).collect();
        all.extend([
            "-f".as_ref(),
            tar.as_os_str(),
            "-C".as_ref(),
            to.as_os_str(),
        ]);
        must_run(program, &all);
        list(&to)
    };
    let members = expected.len();
    if have("tar") {
        let args = [
            "-xp",
            "--numeric-owner",
            "--acls",
            "--xattrs",
            "--xattrs-include=*",
        ];
        assert_same(&expected, &extract("tar", &args));
        let listed = must_run("tar", &["-t".as_ref(), "-f".as_ref(), tar.as_os_str()]);
        assert_eq!(listed.lines().count(), members);
    }
    if have("bsdtar") {
        let args = ["-xp", "--numeric-owner", "--acls", "--xattrs"];
        let mut found = extract("bsdtar", &args);
        // bsdtar never touches the directory it is told to unpack into, and reads fractions of seconds before 1970
        // differently from GNU tar, which reads them as the kernel shows them.
        for listing in [&mut expected, &mut found] {
            listing.remove(&b""[..]);
            for text in listing.values_mut().filter(|t| t.contains("mtime -")) {
                let (before, after) = text.split_once(" mtime -").unwrap();
                *text = format!("{before} {}", after.split_once(' ').unwrap().1);
            }
        }
        assert_same(&expected, &found);
    }
    if have("python3") {
        let script = "
import sys, tarfile
for m in tarfile.open(sys.argv[1], encoding='utf-8', errors='surrogateescape'):
    print(m.name.encode('utf-8', 'surrogateescape').hex() or '2e', m.size, m.sparse is not None)
";
        let text = must_run(
            "python3",
            &["-c".as_ref(), script.as_ref(), tar.as_os_str()],
        );
        assert_eq!(text.lines().count(), members);
        // name, size, and whether it has holes
        assert!(
            text.contains(&format!("{} {} True", hex("sparse"), 1 << 30)),
            "{text}"
        );
    }
}

fn hex(text: &str) -> String {
    text.bytes().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn an_image_of_somebody_else() {
    if !have("mke2fs") || !is_root() {
        return;
    }
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source);
    // mke2fs makes no links and attributes of this length.
    std::fs::remove_file(source.join("l3000")).unwrap();
    rustix::fs::removexattr(source.join("many"), "user.large").unwrap();
    let image = dir.path().join("image");
    let args = ["-q", "-t", "ext4", "-b", "4096", "-d"];
    let mut args: Vec<&std::ffi::OsStr> = args.iter().map(|a| a.as_ref()).collect();
    args.extend([source.as_os_str(), image.as_os_str(), "64M".as_ref()]);
    must_run("mke2fs", &args);
    let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) else {
        return;
    };
    let expected = list(mounted.path());
    let fs = look(&image);
    let top = fs.root().unwrap();
    let to = dir.path().join("directory");
    let report = to_directory(&fs, &top, &to, KEEP, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(report.lost, Vec::<String>::new());
    assert_same(&expected, &list(&to));
}

#[test]
fn a_destination_must_be_empty_and_a_caller_may_stop() {
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir(&source).unwrap();
    std::fs::write(source.join("file"), "x").unwrap();
    let image = dir.path().join("image");
    build(options(), &[&source], &image);
    let fs = look(&image);
    let top = fs.root().unwrap();
    let copy = |to: &Path, go_on: bool| {
        to_directory(&fs, &top, to, KEEP, &mut |_| match go_on {
            true => ControlFlow::Continue(()),
            false => ControlFlow::Break(()),
        })
    };
    let refused = copy(&source, true);
    assert!(matches!(
        refused,
        Err(e4_export::ExportError::NotEmpty { .. })
    ));
    let stopped = copy(&dir.path().join("to"), false);
    assert!(matches!(stopped, Err(e4_export::ExportError::Cancelled)));
}
