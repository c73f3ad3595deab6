//! `cargo xtask fuzz` notices a target that panics, one that takes too much memory, and one that takes too long, and names
//! the input; a good one passes.

use std::process::Command;

fn fuzz(target: &str) -> (bool, String) {
    let dir = tempfile::tempdir().unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["fuzz", "--seconds", "60", "--target", target])
        .current_dir(dir.path())
        .output()
        .unwrap();
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let kept = std::fs::read_dir(dir.path().join("fuzz/artifacts")).map_or(0, |d| d.count());
    assert_eq!(kept, usize::from(!out.status.success()), "{text}");
    (out.status.success(), text)
}

#[test]
fn planted_bugs_are_found() {
    for (target, sign) in [
        ("planted_panic", "planted"),
        ("planted_memory", "MiB"),
        ("planted_time", "for one input"),
    ] {
        let (passed, text) = fuzz(target);
        assert!(!passed, "{target} passed: {text}");
        assert!(
            text.contains(sign) && text.contains("repeat with"),
            "{target}: {text}"
        );
    }
}

#[test]
fn a_good_target_passes() {
    let out = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .args(["fuzz", "--seconds", "1", "--target", "inode"])
        .output()
        .unwrap();
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
}
