//! `e4 crashlab` finds the missing fsync of the worked example and nothing in the fixed one: as a script of operations,
//! and as a program on a mount.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

fn example(name: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("../../examples/crashlab").join(name)
}

fn crashlab() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_e4"));
    command.arg("crashlab");
    command
}

fn scripted(script: &str) -> Output {
    let input = std::fs::File::open(example(script)).unwrap();
    let mut command = crashlab();
    command.arg("--").arg(example("check-wal.sh")).stdin(input);
    command.output().unwrap()
}

/// None where nothing can be mounted.
fn program(arguments: &[&str]) -> Option<Output> {
    let usable = rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists();
    if !usable {
        assert!(
            std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
            "mounting needs root and /dev/fuse"
        );
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
        return None;
    }
    let mut command = crashlab();
    command
        .arg("--check")
        .arg(example("check-wal.sh"))
        .arg("--")
        .arg(example("wal.sh"))
        .args(arguments)
        .stdin(Stdio::null());
    Some(command.output().unwrap())
}

fn text(out: &Output) -> String {
    let both = [out.stdout.as_slice(), &out.stderr];
    both.map(String::from_utf8_lossy).concat()
}

fn refused(out: &Output) {
    let said = text(out);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("the data is ahead of its log"), "{said}");
}

fn accepted(out: &Output) {
    let said = text(out);
    assert_eq!(out.status.code(), Some(0), "{said}");
    assert!(said.contains("accepts all of them"), "{said}");
}

#[test]
fn a_script() {
    refused(&scripted("wal-missing-fsync.txt"));
    accepted(&scripted("wal-fixed.txt"));
}

#[test]
fn a_program() {
    let Some(careless) = program(&["careless"]) else {
        return;
    };
    refused(&careless);
    accepted(&program(&[]).unwrap());
}
