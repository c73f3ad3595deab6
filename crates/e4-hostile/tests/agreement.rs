//! A few hundred damaged images before e4-check and `e2fsck -fn`: they agree, or it is known why not. The long run
//! is `cargo xtask agreement --images 10000`.

use e4_hostile::{agreement, bases};
use std::process::Command;

const IMAGES: u64 = 320;

#[test]
fn verdicts_of_e2fsck() {
    for tool in ["mke2fs", "e2fsck", "timeout"] {
        if Command::new(tool).arg("--version").output().is_err() {
            assert!(
                std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
                "no {tool}"
            );
            eprintln!("SKIPPED: {tool} is not installed");
            return;
        }
    }
    let shm = std::path::Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        tempfile::tempdir_in(shm).unwrap()
    } else {
        tempfile::tempdir().unwrap()
    };
    let bases = bases::all(dir.path()).unwrap();
    let outcome = agreement::compare(dir.path(), &bases, 0..IMAGES, 7, &mut |_| {}).unwrap();
    println!("{}", outcome.table());
    let total = outcome.total();
    assert!(
        total.both_clean > 50 && total.both_damaged > 100,
        "{total:?}"
    );
    assert!(outcome.unexplained.len() <= 1, "{}", outcome.table());
}
