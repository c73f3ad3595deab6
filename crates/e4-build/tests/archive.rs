//! Archives of every writer at hand give the image of the tree they were made from; hostile ones give an error or
//! something that stays inside the image.

mod support;

use e4_build::{BuildError, Builder, Options};
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{BufReader, Cursor};
use std::os::unix::fs::{FileExt, symlink};
use std::path::{Path, PathBuf};
use support::{
    LOOK, LoopMount, assert_same, build, fsck_silent, have, is_root, list, must_run, scratch,
};

/// A tree that archives can hold whole; times without fractions, which old formats cannot.
fn populate(root: &Path) {
    std::fs::create_dir_all(root.join("dir/sub")).unwrap();
    for f in 0..50 {
        std::fs::write(
            root.join(format!("dir/file{f}")),
            vec![f; usize::from(f) * 300],
        )
        .unwrap();
    }
    let long = format!("dir/{}", "long name ".repeat(20));
    std::fs::write(root.join(&long), "long").unwrap();
    let deep = root.join(vec!["directory"; 30].join("/"));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(deep.join("bottom"), "bottom").unwrap();
    symlink("dir/file3", root.join("link")).unwrap();
    symlink("x".repeat(200), root.join("long-link")).unwrap();
    std::fs::hard_link(root.join("dir/file7"), root.join("hard")).unwrap();
    std::fs::hard_link(root.join("link"), root.join("hard-link")).unwrap();
    std::fs::write(root.join("\u{e4}\u{f6}"), "umlaut").unwrap();
    let file = std::fs::File::create(root.join("sparse")).unwrap();
    file.write_all_at(&[5; 8192], 1 << 20).unwrap();
    file.write_all_at(&[6; 8192], 10 << 20).unwrap();
    file.set_len(20 << 20).unwrap();
    if is_root() {
        std::os::unix::fs::chown(root.join("dir/file1"), Some(3_000_000), Some(70000)).unwrap();
        must_run(
            "mknod",
            &[
                root.join("dev").as_ref(),
                "c".as_ref(),
                "5".as_ref(),
                "1".as_ref(),
            ],
        );
    }
    let names: Vec<_> = list(root).into_keys().rev().collect();
    for (n, name) in names.into_iter().enumerate() {
        use std::os::unix::ffi::OsStrExt;
        let path = root.join(OsStr::from_bytes(&name));
        let path = if name.is_empty() {
            root.to_owned()
        } else {
            path
        };
        let date = format!("@{}", 1_000_000_000 + n);
        must_run(
            "touch",
            &["-h".as_ref(), "-d".as_ref(), date.as_ref(), path.as_ref()],
        );
    }
}

fn from_tar(archive: &Path) -> Result<Builder, BuildError> {
    let mut builder = Builder::new(Options::default())?;
    builder.add_tar(archive)?;
    Ok(builder)
}

/// Leaves out what simpler writers lose: holes, and that a link is linked twice.
fn without_holes(list: support::Listing) -> support::Listing {
    let cut = |text: String| match (text.find(" data "), text.find(" -> "), text.find(" links ")) {
        (Some(at), ..) => text[..at].to_owned(),
        (None, Some(target), Some(links)) => format!("{}{}", &text[..links], &text[target..]),
        _ => text,
    };
    list.into_iter()
        .map(|(name, text)| (name, cut(text)))
        .collect()
}

/// Makes an archive with a shell command that sees the tree as `$1` and the archive as `$2`.
fn pack(command: &str, source: &Path, archive: &Path) {
    let args: [&OsStr; 5] = [
        "-ec".as_ref(),
        command.as_ref(),
        "sh".as_ref(),
        source.as_ref(),
        archive.as_ref(),
    ];
    must_run("sh", &args);
}

const PYTHON: &str = r#"python3 - "$1" "$2" <<'END'
import sys, tarfile
with tarfile.open(sys.argv[2], "w", format=tarfile.PAX_FORMAT) as t:
    t.add(sys.argv[1], arcname=".")
END"#;

