//! What the command's exit status says. Scripts rely on it, `--help` documents it.
//!
//! Decision: one small table for all verbs, except `check`, which answers like fsck because that
//! is what stands in people's scripts.

/// An exit status.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Status(pub u8);

impl Status {
    /// Everything asked for was done, and every verification held.
    pub const SUCCESS: Self = Self(0);
    /// It could not be done: no such file, no space, not ext4, I/O error.
    pub const FAILED: Self = Self(1);
    /// The command line makes no sense.
    pub const USAGE: Self = Self(2);
    /// A verification found data that must not be there (`stress`, `aio-stress`, `demo`), or a
    /// checker refused a state (`crashlab`).
    pub const WRONG_DATA: Self = Self(3);

    /// `check`: no error.
    pub const FSCK_CLEAN: Self = Self(0);
    /// `check`: errors were found (and left alone).
    pub const FSCK_ERRORS_LEFT: Self = Self(4);
    /// `check`: the image could not be examined.
    pub const FSCK_OPERATIONAL: Self = Self(8);
    /// `check`: the command line makes no sense.
    pub const FSCK_USAGE: Self = Self(16);
}

impl From<Status> for std::process::ExitCode {
    fn from(status: Status) -> Self {
        Self::from(status.0)
    }
}

/// The table as `--help` prints it.
pub const HELP: &str = "\
Exit status:
  0  done; every verification held
  1  could not be done (no such file, no space, not ext4, I/O error)
  2  the command line makes no sense
  3  a verification found wrong data (stress, aio-stress, demo, crashlab)
  check answers like fsck: 0 clean, 4 errors found, 8 could not examine, 16 usage";
