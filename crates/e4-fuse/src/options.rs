//! What people write behind `-o`, as mount(8) knows it.
//!
//! Decisions:
//! - An option is honoured or refused by name; nothing is swallowed. Those that say what is so anyway
//!   (`rw`, `async`, `default_permissions`, `user_xattr`, `acl`, ...) are accepted.
//! - As root, everybody may use the mount and devices and set-user-id files work, as with any other
//!   filesystem root mounts; `nodev`, `nosuid` and `noallow_other` take that back. As a normal user it
//!   is the other way round, as the kernel demands.

use std::time::Duration;

use e4::ErrorPolicy;

/// When reading updates the access time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Atime {
    /// If it is older than the modification, or than a day.
    #[default]
    Relative,
    /// Never.
    Never,
    /// Always.
    Strict,
}

/// How an image is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "the options of mount(8), as people know them"
)]
pub struct Options {
    /// Refuse changes.
    pub read_only: bool,
    /// Access times.
    pub atime: Atime,
    /// Access times of directories: never.
    pub no_dir_atime: bool,
    /// Other users may use the mount. `None`: if root mounts.
    pub allow_other: Option<bool>,
    /// Device files work. `None`: if root mounts.
    pub dev: Option<bool>,
    /// Set-user-id files work. `None`: if root mounts.
    pub suid: Option<bool>,
    /// Programs may be executed.
    pub exec: bool,
    /// Every write is durable before it returns.
    pub sync: bool,
    /// The kernel's page cache collects writes. Off: each write reaches the image before it returns.
    pub writeback: bool,
    /// Holes in the image where blocks were freed.
    pub discard: bool,
    /// Every open bypasses the kernel's page cache, as if it said `O_DIRECT`.
    pub direct_io: bool,
    /// What to do when damage is found; `None`: what the image says.
    pub errors: Option<ErrorPolicy>,
    /// How long an acknowledged change may stay uncommitted.
    pub commit: Duration,
    /// Threads that take requests.
    pub threads: usize,
    /// Each of them with a descriptor of its own.
    pub clone_fd: bool,
    /// Everything belongs to this user, whatever the image says.
    pub uid: Option<u32>,
    /// Everything belongs to this group, whatever the image says.
    pub gid: Option<u32>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            read_only: false,
            atime: Atime::Relative,
            no_dir_atime: false,
            allow_other: None,
            dev: None,
            suid: None,
            exec: true,
            sync: false,
            writeback: true,
            discard: false,
            direct_io: false,
            errors: None,
            commit: Duration::from_secs(5),
            threads: 4,
            clone_fd: true,
            uid: None,
            gid: None,
        }
    }
}

/// An option that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOption {
    /// Nobody knows it.
    #[error("unknown mount option `{name}`")]
    Unknown {
        /// As written.
        name: String,
    },
    /// Its value makes no sense.
    #[error("mount option `{name}`: `{value}` is not {wanted}")]
    Value {
        /// The option.
        name: &'static str,
        /// As written.
        value: String,
        /// What it should be.
        wanted: &'static str,
    },
    /// ext4 knows it, this version does not do it.
    #[error("mount option `{name}` is not supported: {why}")]
    Unsupported {
        /// As written.
        name: String,
        /// Why.
        why: &'static str,
    },
}

impl Options {
    /// Applies one list of options, separated by commas; later ones win.
    ///
    /// ```
    /// let mut options = e4_fuse::Options::default();
    /// options.apply("ro,noatime,commit=30")?;
    /// assert!(options.read_only && options.commit.as_secs() == 30);
    /// # Ok::<(), e4_fuse::BadOption>(())
    /// ```
    ///
    /// # Errors
    /// The first option that is unknown, has a bad value, or cannot be honoured.
    pub fn apply(&mut self, list: &str) -> Result<(), BadOption> {
        for option in list.split(',').map(str::trim).filter(|o| !o.is_empty()) {
            match option.split_once('=') {
                Some((name, value)) => self.apply_value(option, name, value)?,
                None => self.apply_flag(option)?,
            }
        }
        Ok(())
    }

