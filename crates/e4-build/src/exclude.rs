//! Which paths are left out.
//!
//! Decision: as in .gitignore and tar's habits: a pattern with a slash in the middle or in front is matched from
//! the root, any other at every depth; what is below an excluded directory is never looked at.

use crate::error::BuildError;
use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// The patterns, compiled.
#[derive(Clone, Debug)]
pub(crate) struct Exclude {
    set: GlobSet,
}

impl Exclude {
    pub(crate) fn new(patterns: &[String]) -> Result<Self, BuildError> {
        let bad = |pattern: &str, why: &globset::Error| BuildError::Pattern {
            pattern: pattern.to_owned(),
            why: why.kind().to_string(),
        };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            set.add(compile(pattern).map_err(|e| bad(pattern, &e))?);
        }
        let set = set.build().map_err(|e| bad("", &e))?;
        Ok(Self { set })
    }

    /// True for a path from the root, without a slash in front.
    pub(crate) fn matches(&self, path: &[u8]) -> bool {
        !self.set.is_empty() && self.set.is_match(OsStr::from_bytes(path))
    }

    /// True if the path, or a directory above it, matches.
    pub(crate) fn covers(&self, parts: &[&[u8]]) -> bool {
        !self.set.is_empty()
            && (1..=parts.len()).any(|n| {
                let path = parts.get(..n).unwrap_or_default().join(&b'/');
                self.matches(&path)
            })
    }
}

fn compile(pattern: &str) -> Result<Glob, globset::Error> {
    let trimmed = pattern.trim_end_matches('/');
    let from_root = trimmed.contains('/');
    let body = trimmed.trim_start_matches("./").trim_start_matches('/');
    let glob = if from_root {
        body.to_owned()
    } else {
        format!("**/{body}")
    };
    GlobBuilder::new(&glob).literal_separator(true).build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchored_and_floating() {
        let list = ["*.pyc", "var/cache/*", "/tmp", "__pycache__/"].map(String::from);
        let exclude = Exclude::new(&list).unwrap();
        for (path, expect) in [
            ("a.pyc", true),
            ("x/y/a.pyc", true),
            ("var/cache/x", true),
            ("srv/var/cache/x", false),
            ("tmp", true),
            ("var/tmp", false),
            ("a/__pycache__", true),
        ] {
            assert_eq!(exclude.matches(path.as_bytes()), expect, "{path}");
        }
        assert!(exclude.covers(&[b"tmp", b"deep", b"file"]));
        assert!(Exclude::new(&["[".to_owned()]).is_err());
    }
}
