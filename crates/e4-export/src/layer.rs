//! A difference as an OCI layer: an archive that, applied to the first tree, makes it the second.
//!
//! Decisions:
//! - Every directory on the way to a change is a member too, so that its owner, mode and time are right whatever unpacking did.
//! - What was removed is a whiteout `.wh.NAME`; a directory of whose names none is left is opaque instead, if several went.
//!   What became something else needs none: a member replaces what is not a directory, or is to be none.
//! - A file with several names is in the layer with all of them as soon as one of them changed.

use std::collections::BTreeSet;
use std::io::Write;

use e4::{Filesystem, Node};
use e4_format::{FileType, Timestamp};

use crate::archive::{Member, MemberKind};
use crate::diff::{ChangeKind, Difference, order};
use crate::error::{ExportError, at, show};
use crate::facts::Facts;
use crate::tar::Writer;
use crate::{Meter, Report, Watch};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Writes the layer that turns the first tree of `difference` into the second, `top` of `fs`. What was ignored in the
/// comparison is not in it.
///
/// # Errors
/// The image's, the output's, [`ExportError::Whiteout`], or [`ExportError::Cancelled`].
pub fn write_layer(
    difference: &Difference,
    (fs, top): (&Filesystem, &Node),
    out: impl Write,
    watch: Watch<'_>,
) -> Result<Report, ExportError> {
    let mut layer = Layer {
        top,
        writer: Writer::new(out),
        written: BTreeSet::new(),
        meter: Meter::new(watch),
        report: Report::default(),
    };
    let removals = removals(difference);
    let mut removals = removals.iter().peekable();
    for change in &difference.changes {
        let facts = match &change.kind {
            ChangeKind::Added(facts) | ChangeKind::Changed { to: facts, .. } => facts,
            ChangeKind::Removed(_) => continue,
        };
        while let Some(path) = removals.next_if(|r| order(r, &change.path).is_lt()) {
            layer.whiteout(path)?;
        }
        layer.parents(&change.path)?;
        let node = fs.node(facts.ino).map_err(at(&change.path))?;
        layer.put(&change.path, &node, facts)?;
    }
    for path in removals {
        layer.whiteout(path)?;
    }
    layer.writer.archive.finish().map_err(ExportError::Output)?;
    Ok(layer.report)
}

/// Paths of the whiteouts, in order.
fn removals(difference: &Difference) -> Vec<Vec<u8>> {
    let gone =
        |change: &&crate::Change| matches!(change.kind, ChangeKind::Removed(_)) && !change.follows;
    let mut several: BTreeSet<&[u8]> = BTreeSet::new();
    let mut one: BTreeSet<&[u8]> = BTreeSet::new();
    for change in difference.changes.iter().filter(gone) {
        let dir = split(&change.path).0;
        if difference.emptied.contains(dir) && !one.insert(dir) {
            several.insert(dir);
        }
    }
    let mut paths: Vec<Vec<u8>> = several.iter().map(|dir| join(dir, OPAQUE)).collect();
    for change in difference.changes.iter().filter(gone) {
        let (dir, name) = split(&change.path);
        if !several.contains(dir) {
            paths.push(join(dir, &[WHITEOUT, name].concat()));
        }
    }
    paths.sort_by(|a, b| order(a, b));
    paths
}

/// The directory of a path, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|b| *b == b'/') {
        Some(slash) => (
            path.get(..slash).unwrap_or_default(),
            path.get(slash + 1..).unwrap_or_default(),
        ),
        None => (b"", path),
    }
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}

struct Layer<'a, W: Write> {
    top: &'a Node,
    writer: Writer<W>,
    /// Directories that are members already.
    written: BTreeSet<Vec<u8>>,
    meter: Meter<'a>,
    report: Report,
}

impl<W: Write> Layer<'_, W> {
    fn put(&mut self, path: &[u8], node: &Node, facts: &Facts) -> Result<(), ExportError> {
        self.meter.name()?;
        if split(path).1.starts_with(WHITEOUT) {
            return Err(ExportError::Whiteout { path: show(path) });
        }
        if facts.file_type == FileType::Directory && !self.written.insert(path.to_vec()) {
            return Ok(());
        }
        self.writer
            .put(path, node, facts, &mut self.meter, &mut self.report)
    }

    /// Writes the directories above `path`, as the second tree has them.
    fn parents(&mut self, path: &[u8]) -> Result<(), ExportError> {
        if path.is_empty() || self.written.contains(split(path).0) {
            return Ok(());
        }
        let mut node = self.top.clone();
        let mut so_far: Vec<u8> = Vec::new();
        for part in path.split(|b| *b == b'/') {
            let facts = Facts::of(&so_far, &node.stat().map_err(at(&so_far))?)?;
            self.put(&so_far, &node, &facts)?;
            so_far = join(&so_far, part);
            if so_far.len() < path.len() {
                let found = node.lookup(part).map_err(at(&so_far))?;
                node = match found {
                    Some(node) => node,
                    None => return Ok(()),
                };
            }
        }
        Ok(())
    }

    fn whiteout(&mut self, path: &[u8]) -> Result<(), ExportError> {
        self.parents(path)?;
        let member = Member {
            path,
            kind: MemberKind::File { size: 0, data: &[] },
            mode: 0o600,
            uid: 0,
            gid: 0,
            mtime: Timestamp { sec: 0, nsec: 0 },
            xattrs: &[],
        };
        self.report.names += 1;
        self.writer
            .archive
            .member(&member)
            .map_err(ExportError::Output)
    }
}
