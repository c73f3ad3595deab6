//! Running other people's tools, and saying so when they are not there.

use std::path::Path;
use std::process::{Command, Output};

/// Says that something did not run; a failure where oracles are required.
pub(crate) fn skipped(what: &str, why: &str) {
    assert!(
        std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
        "{what} is required and did not run: {why}"
    );
    eprintln!("SKIPPED: {what}: {why}");
}

/// Runs a tool; `None` if it is not installed.
pub(crate) fn run(tool: &str, args: &[&str]) -> Option<Output> {
    match Command::new(tool).args(args).output() {
        Ok(out) => Some(out),
        Err(error) => {
            skipped(tool, &error.to_string());
            None
        }
    }
}

/// `e2fsck -fn` must call the image clean.
pub(crate) fn fsck(path: &Path, what: &str) {
    let Some(out) = run("e2fsck", &["-fn", &path.display().to_string()]) else {
        return;
    };
    assert!(
        out.status.success(),
        "{what}: e2fsck: {}\n{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// Makes an image with mke2fs; false if that is not possible here.
pub(crate) fn mke2fs(path: &Path, bytes: u64, args: &[&str]) -> bool {
    let file = std::fs::File::create(path).unwrap();
    file.set_len(bytes).unwrap();
    drop(file);
    let name = path.display().to_string();
    let mut all = vec!["-q", "-F", "-t", "ext4"];
    all.extend_from_slice(args);
    all.push(&name);
    let Some(out) = run("mke2fs", &all) else {
        return false;
    };
    assert!(
        out.status.success(),
        "mke2fs {args:?}: {}",
        String::from_utf8_lossy(&out.stderr)
    );
    true
}
