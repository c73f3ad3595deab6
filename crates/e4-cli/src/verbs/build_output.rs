//! The file an image is built in: nobody sees it under its name before it is complete.
//!
//! Decision: a file beside the target, renamed at the end and removed on failure, so that neither a failed build nor
//! a killed one leaves half an image where a whole one is expected, or destroys what was there.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use e4_device::{Device, DirectChoice, OpenOptions};
use e4_sync::Arc;

use crate::advice::Advise;

/// A file that becomes `target` with [`Output::publish`].
pub(super) struct Output {
    target: PathBuf,
    temporary: PathBuf,
    published: bool,
}

impl Output {
    /// Refuses a target that exists, unless `force`.
    pub(super) fn new(target: &Path, force: bool) -> Result<Self> {
        if let Ok(meta) = fs::symlink_metadata(target) {
            if !meta.is_file() {
                anyhow::bail!("{} is no regular file", target.display());
            }
            if !force {
                return Err(anyhow::anyhow!("{} exists already", target.display()))
                    .or_try(|| "Replace it with --force".into());
            }
        }
        let name = target
            .file_name()
            .with_context(|| format!("{} names no file", target.display()))?;
        let mut temporary = std::ffi::OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".e4-build-{}", std::process::id()));
        Ok(Self {
            target: target.to_owned(),
            temporary: target.with_file_name(temporary),
            published: false,
        })
    }

    /// Creates the file, all zeros.
    pub(super) fn create(&self, bytes: u64) -> Result<Arc<dyn Device>> {
        let options = OpenOptions {
            create: Some(bytes),
            // Whole images are copied on, mounted or uploaded next: let them stay in the page cache.
            direct: DirectChoice::Never,
            ..OpenOptions::default()
        };
        e4_device::open(&self.temporary, &options)
            .with_context(|| format!("creating {}", self.temporary.display()))
    }

    /// Where it is until it is published.
    pub(super) fn path(&self) -> &Path {
        &self.temporary
    }

    /// Puts another form of the image into its place.
    pub(super) fn convert(&self, form: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
        let mut path = self.temporary.clone().into_os_string();
        path.push(".converted");
        let path = PathBuf::from(path);
        let made = File::create(&path)
            .with_context(|| format!("creating {}", path.display()))
            .and_then(|mut file| {
                form(&mut file)?;
                Ok(file.sync_all()?)
            })
            .and_then(|()| Ok(fs::rename(&path, &self.temporary)?));
        if made.is_err() {
            let _ = fs::remove_file(&path);
        }
        made
    }

    /// Gives it its name.
    pub(super) fn publish(mut self) -> Result<()> {
        fs::rename(&self.temporary, &self.target)
            .with_context(|| format!("renaming to {}", self.target.display()))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.published {
            let _ = fs::remove_file(&self.temporary);
        }
    }
}
