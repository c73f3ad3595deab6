//! A little filesystem: a device with a journal at a known place, opened and recovered the way a mount would.

use e4_device::Device;
use e4_format::jbd2::{JournalCompat, JournalIncompat, JournalSuperblock, RawJournalSuperblock};
use e4_format::{BlockSize, FsBlock};
use e4_sync::Arc;

use super::medium::Medium;
use crate::recovery::{CorruptPolicy, RecoveryReport, recover};
use crate::{
    CommitHooks, JournalError, JournalLayout, JournalMode, LogChecksum, LogExtent, MetaStore,
    NoHooks, Options, Planted,
};

/// Shape of the filesystem.
#[derive(Clone, Copy, Debug)]
pub(crate) struct World {
    pub(crate) size: BlockSize,
    pub(crate) blocks: u64,
    /// Blocks of the journal, in two pieces; the superblock is the first.
    pub(crate) journal: u32,
    pub(crate) checksum: LogChecksum,
    pub(crate) wide: bool,
    pub(crate) record_credits: u32,
    /// First transaction number.
    pub(crate) sequence: u32,
    pub(crate) planted: Planted,
    pub(crate) cache_bytes: usize,
}

/// First block of the journal's second piece; the first piece lies behind it, so that the order matters.
const SECOND: u64 = 8;

impl World {
    pub(crate) fn small() -> Self {
        Self {
            size: BlockSize::KIB1,
            blocks: 512,
            journal: 49,
            checksum: LogChecksum::V3,
            wide: false,
            record_credits: 0,
            sequence: 1,
            planted: Planted::Nothing,
            cache_bytes: 1 << 20,
        }
    }

    /// As small as the crash workload allows: thousands of images of it are judged.
    pub(crate) fn tiny() -> Self {
        Self {
            blocks: 96,
            ..Self::small()
        }
    }

    pub(crate) fn extents(&self) -> Vec<LogExtent> {
        let first = self.journal / 2;
        vec![
            LogExtent {
                logical: 0,
                len: first,
                physical: FsBlock::new(SECOND + u64::from(self.journal - first) + 3),
            },
            LogExtent {
                logical: first,
                len: self.journal - first,
                physical: FsBlock::new(SECOND),
            },
        ]
    }

    /// First block that may be used.
    pub(crate) fn usable(&self) -> u64 {
        SECOND + u64::from(self.journal) + 4
    }

    pub(crate) fn raw_superblock(&self) -> RawJournalSuperblock {
        let mut raw = RawJournalSuperblock::zeroed();
        raw.h_magic.set(e4_format::jbd2::JBD2_MAGIC);
        raw.h_blocktype.set(4);
        raw.s_blocksize.set(self.size.bytes());
        raw.s_maxlen.set(self.journal);
        raw.s_first.set(1);
        raw.s_sequence.set(self.sequence);
        raw.s_nr_users.set(1);
        raw.s_uuid = *b"e4-journal-tests";
        raw.s_feature_compat.set(JournalCompat::default().bits());
        raw.s_feature_incompat
            .set(JournalIncompat::default().bits());
        raw
    }

    /// A fresh device: every byte `fill`, the journal empty.
    pub(crate) fn format(&self, fill: u8) -> Arc<Medium> {
        let mut bytes = vec![fill; usize::try_from(self.blocks).unwrap() * self.size.len()];
        for e in self.extents() {
            let from = usize::try_from(e.physical.get()).unwrap() * self.size.len();
            bytes[from..from + e.len as usize * self.size.len()].fill(0);
        }
        let medium = Arc::new(Medium::new(bytes));
        self.put_superblock(&medium, self.raw_superblock());
        medium
    }

    pub(crate) fn put_superblock(&self, medium: &Medium, raw: RawJournalSuperblock) {
        let superblock = JournalSuperblock::from_raw(raw, self.size).unwrap();
        let mut block = vec![0; self.size.len()];
        superblock.encode(&mut block).unwrap();
        medium.write_at(self.log_byte(0), &block).unwrap();
    }

    /// Byte position of a journal block.
    pub(crate) fn log_byte(&self, logical: u32) -> u64 {
        let extents = self.extents();
        let e = extents
            .iter()
            .find(|e| (e.logical..e.logical + e.len).contains(&logical))
            .unwrap();
        (e.physical.get() + u64::from(logical - e.logical)) * u64::from(self.size.bytes())
    }

    pub(crate) fn layout(&self, medium: &Medium) -> Result<JournalLayout, JournalError> {
        JournalLayout::read(medium, self.size, self.blocks, &self.extents())
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            cache_bytes: self.cache_bytes,
            record_credits: self.record_credits,
            commit_interval: None,
            checksum: self.checksum,
            wide: self.wide,
            clock: || core::time::Duration::from_secs(1_000_000),
            planted: self.planted,
            ..Options::default()
        }
    }

    pub(crate) fn open(&self, medium: &Arc<Medium>) -> Arc<MetaStore> {
        self.open_with(medium, Arc::new(NoHooks))
    }

    pub(crate) fn open_with(
        &self,
        medium: &Arc<Medium>,
        hooks: Arc<dyn CommitHooks>,
    ) -> Arc<MetaStore> {
        let layout = self.layout(medium).unwrap();
        let device: Arc<dyn Device> = Arc::<Medium>::clone(medium);
        MetaStore::open(
            device,
            self.size,
            JournalMode::Journal(layout),
            self.options(),
            hooks,
        )
        .unwrap()
    }

    /// As a mount does: recover, if need be.
    pub(crate) fn recover(&self, medium: &Medium) -> Result<RecoveryReport, JournalError> {
        let mut layout = self.layout(medium)?;
        recover(medium, &mut layout, CorruptPolicy::Refuse)
    }

    /// The content of a block in an image.
    pub(crate) fn block<'a>(&self, bytes: &'a [u8], block: u64) -> &'a [u8] {
        let at = usize::try_from(block).unwrap() * self.size.len();
        &bytes[at..at + self.size.len()]
    }
}
