//! `e4 export` and `e4 diff`, end to end: exit status, refusals, and that an image is never written.

use std::path::Path;
use std::process::{Command, Output};

fn e4(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e4"))
        .args(args)
        .current_dir(dir)
        .env("SOURCE_DATE_EPOCH", "1700000000")
        .output()
        .expect("e4 runs")
}

fn status(out: &Output) -> i32 {
    out.status.code().expect("an exit status")
}

fn ok(out: &Output) -> String {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn export_and_diff_answer_scripts() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("tree/sub")).unwrap();
    std::fs::write(dir.join("tree/sub/file"), "content").unwrap();
    ok(&e4(dir, &["build", "-q", "-o", "a.img", "tree"]));
    std::fs::write(dir.join("tree/sub/more"), "more").unwrap();
    ok(&e4(dir, &["build", "-q", "-o", "b.img", "tree"]));

    assert_eq!(status(&e4(dir, &["diff", "a.img", "a.img"])), 0);
    let out = e4(dir, &["diff", "--ignore", "mtime", "a.img", "b.img"]);
    assert_eq!(status(&out), 1);
    assert_eq!(
        String::from_utf8_lossy(&out.stdout),
        "A  /sub/more  file, 4 bytes\n"
    );
    let out = e4(dir, &["diff", "--json", "a.img:/sub", "b.img:/sub"]);
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(json["changes"][0]["path"], "/more");
    assert_eq!(json["changes"][0]["change"], "added");
    assert_eq!(status(&e4(dir, &["diff", "a.img", "nowhere.img"])), 2);
    assert_eq!(status(&e4(dir, &["diff", "a.img"])), 2);

    ok(&e4(dir, &["export", "a.img", "a.tar"]));
    assert_eq!(status(&e4(dir, &["export", "a.img", "a.tar"])), 1);
    assert_eq!(status(&e4(dir, &["export", "a.img", "a.tar.gz"])), 1);
    assert!(!dir.join("a.tar.gz").exists());
    let piped = e4(dir, &["export", "a.img", "-"]);
    assert!(piped.stdout == std::fs::read(dir.join("a.tar")).unwrap());
    ok(&e4(dir, &["export", "b.img:/sub", "out/"]));
    assert_eq!(
        std::fs::read_to_string(dir.join("out/more")).unwrap(),
        "more"
    );
    assert_eq!(status(&e4(dir, &["export", "b.img", "out/"])), 1);

    let layer = ["diff", "--oci-layer", "l.tar", "a.img", "b.img"];
    assert_eq!(status(&e4(dir, &layer)), 1);
    ok(&e4(dir, &["build", "-q", "-o", "c.img", "a.tar", "l.tar"]));
    assert_eq!(status(&e4(dir, &["diff", "b.img", "c.img"])), 0);
}

#[test]
fn an_image_in_use_when_its_writer_died_is_read_as_if_recovered() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    ok(&e4(dir, &["mkfs", "-q", "a.img", "32M"]));
    let device = e4_device::open(&dir.join("a.img"), &Default::default()).unwrap();
    let fs = e4::Filesystem::open(device, &Default::default()).unwrap();
    fs.mkdir("/only-in-the-journal", 0o755).unwrap();
    fs.sync().unwrap();
    drop(fs);
    let before = std::fs::read(dir.join("a.img")).unwrap();
    let out = e4(dir, &["diff", "--json", "a.img", "a.img"]);
    assert_eq!(status(&out), 0);
    assert!(String::from_utf8_lossy(&out.stderr).contains("in memory"));
    ok(&e4(dir, &["export", "a.img", "a/"]));
    assert!(dir.join("a/only-in-the-journal").is_dir());
    assert!(std::fs::read(dir.join("a.img")).unwrap() == before);
}
