//! Running the oracles: image files in RAM where possible, external programs, loud skips.
#![allow(dead_code, unused_imports)] // each test binary uses its own part

use std::path::Path;
use std::process::Output;

pub(crate) use e4_judges::{fsck_silent, have, scratch, skipped, sparse_file};

/// Runs a program on an image to its end; a sector size that does not depend on the machine.
pub(crate) fn run(program: &str, args: &[&str], image: &Path) -> Output {
    e4_judges::tool(program)
        .args(args)
        .arg(image)
        .env("MKE2FS_DEVICE_SECTSIZE", "512")
        .output()
        .unwrap_or_else(|e| panic!("{program}: {e}"))
}
