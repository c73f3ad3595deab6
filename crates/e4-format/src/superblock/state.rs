//! Counters, times, names and inode references of the superblock: nothing that other numbers are
//! derived from.

use super::Superblock;
use crate::features::{CompatFeatures, IncompatFeatures};
use crate::htree::{HashAlgorithm, HashVersion};
use crate::units::{FsBlock, InodeNo};
use zerocopy::little_endian::U32;

/// `s_state`, a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FsState(u16);

impl FsState {
    /// Cleanly unmounted.
    pub const CLEAN: u16 = 1;
    /// Errors were detected.
    pub const ERRORS: u16 = 2;
    /// Orphans are being recovered.
    pub const ORPHANS: u16 = 4;

    /// From the raw word.
    #[must_use]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits)
    }

    /// The raw word.
    #[must_use]
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Cleanly unmounted.
    #[must_use]
    pub const fn is_clean(self) -> bool {
        self.0 & Self::CLEAN != 0
    }

    /// Errors were detected and not yet repaired.
    #[must_use]
    pub const fn has_errors(self) -> bool {
        self.0 & Self::ERRORS != 0
    }
}

/// `s_errors`: what to do when corruption is met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorsBehaviour {
    /// Note it and go on.
    Continue,
    /// Stop writing.
    RemountReadOnly,
    /// Stop the machine; for us, stop the filesystem.
    Panic,
}

/// The first or the latest error the image remembers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ErrorRecord {
    /// Seconds since the epoch.
    pub time: u64,
    /// Inode concerned, if any.
    pub ino: Option<InodeNo>,
    /// Block concerned, 0 if none.
    pub block: FsBlock,
    /// Function that noticed, as stored (NUL padded).
    pub func: [u8; 32],
    /// Source line.
    pub line: u32,
    /// The format's own error code, 0 if unknown.
    pub errcode: u8,
}

impl Superblock {
    /// The image's UUID.
    #[must_use]
    pub const fn uuid(&self) -> [u8; 16] {
        self.raw.s_uuid
    }

    /// The volume label up to its first NUL; not necessarily UTF-8.
    #[must_use]
    pub fn label(&self) -> &[u8] {
        until_nul(&self.raw.s_volume_name)
    }

    /// Where the image was last mounted, up to the first NUL.
    #[must_use]
    pub fn last_mounted(&self) -> &[u8] {
        until_nul(&self.raw.s_last_mounted)
    }

    /// Seed of directory hashes; all zero means the algorithm's own start values.
    #[must_use]
    pub fn hash_seed(&self) -> [u32; 4] {
        let [a, b, c, d] = &self.raw.s_hash_seed;
        [a.get(), b.get(), c.get(), d.get()]
    }

    /// Hash for new htrees, with the signedness this image hashes with; `None` for one we do not know.
    #[must_use]
    pub fn def_hash_version(&self) -> Option<HashVersion> {
        self.hash_version(self.raw.s_def_hash_version)
    }

    /// The hash a directory's root names, with the signedness of this image. Roots store the signed
    /// numbers 0 to 2; the flags of the superblock say how characters above 127 were hashed.
    #[must_use]
    pub fn hash_version(&self, stored: u8) -> Option<HashVersion> {
        const UNSIGNED_HASH: u32 = 2;
        let unsigned = self.raw.s_flags.get() & UNSIGNED_HASH != 0;
        match stored {
            0..=2 => Some(HashVersion {
                algorithm: HashAlgorithm::from_raw(stored)?,
                unsigned,
            }),
            3..=5 => {
                let algorithm = HashAlgorithm::from_raw(stored - 3)?;
                Some(HashVersion {
                    algorithm,
                    unsigned: true,
                })
            }
            _ => None,
        }
    }

    /// Inode of the internal journal; `None` without one (no journal, or an external one).
    #[must_use]
    pub fn journal_inum(&self) -> Option<InodeNo> {
        if self.compat().contains(CompatFeatures::HAS_JOURNAL) {
            InodeNo::new(self.raw.s_journal_inum.get())
        } else {
            None
        }
    }

    /// UUID of an external journal; all zero for an internal one.
    #[must_use]
    pub const fn journal_uuid(&self) -> [u8; 16] {
        self.raw.s_journal_uuid
    }

    /// Head of the list of orphans; not yet known to be a valid inode number.
    #[must_use]
    pub fn last_orphan(&self) -> Option<InodeNo> {
        InodeNo::new(self.raw.s_last_orphan.get())
    }

    /// Sets the head of the list of orphans.
    pub fn set_last_orphan(&mut self, ino: Option<InodeNo>) {
        self.raw.s_last_orphan.set(ino.map_or(0, InodeNo::get));
    }

    /// Inode of the orphan file; `None` without the feature.
    #[must_use]
    pub fn orphan_file_inum(&self) -> Option<InodeNo> {
        if self.compat().contains(CompatFeatures::ORPHAN_FILE) {
            InodeNo::new(self.raw.s_orphan_file_inum.get())
        } else {
            None
        }
    }