#[test]
fn every_writers_archive_is_its_tree() {
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source);
    let expected = list(&source);
    let writers: [(&str, &str, bool); 8] = [
        ("tar", "tar -C \"$1\" -S --format=gnu -cf \"$2\" .", true),
        ("tar", "tar -C \"$1\" -S --format=pax -cf \"$2\" .", true),
        (
            "tar",
            "tar -C \"$1\" -S --format=pax --sparse-version=0.1 -cf \"$2\" .",
            true,
        ),
        (
            "tar",
            "tar -C \"$1\" -S --format=pax --sparse-version=0.0 -cf \"$2\" .",
            true,
        ),
        ("bsdtar", "bsdtar -C \"$1\" --format=pax -cf \"$2\" .", true),
        (
            "bsdtar",
            "bsdtar -C \"$1\" --format=gnutar -cf \"$2\" .",
            false,
        ),
        ("python3", PYTHON, false),
        (
            "tar",
            "tar -C \"$1\" -S --sort=none -cf - . | gzip -1 > \"$2\"",
            true,
        ),
    ];
    let mut images: Vec<(String, Vec<u8>)> = Vec::new();
    for (program, command, holes) in writers {
        if !have(program) {
            continue;
        }
        let dir = tempfile::tempdir_in(dir.path()).unwrap();
        let archive = dir.path().join("archive");
        pack(command, &source, &archive);
        let image = dir.path().join("image");
        support::write(from_tar(&archive).expect(command), &image);
        fsck_silent(&image, "built");
        if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
            let found = list(mounted.path());
            if holes {
                assert_same(&expected, &found);
            } else {
                assert_same(&without_holes(expected.clone()), &without_holes(found));
            }
        }
        if holes {
            images.push((command.to_owned(), std::fs::read(&image).unwrap()));
        }
    }
    // The same tree is the same image, whoever packed it, and without packing it at all.
    let image = dir.path().join("image");
    build(Options::default(), &[&source], &image);
    let direct = std::fs::read(&image).unwrap();
    for (command, bytes) in images {
        assert!(bytes == direct, "differs from the directory's: {command}");
    }
}

#[test]
fn compressions_and_attributes() {
    let dir = scratch();
    let source = dir.path().join("source");
    populate(&source);
    let plain = dir.path().join("plain.tar");
    if is_root() {
        // Newlines in values tear headers that are split at newlines.
        must_run(
            "setfattr",
            &[
                "-n".as_ref(),
                "user.n".as_ref(),
                "-v".as_ref(),
                "0x0a610a0a".as_ref(),
                source.join("dir/file2").as_ref(),
            ],
        );
        must_run(
            "setfacl",
            &[
                "-m".as_ref(),
                "u:1234:rw".as_ref(),
                source.join("dir/file4").as_ref(),
            ],
        );
        must_run(
            "touch",
            &[
                "-d".as_ref(),
                "@1000000000".as_ref(),
                source.join("dir/file2").as_ref(),
            ],
        );
    }
    let command = "tar -C \"$1\" --format=pax --xattrs --acls --numeric-owner -S -cf \"$2\" .";
    pack(command, &source, &plain);
    let image = dir.path().join("image");
    support::write(from_tar(&plain).unwrap(), &image);
    if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
        assert_same(&list(&source), &list(mounted.path()));
    }
    let expected = std::fs::read(&image).unwrap();
    for (program, command) in [
        ("gzip", "gzip -c"),
        (
            "gzip",
            "{ cat > x; head -c 100000 x | gzip -c; tail -c +100001 x | gzip -c; rm x; }",
        ),
        ("zstd", "zstd -q -c"),
        ("zstd", "zstd -q -c -19 --long=24"),
        ("xz", "xz -c"),
        ("xz", "xz -c --block-size=100000"),
    ] {
        if !have(program) {
            continue;
        }
        let packed = dir.path().join("packed");
        let line = format!("cd \"$(dirname \"$2\")\"; {command} < \"$1\" > \"$2\"");
        pack(&line, &plain, &packed);
        support::write(from_tar(&packed).expect(command), &image);
        assert!(std::fs::read(&image).unwrap() == expected, "{command}");
        // A torn stream is an error, wherever it is torn.
        let bytes = std::fs::read(&packed).unwrap();
        for cut in [bytes.len() / 2, bytes.len() - 5] {
            std::fs::write(&packed, &bytes[..cut]).unwrap();
            assert!(from_tar(&packed).is_err(), "{command} cut at {cut}");
        }
    }
}

