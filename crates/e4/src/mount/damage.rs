//! What happens when a structure of a mounted image turns out to be damaged (`errors=`).
//!
//! Decisions:
//! - Whoever names the damage notes it here, wherever that is and whatever locks are held; so noting only queues and sets flags. The
//!   consequences are drawn where no locks are held: before the next change ([`Shared::check_writable`]) and by the next
//!   commit.
//! - `continue`: the next commit writes the error fields of the superblock. `remount-ro`: so too, and nobody may change
//!   anything any more. `abort`: no transaction commits any more, not even the one that runs; the fields are written
//!   past the journal, and survive its recovery, as in the kernel ([`e4_format::Superblock::keep_errors`]).
//! - Reads go on in any case.
//! - The function of an error record is the name of our error's variant, its line that of the place that noted it.
//! - An image opened read-only keeps no note.

use std::panic::Location;

use e4_format::superblock::{ErrorRecord, ErrorsBehaviour, FsState};
use e4_format::{FsBlock, InodeNo, Superblock};
use e4_journal::{Handle, JournalError, MetaStore};
use e4_planted::planted;
use e4_sync::atomic::{AtomicBool, AtomicU64, Ordering};
use e4_sync::{Arc, Mutex, OnceLock, Rank};

use super::Shared;
use super::open::{read_superblock, write_superblock};
use crate::error::{Error, Result};

/// What to do when damage is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorPolicy {
    /// Note it in the superblock and go on.
    Continue,
    /// Note it, and change nothing any more.
    RemountReadOnly,
    /// As `RemountReadOnly`, at once: what has not been committed is lost, as in a crash.
    Abort,
}

/// Notes kept between two commits; more are counted only.
const RECORDS_MAX: usize = 64;
/// `EFSCORRUPTED`, as the format numbers errors.
const CORRUPTED: u8 = 5;

/// Damage found since the mount.
pub(crate) struct Damage {
    policy: ErrorPolicy,
    /// Where notes are written; `None` for an image that is only read.
    meta: Option<Arc<MetaStore>>,
    clock: fn() -> core::time::Duration,
    /// Not written yet.
    records: Mutex<Vec<ErrorRecord>>,
    /// The first one found.
    first: OnceLock<Error>,
    count: AtomicU64,
    /// The journal has been aborted for it, and the superblock written.
    acted: AtomicBool,
}

impl Damage {
    pub(super) fn new(
        sb: &Superblock,
        chosen: Option<ErrorPolicy>,
        meta: Option<Arc<MetaStore>>,
        clock: fn() -> core::time::Duration,
    ) -> Arc<Self> {
        let policy = chosen.unwrap_or(match sb.errors_behaviour() {
            ErrorsBehaviour::Continue => ErrorPolicy::Continue,
            ErrorsBehaviour::RemountReadOnly => ErrorPolicy::RemountReadOnly,
            // We are not the machine: our panic is the end of this mount.
            ErrorsBehaviour::Panic => ErrorPolicy::Abort,
        });
        Arc::new(Self {
            policy,
            meta,
            clock,
            records: Mutex::new(Rank::LEAF, Vec::new()),
            first: OnceLock::new(),
            count: AtomicU64::new(0),
            acted: AtomicBool::new(false),
        })
    }

    /// Notes an error, if it is about the image. Returns it.
    #[track_caller]
    pub(crate) fn note(&self, error: Error) -> Error {
        let Some((func, ino, block)) = place_of(&error) else {
            return error;
        };
        self.count.fetch_add(1, Ordering::Relaxed);
        tracing::error!(%error, policy = ?self.policy, "damage");
        let Some(meta) = self.meta.as_ref().filter(|_| !planted!(DamageNotNoted)) else {
            return error;
        };
        let mut name = [0; 32];
        for (to, from) in name.iter_mut().zip(func.bytes()) {
            *to = from;
        }
        let record = ErrorRecord {
            time: (self.clock)().as_secs().max(1),
            ino,
            block,
            func: name,
            line: Location::caller().line(),
            errcode: CORRUPTED,
        };
        {
            let mut records = self.records.lock();
            if records.len() < RECORDS_MAX {
                records.push(record);
            }
        }
        // Somebody else's may be the first.
        let _ = self.first.set(error.clone());
        meta.arm_timer();
        error
    }

