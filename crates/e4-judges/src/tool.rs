//! Programs: found, run, their output.
//!
//! They run with `LC_ALL=C` and `TZ=UTC`, since tests read what they print, and with the directories of system programs
//! in `PATH`, which a plain user's shell lacks on Debian.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::{Command, Output};

use crate::skipped;

/// A program about to be run.
#[must_use]
pub fn tool(name: &str) -> Command {
    let mut command = Command::new(name);
    let path = std::env::var("PATH").unwrap_or_default();
    command
        .env("PATH", format!("{path}:/usr/sbin:/sbin"))
        .env("LC_ALL", "C")
        .env("TZ", "UTC");
    command
}

/// True if the program can be started; [`skipped`] otherwise.
#[must_use]
pub fn have(name: &str) -> bool {
    // The flag does not matter: a program that refuses it has been started as well.
    run(name, &["--version"]).is_some()
}

/// Runs a program to its end, whatever its verdict; `None`, [`skipped`], if it is not installed.
///
/// # Panics
/// If it is there and cannot be started.
pub fn run<A: AsRef<OsStr>>(name: &str, args: &[A]) -> Option<Output> {
    match tool(name).args(args).output() {
        Ok(out) => Some(out),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            skipped(name, "it is not installed");
            None
        }
        Err(error) => panic!("{name}: {error}"),
    }
}

/// Runs a program that must succeed; what it printed.
///
/// # Panics
/// With its output, if it fails or is not there.
pub fn must_run<A: AsRef<OsStr>>(name: &str, args: &[A]) -> String {
    output(tool(name).args(args))
}

/// As [`must_run`], for a command that is more than arguments.
///
/// # Panics
/// As [`must_run`].
pub fn output(command: &mut Command) -> String {
    let out = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&out.stdout).into_owned();
    assert!(
        out.status.success(),
        "{command:?}: {}\n{text}{}",
        out.status,
        String::from_utf8_lossy(&out.stderr)
    );
    text
}

/// True if this process may mount.
#[must_use]
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
