//! The tests of `e4 find`, parsed from the words of find(1).

use std::path::Path;

use anyhow::{Context, Result, bail};
use e4::Filesystem;
use e4_export::{ExportError, Item};
use e4_format::{FileType, Timestamp};
use globset::{GlobBuilder, GlobMatcher};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::mode;

/// How a name is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Action {
    Print,
    Print0,
    Ls,
    Json,
}

/// More than, less than, or exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Count {
    Exactly(u64),
    More(u64),
    Less(u64),
}

impl Count {
    fn parse(text: &str) -> Option<Self> {
        let (make, digits): (fn(u64) -> Self, _) = match text.as_bytes().first() {
            Some(b'+') => (Self::More, text.get(1..)?),
            Some(b'-') => (Self::Less, text.get(1..)?),
            _ => (Self::Exactly, text),
        };
        digits.parse().ok().map(make)
    }

    fn holds(self, n: u64) -> bool {
        match self {
            Self::Exactly(m) => n == m,
            Self::More(m) => n > m,
            Self::Less(m) => n < m,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bits {
    Exactly,
    All,
    Any,
}

#[derive(Debug)]
enum Test {
    Name(GlobMatcher),
    Path(GlobMatcher),
    Type(String),
    Size {
        unit: u64,
        count: Count,
    },
    /// Age in whole units of so many seconds.
    Age {
        unit: i64,
        count: Count,
    },
    NewerThan(String),
    Newer(Timestamp),
    Perm(Bits, u16),
    Uid(Count),
    Gid(Count),
    Links(Count),
    Inode(Count),
    Empty,
}

/// Everything asked for.
#[derive(Debug)]
pub(super) struct Expression {
    tests: Vec<(bool, Test)>,
    pub(super) min_depth: usize,
    pub(super) max_depth: usize,
    pub(super) action: Action,
    /// Seconds since 1970, once, so that all names are judged alike.
    now: i64,
}

fn glob(pattern: &str, fold: bool) -> Result<GlobMatcher> {
    // Braces are letters to find.
    let pattern = pattern.replace('{', "[{]").replace('}', "[}]");
    let glob = GlobBuilder::new(&pattern)
        .literal_separator(false)
        .case_insensitive(fold)
        .build();
    Ok(glob
        .with_context(|| format!("{pattern:?} is no pattern"))?
        .compile_matcher())
}

impl Expression {
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let mut all = Self {
            tests: Vec::new(),
            min_depth: 0,
            max_depth: usize::MAX,
            action: Action::Print,
            now: jiff::Timestamp::now().as_second(),
        };
        let mut words = words.iter().map(String::as_str);
        let mut holds = true;
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .with_context(|| format!("{word} wants a value"))
            };
            match word {
                "!" | "-not" => {
                    holds = !holds;
                    continue;
                }
                "-a" | "-and" => continue,
                "-print" => all.action = Action::Print,
                "-print0" => all.action = Action::Print0,
                "-ls" => all.action = Action::Ls,
                "--json" => all.action = Action::Json,
                "-maxdepth" => all.max_depth = depth(word, value()?)?,
                "-mindepth" => all.min_depth = depth(word, value()?)?,
                "-empty" => all.tests.push((holds, Test::Empty)),
                _ => {
                    let test = test(word, &mut value)?;
                    all.tests.push((holds, test));
                }
            }
            holds = true;
        }
        Ok(all)
    }

    /// Looks up what tests compare with.
    pub(super) fn resolve(mut self, fs: &Filesystem) -> Result<Self> {
        for (_, test) in &mut self.tests {
            if let Test::NewerThan(path) = test {
                *test = Test::Newer(fs.lookup(path, true)?.stat()?.mtime);
            }
        }
        Ok(self)
    }

