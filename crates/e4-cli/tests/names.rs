//! The verbs that change names and attributes, end to end: as one would type them, judged by e2fsck.

use std::path::Path;
use std::process::{Command, Output};

fn e4(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_e4"))
        .args(args)
        .output()
        .expect("e4 runs")
}

/// Runs a line in which `I` stands for the image; it must succeed. Returns what it printed.
fn ok(image: &Path, line: &str) -> String {
    let (out, said) = run(image, line);
    assert!(out.status.success(), "{line}: {said}");
    String::from_utf8_lossy(&out.stdout).into_owned()
}

fn fails(image: &Path, line: &str, why: &str) {
    let (out, said) = run(image, line);
    assert_eq!(out.status.code(), Some(1), "{line}: {said}");
    assert!(said.contains(why), "{line}: {said}");
}

fn run(image: &Path, line: &str) -> (Output, String) {
    let name = image.display().to_string();
    let args: Vec<String> = line
        .split(' ')
        .map(|a| match a.strip_prefix("I:") {
            Some(path) => format!("{name}:{path}"),
            None => a.to_owned(),
        })
        .collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let out = e4(&args);
    let said = String::from_utf8_lossy(&out.stderr).into_owned();
    (out, said)
}

#[test]
fn a_session() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let image = dir.path().join("disk.img");
    let out = e4(&["mkfs", &image.display().to_string(), "16M"]);
    assert!(out.status.success(), "{out:?}");
    let i = image.as_path();
    ok(i, "mkdir -p I:/srv/data/deep");
    ok(i, "mkdir -p I:/srv/data/deep");
    fails(i, "mkdir I:/srv", "exists");
    ok(i, "mkdir -m 700 I:/home");
    ok(i, "touch -d @1000000000 I:/srv/a I:/srv/b");
    assert!(ok(i, "stat I:/srv/a").contains("2001-09-09"));
    ok(i, "ln I:/srv/a I:/srv/c");
    ok(i, "ln -s ../srv I:/home/link");
    fails(i, "ln I:/srv/a I:/srv/b", "exists");
    ok(i, "ln -f I:/srv/a I:/srv/b");
    ok(i, "chmod u=rw,go= I:/srv/a");
    ok(i, "chown 1000:100 I:/srv/a");
    let listing = ok(i, "ls -l I:/srv");
    assert!(listing.contains("-rw-------"), "{listing}");
    assert!(listing.contains("1000"), "{listing}");
    ok(i, "setfattr -n user.k -v value I:/srv/a");
    assert!(ok(i, "getfattr -d I:/srv/c").contains("user.k=\"value\""));
    ok(i, "setfattr -x user.k I:/srv/a");
    assert_eq!(ok(i, "getfattr I:/srv/a"), "");
    ok(i, "mv I:/srv/a I:/srv/b I:/srv/data");
    fails(i, "mv I:/srv I:/srv/data", "below itself");
    fails(i, "rm I:/srv", "-r");
    fails(i, "rmdir I:/srv", "not empty");
    fails(i, "rm -r I:/", "root");
    ok(i, "chmod -R a+rX I:/srv");
    ok(i, "rm -r I:/srv");
    ok(i, "rm -f I:/srv");
    fails(i, "rm I:/srv", "no such file");
    e4_judges::fsck(i, "afterwards");
}