/// One member, with a correct checksum.
fn member(name: &str, kind: u8, size: u64, link: &str, data: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    let raw = header.as_old_mut();
    raw.name[..name.len()].copy_from_slice(name.as_bytes());
    raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header.set_size(size);
    header.set_entry_type(tar::EntryType::new(kind));
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(data);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn feed(members: &[Vec<u8>]) -> Result<Builder, BuildError> {
    let mut builder = Builder::new(Options {
        max_files: 100_000,
        ..Options::default()
    })?;
    let bytes = [members.concat(), vec![0; 1024]].concat();
    builder.add_tar_stream("hostile", Box::new(BufReader::new(Cursor::new(bytes))))?;
    Ok(builder)
}

#[test]
fn hostile_archives() {
    let file = |name: &str| member(name, b'0', 2, "", b"hi");
    let pax = |records: &str| member("x", b'x', records.len() as u64, "", records.as_bytes());
    let refused: Vec<(&str, Vec<Vec<u8>>)> = vec![
        ("traversal", vec![file("../../etc/passwd")]),
        ("traversal in the middle", vec![file("a/../../b")]),
        (
            "traversal of a link",
            vec![member("l", b'1', 0, "../x", b"")],
        ),
        ("link to nothing", vec![member("l", b'1', 0, "x", b"")]),
        (
            "link to a directory",
            vec![
                member("d", b'5', 0, "", b""),
                member("l", b'1', 0, "d", b""),
            ],
        ),
        ("file as a directory", vec![file("f"), file("f/g")]),
        ("loop", vec![member("l", b'2', 0, "l", b""), file("l/f")]),
        ("empty link", vec![member("l", b'2', 0, "", b"")]),
        ("root as a file", vec![file("./")]),
        ("huge header", vec![member("x", b'x', 1 << 40, "", b"")]),
        ("huge long name", vec![member("x", b'L', 1 << 30, "", b"")]),
        (
            "huge member",
            vec![member("f", b'0', u64::MAX >> 2, "", b"")],
        ),
        (
            "longer than it is",
            vec![member("f", b'0', 4096, "", b"hi")],
        ),
        ("unknown type", vec![member("f", b'%', 0, "", b"")]),
        (
            "size in pax",
            vec![pax("28 size=99999999999999999999\n"), file("f")],
        ),
        ("torn record", vec![pax("99 path=a\n"), file("f")]),
        ("negative record", vec![pax("-5 path=a\n"), file("f")]),
        (
            "sparse overlap",
            vec![
                pax(
                    "22 GNU.sparse.major=0\n22 GNU.sparse.minor=1\n25 GNU.sparse.map=5,9,3,9\n24 GNU.sparse.size=100\n",
                ),
                file("f"),
            ],
        ),
        (
            "sparse beyond",
            vec![
                pax("27 GNU.sparse.map=0,2,99,2\n24 GNU.sparse.size=100\n"),
                file("f"),
            ],
        ),
        ("garbage", vec![vec![b'x'; 512]]),
        (
            "long name part",
            vec![file(&format!("{}/{}", "a/".repeat(10), "b")), {
                let name = "n".repeat(300);
                [member("x", b'L', 301, "", name.as_bytes()), file("f")].concat()
            }],
        ),
    ];
    for (what, members) in refused {
        let result = feed(&members).and_then(Builder::plan);
        assert!(result.is_err(), "{what} was taken");
    }
    // A global attribute would be copied to every member: it is not taken.
    let value = format!("SCHILY.xattr.user.g={}\n", "v".repeat(9000));
    let record = format!("{} {value}", value.len() + 5);
    let global = member("g", b'g', record.len() as u64, "", record.as_bytes());
    assert!(
        feed(&[global, file("a"), file("b")])
            .and_then(Builder::plan)
            .is_ok()
    );
    let own = member("x", b'x', record.len() as u64, "", record.as_bytes());
    let large = feed(&[own, file("a")]).and_then(Builder::plan).map(drop);
    assert!(
        matches!(large, Err(BuildError::XattrsTooLarge { .. })),
        "{large:?}"
    );
    // Thousands of directories in one name, many times over.
    let mut many = Vec::new();
    for n in 0..20 {
        let mut name = String::new();
        while name.len() < 40_000 {
            let _ = write!(name, "{n}/");
        }
        many.push(member("x", b'L', name.len() as u64, "", name.as_bytes()));
        many.push(file("f"));
    }
    assert!(matches!(feed(&many), Err(BuildError::TooManyFiles { .. })));
}

#[test]
fn odd_archives_stay_inside() {
    let file = |name: &str| member(name, b'0', 2, "", b"hi");
    let dir = scratch();
    let image = dir.path().join("image");
    let builder = feed(&[
        file("/absolute"),
        member("out", b'2', 0, "/../../..", b""),
        file("out/from-out"),
        member("etc", b'2', 0, "/real-etc", b""),
        file("etc/passwd"),
        file("twice"),
        member("twice", b'5', 0, "", b""),
        file("twice/inside"),
        member("gone", b'5', 0, "", b""),
        file("gone/x"),
        file("gone"),
    ])
    .unwrap();
    support::write(builder, &image);
    fsck_silent(&image, "built");
    let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) else {
        return;
    };
    let names: Vec<_> = list(mounted.path())
        .into_keys()
        .map(|n| String::from_utf8(n).unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "",
            "absolute",
            "etc",
            "from-out",
            "gone",
            "out",
            "real-etc",
            "real-etc/passwd",
            "twice",
            "twice/inside"
        ]
    );
}

