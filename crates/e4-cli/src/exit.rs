//! What the command's exit status says. Scripts rely on it, `--help` documents it.
//!
//! Decision: one small table for all verbs, except `check`, which answers like fsck, and
//! `diff`, which answers like diff, because that is what stands in people's scripts.

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

    /// Nothing was done, as asked (`--if-absent`): it exists.
    pub const LEFT_ALONE: Self = Self(5);

    /// `check`: no error.
    pub const FSCK_CLEAN: Self = Self(0);
    /// `check`: errors were found (and left alone).
    pub const FSCK_ERRORS_LEFT: Self = Self(4);
    /// `check`: the image could not be examined.
    pub const FSCK_OPERATIONAL: Self = Self(8);
    /// `check`: the command line makes no sense.
    pub const FSCK_USAGE: Self = Self(16);

    /// `diff`: nothing differs.
    pub const DIFF_SAME: Self = Self(0);
    /// `diff`: something differs.
    pub const DIFF_DIFFERENT: Self = Self(1);
    /// `diff`: could not compare; a mistake on the command line too.
    pub const DIFF_TROUBLE: Self = Self(2);
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
  5  nothing was done, as asked: --if-absent, and it exists
  check answers like fsck: 0 clean, 4 errors found, 8 could not examine, 16 usage
  diff answers like diff: 0 the same, 1 different, 2 could not compare";
