//! What is too large for every run: `E4_BIG=1 cargo test -p e4-build --test big`. Needs some 6 GiB of /dev/shm.

mod support;

use e4_build::{BuildError, Builder, Options};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use support::{LOOK, LoopMount, build, fsck_silent, scratch};

fn wanted() -> bool {
    let wanted = std::env::var_os("E4_BIG").is_some();
    if !wanted {
        eprintln!("SKIPPED: set E4_BIG=1");
    }
    wanted
}

fn links(root: &Path, count: u32) {
    std::fs::create_dir_all(root).unwrap();
    std::fs::write(root.join("0"), "linked").unwrap();
    for n in 1..count {
        std::fs::hard_link(root.join("0"), root.join(n.to_string())).unwrap();
    }
}

#[test]
fn sixty_five_thousand_links_and_no_more() {
    if !wanted() {
        return;
    }
    let dir = scratch();
    let source = dir.path().join("source");
    links(&source, 65000);
    let image = dir.path().join("image");
    build(Options::default(), &[&source], &image);
    fsck_silent(&image, "built");
    if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
        let meta = std::fs::metadata(mounted.path().join("64999")).unwrap();
        assert_eq!(meta.nlink(), 65000);
    }
    std::fs::hard_link(source.join("0"), source.join("one more")).unwrap();
    let mut builder = Builder::new(Options::default()).unwrap();
    builder.add_directory(&source).unwrap();
    let result = builder.plan().map(drop);
    assert!(matches!(
        result,
        Err(BuildError::TooManyLinks { links: 65001, .. })
    ));
}

#[test]
fn a_million_files_in_one_directory_and_a_tebibyte_of_hole() {
    if !wanted() {
        return;
    }
    let dir = scratch();
    let source = dir.path().join("source");
    std::fs::create_dir_all(source.join("many")).unwrap();
    for n in 0..1_000_000 {
        std::fs::write(source.join(format!("many/file {n}")), "").unwrap();
    }
    let file = std::fs::File::create(source.join("hole")).unwrap();
    file.write_all_at(b"end", (1 << 40) - 3).unwrap();
    let image = dir.path().join("image");
    build(Options::default(), &[&source], &image);
    fsck_silent(&image, "built");
    if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
        let hole = std::fs::File::open(mounted.path().join("hole")).unwrap();
        let mut end = [0; 4];
        hole.read_exact_at(&mut end, (1 << 40) - 4).unwrap();
        assert_eq!(&end, b"\0end");
        assert_eq!(
            std::fs::read_dir(mounted.path().join("many"))
                .unwrap()
                .count(),
            1_000_000
        );
        assert!(mounted.path().join("many/file 777777").exists());
    }
}

/// Where apt of this machine gets Debian from, and which release: `None` if it says neither.
fn debian() -> Option<(String, String)> {
    let format = "$(REPO_URI) $(CODENAME) $(COMPONENT)";
    let args = ["indextargets", "--format", format, "Created-By: Packages"];
    let out = e4_judges::run("apt-get", &args)?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    // Not one of the additions: they are no whole distribution.
    let main = |line: &&str| line.ends_with(" main") && !line.contains('-');
    let line = text.lines().find(main)?;
    let (uri, rest) = line.split_once(' ')?;
    Some((uri.to_owned(), rest.split_once(' ')?.0.to_owned()))
}

#[test]
fn a_debian_root_is_what_debootstrap_made() {
    if !wanted() || !support::have("debootstrap") {
        return;
    }
    let Some((uri, release)) = debian() else {
        return support::skipped("a Debian root", "apt names no Debian release");
    };
    if !support::is_root() {
        return support::skipped("a Debian root", "not root");
    }
    let dir = scratch();
    let source = dir.path().join("source");
    let args = [
        "--variant=minbase".as_ref(),
        release.as_ref(),
        source.as_os_str(),
        uri.as_ref(),
    ];
    support::must_run("debootstrap", &args);
    let image = dir.path().join("image");
    build(Options::default(), &[&source], &image);
    fsck_silent(&image, "a Debian root");
    if let Some(mounted) = LoopMount::new(&image, &dir.path().join("mnt"), LOOK) {
        support::assert_same(&support::list(&source), &support::list(mounted.path()));
    }
}
