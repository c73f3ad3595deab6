//! The verdict of `e2fsck -fn`.

use std::path::Path;

use crate::run;

/// `e2fsck -fn` must call the image clean; `what` names the image in the failure. [`crate::skipped`] if it is not installed.
///
/// # Panics
/// With what e2fsck printed, if it does not.
pub fn fsck(image: &Path, what: &str) {
    judge(image, what);
}

/// As [`fsck`], and e2fsck must have nothing to remark either: no offer to optimise, no difference it forgives.
///
/// # Panics
/// As [`fsck`].
pub fn fsck_silent(image: &Path, what: &str) {
    let Some(text) = judge(image, what) else {
        return;
    };
    let remarks = text
        .lines()
        .filter(|l| !l.starts_with("Pass ") && !l.contains(" files ("))
        .count();
    assert_eq!(remarks, 0, "{what}: e2fsck remarks:\n{text}");
}

fn judge(image: &Path, what: &str) -> Option<String> {
    let out = run("e2fsck", &["-fn".as_ref(), image.as_os_str()])?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{what}: e2fsck -fn: {}\n{text}{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    Some(text)
}