    pub(super) fn holds(&self, path: &[u8], item: &Item<'_>) -> Result<bool, ExportError> {
        for (expected, test) in &self.tests {
            if self.one(test, path, item)? != *expected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn one(&self, test: &Test, path: &[u8], item: &Item<'_>) -> Result<bool, ExportError> {
        let s = item.stat;
        let mode = s.mode & 0o7777;
        let matches =
            |glob: &GlobMatcher, bytes: &[u8]| glob.is_match(Path::new(OsStr::from_bytes(bytes)));
        Ok(match test {
            Test::Name(glob) => {
                let name = path.rsplit(|b| *b == b'/').next().unwrap_or_default();
                matches(glob, if name.is_empty() { b"/" } else { name })
            }
            Test::Path(glob) => matches(glob, path),
            Test::Type(letters) => {
                let letter = match mode::type_letter(s.file_type) {
                    '-' => 'f',
                    letter => letter,
                };
                letters.contains(letter)
            }
            Test::Size { unit, count } => count.holds(s.size.div_ceil(*unit)),
            Test::Age { unit, count } => {
                let age = (self.now - s.mtime.sec).div_euclid(*unit);
                match u64::try_from(age) {
                    Ok(age) => count.holds(age),
                    // From the future: younger than anything.
                    Err(_) => matches!(count, Count::Less(_)),
                }
            }
            Test::NewerThan(_) => false,
            Test::Newer(than) => s.mtime > *than,
            Test::Perm(Bits::Exactly, bits) => mode == *bits,
            Test::Perm(Bits::All, bits) => mode & bits == *bits,
            Test::Perm(Bits::Any, bits) => *bits == 0 || mode & bits != 0,
            Test::Uid(count) => count.holds(s.uid.into()),
            Test::Gid(count) => count.holds(s.gid.into()),
            Test::Links(count) => count.holds(s.links.into()),
            Test::Inode(count) => count.holds(s.ino.get().into()),
            Test::Empty => match s.file_type {
                Some(FileType::Regular) => s.size == 0,
                Some(FileType::Directory) => is_empty(path, item)?,
                _ => false,
            },
        })
    }
}

fn is_empty(path: &[u8], item: &Item<'_>) -> Result<bool, ExportError> {
    let mut empty = true;
    let read = item.node.read_dir_from(0, &mut |entry, _| {
        empty = matches!(entry.name.as_slice(), b"." | b"..");
        if empty {
            std::ops::ControlFlow::Continue(())
        } else {
            std::ops::ControlFlow::Break(())
        }
    });
    read.map_err(|source| ExportError::Image {
        path: String::from_utf8_lossy(path).into_owned(),
        source,
    })?;
    Ok(empty)
}

fn depth(word: &str, text: &str) -> Result<usize> {
    text.parse()
        .with_context(|| format!("{word}: {text:?} is no number"))
}

fn test<'a>(word: &str, value: &mut dyn FnMut() -> Result<&'a str>) -> Result<Test> {
    let mut count = || {
        let text = value()?;
        Count::parse(text).with_context(|| format!("{word}: {text:?} is not [+-]N"))
    };
    Ok(match word {
        "-uid" => Test::Uid(count()?),
        "-gid" => Test::Gid(count()?),
        "-links" => Test::Links(count()?),
        "-inum" => Test::Inode(count()?),
        "-mtime" => Test::Age {
            unit: 86_400,
            count: count()?,
        },
        "-mmin" => Test::Age {
            unit: 60,
            count: count()?,
        },
        "-name" => Test::Name(glob(value()?, false)?),
        "-iname" => Test::Name(glob(value()?, true)?),
        "-path" | "-wholename" => Test::Path(glob(value()?, false)?),
        "-newer" => Test::NewerThan(value()?.to_owned()),
        "-type" => {
            let letters = value()?;
            if letters.is_empty() || !letters.chars().all(|c| "fdlbcps,".contains(c)) {
                bail!("-type: {letters:?} is not made of f d l b c p s");
            }
            Test::Type(letters.replace(',', ""))
        }
        "-size" => size(value()?)?,
        "-perm" => {
            let text = value()?;
            let (how, digits) = match text.as_bytes().first() {
                Some(b'-') => (Bits::All, text.get(1..)),
                Some(b'/') => (Bits::Any, text.get(1..)),
                _ => (Bits::Exactly, Some(text)),
            };
            let bits = digits.and_then(|d| u16::from_str_radix(d, 8).ok());
            let bits = bits.filter(|b| *b <= 0o7777);
            Test::Perm(
                how,
                bits.with_context(|| format!("-perm: {text:?} is no octal mode"))?,
            )
        }
        other => bail!("{other}: not among the tests of e4 find (e4 find --help)"),
    })
}

fn size(text: &str) -> Result<Test> {
    let (digits, unit) = match text.as_bytes().last() {
        Some(b'c') => (text.len() - 1, 1),
        Some(b'w') => (text.len() - 1, 2),
        Some(b'b') => (text.len() - 1, 512),
        Some(b'k') => (text.len() - 1, 1 << 10),
        Some(b'M') => (text.len() - 1, 1 << 20),
        Some(b'G') => (text.len() - 1, 1 << 30),
        _ => (text.len(), 512),
    };
    let count = text.get(..digits).and_then(Count::parse);
    let count = count.with_context(|| format!("-size: {text:?} is not [+-]N[cwbkMG]"))?;
    Ok(Test::Size { unit, count })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Expression> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Expression::parse(&words)
    }

    #[test]
    fn what_is_not_known_is_refused() {
        for text in [
            "-o",
            "-exec ls",
            "-name",
            "-size 5x",
            "-type z",
            "-perm u+x",
            "-uid x",
            "x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let all = parse("! -name *.c -size +5k -maxdepth 3 -print0 -a -perm /222").unwrap();
        assert_eq!(
            (all.max_depth, all.action, all.tests.len()),
            (3, Action::Print0, 3)
        );
        assert!(!all.tests[0].0 && all.tests[1].0);
    }

    #[test]
    fn patterns_are_those_of_find() {
        let hits = |pattern: &str, name: &str| glob(pattern, false).unwrap().is_match(name);
        assert!(hits("*", ".hidden") && hits("a?c", "abc") && hits("[!a]*", "b"));
        assert!(hits("{a,b}", "{a,b}") && !hits("{a,b}", "a"));
        assert!(hits("/a*d", "/a/b/d") && !hits("*.C", "x.c"));
        assert!(glob("*.C", true).unwrap().is_match("x.c"));
    }
}
