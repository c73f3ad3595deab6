//! The command `e4 build`, end to end: what it prints, what it refuses, what it leaves behind.

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

fn ok(out: &Output) -> String {
    let err = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{err}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

#[test]
fn build_refuses_replaces_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("tree/sub")).unwrap();
    std::fs::write(dir.join("tree/sub/file"), "content").unwrap();
    let text = ok(&e4(dir, &["build", "--json", "-o", "a.img", "tree"]));
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["files"], 1);
    let listed = ok(&e4(dir, &["cat", "a.img:/sub/file"]));
    assert_eq!(listed, "content");
    ok(&e4(dir, &["check", "a.img"]));
    assert!(!e4(dir, &["build", "-o", "a.img", "tree"]).status.success());
    let before = std::fs::read(dir.join("a.img")).unwrap();
    assert!(
        !e4(dir, &["build", "--force", "-o", "a.img", "nowhere"])
            .status
            .success()
    );
    assert!(std::fs::read(dir.join("a.img")).unwrap() == before);
    ok(&e4(
        dir,
        &["build", "--force", "-j1", "-o", "a.img", "tree"],
    ));
    assert!(
        std::fs::read(dir.join("a.img")).unwrap() == before,
        "not reproducible"
    );
    let root = ok(&e4(
        dir,
        &["build", "--verity", "--partition", "-o", "b.img", "tree"],
    ));
    assert_eq!(root.trim().len(), 64);
    ok(&e4(
        dir,
        &["build", "--format", "android-sparse", "-o", "c.img", "tree"],
    ));
    assert!(
        std::fs::read(dir.join("c.img"))
            .unwrap()
            .starts_with(&[0x3A, 0xFF, 0x26, 0xED])
    );
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["a.img", "b.img", "c.img", "tree"]);
}

#[test]
fn time_zone_locale_umask_and_threads_leave_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    std::fs::create_dir_all(dir.join("tree/sub")).unwrap();
    for name in ["z", "a", "Ä", "B", "sub/i\u{307}", "sub/I", "sub/ı"] {
        std::fs::write(dir.join("tree").join(name), name).unwrap();
    }
    let mut images = Vec::new();
    for (n, (zone, locale, umask, threads)) in [
        ("UTC", "C", "022", "1"),
        ("Pacific/Kiritimati", "tr_TR.UTF-8", "077", "2"),
        ("America/St_Johns", "de_DE.ISO-8859-1", "000", "7"),
    ]
    .into_iter()
    .enumerate()
    {
        let script = format!("umask {umask}; exec \"$0\" build -q -j{threads} -o {n}.img tree");
        let out = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_e4")])
            .current_dir(dir)
            .env("TZ", zone)
            .env("LC_ALL", locale)
            .output()
            .unwrap();
        ok(&out);
        images.push(std::fs::read(dir.join(format!("{n}.img"))).unwrap());
    }
    assert!(images.windows(2).all(|w| w[0] == w[1]), "the images differ");
}
