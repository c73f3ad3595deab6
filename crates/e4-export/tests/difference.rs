//! What `diff` says is what two mounts by the kernel show, and its layer makes the second tree of the first.

#[path = "../../e4-build/tests/support/mod.rs"]
mod support;
mod trees;

use e4_build::{Builder, Options};
use e4_export::{
    ChangeKind, DiffOptions, Difference, ExportError, What, diff, to_tar, write_layer,
};
use rustix::fs::{self, Mode, XattrFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;
use support::{LOOK, LoopMount, build, is_root, list, scratch};
use trees::{look, populate, settle_times};

fn compare(a: &Path, b: &Path, options: &DiffOptions) -> Result<Difference, ExportError> {
    let (a, b) = (look(a), look(b));
    let (top_a, top_b) = (a.root().unwrap(), b.root().unwrap());
    diff((&a, &top_a), (&b, &top_b), options, &mut |_| {
        ControlFlow::Continue(())
    })
}

fn options() -> Options {
    let mut options = Options::default();
    options.mkfs.time = Some(1_700_000_000);
    options
}

/// Turns the tree of `populate` into another one.
fn change(root: &Path) {
    let at = |path: &str| root.join(path);
    let remove = |path: &str| std::fs::remove_file(at(path)).unwrap();
    // Contents: longer, of equal size, only in a hole.
    std::fs::write(at("d/sub/file7"), "longer than it was".repeat(1000)).unwrap();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(at("d/sub/file30"));
    file.unwrap().write_all_at(&[0xEE], 44_000).unwrap();
    let file = std::fs::OpenOptions::new().write(true).open(at("sparse"));
    file.unwrap().write_all_at(b"in a hole", 500 << 20).unwrap();
    // Removed, added, a whole directory of either.
    remove("d/sub/file20");
    std::fs::remove_dir_all(at("many")).unwrap();
    std::fs::create_dir_all(at("new/below")).unwrap();
    std::fs::write(at("new/below/file"), "new").unwrap();
    std::fs::write(at("d/added"), "new").unwrap();
    // A directory that loses all it had, and gets something.
    std::fs::remove_dir_all(at("deep/deep/deep")).unwrap();
    std::fs::write(at("deep/deep/one"), "").unwrap();
    // Other types.
    remove("l1");
    std::fs::create_dir(at("l1")).unwrap();
    std::fs::write(at("l1/inside"), "").unwrap();
    std::fs::remove_dir(at(&format!("d/{}", "n".repeat(99)))).unwrap();
    symlink("now-a-link", at(&format!("d/{}", "n".repeat(99)))).unwrap();
    remove("l99");
    symlink("u".repeat(99), at("l99")).unwrap();
    // Attributes.
    fs::chmod(at("d/sub/file15"), Mode::from_raw_mode(0o700)).unwrap();
    fs::lsetxattr(at("d/sub/file16"), "user.new", b"x", XattrFlags::empty()).unwrap();
    fs::lremovexattr(at("d/sub/file1"), "user.empty").unwrap();
    if is_root() {
        std::os::unix::fs::chown(at("d/sub/file17"), Some(5), Some(6)).unwrap();
        remove("char");
        let dev = fs::makedev(1, 9);
        let mode = Mode::from_raw_mode(0o640);
        fs::mknodat(
            fs::CWD,
            at("char"),
            fs::FileType::CharacterDevice,
            mode,
            dev,
        )
        .unwrap();
    }
    // Names of one file: one less, one more, two apart that were one.
    remove("hard0");
    std::fs::hard_link(at("d/sub/file5"), at("file5-again")).unwrap();
    remove("zz-linked-link");
    symlink("t".repeat(60), at("zz-linked-link")).unwrap();
    settle_times(root);
}

/// Names that differ, by what two mounts show.
fn expected(a: &Path, b: &Path, dir: &Path) -> Option<BTreeMap<Vec<u8>, char>> {
    let a = list(LoopMount::new(a, &dir.join("mnt-a"), LOOK)?.path());
    let b = list(LoopMount::new(b, &dir.join("mnt-b"), LOOK)?.path());
    let mut all = BTreeMap::new();
    for name in a.keys().chain(b.keys()) {
        match (a.get(name), b.get(name)) {
            (Some(_), None) => drop(all.insert(name.clone(), 'D')),
            (None, Some(_)) => drop(all.insert(name.clone(), 'A')),
            (one, two) if one != two => drop(all.insert(name.clone(), 'M')),
            _ => {}
        }
    }
    Some(all)
}

fn letters(found: &Difference) -> BTreeMap<Vec<u8>, char> {
    let letter = |kind: &ChangeKind| match kind {
        ChangeKind::Added(_) => 'A',
        ChangeKind::Removed(_) => 'D',
        ChangeKind::Changed { .. } => 'M',
    };
    let changes = found.changes.iter();
    changes.map(|c| (c.path.clone(), letter(&c.kind))).collect()
}

fn what(found: &Difference, path: &str) -> BTreeSet<What> {
    let change = found.changes.iter().find(|c| c.path == path.as_bytes());
    match change.map(|c| &c.kind) {
        Some(ChangeKind::Changed { what, .. }) => what.clone(),
        other => panic!("{path}: {other:?}"),
    }
}

#[test]
fn differences_are_those_of_two_mounts_and_the_layer_makes_them() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    populate(&at("one"));
    populate(&at("two"));
    change(&at("two"));
    let (a, b) = (at("a.img"), at("b.img"));
    build(options(), &[&at("one")], &a);
    build(options(), &[&at("two")], &b);
    let ignore = DiffOptions::default();
    assert_eq!(compare(&a, &a, &ignore).unwrap().changes, []);
    let found = compare(&a, &b, &ignore).unwrap();
    if let Some(expected) = expected(&a, &b, dir.path()) {
        let show = |all: &BTreeMap<Vec<u8>, char>| {
            let one =
                |(name, c): (&Vec<u8>, &char)| format!("{c} {}", String::from_utf8_lossy(name));
            all.iter().map(one).collect::<Vec<_>>()
        };
        assert_eq!(show(&expected), show(&letters(&found)));
    }
    assert_eq!(what(&found, "d/sub/file30"), [What::Contents].into());
    assert_eq!(what(&found, "sparse"), [What::Contents].into());
    assert_eq!(what(&found, "d/sub/file15"), [What::Mode].into());
    assert_eq!(what(&found, "d/sub/file16"), [What::Xattrs].into());
    assert_eq!(what(&found, "l99"), [What::Target].into());
    assert!(what(&found, "l1").contains(&What::Type));
    assert_eq!(what(&found, "hard3"), [What::Links].into());
    assert_eq!(what(&found, "d/sub/file5"), [What::Links].into());
    let apart = [What::Time, What::Links].into();
    assert_eq!(what(&found, "zz-linked-link"), apart);

    // Equal size and time count as equal contents with `quick`, and what is ignored is not there.
    let quick = DiffOptions {
        quick: true,
        ignore: [What::Mode, What::Links].into(),
    };
    let some = letters(&compare(&a, &b, &quick).unwrap());
    for (path, there) in [
        ("d/sub/file30", false),
        ("d/sub/file15", false),
        ("hard3", false),
        ("d/sub/file7", true),
    ] {
        assert_eq!(some.contains_key(path.as_bytes()), there, "{path}");
    }

    // The layer over the first tree is the second one.
    let layer = at("layer.tar");
    let fs = look(&b);
    let top = fs.root().unwrap();
    let out = std::fs::File::create(&layer).unwrap();
    write_layer(&found, (&fs, &top), out, &mut |_| ControlFlow::Continue(())).unwrap();
    let names = support::must_run("tar", &["-tf".as_ref(), layer.as_os_str()]);
    let has = |name: &str| names.lines().any(|line| line == name);
    assert!(has(".wh.many") && has("d/sub/.wh.file20"), "{names}");
    assert!(
        has("deep/deep/.wh.deep") && !names.contains("many/"),
        "{names}"
    );
    assert!(!names.contains("file31\n"), "what did not change is there");
    let fs = look(&a);
    let top = fs.root().unwrap();
    let out = std::fs::File::create(at("a.tar")).unwrap();
    to_tar(&fs, &top, out, &mut |_| ControlFlow::Continue(())).unwrap();
    let again = at("again.img");
    let mut builder = Builder::new(options()).unwrap();
    builder.add_tar(&at("a.tar")).unwrap();
    builder.add_tar(&layer).unwrap();
    support::write(builder, &again);
    let left = compare(&b, &again, &ignore).unwrap();
    assert_eq!(left.changes, []);
}

