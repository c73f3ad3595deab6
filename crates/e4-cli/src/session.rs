//! Opening images for the verbs: device, filesystem, and what to tell people about both.
//!
//! Decision: a verb that only reads opens the device read-only and leaves the image as it is. Only if
//! its journal has to be replayed first (the last user was killed) is it opened for writing, as a
//! read-only mount by the kernel does, and the user is told. Verbs that look at whole images ([`look`]) replay it
//! into memory instead: evidence stays as it is.

use std::path::Path;

use anyhow::{Context, Result};
use e4::{Filesystem, MountOptions};
use e4_device::{Device, OpenOptions, ScratchDevice};
use e4_format::Superblock;
use e4_sync::Arc;

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
        return open(device(image, Access::Write, ui)?, &options, ui);
    }
    options.read_only = true;
    let dev = device(image, Access::Read, ui)?;
    let dirty = superblock(&*dev).is_ok_and(|sb| sb.needs_recovery());
    if !dirty {
        return open(dev, &options, ui);
    }
    drop(dev);
    match device(image, Access::Write, ui) {
        Ok(dev) => {
            ui.note(&format!(
                "{}: was not unmounted; replaying its journal first",
                image.display()
            ));
            open(dev, &options, ui)
        }
        // Not ours to write: let the filesystem decide what it can show.
        Err(_) => open(device(image, Access::Read, ui)?, &options, ui),
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
    Ok((open(dev.clone(), &options, ui)?, dev))
}

fn open(device: Arc<dyn Device>, options: &MountOptions, ui: &Ui) -> Result<Filesystem> {
    let fs = Filesystem::open(device, options)?;
    if let Some(report) = fs.recovery() {
        ui.detail(&format!("recovery: {report:?}"));
    }
    Ok(fs)
}

/// Changes files: opens each image once, for all the locations in it that follow each other. What was done before
/// an error stays done.
///
/// # Errors
/// The first one, of the images or of `each`.
pub fn change(
    locations: &[crate::location::Location],
    ui: &Ui,
    mut each: impl FnMut(&Filesystem, &crate::location::Location) -> Result<()>,
) -> Result<()> {
    for group in locations.chunk_by(|a, b| a.image == b.image) {
        let Some(first) = group.first() else { continue };
        let fs = mount(&first.image, Access::Write, ui)?;
        let done = group
            .iter()
            .try_for_each(|location| each(&fs, location).with_context(|| location.to_string()));
        fs.unmount()?;
        done?;
    }
    Ok(())
}
