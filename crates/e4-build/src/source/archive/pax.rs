//! Records of extended headers, by their lengths: values may hold any byte, newlines included (capabilities do).
//! Splitting at newlines, as simpler readers do, tears them.

use super::sparse::SparseMap;
use crate::error::BuildError;
use crate::tree::Attribute;
use e4_format::Timestamp;

/// What extended headers say about the next member, or (global) about all that follow.
#[derive(Clone, Debug, Default)]
pub(super) struct Extended {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) uid: Option<u32>,
    pub(super) gid: Option<u32>,
    pub(super) mtime: Option<Timestamp>,
    pub(super) xattrs: Vec<Attribute>,
    pub(super) acl_access: Option<Vec<u8>>,
    pub(super) acl_default: Option<Vec<u8>>,
    pub(super) sparse: SparseMap,
}

fn bad(why: &'static str) -> BuildError {
    BuildError::Archive { why, at: 0 }
}

/// Keyword and value.
type Record<'a> = (&'a [u8], &'a [u8]);

/// The records of an extended header.
pub(super) fn records(mut bytes: &[u8]) -> Result<Vec<Record<'_>>, BuildError> {
    let mut list = Vec::new();
    while bytes.first().is_some_and(|b| *b != 0) {
        let blank = bytes
            .iter()
            .position(|b| *b == b' ')
            .ok_or(bad("an extended record without length"))?;
        let digits = bytes.get(..blank).and_then(|d| std::str::from_utf8(d).ok());
        let len = digits
            .and_then(|d| d.parse::<usize>().ok())
            .filter(|len| *len > blank + 1 && *len <= bytes.len())
            .ok_or(bad("an extended record with a wrong length"))?;
        let (record, rest) = bytes.split_at(len);
        let body = record.get(blank + 1..).and_then(|b| b.strip_suffix(b"\n"));
        let body = body.ok_or(bad("an extended record without an end"))?;
        let equals = body.iter().position(|b| *b == b'=');
        let equals = equals.ok_or(bad("an extended record without a keyword"))?;
        let (key, value) = body.split_at(equals);
        list.push((key, value.get(1..).unwrap_or_default()));
        bytes = rest;
    }
    Ok(list)
}

impl Extended {
    /// Takes in one header's records; an empty value takes back what a global header said.
    pub(super) fn take(&mut self, bytes: &[u8], xattrs: bool) -> Result<(), BuildError> {
        for (key, value) in records(bytes)? {
            self.record(key, value, xattrs)?;
        }
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8], xattrs: bool) -> Result<(), BuildError> {
        let some = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = some,
            b"linkpath" => self.link = some,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = id(value)?,
            b"gid" => self.gid = id(value)?,
            b"mtime" => self.mtime = some.map(|v| time(&v)).transpose()?,
            b"SCHILY.acl.access" if xattrs => self.acl_access = some,
            b"SCHILY.acl.default" if xattrs => self.acl_default = some,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    let name = unescaped(name);
                    if xattrs && crate::xattr::is_storable(&name) {
                        self.xattrs.retain(|x| *x.name != *name);
                        self.xattrs.push(Attribute {
                            name: name.into(),
                            value: value.into(),
                        });
                    }
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.record(key, value)?;
                }
            }
        }
        Ok(())
    }
}

/// A name whose `=` and `%` were escaped, as GNU tar does because a keyword ends at the first `=`.
fn unescaped(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut left = name;
    while let Some((first, rest)) = left.split_first() {
        let (byte, rest) = match left.get(..3) {
            Some(b"%3D") => (b'=', left.get(3..).unwrap_or_default()),
            Some(b"%25") => (b'%', left.get(3..).unwrap_or_default()),
            _ => (*first, rest),
        };
        out.push(byte);
        left = rest;
    }
    out
}

fn number(value: &[u8]) -> Result<Option<u64>, BuildError> {
    if value.is_empty() {
        return Ok(None);
    }
    let text = std::str::from_utf8(value).ok();
    let n = text.and_then(|t| t.trim().parse().ok());
    Ok(Some(n.ok_or(bad("a number that is none"))?))
}

pub(super) fn needed(value: &[u8]) -> Result<u64, BuildError> {
    number(value)?.ok_or(bad("a number that is missing"))
}

fn id(value: &[u8]) -> Result<Option<u32>, BuildError> {
    match number(value)? {
        None => Ok(None),
        Some(n) => u32::try_from(n)
            .map(Some)
            .map_err(|_| bad("an owner beyond 32 bits")),
    }
}

/// Seconds with an optional sign and fraction; what is finer than nanoseconds is cut off.
fn time(value: &[u8]) -> Result<Timestamp, BuildError> {
    let wrong = || bad("a time that is none");
    let text = std::str::from_utf8(value).map_err(|_| wrong())?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let sec: i64 = whole.parse().map_err(|_| wrong())?;
    let mut nsec = 0;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return Err(wrong());
    }
    for digit in fraction.bytes().chain(std::iter::repeat(b'0')).take(9) {
        nsec = nsec * 10 + u32::from(digit - b'0');
    }
    Ok(match (negative, nsec) {
        (false, _) => Timestamp { sec, nsec },
        (true, 0) => Timestamp { sec: -sec, nsec },
        (true, _) => Timestamp {
            sec: -sec - 1,
            nsec: 1_000_000_000 - nsec,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_hold_newlines() {
        let list = records(b"26 SCHILY.xattr.user.a=\n\n\n11 path=ab\n").unwrap();
        let (xattr, path) = (&b"SCHILY.xattr.user.a"[..], &b"path"[..]);
        assert_eq!(list, [(xattr, &b"\n\n"[..]), (path, &b"ab"[..])]);
        for bad in ["5 a\n", "x a=b\n", "99 a=b\n", "0 a=b\n", "6 a=bc"] {
            assert!(records(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_are_unescaped_as_gnu_tar_escapes_them() {
        assert_eq!(unescaped(b"user.a%3Db%25%3d%"), b"user.a=b%%3d%");
        assert_eq!(unescaped(b"%253D"), b"%3D");
    }

    #[test]
    fn times() {
        let t = |s: &str| time(s.as_bytes()).map(|t| (t.sec, t.nsec)).ok();
        assert_eq!(t("12.5"), Some((12, 500_000_000)));
        assert_eq!(t("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(t("7.1234567899"), Some((7, 123_456_789)));
        assert_eq!(t("x"), None);
        assert_eq!(t("1.x"), None);
    }
}
