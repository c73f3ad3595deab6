//! External tools: run, or missing and said so.

use std::path::Path;

#[allow(unused_imports)] // each test binary uses its own part
pub use e4_judges::{LoopMount, output as run, tool};

/// True if the tools are there.
pub fn have(tools: &[&str]) -> bool {
    tools.iter().all(|tool| e4_judges::have(tool))
}

/// `e2fsck -fn`, which must find nothing.
pub fn fsck_clean(image: &Path) {
    e4_judges::fsck(image, "this image");
}