/// An OCI layout with these layers.
fn layout(dir: &Path, layers: &[Vec<u8>]) -> PathBuf {
    use sha2::{Digest, Sha256};
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &[u8]| {
        let hash: [u8; 32] = Sha256::digest(bytes).into();
        let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
        std::fs::write(blobs.join(&hex), bytes).unwrap();
        format!(
            "{{\"mediaType\":\"x\",\"size\":{},\"digest\":\"sha256:{hex}\"",
            bytes.len()
        )
    };
    let layers: Vec<_> = layers.iter().map(|l| put(l) + "}").collect();
    let manifest = format!("{{\"schemaVersion\":2,\"layers\":[{}]}}", layers.join(","));
    let annotations = ",\"annotations\":{\"org.opencontainers.image.ref.name\":\"latest\"}}";
    let index = format!(
        "{{\"manifests\":[{}{annotations}]}}",
        put(manifest.as_bytes())
    );
    std::fs::write(dir.join("index.json"), index).unwrap();
    std::fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    dir.to_owned()
}

#[test]
fn layers_and_whiteouts() {
    let file = |name: &str| member(name, b'0', 2, "", b"hi");
    let end = vec![0; 1024];
    let one = [
        file("a/keep"),
        file("a/drop"),
        file("b/x"),
        file("c/old"),
        end.clone(),
    ]
    .concat();
    let two = [
        file("a/.wh.drop"),
        file(".wh.b"),
        file("c/new"),
        file("c/.wh..wh..opq"),
        member("lib", b'2', 0, "c", b""),
        end.clone(),
    ]
    .concat();
    let three = [file("lib/through"), file("a/.wh.nothing"), end].concat();
    let dir = scratch();
    let place = layout(&dir.path().join("layout"), &[one, two, three]);
    let oci = |name| {
        let mut builder = Builder::new(Options::default()).unwrap();
        builder.add_oci(&place, name).map(|()| builder)
    };
    assert!(matches!(oci(Some("other")), Err(BuildError::Oci { .. })));
    let image = dir.path().join("image");
    support::write(oci(Some("latest")).unwrap(), &image);
    fsck_silent(&image, "built");
    if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
        let names: Vec<_> = list(mounted.path())
            .into_keys()
            .map(|n| String::from_utf8(n).unwrap())
            .collect();
        assert_eq!(names, ["", "a", "a/keep", "c", "c/new", "c/through", "lib"]);
    }
    // A blob that was changed is refused.
    for entry in std::fs::read_dir(place.join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if bytes.len() > 3000 {
            bytes[600] ^= 1;
            std::fs::write(&path, bytes).unwrap();
        }
    }
    assert!(matches!(oci(None), Err(BuildError::Oci { .. })));
}