    /// True if the journal must be replayed before anything is believed.
    #[must_use]
    pub fn needs_recovery(&self) -> bool {
        self.incompat().contains(IncompatFeatures::RECOVER)
    }

    /// Free blocks as of the last clean unmount or superblock write; the groups know better. At most
    /// the number of blocks.
    #[must_use]
    pub fn free_blocks_count(&self) -> u64 {
        let n = self.join64(
            &self.raw.s_free_blocks_count_lo,
            &self.raw.s_free_blocks_count_hi,
        );
        n.min(self.blocks_count)
    }

    /// Sets the free block count.
    pub fn set_free_blocks_count(&mut self, n: u64) {
        let (lo, hi) = split64(n);
        self.raw.s_free_blocks_count_lo.set(lo);
        if self.incompat().contains(IncompatFeatures::BIT64) {
            self.raw.s_free_blocks_count_hi.set(hi);
        }
    }

    /// Blocks only the reserved user may take; at most the number of blocks.
    #[must_use]
    pub fn reserved_blocks_count(&self) -> u64 {
        let n = self.join64(&self.raw.s_r_blocks_count_lo, &self.raw.s_r_blocks_count_hi);
        n.min(self.blocks_count)
    }

    /// Free inodes, with the same reservation as the free blocks.
    #[must_use]
    pub fn free_inodes_count(&self) -> u32 {
        self.raw
            .s_free_inodes_count
            .get()
            .min(self.raw.s_inodes_count.get())
    }

    /// Sets the free inode count.
    pub fn set_free_inodes_count(&mut self, n: u32) {
        self.raw.s_free_inodes_count.set(n);
    }

    /// User and group that may take the reserved blocks.
    #[must_use]
    pub fn reserved_owner(&self) -> (u32, u32) {
        let r = &self.raw;
        let uid = u32::from(r.s_def_resuid_hi.get()) << 16 | u32::from(r.s_def_resuid.get());
        let gid = u32::from(r.s_def_resgid_hi.get()) << 16 | u32::from(r.s_def_resgid.get());
        (uid, gid)
    }

    /// Clean or not.
    #[must_use]
    pub fn state(&self) -> FsState {
        FsState::from_bits(self.raw.s_state.get())
    }

    /// Sets the state.
    pub fn set_state(&mut self, state: FsState) {
        self.raw.s_state.set(state.bits());
    }

    /// What to do on corruption; unknown values mean to continue.
    #[must_use]
    pub fn errors_behaviour(&self) -> ErrorsBehaviour {
        match self.raw.s_errors.get() {
            2 => ErrorsBehaviour::RemountReadOnly,
            3 => ErrorsBehaviour::Panic,
            _ => ErrorsBehaviour::Continue,
        }
    }

    /// How many errors were noted since the last check.
    #[must_use]
    pub fn error_count(&self) -> u32 {
        self.raw.s_error_count.get()
    }

    /// The first error noted, if any.
    #[must_use]
    pub fn first_error(&self) -> Option<ErrorRecord> {
        let r = &self.raw;
        let time = join40(&r.s_first_error_time, r.s_first_error_time_hi);
        (time != 0).then(|| ErrorRecord {
            time,
            ino: InodeNo::new(r.s_first_error_ino.get()),
            block: FsBlock::new(r.s_first_error_block.get()),
            func: r.s_first_error_func,
            line: r.s_first_error_line.get(),
            errcode: r.s_first_error_errcode,
        })
    }

    /// The latest error noted, if any.
    #[must_use]
    pub fn last_error(&self) -> Option<ErrorRecord> {
        let r = &self.raw;
        let time = join40(&r.s_last_error_time, r.s_last_error_time_hi);
        (time != 0).then(|| ErrorRecord {
            time,
            ino: InodeNo::new(r.s_last_error_ino.get()),
            block: FsBlock::new(r.s_last_error_block.get()),
            func: r.s_last_error_func,
            line: r.s_last_error_line.get(),
            errcode: r.s_last_error_errcode,
        })
    }

    /// Notes an error: counts it, makes it the latest, and the first if there was none.
    pub fn record_error(&mut self, e: &ErrorRecord) {
        let first = self.first_error().is_none();
        let r = &mut self.raw;
        r.s_error_count.set(r.s_error_count.get().saturating_add(1));
        let ino = e.ino.map_or(0, InodeNo::get);
        if first {
            put40(
                &mut r.s_first_error_time,
                &mut r.s_first_error_time_hi,
                e.time,
            );
            r.s_first_error_ino.set(ino);
            r.s_first_error_block.set(e.block.get());
            r.s_first_error_func = e.func;
            r.s_first_error_line.set(e.line);
            r.s_first_error_errcode = e.errcode;
        }
        put40(
            &mut r.s_last_error_time,
            &mut r.s_last_error_time_hi,
            e.time,
        );
        r.s_last_error_ino.set(ino);
        r.s_last_error_block.set(e.block.get());
        r.s_last_error_func = e.func;
        r.s_last_error_line.set(e.line);
        r.s_last_error_errcode = e.errcode;
    }