#[test]
fn a_directory_that_lost_everything_is_opaque() {
    let dir = scratch();
    let at = |name: &str| dir.path().join(name);
    for (tree, names) in [("one", ["x", "y", "z"]), ("two", ["1", "2", ".wh-not"])] {
        std::fs::create_dir_all(at(tree).join("d")).unwrap();
        for name in names {
            std::fs::write(at(tree).join("d").join(name), "").unwrap();
        }
    }
    let (a, b) = (at("a.img"), at("b.img"));
    build(options(), &[&at("one")], &a);
    build(options(), &[&at("two")], &b);
    let layer = || {
        let found = compare(&a, &b, &DiffOptions::default())?;
        let fs = look(&b);
        let top = fs.root().unwrap();
        let out = std::fs::File::create(at("layer.tar")).unwrap();
        write_layer(&found, (&fs, &top), out, &mut |_| ControlFlow::Continue(()))
    };
    layer().unwrap();
    let names = support::must_run("tar", &["-tf".as_ref(), at("layer.tar").as_os_str()]);
    let expected = "./\nd/\nd/.wh-not\nd/.wh..wh..opq\nd/1\nd/2\n";
    assert_eq!(names, expected);
    // A name that would be taken for a whiteout is refused, not turned into one.
    std::fs::write(at("two").join("d/.wh.x"), "").unwrap();
    build(options(), &[&at("two")], &at("c.img"));
    std::fs::rename(at("c.img"), &b).unwrap();
    assert!(matches!(layer(), Err(ExportError::Whiteout { .. })));
}
