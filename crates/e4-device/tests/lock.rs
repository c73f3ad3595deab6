//! The image lock: one writer or many readers, across opens and across processes.

use e4_device::{DeviceError, OpenOptions, create, open};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

const CHILD: &str = "E4_LOCK_TEST_IMAGE";

fn reader() -> OpenOptions {
    OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    }
}

fn locked<T>(result: Result<T, DeviceError>) -> bool {
    match result {
        Ok(_) => false,
        Err(DeviceError::Locked { .. }) => true,
        Err(other) => panic!("neither open nor locked: {other}"),
    }
}

#[test]
fn one_writer_or_many_readers() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    let writer = create(&path, 1 << 20).expect("create");
    assert!(locked(open(&path, &OpenOptions::default())));
    assert!(locked(open(&path, &reader())));
    drop(writer);
    let first = open(&path, &reader()).expect("first reader");
    let second = open(&path, &reader()).expect("second reader");
    assert!(locked(open(&path, &OpenOptions::default())));
    drop(first);
    assert!(locked(open(&path, &OpenOptions::default())));
    drop(second);
    drop(open(&path, &OpenOptions::default()).expect("writer"));
}

/// A second `create` must not empty an image before it finds out that it is in use.
#[test]
fn create_does_not_clobber_a_locked_image() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    let writer = create(&path, 1 << 20).expect("create");
    writer.write_at(0, &[7; 512]).expect("write_at");
    assert!(locked(create(&path, 4096)));
    let mut buf = [0; 512];
    writer.read_at(0, &mut buf).expect("read_at");
    assert_eq!(buf, [7; 512]);
    drop(writer);
    let again = create(&path, 8192).expect("create");
    again.read_at(0, &mut buf).expect("read_at");
    assert_eq!((buf, again.info().size), ([0; 512], 8192));
}

/// Not a test by itself: the other process of the next ones.
#[test]
fn child() {
    let Some(path) = std::env::var_os(CHILD) else {
        return;
    };
    let dev = open(Path::new(&path), &OpenOptions::default()).expect("open in the child");
    dev.write_at(0, &[9; 4096]).expect("write_at");
    // To the real standard output: the harness captures only the macros.
    let mut out = std::io::stdout();
    writeln!(out, "ready")
        .and_then(|()| out.flush())
        .expect("tell the parent");
    let mut line = String::new();
    std::io::stdin()
        .read_line(&mut line)
        .expect("wait for the parent");
}

/// The child and its output, which must stay open: the harness still has to print its verdict.
fn spawn_holder(path: &Path) -> (Child, impl BufRead) {
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "child", "--nocapture"])
        .env(CHILD, path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("start a second process");
    let mut out = BufReader::new(child.stdout.take().expect("pipe"));
    let ready = out
        .by_ref()
        .lines()
        .any(|l| l.expect("read from the child").ends_with("ready"));
    assert!(ready, "the child ended without opening the image");
    (child, out)
}

#[test]
fn another_process_holds_it() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    drop(create(&path, 1 << 20).expect("create"));
    let (mut child, _out) = spawn_holder(&path);
    assert!(locked(open(&path, &OpenOptions::default())));
    assert!(locked(open(&path, &reader())));
    drop(child.stdin.take());
    assert!(child.wait().expect("child").success());
    drop(open(&path, &OpenOptions::default()).expect("free again"));
}

/// The lock of a killed process goes away with its last reference to the file (and not before).
#[test]
fn a_killed_process_lets_go() {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    drop(create(&path, 1 << 20).expect("create"));
    let (mut child, _out) = spawn_holder(&path);
    child.kill().expect("kill");
    child.wait().expect("child");
    // Its rings are closed by the kernel in the background.
    let begin = e4_sync::now();
    while locked(open(&path, &reader())) {
        assert!(begin.elapsed().as_secs() < 30, "still locked");
        e4_sync::thread::yield_now();
    }
    let dev = open(&path, &reader()).expect("open");
    let mut buf = [0; 4096];
    dev.read_at(0, &mut buf).expect("read_at");
    assert_eq!(buf, [9; 4096]);
}
