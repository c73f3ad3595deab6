//! The states before e2fsck: once as the power cut left them (it must be able to recover them with no question
//! to answer), once as our recovery left them (nothing to complain about).

use super::verdict::{Findings, Kind};
use crate::CrashImage;
use std::path::PathBuf;
use std::process::Command;

/// Asks e2fsck, if it is there.
pub struct Fsck {
    skipped: Option<String>,
}

impl Default for Fsck {
    fn default() -> Self {
        Self::new()
    }
}

/// A state in a file; removed with it.
pub(super) struct Saved {
    path: PathBuf,
}

impl Drop for Saved {
    fn drop(&mut self) {
        // Nothing can be done about a file that stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Writes a state into a temporary file.
pub(super) fn saved(image: &CrashImage) -> std::io::Result<Saved> {
    use e4_sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("e4-explore-{}-{n}.img", std::process::id());
    let saved = Saved {
        path: std::env::temp_dir().join(name),
    };
    image.save(&saved.path)?;
    Ok(saved)
}

impl Fsck {
    /// Looks for e2fsck.
    ///
    /// # Panics
    /// If it is missing and `E4_REQUIRE_ORACLES` is set.
    #[must_use]
    pub fn new() -> Fsck {
        let skipped = Command::new("e2fsck")
            .arg("-V")
            .output()
            .err()
            .map(|e| e.to_string());
        if let Some(why) = &skipped {
            assert!(
                std::env::var_os("E4_REQUIRE_ORACLES").is_none(),
                "e2fsck is required and did not run: {why}"
            );
            eprintln!("SKIPPED: e2fsck: {why}");
        }
        Fsck { skipped }
    }

    /// Why it does not run.
    #[must_use]
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Judges a state before and after our recovery; returns how many states it has seen.
    pub(super) fn judge(
        &mut self,
        unrecovered: std::io::Result<Saved>,
        recovered: &CrashImage,
        found: &mut Findings,
    ) -> u64 {
        if self.skipped.is_some() {
            return 0;
        }
        let (before, after) = match (unrecovered, saved(recovered)) {
            (Ok(before), Ok(after)) => (before, after),
            (Err(error), _) | (_, Err(error)) => {
                self.skipped = Some(format!("a state could not be written to a file: {error}"));
                return 0;
            }
        };
        ask(&after, "-fn", "after our recovery", found);
        ask(&before, "-fy", "as the power cut left it", found);
        ask(&before, "-fn", "after the recovery of e2fsck", found);
        1
    }
}

fn ask(image: &Saved, option: &str, what: &str, found: &mut Findings) {
    match Command::new("e2fsck").arg(option).arg(&image.path).output() {
        Ok(out) => {
            let text = String::from_utf8_lossy(&out.stdout);
            // Replaying the log changes the image (1).
            let most = if option == "-fn" { 0 } else { 1 };
            let fine = out.status.code().is_some_and(|code| code <= most);
            if !fine || asks_for_more(&text) {
                found.add(Kind::Structural, || {
                    format!("e2fsck {option} {what}: {text}")
                });
            }
        }
        Err(error) => found.add(Kind::Structural, || format!("e2fsck: {error}")),
    }
}

/// Whether there was any question but those that e2fsck also asks after a crash of the kernel's ext4: for the totals in
/// the superblock, which are brought up to date only by an unmount, and for `orphan_present`, which is set while the
/// filesystem is mounted, whether there are orphans or not.
fn asks_for_more(text: &str) -> bool {
    let usual = [
        "Free blocks count wrong (",
        "Free inodes count wrong (",
        "Feature orphan_present is set but orphan file is clean.",
    ];
    let mut about = "";
    for line in text.lines().filter(|line| !line.is_empty()) {
        let asked = line.contains("? yes") || line.contains("? no");
        if asked && !usual.iter().any(|t| about.starts_with(t)) {
            return true;
        }
        about = line;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::asks_for_more;

    #[test]
    fn only_totals_may_be_asked_for() {
        let totals = "Pass 5\nFree blocks count wrong (7, counted=6).\nFix? yes\n\n";
        assert!(!asks_for_more(totals));
        let group = "Free blocks count wrong for group #0 (7, counted=6).\nFix? yes\n";
        assert!(asks_for_more(group));
        assert!(asks_for_more("Block bitmap differences:  +70\nFix? no\n"));
    }
}
