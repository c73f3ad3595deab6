//! `IMAGE:/PATH`: a file inside an image, as scp writes a file on a host.
//!
//! Decision: the image ends at the first `:/` whose left side is an existing file, else at the first
//! `:/` at all. So an image in a directory called `a:` and a path with `:/` in it both work.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A path inside an image.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Location {
    /// The image file.
    pub image: PathBuf,
    /// The path inside, beginning with `/`.
    pub path: String,
}

/// Why an argument is not `IMAGE:/PATH`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LocationError {
    /// There is no `:`.
    NoColon(String),
    /// Nothing before the `:`.
    NoImage,
    /// The path does not begin with `/`.
    Relative {
        /// What stands before the colon.
        image: String,
        /// What stands behind it.
        path: String,
    },
}

impl fmt::Display for LocationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoColon(text) => write!(
                f,
                "write a file inside an image as IMAGE:/PATH; did you mean {text}:/ ?"
            ),
            Self::NoImage => f.write_str("the image's name is missing before the colon"),
            Self::Relative { image, path } => write!(
                f,
                "paths inside an image begin with /; did you mean {image}:/{path} ?"
            ),
        }
    }
}

impl std::error::Error for LocationError {}

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, LocationError> {
        let at = |colon: usize| Self {
            image: PathBuf::from(&text[..colon]),
            path: text[colon + 1..].to_owned(),
        };
        let mut candidates = text.match_indices(":/").map(|(colon, _)| colon);
        let first = candidates.next();
        let existing = first
            .into_iter()
            .chain(candidates)
            .find(|&colon| Path::new(&text[..colon]).is_file());
        if let Some(colon) = existing.or(first) {
            if colon == 0 {
                return Err(LocationError::NoImage);
            }
            return Ok(at(colon));
        }
        match text.split_once(':') {
            None => Err(LocationError::NoColon(text.to_owned())),
            Some(("", _)) => Err(LocationError::NoImage),
            Some((image, "")) => Ok(Self {
                image: PathBuf::from(image),
                path: "/".to_owned(),
            }),
            Some((image, path)) => Err(LocationError::Relative {
                image: image.to_owned(),
                path: path.to_owned(),
            }),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.image.display(), self.path)
    }
}

impl Location {
    /// Like [`Location::from_str`], and a bare image means its root directory (for `ls`).
    ///
    /// # Errors
    /// As [`Location::from_str`].
    pub fn parse_or_root(text: &str) -> Result<Self, LocationError> {
        match text.parse() {
            Err(LocationError::NoColon(image)) => Ok(Self {
                image: PathBuf::from(image),
                path: "/".to_owned(),
            }),
            other => other,
        }
    }

    /// The path's last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &str {
        self.path
            .trim_end_matches('/')
            .rsplit('/')
            .next()
            .unwrap_or("")
    }

    /// The directory that holds the last component.
    #[must_use]
    pub fn parent(&self) -> &str {
        let trimmed = self.path.trim_end_matches('/');
        match trimmed.rfind('/') {
            None | Some(0) => "/",
            Some(slash) => &trimmed[..slash],
        }
    }

    /// The location of `name` in this directory.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Self {
            image: self.image.clone(),
            path: format!("{}/{name}", self.path.trim_end_matches('/')),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String) {
        let location: Location = text.parse().expect(text);
        (location.image.display().to_string(), location.path)
    }

    #[test]
    fn like_scp() {
        assert_eq!(parsed("disk.img:/f"), ("disk.img".into(), "/f".into()));
        assert_eq!(parsed("a/b.img:/c/d"), ("a/b.img".into(), "/c/d".into()));
        assert_eq!(parsed("disk.img:"), ("disk.img".into(), "/".into()));
        assert_eq!(
            parsed("disk.img:/x:/y"),
            ("disk.img".into(), "/x:/y".into())
        );
    }

    #[test]
    fn an_existing_image_decides() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let odd = dir.path().join("a:");
        std::fs::create_dir(&odd).expect("mkdir");
        let image = odd.join("disk.img");
        std::fs::write(&image, b"").expect("write");
        let text = format!("{}:/f", image.display());
        assert_eq!(parsed(&text), (image.display().to_string(), "/f".into()));
    }

    #[test]
    fn messages_say_what_to_write() {
        let message = |text: &str| text.parse::<Location>().expect_err(text).to_string();
        assert!(message("disk.img").contains("disk.img:/"));
        assert!(message("disk.img:f").contains("disk.img:/f"));
        assert!(message(":/f").contains("image's name"));
        assert_eq!(Location::parse_or_root("disk.img").expect("root").path, "/");
    }

    #[test]
    fn components() {
        let location: Location = "i:/a/b".parse().expect("location");
        assert_eq!((location.file_name(), location.parent()), ("b", "/a"));
        let location: Location = "i:/a".parse().expect("location");
        assert_eq!((location.file_name(), location.parent()), ("a", "/"));
        let root: Location = "i:/".parse().expect("location");
        assert_eq!((root.file_name(), root.parent()), ("", "/"));
        assert_eq!(root.join("x").path, "/x");
        assert_eq!(location.join("x").path, "/a/x");
    }
}
