//! Opening an image: from untrusted bytes to a mounted filesystem, recovering what a crash left.

use e4_completion::{Engine, Limits, PublishEpoch};
use e4_device::{Device, DeviceError};
use e4_extent::{FileRange, NodeRead, ROOT_LEN, TreeError};
use e4_format::extent::capacity_block;
use e4_format::features::IncompatFeatures;
use e4_format::superblock::{FsState, SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use e4_format::{
    Access, ExtentState, FileType, FormatError, FsBlock, Inode as DiskInode, InodeNo, MapKind,
    Superblock,
};
use e4_journal::recovery::{self, CorruptPolicy, RecoveryReport};
use e4_journal::{
    CommitHooks, JournalLayout, JournalMode, LogChecksum, LogExtent, MetaStore, NoHooks, Options,
};
use e4_planted::planted;
use e4_sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use e4_sync::{Arc, Mutex, OnceLock, Rank, thread};

use super::damage::Damage;
use super::{Counters, LiveSuperblock, MountOptions, Mounted, Shared};
use crate::alloc::Allocator;
use crate::cache::{Cache, run_flusher};
use crate::data::charge::ChargePool;
use crate::data::converter::Conv;
use crate::data::pump::{Pump, run_attendant, run_fallback};
use crate::data::record::Hooks;
use crate::error::{Error, Result};
use crate::extent::{NodeBytes, read_node};
use crate::inode::{InodeTable, Orphans, read_inode};
use crate::meta::format_error;
use crate::xattr::XattrBlocks;

/// Opens an image. See [`crate::Filesystem::open`].
pub(crate) fn mount(device: Arc<dyn Device>, options: &MountOptions) -> Result<Mounted> {
    let image: Arc<str> = Arc::from(device.info().name.as_str());
    let mut sb = read_superblock(&image, &*device)?;
    let access = e4_format::check_mountable(&sb).map_err(|e| format_error(&image, e))?;
    let read_only = why_read_only(&access, &*device, options);
    // The log may hold blocks of a filesystem that has grown: the superblock that says so may be in it as well.
    let most = match sb.needs_recovery() {
        true => device.info().size >> sb.block_size().log2(),
        false => sb.blocks_count(),
    };
    let mut layout = match sb.journal_inum() {
        Some(ino) => Some(journal_layout(&image, &device, &sb, ino, most)?),
        None => None,
    };
    let mut report = None;
    if let Some(layout) = &mut layout
        && sb.needs_recovery()
    {
        if planted!(ClearNeedsRecoveryEarly) {
            sb.set_needs_recovery(false);
            write_superblock(&*device, &sb)?;
        }
        report = Some(recover(&image, &device, layout)?);
        let before = sb;
        sb = read_superblock(&image, &*device)?;
        sb.keep_errors(&before);
        sb.set_needs_recovery(false);
        write_superblock(&*device, &sb)?;
        layout.set_filesystem_blocks(sb.blocks_count());
    }
    if read_only.is_none() {
        mark_mounted(&*device, &mut sb, layout.is_some(), options)?;
    }
    let mounted = build(image, device, sb, layout, read_only, report, options)?;
    let shared = &mounted.shared;
    if shared.read_only.is_none() {
        shared.load_orphan_file()?;
        let finished = shared.process_orphans()?;
        mounted.orphans_finished.store(finished, Ordering::Relaxed);
    }
    Ok(mounted)
}

/// Reads and validates the superblock, and checks that the image is as long as it says.
pub(crate) fn read_superblock(image: &Arc<str>, device: &dyn Device) -> Result<Superblock> {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    if device.info().size < SUPERBLOCK_OFFSET + SUPERBLOCK_SIZE as u64 {
        let source = FormatError::Truncated {
            what: "superblock",
            len: 0,
        };
        return Err(format_error(image, source));
    }
    device.read_at(SUPERBLOCK_OFFSET, &mut bytes)?;
    let sb = Superblock::parse(&bytes).map_err(|e| format_error(image, e))?;
    let expected = u64::from(sb.block_size().bytes()).saturating_mul(sb.blocks_count());
    if device.info().size < expected {
        return Err(Error::Truncated {
            image: image.to_string(),
            expected,
            found: device.info().size,
        });
    }
    Ok(sb)
}

/// Writes the superblock past the metadata cache: only before the store opens and after it shut down.
pub(crate) fn write_superblock(device: &dyn Device, sb: &Superblock) -> Result<(), DeviceError> {
    device.write_at(SUPERBLOCK_OFFSET, &sb.encode())?;
    device.flush()
}

fn why_read_only(access: &Access, device: &dyn Device, options: &MountOptions) -> Option<String> {
    if options.read_only {
        return Some("mounted read-only".to_owned());
    }
    if device.info().read_only {
        return Some("the image is opened read-only".to_owned());
    }
    match access {
        Access::ReadWrite => None,
        Access::ReadOnly { reason } => {
            let names: Vec<String> = reason.names().map(|n| n.to_string()).collect();
            Some(format!(
                "unsupported read-only-compatible features: {}",
                names.join(", ")
            ))
        }
    }
}

/// Finds the journal through its inode.
fn journal_layout(
    image: &Arc<str>,
    device: &Arc<dyn Device>,
    sb: &Superblock,
    ino: InodeNo,
    blocks: u64,
) -> Result<JournalLayout> {
    let bad = |what| Error::BadJournalInode {
        image: image.to_string(),
        ino: ino.get(),
        what,
    };
    // A store of its own, without journal and forgotten afterwards: what it caches may be replayed over.
    let options = Options {
        commit_interval: None,
        cache_bytes: 1 << 20,
        ..Options::default()
    };
    let mode = JournalMode::None {
        blocks: sb.blocks_count(),
    };
    let meta = MetaStore::open(
        Arc::clone(device),
        sb.block_size(),
        mode,
        options,
        Arc::new(NoHooks),
    )?;
    let inode = read_inode(image, &meta, sb, ino)?;
    if inode.file_type() != Some(FileType::Regular) || inode.links_count == 0 {
        return Err(bad("it is not a regular file in use"));
    }
    let extents = match inode.map_kind() {
        MapKind::Indirect => super::journal_map::log_extents(image, &meta, sb, ino, &inode)?,
        MapKind::Extents => log_extents(image, &meta, sb, ino, &inode)?,
        MapKind::Inline | MapKind::None => return Err(bad("it has no blocks")),
    };
    Ok(JournalLayout::read(
        &**device,
        sb.block_size(),
        blocks,
        &extents,
    )?)
}

/// The journal's blocks, from its extent tree.
fn log_extents(
    image: &Arc<str>,
    meta: &MetaStore,
    sb: &Superblock,
    ino: InodeNo,
    inode: &DiskInode,
) -> Result<Vec<LogExtent>> {
    let bad = |what| Error::BadJournalInode {
        image: image.to_string(),
        ino: ino.get(),
        what,
    };
    let view = RawTree {
        image,
        meta,
        sb,
        ino,
        seed: inode.csum_seed(sb, ino),
        root: &inode.i_block,
    };
    let mut extents = Vec::new();
    for extent in e4_extent::iterate(&view, FileRange::ALL) {
        let extent = extent.map_err(|e| match e {
            TreeError::Read { source, .. } => source,
            _ => bad("its extent tree is damaged"),
        })?;
        if extent.state != ExtentState::Written {
            return Err(bad("part of it is unwritten"));
        }
        extents.push(LogExtent {
            logical: extent.block.get(),
            len: extent.len,
            physical: extent.start,
        });
    }
    Ok(extents)
}

fn recover(
    image: &Arc<str>,
    device: &Arc<dyn Device>,
    layout: &mut JournalLayout,
) -> Result<RecoveryReport> {
    if device.info().read_only {
        return Err(Error::ReadOnly {
            image: Arc::clone(image),
            why: "its journal needs recovery, for which it must be writable".to_owned(),
        });
    }
    let report = recovery::recover(&**device, layout, CorruptPolicy::Refuse)?;
    tracing::info!(%image, transactions = report.transactions, blocks = report.blocks, "recovered");
    if report.errno != 0 {
        let mut sb = read_superblock(image, &**device)?;
        sb.set_state(FsState::from_bits(sb.state().bits() | FsState::ERRORS));
        write_superblock(&**device, &sb)?;
        recovery::clear_errno(&**device, layout)?;
    }
    Ok(report)
}

/// From here on a crash leaves an image that says so.
fn mark_mounted(
    device: &dyn Device,
    sb: &mut Superblock,
    journal: bool,
    options: &MountOptions,
) -> Result<()> {
    if journal {
        sb.set_needs_recovery(true);
    } else {
        sb.set_state(FsState::from_bits(sb.state().bits() & !FsState::CLEAN));
    }
    if sb.orphan_file_inum().is_some() {
        sb.set_orphan_present(true);
    }
    sb.set_mount_time((options.clock)().as_secs());
    let count = sb.raw().s_mnt_count.get().saturating_add(1);
    sb.raw_mut().s_mnt_count.set(count);
    Ok(write_superblock(device, sb)?)
}

fn build(
    image: Arc<str>,
    device: Arc<dyn Device>,
    sb: Superblock,
    layout: Option<JournalLayout>,
    read_only: Option<String>,
    recovery: Option<RecoveryReport>,
    options: &MountOptions,
) -> Result<Mounted> {
    let hooks = Arc::new(Hooks {
        shared: OnceLock::new(),
    });
    let mode = match layout {
        Some(layout) => JournalMode::Journal(layout),
        None => JournalMode::None {
            blocks: sb.blocks_count(),
        },
    };
    let store_options = Options {
        cache_bytes: options.metadata_cache,
        // Capped by the store at what leaves room for handles.
        record_credits: u32::MAX,
        commit_interval: options
            .commit_interval
            .filter(|_| options.background && read_only.is_none()),
        checksum: if sb.has_metadata_csum() {
            LogChecksum::V3
        } else {
            LogChecksum::AsIs
        },
        wide: sb.incompat().contains(IncompatFeatures::BIT64),
        clock: options.clock,
        ..Options::default()
    };
    let meta = MetaStore::open(
        Arc::clone(&device),
        sb.block_size(),
        mode,
        store_options,
        Arc::clone(&hooks) as Arc<dyn CommitHooks>,
    )?;
    let notes = read_only.is_none().then(|| Arc::clone(&meta));
    let damage = Damage::new(&sb, options.errors, notes, options.clock);
    let sb = Arc::new(LiveSuperblock::new(sb));
    let mut alloc = Allocator::load(Arc::clone(&image), Arc::clone(&sb), Arc::clone(&meta))?;
    alloc.note_damage(Arc::clone(&damage));
    if options.discard {
        alloc.discard_freed(Arc::clone(&device));
    }
    let shared = Arc::new(Shared {
        image,
        pump: Pump::new(Arc::clone(&device)),
        device,
        // The superblock's counts take part in every recording.
        cache: Cache::new(options, sb.block_size().len()),
        charges: ChargePool::new(meta.limits().record_credits.saturating_sub(1)),
        sb,
        meta,
        alloc,
        engine: Engine::new(Conv, Limits::DEFAULT),
        inodes: InodeTable::new(),
        unrecorded: Mutex::new(Rank::ENGINE_READY, Vec::new()),
        epoch: PublishEpoch::new(),
        orphans: Mutex::new(Rank::ORPHAN, Orphans::default()),
        grow_turn: Mutex::new(Rank::FILESYSTEM_GATE, ()),
        rename_turn: Mutex::new(Rank::RENAME, ()),
        xattr_blocks: Mutex::new(Rank::XATTR_BLOCKS, XattrBlocks::default()),
        orphans_listed: AtomicUsize::new(0),
        dead: Mutex::new(Rank::LEAF, Vec::new()),
        stats: Counters::default(),
        counts_stored: Mutex::new(Rank::LEAF, None),
        read_only,
        damage,
        closed: AtomicBool::new(false),
        generation: AtomicU32::new((options.clock)().subsec_nanos()),
        clock: options.clock,
    });
    // Nobody else has set it: the cell was made above.
    let _ = hooks.shared.set(Arc::downgrade(&shared));
    let mut reapers = Vec::new();
    if options.background {
        let weak = Arc::downgrade(&shared);
        let stop = shared.pump.stopper();
        reapers.push(thread::spawn(move || {
            run_fallback(&stop, &weak, |s: &Shared| &s.pump)
        }));
    }
    if options.background && shared.check_writable().is_ok() {
        let weak = Arc::downgrade(&shared);
        let bell = Arc::clone(&shared.cache.bell);
        let tick = shared.flusher_tick();
        reapers.push(thread::spawn(move || run_flusher(&bell, tick, &weak)));
    }
    if options.attendant {
        let weak = Arc::downgrade(&shared);
        let stop = shared.pump.attend();
        reapers.push(thread::spawn(move || {
            run_attendant(&stop, &weak, |s: &Shared| &s.pump)
        }));
    }
    Ok(Mounted {
        shared,
        recovery,
        orphans_finished: AtomicUsize::new(0),
        reapers: Mutex::new(Rank::LEAF, reapers),
    })
}

/// Read access to a tree before the filesystem exists.
struct RawTree<'a> {
    image: &'a Arc<str>,
    meta: &'a MetaStore,
    sb: &'a Superblock,
    ino: InodeNo,
    seed: u32,
    root: &'a [u8; ROOT_LEN],
}

impl NodeRead for RawTree<'_> {
    type Error = Error;
    type Node = NodeBytes;

    fn node_entries(&self) -> u16 {
        capacity_block(self.sb.block_size())
    }

    fn root(&self) -> &[u8; ROOT_LEN] {
        self.root
    }

    fn read(&self, at: FsBlock) -> Result<NodeBytes> {
        read_node(self.image, self.meta, self.sb, (self.ino, self.seed), at)
    }
}
