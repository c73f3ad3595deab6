//! Sizes on the command line, with the suffixes of the tools whose flags we take.
//!
//! `K`, `M`, `G`, `T`, `P`, `E` (or `KiB` ...) are powers of 1024; `KB`, `MB` ... powers of 1000.
//! Without a suffix the unit is the verb's: bytes for `fallocate` and `truncate`, KiB for `mkfs`,
//! MiB or KiB for `aio-stress`.

use std::fmt;

/// Why a size was not understood.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SizeError {
    /// No digits at the beginning.
    NotANumber(String),
    /// Digits, then something that is no suffix.
    Suffix(String),
    /// More than 64 bits of bytes.
    TooLarge(String),
}

impl fmt::Display for SizeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANumber(text) => write!(f, "{text:?} does not begin with a number"),
            Self::Suffix(suffix) => write!(
                f,
                "{suffix:?} is no size suffix; use K, M, G, T, P, E (powers of 1024) or KB, MB ... (1000)"
            ),
            Self::TooLarge(text) => write!(f, "{text} does not fit into 64 bits of bytes"),
        }
    }
}

impl std::error::Error for SizeError {}

/// Bytes meant by `text`; a number without suffix counts `unit` bytes.
///
/// # Errors
/// Not a number, an unknown suffix, or too large.
pub fn parse(text: &str, unit: u64) -> Result<u64, SizeError> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, suffix) = text.split_at(digits);
    if number.is_empty() {
        return Err(SizeError::NotANumber(text.to_owned()));
    }
    let too_large = || SizeError::TooLarge(text.to_owned());
    let number: u64 = number.parse().map_err(|_| too_large())?;
    let factor = match suffix {
        "" => unit,
        "b" | "B" => 1,
        _ => multiplier(suffix).ok_or_else(|| SizeError::Suffix(suffix.to_owned()))?,
    };
    number.checked_mul(factor).ok_or_else(too_large)
}

fn multiplier(suffix: &str) -> Option<u64> {
    let mut chars = suffix.chars();
    let letter = chars.next()?.to_ascii_lowercase();
    let power = "kmgtpe".find(letter)? as u32 + 1;
    match chars.as_str() {
        "" | "ib" | "iB" | "i" => Some(1024u64.pow(power)),
        "b" | "B" => Some(1000u64.pow(power)),
        _ => None,
    }
}

/// A number of bytes; no suffix means bytes. For clap.
///
/// # Errors
/// As [`parse`].
pub fn bytes(text: &str) -> Result<u64, SizeError> {
    parse(text, 1)
}

/// A number of bytes; no suffix means KiB. For clap.
///
/// # Errors
/// As [`parse`].
pub fn kib(text: &str) -> Result<u64, SizeError> {
    parse(text, 1 << 10)
}

/// A number of bytes; no suffix means MiB. For clap.
///
/// # Errors
/// As [`parse`].
pub fn mib(text: &str) -> Result<u64, SizeError> {
    parse(text, 1 << 20)
}

/// As `ls -h` shows a size: `1.5G`, rounded up, three digits at most.
#[must_use]
pub fn human(bytes: u64) -> String {
    if bytes < 1024 {
        return bytes.to_string();
    }
    let mut unit = 1u64 << 10;
    let mut letters = "KMGTPE".chars();
    let mut letter = letters.next().unwrap_or('K');
    // A value that would round up to 1024 belongs to the next unit.
    while bytes.div_ceil(unit) >= 1024 {
        let Some(next) = letters.next() else { break };
        unit <<= 10;
        letter = next;
    }
    let tenths = (u128::from(bytes) * 10).div_ceil(u128::from(unit));
    if tenths < 100 {
        format!("{}.{}{letter}", tenths / 10, tenths % 10)
    } else {
        format!("{}{letter}", bytes.div_ceil(unit))
    }
}

/// `1234567` as `1,234,567`.
#[must_use]
pub fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suffixes() {
        for (text, unit, expect) in [
            ("0", 1, 0),
            ("4096", 1, 4096),
            ("2", 1 << 10, 2048),
            ("1k", 1, 1024),
            ("1K", 1 << 20, 1024),
            ("1KiB", 1, 1024),
            ("1KB", 1, 1000),
            ("3m", 1, 3 << 20),
            ("2G", 1, 2 << 30),
            ("1T", 1, 1 << 40),
            ("7b", 1 << 20, 7),
            ("15E", 1, 15 << 60),
        ] {
            assert_eq!(parse(text, unit), Ok(expect), "{text}");
        }
    }

    #[test]
    fn refused() {
        for text in [
            "",
            "G",
            "-1",
            "1X",
            "1GX",
            "1Kibb",
            "1 K",
            "16E",
            "99999999999999999999",
        ] {
            assert!(parse(text, 1).is_err(), "{text}");
        }
    }

    #[test]
    fn human_rounds_up_like_ls() {
        for (bytes, expect) in [
            (0, "0"),
            (1023, "1023"),
            (1024, "1.0K"),
            (1025, "1.1K"),
            (10 * 1024, "10K"),
            (10 * 1024 + 1, "11K"),
            (1024 * 1024 - 1, "1.0M"),
            (1 << 30, "1.0G"),
            (u64::MAX, "16E"),
        ] {
            assert_eq!(human(bytes), expect, "{bytes}");
        }
    }

    #[test]
    fn thousands() {
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(999), "999");
        assert_eq!(grouped(1000), "1,000");
        assert_eq!(grouped(12_345_678), "12,345,678");
    }
}
