//! Opening images for the verbs: device, filesystem, and what to tell people about both.
//!
//! Decision: a verb that only reads opens the device read-only and leaves the image as it is. Only if
//! its journal has to be replayed first (the last user was killed) is it opened for writing, as a
//! read-only mount by the kernel does, and the user is told. Verbs that look at whole images ([`look`]) replay it
//! into memory instead: evidence stays as it is.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e4::{Filesystem, MountOptions};
use e4_device::{Device, OpenOptions, ScratchDevice};
use e4_format::Superblock;
use e4_sync::Arc;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::Ui;
use crate::size;

/// What a verb wants of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Only look.
    Read,
    /// Change it.
    Write,
}

/// Opens the image's device.
///
/// # Errors
/// Not there, locked by another process, or not a disk.
pub fn device(image: &Path, access: Access, ui: &Ui) -> Result<Arc<dyn Device>> {
    let options = OpenOptions {
        read_only: access == Access::Read,
        ..OpenOptions::default()
    };
    let device = e4_device::open(image, &options)?;
    describe(&*device, ui);
    Ok(device)
}

/// With `-v`: which backend, and why.
pub fn describe(device: &dyn Device, ui: &Ui) {
    let info = device.info();
    let direct = if info.direct { "O_DIRECT, " } else { "" };
    let mode = if info.read_only { "read-only, " } else { "" };
    ui.detail(&format!(
        "{}: {} bytes, {:?} backend ({direct}{mode}{} queues): {}",
        info.name,
        size::grouped(info.size),
        info.backend,
        info.queues,
        info.reason
    ));
}

/// Reads the superblock alone.
///
/// # Errors
/// Too short, or not an ext4 superblock.
pub fn superblock(device: &dyn Device) -> Result<Superblock> {
    let mut bytes = [0u8; 1024];
    device.read_at(1024, &mut bytes)?;
    Superblock::parse(&bytes).with_context(|| device.info().name.clone())
}

/// Opens the filesystem in an image.
///
/// # Errors
/// As [`device`], and every reason for which an image is refused.
pub fn mount(image: &Path, access: Access, ui: &Ui) -> Result<Filesystem> {
    let mut options = MountOptions::default();
    if access == Access::Write {
        return open_fs(device(image, Access::Write, ui)?, &options, ui);
    }
    options.read_only = true;
    let dev = device(image, Access::Read, ui)?;
    let dirty = superblock(&*dev).is_ok_and(|sb| sb.needs_recovery());
    if !dirty {
        return open_fs(dev, &options, ui);
    }
    drop(dev);
    match device(image, Access::Write, ui) {
        Ok(dev) => {
            ui.note(&format!(
                "{}: was not unmounted; replaying its journal first",
                image.display()
            ));
            open_fs(dev, &options, ui)
        }
        // Not ours to write: let the filesystem decide what it can show.
        Err(_) => open_fs(device(image, Access::Read, ui)?, &options, ui),
    }
}

/// Opens the filesystem in an image to look at it. The image is never written: if its journal has to be replayed,
/// that happens in memory.
///
/// # Errors
/// As [`mount`].
pub fn look(image: &Path, ui: &Ui) -> Result<Filesystem> {
    look_at(image, ui).map(|(fs, _)| fs)
}

/// As [`look`], with the device as the filesystem sees it, its journal replayed.
///
/// # Errors
/// As [`mount`].
pub fn look_at(image: &Path, ui: &Ui) -> Result<(Filesystem, Arc<dyn Device>)> {
    let mut dev = device(image, Access::Read, ui)?;
    if superblock(&*dev).is_ok_and(|sb| sb.needs_recovery()) {
        ui.note(&format!(
            "{}: was not unmounted; replaying its journal in memory",
            image.display()
        ));
        dev = Arc::new(ScratchDevice::new(dev));
    }
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    Ok((open_fs(dev.clone(), &options, ui)?, dev))
}

fn open_fs(device: Arc<dyn Device>, options: &MountOptions, ui: &Ui) -> Result<Filesystem> {
    let fs = Filesystem::open(device, options)?;
    if let Some(report) = fs.recovery() {
        ui.detail(&format!("recovery: {report:?}"));
    }
    Ok(fs)
}

/// What one command has open: each image once, however many of its files the command is about.
///
/// Decision: images that are changed are opened without timers and threads, so that what a command does is one
/// transaction as long as it fits one, and a crash leaves all of it or nothing.
pub struct Session<'u> {
    ui: &'u Ui,
    open: RefCell<Vec<Opened>>,
}

struct Opened {
    image: PathBuf,
    access: Access,
    fs: Filesystem,
}

impl<'u> Session<'u> {
    /// Runs a command, then closes what it opened: on return everything it did is durable. What was done before an error
    /// stays done.
    ///
    /// # Errors
    /// The command's, or of closing an image.
    pub fn run(ui: &'u Ui, command: impl FnOnce(&Self) -> Outcome) -> Outcome {
        let session = Self {
            ui,
            open: RefCell::default(),
        };
        let done = command(&session);
        let mut closed = Ok(());
        for Opened { image, fs, .. } in session.open.take() {
            let unmounted = fs.unmount().with_context(|| image.display().to_string());
            closed = closed.and(unmounted);
        }
        let status = done?;
        closed?;
        Ok(status)
    }

    /// For notes and progress.
    #[must_use]
    pub fn ui(&self) -> &'u Ui {
        self.ui
    }

    /// The filesystem in an image, opened if it is not.
    ///
    /// # Errors
    /// As [`mount`].
    pub fn fs(&self, image: &Path, access: Access) -> Result<Filesystem> {
        let name = image.canonicalize().unwrap_or_else(|_| image.to_owned());
        let mut open = self.open.borrow_mut();
        if let Some(at) = open.iter().position(|o| o.image == name) {
            if open[at].access == Access::Write || access == Access::Read {
                return Ok(open[at].fs.clone());
            }
            // Opened only to be looked at; the lock of a writer wants it alone.
            open.swap_remove(at).fs.unmount()?;
        }
        let fs = match access {
            Access::Read => mount(image, access, self.ui)?,
            Access::Write => {
                let options = MountOptions {
                    background: false,
                    commit_interval: None,
                    ..MountOptions::default()
                };
                open_fs(device(image, access, self.ui)?, &options, self.ui)?
            }
        };
        open.push(Opened {
            image: name,
            access,
            fs: fs.clone(),
        });
        Ok(fs)
    }

    /// Does something to each of the files.
    ///
    /// # Errors
    /// The first one, of the images or of `each`, which ends it.
    pub fn change(
        &self,
        locations: &[Location],
        mut each: impl FnMut(&Filesystem, &Location) -> Result<()>,
    ) -> Outcome {
        for location in locations {
            let fs = self.fs(&location.image, Access::Write)?;
            each(&fs, location).with_context(|| location.to_string())?;
        }
        Ok(Status::SUCCESS)
    }
}