    /// Keeps what an older state of this superblock knew of errors, if that is more: recovery of the journal may have put an earlier
    /// copy in its place.
    pub fn keep_errors(&mut self, older: &Self) {
        if older.error_count() <= self.error_count() {
            return;
        }
        let (r, o) = (&mut self.raw, &older.raw);
        r.s_error_count = o.s_error_count;
        r.s_first_error_time = o.s_first_error_time;
        r.s_first_error_time_hi = o.s_first_error_time_hi;
        r.s_first_error_ino = o.s_first_error_ino;
        r.s_first_error_block = o.s_first_error_block;
        r.s_first_error_func = o.s_first_error_func;
        r.s_first_error_line = o.s_first_error_line;
        r.s_first_error_errcode = o.s_first_error_errcode;
        r.s_last_error_time = o.s_last_error_time;
        r.s_last_error_time_hi = o.s_last_error_time_hi;
        r.s_last_error_ino = o.s_last_error_ino;
        r.s_last_error_block = o.s_last_error_block;
        r.s_last_error_func = o.s_last_error_func;
        r.s_last_error_line = o.s_last_error_line;
        r.s_last_error_errcode = o.s_last_error_errcode;
        let errors = older.state().bits() & FsState::ERRORS;
        self.set_state(FsState::from_bits(self.state().bits() | errors));
    }

    /// Last mount, seconds since the epoch.
    #[must_use]
    pub fn mount_time(&self) -> u64 {
        join40(&self.raw.s_mtime, self.raw.s_mtime_hi)
    }

    /// Sets the mount time.
    pub fn set_mount_time(&mut self, secs: u64) {
        put40(&mut self.raw.s_mtime, &mut self.raw.s_mtime_hi, secs);
    }

    /// Last write of the superblock, seconds since the epoch.
    #[must_use]
    pub fn write_time(&self) -> u64 {
        join40(&self.raw.s_wtime, self.raw.s_wtime_hi)
    }

    /// Sets the write time.
    pub fn set_write_time(&mut self, secs: u64) {
        put40(&mut self.raw.s_wtime, &mut self.raw.s_wtime_hi, secs);
    }

    /// Creation of the filesystem, seconds since the epoch.
    #[must_use]
    pub fn mkfs_time(&self) -> u64 {
        join40(&self.raw.s_mkfs_time, self.raw.s_mkfs_time_hi)
    }

    /// Sets the creation time.
    pub fn set_mkfs_time(&mut self, secs: u64) {
        put40(
            &mut self.raw.s_mkfs_time,
            &mut self.raw.s_mkfs_time_hi,
            secs,
        );
    }

    /// Last check, seconds since the epoch.
    #[must_use]
    pub fn lastcheck(&self) -> u64 {
        join40(&self.raw.s_lastcheck, self.raw.s_lastcheck_hi)
    }

    /// Sets the time of the last check.
    pub fn set_lastcheck(&mut self, secs: u64) {
        put40(
            &mut self.raw.s_lastcheck,
            &mut self.raw.s_lastcheck_hi,
            secs,
        );
    }

    /// Bytes beyond the first 128 that a new inode uses for fields: what the image wants if that makes
    /// sense, else 32 (all fields known today); 0 with 128-byte inodes.
    #[must_use]
    pub fn new_inode_extra_isize(&self) -> u16 {
        const ALL_FIELDS: u16 = 32;
        let room = self.inode_size - 128;
        if room == 0 {
            return 0;
        }
        let want = self
            .raw
            .s_want_extra_isize
            .get()
            .max(self.raw.s_min_extra_isize.get());
        if want <= room && want >= 4 && want.is_multiple_of(4) {
            want
        } else {
            ALL_FIELDS.min(room)
        }
    }

    fn join64(&self, lo: &U32, hi: &U32) -> u64 {
        let bit64 = self.incompat().contains(IncompatFeatures::BIT64);
        let hi = if bit64 { u64::from(hi.get()) } else { 0 };
        hi << 32 | u64::from(lo.get())
    }
}

fn split64(n: u64) -> (u32, u32) {
    let [a, b, c, d, e, f, g, h] = n.to_le_bytes();
    (
        u32::from_le_bytes([a, b, c, d]),
        u32::from_le_bytes([e, f, g, h]),
    )
}

fn join40(lo: &U32, hi: u8) -> u64 {
    u64::from(hi) << 32 | u64::from(lo.get())
}

/// Stores the low 40 bits, good until the year 36812.
fn put40(lo: &mut U32, hi: &mut u8, secs: u64) {
    let (low, high) = split64(secs);
    lo.set(low);
    [*hi, ..] = high.to_le_bytes();
}

fn until_nul(bytes: &[u8]) -> &[u8] {
    bytes.split(|b| *b == 0).next().unwrap_or_default()
}