    fn apply_flag(&mut self, name: &str) -> Result<(), BadOption> {
        match name {
            "ro" => self.read_only = true,
            "rw" => self.read_only = false,
            "discard" => self.discard = true,
            "nodiscard" => self.discard = false,
            "noatime" => self.atime = Atime::Never,
            "relatime" | "atime" => self.atime = Atime::Relative,
            "strictatime" => self.atime = Atime::Strict,
            "nodiratime" => self.no_dir_atime = true,
            "diratime" => self.no_dir_atime = false,
            "allow_other" => self.allow_other = Some(true),
            "noallow_other" => self.allow_other = Some(false),
            "dev" => self.dev = Some(true),
            "nodev" => self.dev = Some(false),
            "suid" => self.suid = Some(true),
            "nosuid" => self.suid = Some(false),
            "exec" => self.exec = true,
            "noexec" => self.exec = false,
            "sync" => self.sync = true,
            "async" => self.sync = false,
            "writeback" => self.writeback = true,
            "nowriteback" => self.writeback = false,
            "direct_io" => self.direct_io = true,
            "nodirect_io" => self.direct_io = false,
            "clone_fd" => self.clone_fd = true,
            "noclone_fd" => self.clone_fd = false,
            "defaults"
            | "default_permissions"
            | "user_xattr"
            | "acl"
            | "barrier"
            | "loop"
            | "nouser"
            | "auto"
            | "noauto"
            | "user"
            | "_netdev"
            | "nofail" => {}
            "nobarrier" | "noload" | "norecovery" | "dax" | "journal_checksum" | "data_err"
            | "abort" => {
                return Err(BadOption::Unsupported {
                    name: name.to_owned(),
                    why: "this version does not do it",
                });
            }
            _ => {
                return Err(BadOption::Unknown {
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }

    fn apply_value(&mut self, option: &str, name: &str, value: &str) -> Result<(), BadOption> {
        match name {
            "commit" => {
                let seconds: u64 = number("commit", value, "a number of seconds")?;
                // 0 means the default, as for ext4.
                self.commit = Duration::from_secs(if seconds == 0 { 5 } else { seconds });
            }
            "threads" => self.threads = number::<usize>("threads", value, "a number")?.clamp(1, 64),
            "uid" => self.uid = Some(number("uid", value, "a user id")?),
            "gid" => self.gid = Some(number("gid", value, "a group id")?),
            "barrier" if value == "1" => {}
            "data" if value == "ordered" => {}
            "errors" if value == "continue" => self.errors = Some(ErrorPolicy::Continue),
            "errors" if value == "remount-ro" => {
                self.errors = Some(ErrorPolicy::RemountReadOnly);
            }
            "errors" if value == "abort" => self.errors = Some(ErrorPolicy::Abort),
            "errors" | "data" | "barrier" => {
                return Err(BadOption::Unsupported {
                    name: option.to_owned(),
                    why: match name {
                        "errors" => "it is one of continue, remount-ro and abort",
                        "data" => "data is always ordered",
                        _ => "flushes are never left out",
                    },
                });
            }
            _ => {
                return Err(BadOption::Unknown {
                    name: name.to_owned(),
                });
            }
        }
        Ok(())
    }
}

fn number<T: std::str::FromStr>(
    name: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<T, BadOption> {
    value.parse().map_err(|_| BadOption::Value {
        name,
        value: value.to_owned(),
        wanted,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_options_win_and_unknown_ones_are_named() {
        let mut o = Options::default();
        o.apply("ro,rw,noatime,uid=7,commit=0,defaults")
            .expect("known options");
        assert_eq!(
            (o.read_only, o.atime, o.uid),
            (false, Atime::Never, Some(7))
        );
        assert_eq!(o.commit.as_secs(), 5);
        let unknown = o.apply("nonsense").expect_err("unknown").to_string();
        assert!(unknown.contains("nonsense"));
        assert!(matches!(o.apply("commit=x"), Err(BadOption::Value { .. })));
        assert!(matches!(
            o.apply("errors=panic"),
            Err(BadOption::Unsupported { .. })
        ));
        assert!(matches!(
            o.apply("data=journal"),
            Err(BadOption::Unsupported { .. })
        ));
    }
}
