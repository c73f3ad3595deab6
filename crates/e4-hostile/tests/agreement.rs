//! A few hundred damaged images before e4-check and `e2fsck -fn`: they agree, or it is known why not. The long run
//! is `cargo xtask agreement --images 10000`.

use e4_hostile::{agreement, bases};

const IMAGES: u64 = 320;

#[test]
fn verdicts_of_e2fsck() {
    if !["mke2fs", "e2fsck", "timeout"]
        .into_iter()
        .all(e4_judges::have)
    {
        return;
    }
    let dir = e4_judges::scratch();
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
