//! Everything below a directory, without recursion: a tree may be deeper than the stack.

use std::ops::ControlFlow;

use anyhow::Result;
use e4::Node;
use e4_format::FileType;

/// The names in a directory but `.` and `..`.
fn names(dir: &Node) -> Result<Vec<Vec<u8>>> {
    let mut out = Vec::new();
    dir.read_dir_from(0, &mut |entry, _| {
        if entry.name != b"." && entry.name != b".." {
            out.push(entry.name.clone());
        }
        ControlFlow::Continue(())
    })?;
    Ok(out)
}

/// Gets a directory, a name in it, and what it stands for.
pub(super) type Visitor<'v> = &'v mut dyn FnMut(&Node, &[u8], &Node) -> Result<()>;

/// Calls `visit` with each thing below `top`, contents before the directory they are in, and with the directory and
/// name it has there.
pub(super) fn bottom_up(top: &Node, visit: Visitor<'_>) -> Result<()> {
    let mut path: Vec<(Node, Vec<u8>, Vec<Vec<u8>>)> = Vec::new();
    path.push((top.clone(), Vec::new(), names(top)?));
    while let Some((dir, _, left)) = path.last_mut() {
        if let Some(name) = left.pop() {
            let Some(node) = dir.lookup(&name)? else {
                continue;
            };
            if node.kind() == Some(FileType::Directory) {
                let below = names(&node)?;
                path.push((node, name, below));
            } else {
                let dir = dir.clone();
                visit(&dir, &name, &node)?;
            }
        } else if let Some((node, name, _)) = path.pop()
            && let Some((parent, _, _)) = path.last()
        {
            visit(parent, &name, &node)?;
        }
    }
    Ok(())
}
