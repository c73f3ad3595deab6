//! The committed corpus: inputs to begin with, one per class of corruption, and those that once found a bug.
//!
//! Decision: an input for whole images is a [script](crate::script) of a few bytes over an image that e4 makes when it is
//! needed, so hundreds of hostile images cost a few kilobytes. Inputs of parsers are the pieces of the
//! seed images themselves, made on the fly; only regressions are files.

use std::io::Result;
use std::path::{Path, PathBuf};

use crate::layout::Class;
use crate::random::Random;
use crate::seeds;
use crate::target::Target;

/// Where the regressions lie: `corpus/<target>/<what>`.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// Everything there is for a target: what can be made, then the files of the corpus, in order of their names.
///
/// # Errors
/// The corpus cannot be read.
pub fn of(target: &Target) -> Result<Vec<Vec<u8>>> {
    let mut inputs = made(target);
    let dir = directory().join(target.name);
    if dir.is_dir() {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir)?
            .map(|e| Ok(e?.path()))
            .collect::<Result<_>>()?;
        paths.sort();
        for path in paths {
            inputs.push(std::fs::read(path)?);
        }
    }
    Ok(inputs)
}

/// The inputs that need no file.
#[must_use]
pub fn made(target: &Target) -> Vec<Vec<u8>> {
    if target.is_script {
        return scripts();
    }
    let classes: &[Class] = match target.name {
        "superblock" => &[Class::Superblock],
        "group_desc" => &[Class::Descriptor],
        "inode" => &[Class::Inode],
        "extent_node" => &[Class::ExtentNode],
        "dir_block" => &[Class::Directory],
        "htree" => &[Class::HtreeRoot, Class::HtreeNode],
        "xattr" => &[Class::Xattr],
        "orphan_block" => &[Class::Orphan],
        "jbd2_superblock" => &[Class::JournalSuperblock],
        "jbd2_descriptor" => &[Class::JournalDescriptor],
        "jbd2_revoke" => &[Class::JournalRevoke],
        "jbd2_commit" => &[Class::JournalCommit],
        "recovery" => return logs(),
        _ => &[Class::Superblock, Class::Inode, Class::Directory],
    };
    // Parsers of raw blocks read flags from the first byte; these two have none.
    let flags = !matches!(target.name, "superblock" | "jbd2_superblock");
    let mut inputs = vec![Vec::new()];
    for seed in seeds::all() {
        for class in classes {
            for piece in seed.layout.of_class(*class).iter().take(4) {
                let bytes = seed
                    .image
                    .get(piece.at..piece.at + piece.len)
                    .unwrap_or_default();
                let mut input = if flags { vec![0] } else { Vec::new() };
                input.extend(bytes.iter().take(target.max_len - input.len()));
                inputs.push(input);
            }
        }
    }
    inputs
}

/// The beginning of every log.
fn logs() -> Vec<Vec<u8>> {
    let one = |seed: &seeds::Seed| {
        let journal = seed.layout.of_class(Class::JournalSuperblock).first()?;
        let log = seed.image.get(journal.at + journal.len..)?;
        let mut input = vec![0];
        input.extend(log.iter().take(12 << 10));
        Some(input)
    };
    let patches = vec![vec![1, 0x1C, 0, 0, 0, 0, 1]];
    seeds::all().iter().filter_map(one).chain(patches).collect()
}

/// Every seed image as it is, and three kinds of damage to every class of piece in it.
fn scripts() -> Vec<Vec<u8>> {
    let mut random = Random::new(5);
    let mut scripts = Vec::new();
    for (n, seed) in seeds::all().iter().enumerate() {
        let first = n.to_le_bytes()[0];
        scripts.push(vec![first]);
        for (class, of) in Class::ALL.iter().enumerate() {
            if seed.layout.of_class(*of).is_empty() {
                continue;
            }
            for _ in 0..3 {
                let noise = random.bits().to_le_bytes();
                let [which, p0, a, b, c, how, ..] = noise;
                scripts.push(vec![
                    first,
                    class.to_le_bytes()[0],
                    which,
                    p0 & 0x7F,
                    0,
                    how,
                    a,
                    b,
                    c,
                ]);
            }
        }
    }
    scripts
}
