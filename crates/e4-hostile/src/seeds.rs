//! Sound images made by e4 itself: the same bytes on every machine, so that a few bytes of script name a damaged
//! image for good.
//!
//! Decision: identifiers and times are fixed, and no background thread runs. Adding to a seed image changes what
//! committed scripts mean; add a new one instead.

use e4::device::{Device, MemoryDevice};
use e4::{FallocateMode, Filesystem, MountOptions, NewInode, OpenFlags};
use e4_format::FileType;
use e4_mkfs::{Features, Medium, Params};
use e4_sync::{Arc, Duration, OnceLock};

use crate::attributes;
use crate::layout::Layout;

/// A sound image and what it consists of.
pub struct Seed {
    /// What shape it has.
    pub name: &'static str,
    /// The image.
    pub image: Vec<u8>,
    /// Its pieces.
    pub layout: Layout,
}

/// What `e4 mkfs` is told: name, bytes, block size, features, and whether the power fails before unmounting.
const SHAPES: [(&str, u64, u32, &str, bool); 6] = [
    ("journal", 2 << 20, 1024, "", false),
    ("log to replay", 2 << 20, 1024, "", true),
    (
        "no checksums",
        2 << 20,
        1024,
        "^metadata_csum,^metadata_csum_seed,^orphan_file",
        false,
    ),
    (
        "no checksums, log to replay",
        2 << 20,
        1024,
        "^metadata_csum,^metadata_csum_seed,^orphan_file,^64bit",
        true,
    ),
    (
        "no journal",
        1 << 20,
        4096,
        "^has_journal,^orphan_file",
        false,
    ),
    (
        "blocks of 2 KiB, no checksums, no journal",
        1 << 20,
        2048,
        "^has_journal,^orphan_file,^metadata_csum,^metadata_csum_seed,uninit_bg",
        false,
    ),
];

/// Those with a directory whose index has two levels.
const WIDE: [&str; 2] = ["journal", "no checksums"];

/// All of them, made once per process.
///
/// # Panics
/// If e4 cannot make one: that is a bug in e4.
#[must_use]
pub fn all() -> &'static [Seed] {
    static ALL: OnceLock<Vec<Seed>> = OnceLock::new();
    ALL.get_or_init(|| {
        SHAPES
            .iter()
            .map(|s| make(*s).expect("a sound image"))
            .collect()
    })
}

fn fixed_clock() -> Duration {
    Duration::from_secs(1_750_000_000)
}

/// Mount options without threads, and with a fixed clock.
#[must_use]
pub fn quiet() -> MountOptions {
    MountOptions {
        commit_interval: None,
        background: false,
        metadata_cache: 4 << 20,
        clock: fixed_clock,
        ..MountOptions::default()
    }
}

fn make((name, size, block_size, list, cut): (&'static str, u64, u32, &str, bool)) -> Option<Seed> {
    let mut features = Features::ext4();
    features.apply(list).ok()?;
    let params = Params {
        features,
        medium: Medium::Zeroed,
        block_size: Some(block_size),
        inodes: Some(96),
        uuid: Some([0x5E; 16]),
        hash_seed: Some([0xED; 16]),
        time: Some(1_750_000_000),
        ..Params::default()
    };
    let device = Arc::new(MemoryDevice::new(size));
    e4_mkfs::format(&*device, &params, &mut |_| {}).ok()?;
    let fs = Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &quiet()).ok()?;
    fill(&fs, WIDE.contains(&name))
        .map_err(|e| eprintln!("{name}: {e}"))
        .ok()?;
    if cut {
        fs.sync().ok()?;
        drop(fs);
    } else {
        fs.unmount().ok()?;
    }
    let mut image = vec![0; usize::try_from(size).ok()?];
    device.read_at(0, &mut image).ok()?;
    if !cut {
        attributes::plant(&mut image)?;
    }
    let layout = Layout::of(&image)?;
    Some(Seed {
        name,
        image,
        layout,
    })
}

/// A bit of everything e4 can write.
fn fill(fs: &Filesystem, wide: bool) -> e4::Result<()> {
    for dir in ["/a", "/a/b", "/a/b/c", "/many"] {
        fs.mkdir(dir, 0o755)?;
    }
    let file = fs.open_file("/plain", OpenFlags::create())?;
    file.write_at(0, &[b'p'; 5000])?;
    // In pieces, with holes: a tree of more than one node with blocks of 1 KiB.
    let pieces = fs.open_file("/pieces", OpenFlags::create())?;
    for n in 0..100u64 {
        pieces.write_at(n * 8192, &[b'0' + (n % 10) as u8; 100])?;
    }
    let prealloc = fs.open_file("/a/prealloc", OpenFlags::create())?;
    prealloc.fallocate(FallocateMode::Allocate, 0, 60_000)?;
    prealloc.write_at(8192, &[b'q'; 9000])?;
    prealloc.fallocate(FallocateMode::PunchHole, 30_000, 10_000)?;
    let target = fs.root()?.lookup(b"plain")?;
    let many = fs.root()?.lookup(b"many")?;
    if let (Some(target), Some(many)) = (&target, &many) {
        for n in 0..if wide { 560 } else { 60 } {
            many.link(format!("{n:0230}").as_bytes(), target)?;
        }
    }
    special(fs)?;
    fs.sync()?;
    // In the log after the first commit, for images whose power fails.
    fs.open_file("/late", OpenFlags::create())?
        .write_at(0, &[b'l'; 3000])?;
    pieces.truncate(300_000)?;
    fs.root()?.unlink(b"plain")?;
    Ok(())
}

fn special(fs: &Filesystem) -> e4::Result<()> {
    let root = fs.root()?;
    root.symlink(b"fast", b"a/b", (0, 0))?;
    root.symlink(b"slow", &[b's'; 200], (0, 0))?;
    for (name, kind) in [
        (&b"pipe"[..], FileType::Fifo),
        (b"char", FileType::CharDevice),
        (b"socket", FileType::Socket),
    ] {
        let new = NewInode {
            rdev: 259,
            ..NewInode::new(kind, 0o600)
        };
        root.create(name, &new)?;
    }
    Ok(())
}
