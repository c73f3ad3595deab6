//! Where things go: a directory of the host or of an image, and what it can be asked to make.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use anyhow::{Result, bail};
use e4::Node;
use e4_format::FileType;
use indicatif::ProgressBar;

use super::{How, Meta, Thing, host, image};
use crate::output;

/// A directory.
#[derive(Clone)]
pub enum Place {
    /// Of the host.
    Host(PathBuf),
    /// Of an image.
    Image {
        /// The directory.
        dir: Node,
        /// For messages.
        path: String,
    },
}

/// What was made, to give it one more name.
#[derive(Clone)]
pub enum Made {
    /// Of the host.
    Host(PathBuf),
    /// Of an image.
    Image(Node),
}

/// What a copy needs to know besides what and where.
pub struct Task<'a> {
    /// What is copied.
    pub thing: &'a Thing,
    /// What is known about it.
    pub meta: &'a Meta,
    /// How.
    pub how: &'a How,
    /// Named by the user, so that a symbolic link in its place is followed.
    pub top: bool,
    /// Hears of bytes.
    pub bar: &'a ProgressBar,
}

impl Place {
    /// The name in it, for messages.
    #[must_use]
    pub fn name_of(&self, name: &[u8]) -> String {
        match self {
            Self::Host(path) => path.join(OsStr::from_bytes(name)).display().to_string(),
            Self::Image { path, .. } => {
                format!("{}/{}", path.trim_end_matches('/'), output::name(name))
            }
        }
    }

    /// What has the name; a symbolic link is one.
    ///
    /// # Errors
    /// The host's or the image's.
    pub fn existing(&self, name: &[u8]) -> Result<Option<FileType>> {
        match self {
            Self::Host(path) => host::existing(&path.join(OsStr::from_bytes(name))),
            Self::Image { dir, .. } => Ok(dir
                .lookup(name)?
                .map(|node| node.kind().unwrap_or(FileType::Regular))),
        }
    }

    /// The directory of this name, made if there is none.
    ///
    /// # Errors
    /// Something else has the name; the host's or the image's.
    pub fn directory(&self, name: &[u8], task: &Task<'_>) -> Result<(Self, bool)> {
        let existing = self.existing(name)?;
        let is_dir = existing == Some(FileType::Directory);
        if existing.is_some() && !is_dir {
            bail!(
                "{}: is in the way of a directory of this name",
                self.name_of(name)
            );
        }
        let entered = match self {
            Self::Host(path) => {
                let path = path.join(OsStr::from_bytes(name));
                if !is_dir {
                    host::mkdir(&path)?;
                }
                Self::Host(path)
            }
            Self::Image { dir, .. } => Self::Image {
                dir: image::directory(dir, name, task)?,
                path: self.name_of(name),
            },
        };
        Ok((entered, !is_dir))
    }

    /// Makes a file, link or special file, in the place of what has the name.
    ///
    /// # Errors
    /// A directory has the name; the host's or the image's.
    pub fn make(&self, name: &[u8], task: &Task<'_>) -> Result<Made> {
        match self {
            Self::Host(path) => {
                let path = path.join(OsStr::from_bytes(name));
                host::make(&path, task)?;
                Ok(Made::Host(path))
            }
            Self::Image { dir, .. } => image::make(dir, name, task).map(Made::Image),
        }
    }

    /// Gives what was made one more name, in the place of what has the name.
    ///
    /// # Errors
    /// A directory has the name; the host's or the image's.
    pub fn link(&self, name: &[u8], made: &Made) -> Result<()> {
        match (self, made) {
            (Self::Host(path), Made::Host(other)) => {
                host::link(other, &path.join(OsStr::from_bytes(name)))
            }
            (Self::Image { dir, .. }, Made::Image(node)) => Ok(dir.link_over(name, node, None)?),
            _ => bail!("a link from one place to another"),
        }
    }

    /// Gives a directory, which has its contents now, what is kept of the original. Returns what could not be kept.
    ///
    /// # Errors
    /// The host's or the image's.
    pub fn finish(&self, task: &Task<'_>) -> Result<()> {
        match self {
            Self::Host(path) => host::attributes(path, task),
            Self::Image { dir, .. } => image::attributes(dir, task),
        }
    }
}
