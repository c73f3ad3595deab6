//! Walks what is copied and fills where it goes, without recursion: a tree may be deeper than the stack.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use e4_format::FileType;
use indicatif::ProgressBar;
use serde::Serialize;

use super::place::{Made, Task};
use super::{How, Meta, Place, Thing};
use crate::output::Ui;

/// What has been copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counts {
    /// Regular files.
    pub files: u64,
    /// Directories that were made.
    pub directories: u64,
    /// Symbolic links, devices, fifos, sockets.
    pub others: u64,
    /// Names that became one more link of a file.
    pub links: u64,
    /// Bytes of regular files.
    pub bytes: u64,
    /// Left alone, because they exist.
    pub left_alone: u64,
}

/// Copies things, and remembers which were hard links of each other.
pub struct Copier<'a> {
    how: &'a How,
    ui: &'a Ui,
    seen: HashMap<(u64, u64), Made>,
    counts: Counts,
}

/// A directory under way.
struct Level {
    thing: Thing,
    meta: Meta,
    place: Place,
    /// Sorted descending.
    left: Vec<Vec<u8>>,
    made: bool,
}

impl<'a> Copier<'a> {
    /// A copier that has copied nothing.
    #[must_use]
    pub fn new(how: &'a How, ui: &'a Ui) -> Self {
        Self {
            how,
            ui,
            seen: HashMap::new(),
            counts: Counts::default(),
        }
    }

    /// What has been copied so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Copies a thing, and what is in it, to a name in a place.
    ///
    /// # Errors
    /// The first one; what was copied before stays.
    pub fn copy(&mut self, thing: &Thing, place: &Place, name: &[u8]) -> Result<()> {
        let meta = thing.meta(!self.how.recursive)?;
        let first = self.one(thing, meta, place, name, true)?;
        self.walk(first)
    }

    /// Copies what is in a directory into another one, which gets what is kept of the first.
    ///
    /// # Errors
    /// As [`Self::copy`].
    pub fn copy_contents(&mut self, thing: &Thing, place: &Place) -> Result<()> {
        let mut left = thing.names()?;
        left.reverse();
        let level = Level {
            thing: thing.clone(),
            meta: thing.meta(true)?,
            place: place.clone(),
            left,
            made: false,
        };
        self.walk(Some(level))
    }

    /// Names of what comes next are no links of what has been: it is of another image.
    pub fn forget_links(&mut self) {
        self.seen.clear();
    }

    fn walk(&mut self, first: Option<Level>) -> Result<()> {
        let mut levels: Vec<Level> = first.into_iter().collect();
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.left.pop() {
                let child = level.thing.child(&name)?;
                let meta = child.meta(false)?;
                let place = level.place.clone();
                levels.extend(self.one(&child, meta, &place, &name, false)?);
            } else if let Some(done) = levels.pop()
                // As cp does: what is kept is kept in directories that exist as well.
                && (done.made || self.how.keep.mode)
            {
                let bar = ProgressBar::hidden();
                done.place.finish(&Task {
                    thing: &done.thing,
                    meta: &done.meta,
                    how: self.how,
                    top: levels.is_empty(),
                    bar: &bar,
                })?;
            }
        }
        Ok(())
    }

    /// Copies one thing; a directory is entered instead.
    fn one(
        &mut self,
        thing: &Thing,
        meta: Meta,
        place: &Place,
        name: &[u8],
        top: bool,
    ) -> Result<Option<Level>> {
        let shown = || place.name_of(name);
        let bar = self.ui.bytes_bar(&thing.name(), meta.size);
        let task = Task {
            thing,
            meta: &meta,
            how: self.how,
            top,
            bar: &bar,
        };
        if meta.kind == FileType::Directory {
            if !self.how.recursive {
                bail!(
                    "{}: is a directory; -r copies it with what is in it",
                    thing.name()
                );
            }
            let (inside, made) = place.directory(name, &task).with_context(shown)?;
            self.counts.directories += u64::from(made);
            let mut left = thing.names()?;
            left.reverse();
            return Ok(Some(Level {
                thing: thing.clone(),
                meta,
                place: inside,
                left,
                made,
            }));
        }
        if self.how.if_absent && place.existing(name).with_context(shown)?.is_some() {
            self.counts.left_alone += 1;
            return Ok(None);
        }
        let several = self.how.keep.links && meta.links > 1;
        if several && let Some(made) = self.seen.get(&meta.id) {
            place.link(name, made).with_context(shown)?;
            self.counts.links += 1;
            return Ok(None);
        }
        let made = place.make(name, &task).with_context(shown)?;
        bar.finish_and_clear();
        if several {
            self.seen.insert(meta.id, made);
        }
        if meta.kind == FileType::Regular {
            self.counts.files += 1;
            self.counts.bytes += meta.size;
        } else {
            self.counts.others += 1;
        }
        Ok(None)
    }
}
