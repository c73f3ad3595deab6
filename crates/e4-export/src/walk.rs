//! Every name below a directory, in path order, without recursion: a tree may be deeper than the stack.
//!
//! Memory: the names of the directories on the path to where the walk is, and one number per directory seen.

use core::ops::ControlFlow;
use std::collections::HashSet;

use e4::{Filesystem, Node, Stat};
use e4_format::{FileType, InodeNo};

use crate::error::{ExportError, at, show};

/// Where the walk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// At a directory, before what is in it.
    Enter,
    /// At anything else.
    Visit,
    /// At a directory, after what is in it.
    Leave,
}

/// Whether to look into a directory; without meaning for the other steps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Descend {
    /// Yes.
    Yes,
    /// No; it is not left either.
    No,
}

/// One name.
pub struct Item<'a> {
    /// Path below the top, without a slash in front; empty for the top itself.
    pub path: &'a [u8],
    /// The inode.
    pub node: &'a Node,
    /// What is known of it.
    pub stat: &'a Stat,
    /// Directories between it and the top; 0 for the top.
    pub depth: usize,
}

/// A name and its inode.
pub(crate) type Name = (Box<[u8]>, InodeNo);

/// The names in a directory but `.` and `..`, in order of their bytes, each with its inode.
pub(crate) fn names(dir: &Node, path: &[u8]) -> Result<Vec<Name>, ExportError> {
    let mut names: Vec<Name> = Vec::new();
    let bad = |name: &[u8], why| ExportError::Name {
        dir: show(path),
        name: show(name),
        why,
    };
    let mut wrong = None;
    dir.read_dir_from(0, &mut |entry, _| {
        match entry.name.as_slice() {
            b"." | b".." => {}
            b"" => wrong = Some(bad(b"", "is empty")),
            name if name.iter().any(|b| matches!(b, b'/' | 0)) => {
                wrong = Some(bad(name, "contains a slash or NUL"));
            }
            name => names.push((name.into(), entry.ino)),
        }
        match wrong {
            None => ControlFlow::Continue(()),
            Some(_) => ControlFlow::Break(()),
        }
    })
    .map_err(at(path))?;
    if let Some(wrong) = wrong {
        return Err(wrong);
    }
    names.sort_unstable();
    if let Some([(name, _), ..]) = names.windows(2).find(|w| matches!(w, [a, b] if a.0 == b.0)) {
        return Err(bad(name, "is there twice"));
    }
    Ok(names)
}

/// Directories met so far: each may be met once.
#[derive(Default)]
pub(crate) struct Seen(HashSet<u32>);

impl Seen {
    pub(crate) fn enter(&mut self, ino: InodeNo, path: &[u8]) -> Result<(), ExportError> {
        if self.0.insert(ino.get()) {
            return Ok(());
        }
        Err(ExportError::DirectoryTwice {
            path: show(path),
            ino: ino.get(),
        })
    }
}

struct Level {
    node: Node,
    stat: Stat,
    /// Length of its path.
    path: usize,
    /// What is left in it, the next one last.
    left: Vec<Name>,
}

/// Calls `visit` for `top` and everything below it; what `visit` returns says whether a directory is looked into.
///
/// # Errors
/// The image's, or the visitor's.
pub fn walk(
    fs: &Filesystem,
    top: &Node,
    visit: &mut dyn FnMut(Step, &Item<'_>) -> Result<Descend, ExportError>,
) -> Result<(), ExportError> {
    let mut path: Vec<u8> = Vec::new();
    let mut levels: Vec<Level> = Vec::new();
    let mut seen = Seen::default();
    let mut next = Some(top.clone());
    loop {
        if let Some(node) = next.take() {
            let stat = node.stat().map_err(at(&path))?;
            let directory = stat.file_type == Some(FileType::Directory);
            if directory {
                seen.enter(node.ino(), &path)?;
            }
            let step = if directory { Step::Enter } else { Step::Visit };
            let item = Item {
                path: &path,
                node: &node,
                stat: &stat,
                depth: levels.len(),
            };
            if visit(step, &item)? == Descend::Yes && directory {
                let mut left = names(&node, &path)?;
                left.reverse();
                levels.push(Level {
                    node,
                    stat,
                    path: path.len(),
                    left,
                });
            }
        }
        let Some(level) = levels.last_mut() else {
            return Ok(());
        };
        path.truncate(level.path);
        if let Some((name, ino)) = level.left.pop() {
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&name);
            next = Some(fs.node(ino).map_err(at(&path))?);
        } else if let Some(level) = levels.pop() {
            let item = Item {
                path: &path,
                node: &level.node,
                stat: &level.stat,
                depth: levels.len(),
            };
            visit(Step::Leave, &item)?;
        }
    }
}
