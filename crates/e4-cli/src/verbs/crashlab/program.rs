//! Somebody's own program, on a FUSE mount of the simulated disk.
//!
//! Decisions: each line the program prints is something a user has been told; it counts from the position the disk had
//! when the line arrived here, which is never before it was printed. The disk's log ends when the program does: what the
//! unmount would write belongs to no power cut.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use e4_device::Device;
use e4_fuse::{Mount, Options};
use e4_sim::SimDisk;
use e4_sim::explore::{Params, formatted};
use e4_sync::{Arc, thread};

use super::history::{Event, History};

/// Runs the program in a new filesystem.
pub(super) fn run(command: &[String], size: u64, seed: u64) -> Result<History> {
    let disk = formatted(&Params {
        size,
        ..Params::small(seed)
    });
    Mount::block_signals()?;
    let place = Place::new()?;
    let mount = Mount::over(
        Arc::clone(&disk) as Arc<dyn Device>,
        Path::new("e4-crashlab"),
        &place.0,
        &Options::default(),
    )
    .context("a program of its own needs FUSE; without it, describe what it does in a script")?;
    let server = thread::spawn(move || mount.serve());
    let told = listen(command, &place.0, &disk);
    let log = disk.log();
    place.unmount();
    match server.join() {
        Ok(served) => served.map(drop)?,
        Err(_) => bail!("the mount's server panicked"),
    }
    Ok(History { log, events: told? })
}

/// Runs it to its end and notes what it says, and when.
fn listen(command: &[String], dir: &Path, disk: &SimDisk) -> Result<Vec<Event>> {
    let program = super::program_of(command)?;
    let mut child = Command::new(&program)
        .args(command.get(1..).unwrap_or_default())
        .current_dir(dir)
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let position = || disk.clock().position();
    let mut events = Vec::new();
    let mut event = |what: String, said: Option<String>| {
        let (begin, end) = (position(), position());
        events.push(Event {
            what,
            said,
            begin,
            end,
        });
    };
    event("before the program said anything".to_owned(), None);
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.context("what the program prints")?;
            event(format!("after the program said {line:?}"), Some(line));
        }
    }
    let status = child.wait()?;
    if !status.success() {
        bail!("the program ends with {status}, before any power cut");
    }
    Ok(events)
}

/// A directory to mount at; goes with its owner.
struct Place(PathBuf);

impl Place {
    fn new() -> Result<Place> {
        let name = format!("e4-crashlab-mount-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Place(path))
    }

    /// What the program has left running keeps the mount busy; then it goes when that ends.
    fn unmount(&self) {
        use e4_fuse::UmountError;
        // There is no image behind it whose end could be waited for: the server's end is.
        if let Err(UmountError::Unmount { .. }) = e4_fuse::umount(&self.0, false) {
            // Nothing more can be done about a mount that stays.
            let _ = e4_fuse::umount(&self.0, true);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unmount();
        // Nothing can be done about a directory that stays.
        let _ = std::fs::remove_dir(&self.0);
    }
}
