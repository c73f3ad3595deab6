//! The power cut at every write, and the checker on every outcome that was not seen before.

use std::collections::{BTreeMap, HashSet};
use std::process::Command;

use anyhow::{Context, Result};
use e4::{Filesystem, OpenFlags};
use e4_format::FileType;
use e4_sim::explore::mount_options;
use e4_sim::{Bound, CrashImage};
use e4_sync::Arc;

use super::CrashlabArgs;
use super::history::History;

/// What came of it.
#[derive(Default)]
pub(super) struct Found {
    pub(super) cuts: u64,
    pub(super) states: u64,
    pub(super) outcomes: u64,
    /// In words, each outcome that the checker refused.
    pub(super) refused: Vec<String>,
}

/// Where the superblock lies, bytes.
const SUPERBLOCK: std::ops::Range<u64> = 1024..2048;

/// Paths below the root; directories without content.
type Files = BTreeMap<String, Option<Vec<u8>>>;

pub(super) fn judge(history: &History, checker: &[String], args: &CrashlabArgs) -> Result<Found> {
    let bound = Bound {
        exhaustive: 6,
        reorderings: args.reorderings,
        torn: 4,
        seed: args.seed,
    };
    let mut found = Found::default();
    let mut seen = HashSet::new();
    for point in history.log.crash_points() {
        found.cuts += 1;
        let said = history.said(point.position).join("\n");
        for image in history.log.states_at(point, bound) {
            found.states += 1;
            let what = image.describe();
            let torn = image.is_torn(&SUPERBLOCK);
            let files = match recover(image) {
                // Spans two sectors under one checksum and is written in place, by ext4 everywhere: needs e2fsck.
                Err(_) if torn => continue,
                other => other.with_context(|| format!("recovery from {what}"))?,
            };
            if !seen.insert((files.clone(), said.clone())) {
                continue;
            }
            found.outcomes += 1;
            if let Some(refusal) = ask(&files, &said, checker)? {
                let during = history.during(point.position).unwrap_or("before anything");
                let refusal = refusal.trim_end();
                found.refused.push(format!(
                    "power cut {during}: {refusal}\n{}",
                    list(&files, &said)
                ));
                if !args.all {
                    return Ok(found);
                }
            }
        }
    }
    Ok(found)
}

/// Mounts a state, which recovers it, and reads everything.
fn recover(image: CrashImage) -> Result<Files> {
    let fs = Filesystem::open(Arc::new(image), &mount_options())?;
    let mut files = Files::new();
    walk(&fs, "", &mut files)?;
    Ok(files)
}

fn walk(fs: &Filesystem, dir: &str, files: &mut Files) -> Result<()> {
    for entry in fs.read_dir(if dir.is_empty() { "/" } else { dir })? {
        let name = String::from_utf8_lossy(&entry.name).into_owned();
        if name == "." || name == ".." || dir.is_empty() && name == "lost+found" {
            continue;
        }
        let path = format!("{dir}/{name}");
        match fs.stat(&path)?.file_type {
            Some(FileType::Directory) => {
                files.insert(path.clone(), None);
                walk(fs, &path, files)?;
            }
            Some(FileType::Regular) => {
                let file = fs.open_file(&path, OpenFlags::read())?;
                let mut content = vec![0; usize::try_from(file.size())?];
                let n = file.read_at(0, &mut content)?;
                content.truncate(n);
                files.insert(path, Some(content));
            }
            _ => {}
        }
    }
    Ok(())
}

/// What the checker says if it refuses.
fn ask(files: &Files, said: &str, command: &[String]) -> Result<Option<String>> {
    let place = Scratch::new()?;
    for (path, content) in files {
        let path = place.0.join(path.trim_start_matches('/'));
        match content {
            None => std::fs::create_dir_all(&path),
            Some(bytes) => std::fs::write(&path, bytes),
        }
        .with_context(|| path.display().to_string())?;
    }
    let program = super::program_of(command)?;
    let out = Command::new(&program)
        .args(command.get(1..).unwrap_or_default())
        .current_dir(&place.0)
        .env("E4_CRASH_SAID", said)
        .output()
        .with_context(|| program.display().to_string())?;
    if out.status.success() {
        return Ok(None);
    }
    let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&out.stderr));
    Ok(Some(if text.trim().is_empty() {
        format!("the checker ends with {}", out.status)
    } else {
        text
    }))
}

/// A directory for one outcome; removed with it.
struct Scratch(std::path::PathBuf);

impl Scratch {
    fn new() -> Result<Scratch> {
        let name = format!("e4-crashlab-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Scratch(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Nothing can be done about a directory that stays.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// The files of an outcome, for people.
fn list(files: &Files, said: &str) -> String {
    let mut text = format!("  said: {:?}\n", said.lines().collect::<Vec<_>>());
    for (path, content) in files {
        let what = match content {
            None => "a directory".to_owned(),
            Some(bytes) => {
                let start = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]).into_owned();
                format!("{} bytes {start:?}", bytes.len())
            }
        };
        text.push_str(&format!("  {path}: {what}\n"));
    }
    text
}
