//! One header block, its numbers and names decoded.

use crate::error::BuildError;
use e4_format::Timestamp;

/// What a header says.
pub(super) struct Header {
    /// The type's byte.
    pub(super) kind: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) size: u64,
    pub(super) mode: u16,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mtime: Timestamp,
    pub(super) major: u32,
    pub(super) minor: u32,
}

fn bad(why: &'static str) -> BuildError {
    BuildError::Archive { why, at: 0 }
}

impl Header {
    /// Parses and verifies the checksum.
    pub(super) fn parse(block: &[u8; 512]) -> Result<Self, BuildError> {
        let raw = tar::Header::from_byte_slice(block);
        let stored = raw
            .cksum()
            .map_err(|_| bad("a header without a checksum"))?;
        let sum = |signed: bool| {
            block.iter().enumerate().fold(0i64, |sum, (i, b)| {
                // The checksum's own field counts as blanks.
                let b = if (148..156).contains(&i) { b' ' } else { *b };
                sum + if signed {
                    i64::from(b.cast_signed())
                } else {
                    i64::from(b)
                }
            })
        };
        if ![sum(false), sum(true)].contains(&i64::from(stored)) {
            return Err(bad(
                "a header with a wrong checksum: this is no tar archive, or damaged",
            ));
        }
        let old = raw.as_old();
        let id = |field: &[u8]| {
            let n = signed(field).ok_or(bad("an owner that is no number"))?;
            u32::try_from(n).map_err(|_| bad("an owner beyond 32 bits"))
        };
        let size = signed(&old.size).ok_or(bad("a size that is no number"))?;
        let mode = signed(&old.mode).ok_or(bad("a mode that is no number"))?;
        let device = |n: std::io::Result<Option<u32>>| {
            n.map(Option::unwrap_or_default)
                .map_err(|_| bad("a device that is no number"))
        };
        let kind = raw.entry_type().as_byte();
        let is_device = matches!(kind, b'3' | b'4');
        Ok(Self {
            kind,
            path: raw.path_bytes().into_owned(),
            link: raw
                .link_name_bytes()
                .map(|l| l.into_owned())
                .unwrap_or_default(),
            size: u64::try_from(size).map_err(|_| bad("a negative size"))?,
            mode: u16::try_from(mode & 0o7777).unwrap_or(0),
            uid: id(&old.uid)?,
            gid: id(&old.gid)?,
            mtime: Timestamp {
                sec: signed(&old.mtime).ok_or(bad("a time that is no number"))?,
                nsec: 0,
            },
            major: if is_device {
                device(raw.device_major())?
            } else {
                0
            },
            minor: if is_device {
                device(raw.device_minor())?
            } else {
                0
            },
        })
    }
}

/// A number in octal digits, or in two's complement behind a byte with the highest bit set. Blank is 0.
fn signed(field: &[u8]) -> Option<i64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // 0x80 begins a positive number, 0xFF a negative one.
        let start = match first {
            0xFF => -1,
            _ => i64::from(first & 0x7F),
        };
        return rest
            .iter()
            .try_fold(start, |n, b| Some(n.checked_mul(256)? | i64::from(*b)));
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c| c == ' ' || c == '\0');
    if digits.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(digits, 8).ok().filter(|n| *n >= 0)
}

#[cfg(test)]
mod tests {
    use super::signed;

    #[test]
    fn numbers() {
        assert_eq!(signed(b"0000644\0"), Some(0o644));
        assert_eq!(signed(b"       \0"), Some(0));
        assert_eq!(
            signed(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xfe"),
            Some(-2)
        );
        assert_eq!(signed(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(1 << 33));
        assert_eq!(
            signed(b"\x80\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"),
            None
        );
        assert_eq!(signed(b"12x\0"), None);
        assert_eq!(signed(b"-1\0"), None);
    }
}
