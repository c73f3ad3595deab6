//! Running e2fsprogs.

use std::path::Path;

pub(crate) use e4_judges::run;

/// Runs a tool that must succeed and returns what it printed.
pub(crate) fn text(tool: &str, args: &[&str]) -> Option<String> {
    let out = run(tool, args)?;
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.success(),
        "{tool} {args:?}: {}\n{stderr}",
        out.status
    );
    Some(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Runs debugfs commands, one per line, on an image that may be written.
pub(crate) fn debugfs_write(image: &Path, commands: &str) -> Option<String> {
    let script = image.with_extension("cmd");
    std::fs::write(&script, commands).unwrap();
    let (script, image) = (script.to_str().unwrap(), image.to_str().unwrap());
    text("debugfs", &["-w", "-f", script, image])
}

/// Runs one debugfs command.
pub(crate) fn debugfs(image: &Path, command: &str) -> Option<String> {
    text("debugfs", &["-R", command, image.to_str().unwrap()])
}

/// Runs `e2fsck` with these flags; 0 and 1 (corrected) are success.
pub(crate) fn e2fsck(image: &Path, flags: &str) -> Option<String> {
    let out = run("e2fsck", &[flags, image.to_str().unwrap()])?;
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    let code = out.status.code();
    assert!(
        code == Some(0) || code == Some(1),
        "e2fsck {flags}: {code:?}\n{text}"
    );
    Some(text)
}
