//! One operation on names or on an open file, and how they are drawn.

use e4::format::FileType;
use e4::{RenameFlags, XattrSet};

use super::handle::{self, Do};
use super::ours::Ours;
use crate::workload::Rng;

/// What an operation answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Said {
    Done,
    Bytes(Vec<u8>),
    At(u64),
}

/// Its answer, or the error number.
pub(super) type Answer = Result<Said, i32>;

/// An operation on paths below the sequence's directory, without a leading slash.
#[derive(Clone, Debug)]
pub(super) enum Op {
    Make(String, FileType, u16, u32),
    Symlink(String, String),
    Link(String, String),
    Unlink(String),
    Rmdir(String),
    Rename(String, String, RenameFlags),
    Chmod(String, u16),
    Chown(String, u32, u32),
    Times(String, i64, u32),
    Truncate(String, u64),
    /// A regular file, as the generator has seen.
    Write(String, u64, Vec<u8>),
    SetXattr(String, String, Vec<u8>, XattrSet),
    RemoveXattr(String, String),
    /// On the file open in a slot.
    On(usize, Do),
}

fn name(rng: &mut Rng) -> String {
    match rng.below(12) {
        0..=7 => ["a", "b", "c", "d", "e", "f"][rng.below(6) as usize].to_owned(),
        8..=10 => format!("{:0>40}", rng.below(300)),
        _ => format!("{:x>1$}", rng.below(20), 200 + rng.below(57) as usize),
    }
}

fn any_path(rng: &mut Rng) -> String {
    let mut out = String::new();
    for _ in 0..rng.below(3) {
        out += ["a/", "b/", "c/"][rng.below(3) as usize];
    }
    out + &name(rng)
}

/// A path in a directory that exists, mostly.
pub(super) fn path(rng: &mut Rng, fs: &Ours) -> String {
    let is_dir = |path: &str| fs.kind(path) == Some(FileType::Directory);
    for _ in 0..4 {
        let path = any_path(rng);
        if is_dir(path.rsplit_once('/').map_or("", |(dir, _)| dir)) {
            return path;
        }
    }
    any_path(rng)
}

/// A path that exists, mostly.
pub(super) fn existing(rng: &mut Rng, fs: &Ours) -> String {
    for _ in 0..10 {
        let path = any_path(rng);
        if fs.exists(&path) {
            return path;
        }
    }
    path(rng, fs)
}

pub(super) fn bytes(rng: &mut Rng, len: u64) -> Vec<u8> {
    (0..len).map(|_| rng.below(256) as u8).collect()
}

impl Op {
    pub(super) fn random(rng: &mut Rng, fs: &Ours) -> Self {
        let mode = rng.below(0o1000) as u16;
        if rng.below(5) < 3 {
            return handle::random(rng, fs);
        }
        match rng.below(100) {
            0..=17 => Self::Make(path(rng, fs), FileType::Regular, mode, 0),
            18..=29 => Self::Make(path(rng, fs), FileType::Directory, mode | 0o700, 0),
            30..=33 => special(rng, fs, mode),
            34..=39 => symlink(rng, fs),
            40..=45 => Self::Link(existing(rng, fs), path(rng, fs)),
            46..=55 => Self::Unlink(existing(rng, fs)),
            56..=60 => Self::Rmdir(existing(rng, fs)),
            61..=76 => {
                let how = match rng.below(8) {
                    0 => RenameFlags::NoReplace,
                    1 | 2 => RenameFlags::Exchange,
                    3 => RenameFlags::Whiteout,
                    _ => RenameFlags::Replace,
                };
                let from = existing(rng, fs);
                let to = if rng.below(2) == 0 {
                    existing(rng, fs)
                } else {
                    path(rng, fs)
                };
                Self::Rename(from, to, how)
            }
            77..=79 => chmod(rng, fs, mode),
            80 => Self::Chown(
                existing(rng, fs),
                rng.below(100_000) as u32,
                rng.below(9) as u32,
            ),
            81 => {
                let seconds = rng.below(1 << 33) as i64 - (1 << 30);
                Self::Times(existing(rng, fs), seconds, rng.below(1_000_000_000) as u32)
            }
            82..=84 => Self::Truncate(existing(rng, fs), rng.below(200_000)),
            85..=88 => {
                let path = existing(rng, fs);
                if fs.kind(&path) == Some(FileType::Regular) {
                    let (at, len) = (rng.below(100_000), 1 + rng.below(5000));
                    Self::Write(path, at, bytes(rng, len))
                } else {
                    Self::Unlink(path)
                }
            }
            _ => xattr(rng, fs),
        }
    }
}

