//! Operations on open files, and how they are drawn.

use e4::FallocateMode as Mode;

use super::op::{Op, bytes, existing, path};
use super::ours::Ours;
use crate::workload::Rng;

/// Files open at a time.
pub(super) const SLOTS: usize = 4;

/// What is done with a slot.
#[derive(Clone, Debug)]
pub(super) enum Do {
    /// Path, created if missing, cut to nothing.
    Open(String, bool, bool),
    /// `O_TMPFILE` in this directory.
    Tmp(String),
    Close,
    /// A name for it.
    Link(String),
    Read(u64, u64),
    Write(u64, Vec<u8>),
    Allocate(Mode, u64, u64),
    SeekData(u64),
    SeekHole(u64),
    Truncate(u64),
    Sync,
    DataSync,
    Size,
}

/// A position near the file.
fn near(rng: &mut Rng, size: u64) -> u64 {
    match rng.below(8) {
        0 => rng.below(200_000),
        1 => size,
        2 => size + rng.below(5000),
        _ => rng.below(size.max(8192)),
    }
}

/// Blocks of 4 KiB are blocks of any size.
fn round(rng: &mut Rng, n: u64) -> u64 {
    if rng.below(8) == 0 {
        n
    } else {
        n / 4096 * 4096
    }
}

fn allocate(rng: &mut Rng, size: u64) -> Do {
    let (at, len) = (near(rng, size), 1 + rng.below(40_000));
    match rng.below(12) {
        0 | 1 => Do::Allocate(Mode::Allocate, at, len),
        2 => Do::Allocate(Mode::AllocateKeepSize, at, len),
        3 | 4 => Do::Allocate(Mode::PunchHole, at, len),
        5 | 6 => Do::Allocate(Mode::ZeroRange, at, len),
        7 => Do::Allocate(Mode::ZeroRangeKeepSize, at, len),
        8 | 9 => Do::Allocate(Mode::CollapseRange, round(rng, at), round(rng, len)),
        10 => Do::Allocate(Mode::InsertRange, round(rng, at), round(rng, len)),
        // What no file can have.
        _ => {
            let modes = [
                Mode::Allocate,
                Mode::PunchHole,
                Mode::ZeroRangeKeepSize,
                Mode::CollapseRange,
                Mode::InsertRange,
            ];
            let at = if rng.below(2) == 0 { 0 } else { 4096 };
            Do::Allocate(modes[rng.below(5) as usize], at, 1 << 60)
        }
    }
}

pub(super) fn random(rng: &mut Rng, fs: &Ours) -> Op {
    let slot = rng.below(SLOTS as u64) as usize;
    if !fs.is_open(slot) || rng.below(24) == 0 {
        let what = match rng.below(8) {
            0 => {
                let at = existing(rng, fs);
                Do::Tmp(
                    at.rsplit_once('/')
                        .map_or(String::new(), |(dir, _)| dir.to_owned()),
                )
            }
            1 | 2 => Do::Open(existing(rng, fs), false, rng.below(3) == 0),
            3 => Do::Open(path(rng, fs), true, true),
            _ => Do::Open(path(rng, fs), true, false),
        };
        return Op::On(slot, what);
    }
    let size = fs.size(slot);
    let what = match rng.below(40) {
        0 => Do::Close,
        1 => Do::Link(path(rng, fs)),
        2..=8 => Do::Read(near(rng, size), rng.below(30_000)),
        9..=17 => {
            let len = if rng.below(3) == 0 {
                4096
            } else {
                rng.below(9000)
            };
            let at = near(rng, size);
            Do::Write(round(rng, at), bytes(rng, len))
        }
        18..=28 => allocate(rng, size),
        29..=31 => Do::SeekData(near(rng, size)),
        32..=34 => Do::SeekHole(near(rng, size)),
        35 | 36 => Do::Truncate(near(rng, size)),
        37 => Do::Sync,
        38 => Do::DataSync,
        _ => Do::Size,
    };
    Op::On(slot, what)
}
