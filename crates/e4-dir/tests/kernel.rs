//! Directories made by the kernel: we find every name, add and remove some, and both e2fsck and the
//! kernel agree with what we did.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use e4_format::{FileType, InodeFlags};
use support::checker::check;
use support::image::Image;
use support::oracle::{LoopMount, fsck_clean, have, run, tool};
use support::{Rng, list};

type Names = BTreeSet<Vec<u8>>;

/// The kernel makes `count` names in `d`, of which it removes a third again: most are links to `f`,
/// every tenth a file of its own. Returns the links.
fn made_by_kernel(mount: &Path, count: usize, rng: &mut Rng) -> (Names, Names) {
    let (f, d) = (mount.join("f"), mount.join("d"));
    std::fs::write(&f, "linked to").expect("file");
    std::fs::create_dir(&d).expect("directory");
    let (mut links, mut files) = (Names::new(), Names::new());
    while links.len() + files.len() < count {
        let name = rng.name();
        if links.contains(&name) || files.contains(&name) {
            continue;
        }
        let at = d.join(OsStr::from_bytes(&name));
        if rng.below(10) == 0 {
            std::fs::write(&at, "").expect("create");
            files.insert(name);
        } else {
            std::fs::hard_link(&f, &at).expect("link");
            links.insert(name);
        }
    }
    for set in [&mut links, &mut files] {
        for name in set.iter().step_by(3).cloned().collect::<Vec<_>>() {
            std::fs::remove_file(d.join(OsStr::from_bytes(&name))).expect("unlink");
            set.remove(&name);
        }
    }
    (links, files)
}

fn extend(block_size: u32, features: &str, hash: &str, count: usize, more: usize) {
    let tmp = tempfile::tempdir().expect("tempdir");
    let (path, empty) = (tmp.path().join("image"), tmp.path().join("empty"));
    std::fs::create_dir(&empty).expect("directory");
    let block_size = block_size.to_string();
    let args = ["-b", &block_size, "-O", features, "-N", "8000"];
    drop(Image::create(&path, 64, &args, &empty));
    run(tool("tune2fs")
        .args(["-E", &format!("hash_alg={hash}")])
        .arg(&path));
    let at = tmp.path().join("mnt");
    let Some(mount) = LoopMount::new(&path, &at, "") else {
        return;
    };
    let mut rng = Rng(count as u64);
    let (mut links, files) = made_by_kernel(mount.path(), count, &mut rng);
    mount.unmount();

    let mut image = Image::open(&path);
    let (ino, f) = (image.find("d"), image.find("f"));
    assert!(image.inode(ino).flags.contains(InodeFlags::INDEX));
    let mut dir = image.load(ino);
    let all: Names = links.union(&files).cloned().collect();
    assert!(
        check(&dir).keys().eq(all.iter()),
        "the checker reads another directory"
    );
    for name in &all {
        assert!(
            e4_dir::lookup(&dir, name).expect("lookup").is_some(),
            "{name:?}"
        );
    }
    assert_eq!(list(&dir).len(), all.len() + 2);
    assert_eq!(e4_dir::lookup(&dir, b"not there"), Ok(None));

    let before = links.len();
    let blocks = dir.blocks.len();
    for name in links.iter().step_by(4).cloned().collect::<Vec<_>>() {
        dir.reset();
        e4_dir::remove(&mut dir, &name)
            .expect("remove")
            .expect("there");
        links.remove(&name);
    }
    while links.len() < before + more {
        let name = rng.name();
        if !files.contains(&name) && links.insert(name.clone()) {
            dir.reset();
            e4_dir::insert(&mut dir, &name, f, FileType::Regular).expect("insert");
        }
    }
    assert_eq!(dir.unusable.get(), 0);
    assert!(dir.blocks.len() > blocks);
    image.save(ino, &dir);
    image.add_links(f, i32::try_from(more).expect("links"));
    fsck_clean(&path);

    let all: Names = links.union(&files).cloned().collect();
    let Some(mount) = LoopMount::new(&path, &at, "") else {
        return;
    };
    let d = mount.path().join("d");
    let seen = std::fs::read_dir(&d).expect("readdir");
    let seen: Names = seen
        .map(|e| e.expect("entry").file_name().as_bytes().to_vec())
        .collect();
    assert!(seen == all, "the kernel lists other names");
    for name in &all {
        std::fs::symlink_metadata(d.join(OsStr::from_bytes(name))).expect("lookup by the kernel");
    }
    // And the kernel can take it all apart.
    std::fs::remove_dir_all(&d).expect("rm -r");
    mount.unmount();
    fsck_clean(&path);
}

#[test]
fn directories_of_the_kernel_are_understood_and_extended() {
    if !have(&["mke2fs", "tune2fs", "debugfs", "e2fsck", "mount"]) {
        return;
    }
    extend(4096, "metadata_csum", "half_md4", 6000, 6000);
    extend(1024, "metadata_csum", "half_md4", 5000, 4000);
    extend(1024, "^metadata_csum", "tea", 5000, 4000);
    extend(2048, "^metadata_csum", "legacy", 5000, 2000);
    extend(4096, "^metadata_csum,^64bit", "tea", 5000, 2000);
}
