//! Modes as text: `-rwxr-xr-x`.

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

#[cfg(test)]
mod tests {
    use super::*;

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