    /// Errors found since the mount.
    pub(super) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// True if the superblock does not tell of all of them yet.
    pub(crate) fn is_unwritten(&self) -> bool {
        !self.records.lock().is_empty()
    }

    /// What forbids changes.
    fn stops(&self) -> Option<&Error> {
        match self.policy {
            ErrorPolicy::Continue => None,
            ErrorPolicy::RemountReadOnly | ErrorPolicy::Abort => self.first.get(),
        }
    }

    /// Moves the notes into the superblock.
    fn write_to(&self, sb: &mut Superblock) {
        for record in std::mem::take(&mut *self.records.lock()) {
            sb.record_error(&record);
        }
        let state = sb.state().bits() | FsState::ERRORS;
        sb.set_state(FsState::from_bits(state));
    }
}

/// The name, the inode and the block of an error about the image's own structures.
fn place_of(error: &Error) -> Option<(&'static str, Option<InodeNo>, FsBlock)> {
    let none = FsBlock::new(0);
    Some(match error {
        Error::Format { .. } => ("Format", None, none),
        Error::InodeBlock { ino, block, .. } => ("InodeBlock", Some(*ino), *block),
        Error::ExtentTree { ino, .. } => ("ExtentTree", Some(*ino), none),
        Error::Group { .. } => ("Group", None, none),
        Error::Directory { ino, source, .. } if source.is_damage() => {
            ("Directory", Some(*ino), none)
        }
        Error::DirectoryHole { ino, .. } => ("DirectoryHole", Some(*ino), none),
        Error::BadInode { ino, .. } => ("BadInode", InodeNo::new(*ino), none),
        _ => return None,
    })
}

impl Shared {
    /// Notes damage. Returns the error.
    #[track_caller]
    pub(crate) fn damaged(&self, error: Error) -> Error {
        self.damage.note(error)
    }

    /// Errors found since the mount.
    pub(crate) fn errors_found(&self) -> u64 {
        self.damage.count()
    }

    /// Refuses changes after damage, if the policy says so. No locks are held.
    pub(super) fn check_undamaged(&self) -> Result<()> {
        let Some(first) = self.damage.stops() else {
            return Ok(());
        };
        self.act_on_damage();
        match self.damage.policy {
            ErrorPolicy::Abort => Err(self.aborted_error()),
            _ => Err(Error::ReadOnly {
                image: Arc::clone(&self.image),
                why: format!("errors=remount-ro: {first}"),
            }),
        }
    }

    /// True if changes are refused because of damage.
    pub(super) fn is_stopped(&self) -> bool {
        self.damage.stops().is_some()
    }

    /// Ends the journal, if the policy says so and it has not been done. No locks are held.
    pub(super) fn act_on_damage(&self) {
        let damage = &self.damage;
        if damage.policy != ErrorPolicy::Abort
            || damage.stops().is_none()
            || damage.acted.swap(true, Ordering::AcqRel)
        {
            return;
        }
        self.meta.abort(self.damage_as_failure());
        // Past the journal, which does not write any more. Counts and the like are recovery's.
        let written = read_superblock(&self.image, &*self.device).and_then(|mut sb| {
            damage.write_to(&mut sb);
            Ok(write_superblock(&*self.device, &sb)?)
        });
        if let Err(error) = written {
            tracing::error!(%error, image = %self.image, "error fields not written");
        }
    }

    fn damage_as_failure(&self) -> JournalError {
        let first = self.damage.stops().cloned().unwrap_or(Error::Closed);
        JournalError::filesystem(first)
    }

    /// The part of the policy that belongs to a commit: notes go into its superblock, or it fails.
    pub(crate) fn commit_damage(&self, handle: &mut Handle) -> Result<()> {
        if self.damage.policy == ErrorPolicy::Abort
            && let Some(first) = self.damage.stops()
        {
            return Err(first.clone());
        }
        if !self.damage.is_unwritten() {
            return Ok(());
        }
        self.edit_superblock(handle, |sb| self.damage.write_to(sb))
    }
}