fn special(rng: &mut Rng, fs: &Ours, mode: u16) -> Op {
    let kinds = [
        FileType::Fifo,
        FileType::Socket,
        FileType::CharDevice,
        FileType::BlockDevice,
    ];
    let kind = kinds[rng.below(4) as usize];
    let rdev = match kind {
        FileType::CharDevice | FileType::BlockDevice => rng.below(1 << 32) as u32,
        _ => 0,
    };
    Op::Make(path(rng, fs), kind, mode, rdev)
}

/// Neither absolute targets nor `..`: they lead out of the kernel's mount.
fn symlink(rng: &mut Rng, fs: &Ours) -> Op {
    let target = match rng.below(4) {
        0 => format!("{:z>1$}", "", 50 + rng.below(20) as usize),
        1 => format!("{:y>1$}", "", 1 + rng.below(900) as usize),
        2 => format!("./{}", path(rng, fs)),
        _ => path(rng, fs),
    };
    Op::Symlink(target, path(rng, fs))
}

/// setgid for directories only: elsewhere other system calls take it away again.
fn chmod(rng: &mut Rng, fs: &Ours, mode: u16) -> Op {
    let path = existing(rng, fs);
    let dir = fs.kind(&path) == Some(FileType::Directory);
    let mode = if dir {
        0o700 | mode | (rng.below(4) as u16) << 9 & 0o3000
    } else {
        mode
    };
    Op::Chmod(path, mode)
}

/// An ACL in the kernel's form: mostly a valid one, with up to three named entries.
fn acl(rng: &mut Rng) -> Vec<u8> {
    let mut entries = vec![(1_u16, u32::MAX)];
    let (users, groups) = (rng.below(3), rng.below(2));
    entries.extend((0..users).map(|n| (2, 1000 + n as u32)));
    entries.push((4, u32::MAX));
    entries.extend((0..groups).map(|n| (8, 50 + n as u32)));
    if users + groups > 0 || rng.below(3) == 0 {
        entries.push((16, u32::MAX));
    }
    entries.push((32, u32::MAX));
    if rng.below(12) == 0 {
        entries.remove(rng.below(entries.len() as u64) as usize);
    }
    let mut out = 2_u32.to_le_bytes().to_vec();
    for (tag, id) in entries {
        // The owner keeps everything, so that root's own walk is not the subject here.
        let perm = if tag == 1 { 7 } else { rng.below(8) as u16 };
        out.extend_from_slice(&tag.to_le_bytes());
        out.extend_from_slice(&perm.to_le_bytes());
        out.extend_from_slice(&id.to_le_bytes());
    }
    out
}

fn xattr(rng: &mut Rng, fs: &Ours) -> Op {
    let path = existing(rng, fs);
    if rng.below(3) == 0 {
        let which = ["access", "default"][rng.below(2) as usize];
        let name = format!("system.posix_acl_{which}");
        return match rng.below(6) {
            0 => Op::RemoveXattr(path, name),
            _ => Op::SetXattr(path, name, acl(rng), XattrSet::Any),
        };
    }
    let prefix = ["user", "trusted", "security"][rng.below(3) as usize];
    let name = match rng.below(8) {
        0 => format!("{prefix}.{:n>1$}", "", 1 + rng.below(80) as usize),
        _ => format!(
            "{prefix}.{}",
            ["one", "two", "three"][rng.below(3) as usize]
        ),
    };
    if rng.below(4) == 0 {
        return Op::RemoveXattr(path, name);
    }
    let len = match rng.below(6) {
        0 => 0,
        1 => rng.below(1200),
        2 => rng.below(4200),
        _ => rng.below(60),
    };
    // Few different values, so that blocks are shared.
    let fill = rng.below(3) as u8;
    let how = match rng.below(6) {
        0 => XattrSet::Create,
        1 => XattrSet::Replace,
        _ => XattrSet::Any,
    };
    Op::SetXattr(path, name, vec![fill; len as usize], how)
}
