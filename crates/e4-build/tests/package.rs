//! Hash trees, partition tables and sparse images, judged by the tools that use them.

mod support;

use e4_build::package::{Gpt, PARTITION_START, Verity, Window, write_android_sparse};
use e4_build::{Builder, Options};
use e4_device::Device;
use std::ops::ControlFlow;
use std::path::Path;
use std::process::Command;
use support::{fsck_silent, have, must_run, scratch};

fn plan(dir: &Path, block_size: u32) -> e4_build::Plan {
    let source = dir.join("source");
    std::fs::create_dir_all(&source).unwrap();
    for n in 0..40u8 {
        std::fs::write(source.join(format!("f{n}")), vec![n; usize::from(n) * 3001]).unwrap();
    }
    let mut options = Options::default();
    options.mkfs.block_size = Some(block_size);
    let mut builder = Builder::new(options).unwrap();
    builder.add_directory(&source).unwrap();
    builder.plan().unwrap()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[test]
fn veritysetup_accepts_the_tree_and_finds_a_changed_byte() {
    // With blocks of 1 KiB an image need not end where a hash block begins.
    for block_size in [4096, 1024] {
        verified(block_size);
    }
}

fn verified(block_size: u32) {
    let dir = scratch();
    let plan = plan(dir.path(), block_size);
    let bytes = plan.bytes();
    let verity = Verity::new(bytes);
    let image = dir.path().join("image");
    let device = e4_device::create(&image, verity.device_bytes()).unwrap();
    let report = plan
        .write(&*device, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    let uuid = report.superblock.uuid();
    let one = verity.write(&*device, uuid, 1).unwrap();
    let two = verity.write(&*device, uuid, 3).unwrap();
    assert_eq!(one, two);
    drop(device);
    fsck_silent(&image, "built");
    if !have("veritysetup") {
        return;
    }
    let verify = || {
        Command::new("veritysetup")
            .arg("verify")
            .arg(format!("--hash-offset={}", one.hash_offset))
            .args([&image, &image])
            .arg(hex(&one.root))
            .output()
            .unwrap()
    };
    let out = verify();
    let text = String::from_utf8_lossy(&out.stderr).into_owned();
    assert!(out.status.success(), "{text}");
    let mut all = std::fs::read(&image).unwrap();
    all[200_000] ^= 1;
    std::fs::write(&image, all).unwrap();
    assert!(!verify().status.success(), "a changed byte was not found");
}

#[test]
fn partition_tools_and_simg2img_agree() {
    let dir = scratch();
    let plan = plan(dir.path(), 4096);
    let bytes = plan.bytes();
    let gpt = Gpt::new(bytes);
    let image = dir.path().join("disk");
    let disk = e4_device::create(&image, gpt.disk_bytes()).unwrap();
    let window = Window::new(disk.clone(), PARTITION_START, bytes);
    let report = plan
        .write(&window, &mut |_| ControlFlow::Continue(()))
        .unwrap();
    gpt.write(&*disk, report.superblock.uuid(), "root").unwrap();
    assert!(
        window.write_at(bytes, &[0; 512]).is_err(),
        "beyond the window"
    );
    drop(window);
    if have("sfdisk") {
        let text = must_run("sfdisk", &["--verify".as_ref(), image.as_os_str()]);
        assert!(text.contains("No errors detected"), "{text}");
        let dump = must_run("sfdisk", &["-d".as_ref(), image.as_os_str()]);
        let ours = "start=        2048, size=";
        assert!(dump.contains("label: gpt") && dump.contains(ours), "{dump}");
    }
    let all = std::fs::read(&image).unwrap();
    let start = usize::try_from(PARTITION_START).unwrap();
    let part = dir.path().join("part");
    std::fs::write(&part, &all[start..start + usize::try_from(bytes).unwrap()]).unwrap();
    fsck_silent(&part, "the partition");

    let sparse = dir.path().join("sparse");
    let mut file = std::fs::File::create(&sparse).unwrap();
    let len = write_android_sparse(&*disk, &mut file).unwrap();
    assert_eq!(len, std::fs::metadata(&sparse).unwrap().len());
    assert!(len < bytes, "zeros were not left out");
    drop(disk);
    if !have("simg2img") {
        return;
    }
    let back = dir.path().join("back");
    must_run("simg2img", &[sparse.as_os_str(), back.as_os_str()]);
    assert!(
        std::fs::read(&back).unwrap() == all,
        "simg2img gives another image"
    );
}
