//! Modes as text: `-rwxr-xr-x`, and changes of modes as chmod writes them.

use std::str::FromStr;

use e4_format::FileType;

/// The letter `ls -l` begins a line with.
#[must_use]
pub(super) fn type_letter(file_type: Option<FileType>) -> char {
    let Some(file_type) = file_type else {
        return '?';
    };
    match file_type {
        FileType::Regular => '-',
        FileType::Directory => 'd',
        FileType::CharDevice => 'c',
        FileType::BlockDevice => 'b',
        FileType::Fifo => 'p',
        FileType::Socket => 's',
        FileType::Symlink => 'l',
    }
}

/// What `stat` calls it.
#[must_use]
pub(super) fn type_name(file_type: Option<FileType>) -> &'static str {
    let Some(file_type) = file_type else {
        return "weird file";
    };
    match file_type {
        FileType::Regular => "regular file",
        FileType::Directory => "directory",
        FileType::CharDevice => "character special file",
        FileType::BlockDevice => "block special file",
        FileType::Fifo => "fifo",
        FileType::Socket => "socket",
        FileType::Symlink => "symbolic link",
    }
}

/// Type and permissions, ten characters.
#[must_use]
pub(super) fn text(file_type: Option<FileType>, mode: u16) -> String {
    let mut out = String::with_capacity(10);
    out.push(type_letter(file_type));
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        out.push(if bits & 4 != 0 { 'r' } else { '-' });
        out.push(if bits & 2 != 0 { 'w' } else { '-' });
        out.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    out
}

/// A change of a mode: octal, or clauses like `u+x,go=rX`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    clauses: Vec<Clause>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Clause {
    /// Whose bits, 07777 for `a`.
    who: u16,
    /// `+`, `-` or `=`.
    how: char,
    /// The bits, as if for everybody.
    bits: u16,
    /// `X`: execution for directories, and where somebody may already.
    execute_if: bool,
}

impl FromStr for Change {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text} is not a mode: 644, u+x, go-w, a=rX ...");
        if text.starts_with(|c: char| c.is_ascii_digit()) {
            let bits = u16::from_str_radix(text, 8).ok().filter(|b| *b <= 0o7777);
            let clause = Clause {
                who: 0o7777,
                how: '=',
                bits: bits.ok_or_else(bad)?,
                execute_if: false,
            };
            return Ok(Self {
                clauses: vec![clause],
            });
        }
        let clauses = text.split(',').map(|part| clause(part).ok_or_else(bad));
        Ok(Self {
            clauses: clauses.collect::<Result<_, _>>()?,
        })
    }
}

fn clause(text: &str) -> Option<Clause> {
    let at = text.find(['+', '-', '='])?;
    let (who, rest) = text.split_at(at);
    let mut rest = rest.chars();
    let how = rest.next()?;
    let mut clause = Clause {
        who: if who.is_empty() { 0o7777 } else { 0 },
        how,
        bits: 0,
        execute_if: false,
    };
    for c in who.chars() {
        clause.who |= match c {
            'u' => 0o4700,
            'g' => 0o2070,
            'o' => 0o1007,
            'a' => 0o7777,
            _ => return None,
        };
    }
    for c in rest {
        clause.bits |= match c {
            'r' => 0o444,
            'w' => 0o222,
            'x' => 0o111,
            's' => 0o6000,
            't' => 0o1000,
            'X' => {
                clause.execute_if = true;
                0
            }
            _ => return None,
        };
    }
    Some(clause)
}

impl Change {
    /// The mode that was `old`.
    #[must_use]
    pub fn of(&self, old: u16, dir: bool) -> u16 {
        self.clauses.iter().fold(old, |mode, clause| {
            let execute = clause.execute_if && (dir || mode & 0o111 != 0);
            let bits = (clause.bits | if execute { 0o111 } else { 0 }) & clause.who;
            match clause.how {
                '+' => mode | bits,
                '-' => mode & !bits,
                _ => mode & !clause.who | bits,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_like_chmod() {
        for (text, old, dir, expect) in [
            ("640", 0o777, false, 0o640),
            ("4755", 0o644, false, 0o4755),
            ("u+x", 0o644, false, 0o744),
            ("go-w", 0o666, false, 0o644),
            ("a=rX", 0o600, false, 0o444),
            ("a=rX", 0o600, true, 0o555),
            ("u=rwX,go=", 0o755, false, 0o700),
            ("+t", 0o755, true, 0o1755),
            ("g+s", 0o755, true, 0o2755),
        ] {
            let change: Change = text.parse().expect(text);
            assert_eq!(change.of(old, dir), expect, "{text} of {old:o}");
        }
        for text in ["", "8", "77777", "u", "z+x", "u+q", "u+x,"] {
            assert!(text.parse::<Change>().is_err(), "{text}");
        }
    }

    #[test]
    fn like_ls() {
        for (file_type, mode, expect) in [
            (FileType::Regular, 0o644, "-rw-r--r--"),
            (FileType::Directory, 0o1777, "drwxrwxrwt"),
            (FileType::Regular, 0o4755, "-rwsr-xr-x"),
            (FileType::Regular, 0o2644, "-rw-r-Sr--"),
            (FileType::Symlink, 0o777, "lrwxrwxrwx"),
            (FileType::Fifo, 0o1000, "p--------T"),
        ] {
            assert_eq!(text(Some(file_type), mode), expect);
        }
    }
}
