//! The unwritten-extent corpus: small images with unwritten extents in every position, on a device that was full of
//! poison before, and what a reader has to find in each file.
//!
//! An unwritten extent has blocks but no contents: it reads as zeros. A reader that reads the blocks shows what lay on the
//! disk before; one that takes the length as it is stored (plus 32768) fails or shows worse.
//!
//! Decision: what has to be found is kept beside the operations, as plain bytes; no reader, e4's included, is
//! asked for it.

use e4::device::{Device, MemoryDevice};
use e4::{FallocateMode, File, Filesystem, OpenFlags};
use e4_mkfs::{Features, Params};
use e4_sync::Arc;

use crate::seeds;

/// What every byte of the device is before formatting.
pub const POISON: u8 = 0xDB;

/// One file and what is in it.
pub struct Case {
    /// Its path in the image.
    pub path: String,
    /// What it is about.
    pub about: &'static str,
    /// Its contents.
    pub contents: Vec<u8>,
}

/// An image and its files.
pub struct Image {
    /// Its name.
    pub name: &'static str,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Its files.
    pub cases: Vec<Case>,
}

const SHAPES: [(&str, u32, &str); 3] = [
    ("1k", 1024, ""),
    ("4k", 4096, ""),
    (
        "no-checksums",
        1024,
        "^metadata_csum,^metadata_csum_seed,^orphan_file,^64bit",
    ),
];
const BYTES: u64 = 12 << 20;

/// All images.
///
/// # Errors
/// If e4 cannot make them.
pub fn all() -> e4::Result<Vec<Image>> {
    SHAPES.into_iter().map(|s| make(s.0, s.1, s.2)).collect()
}

/// A file being made, and its model.
struct Making<'a> {
    file: File,
    block: u64,
    cases: &'a mut Vec<Case>,
    case: Case,
}

impl Making<'_> {
    fn prealloc(&mut self, from: u64, count: u64) -> e4::Result<()> {
        let (at, len) = (from * self.block, count * self.block);
        self.file.fallocate(FallocateMode::Allocate, at, len)?;
        self.grow(at + len);
        Ok(())
    }

    fn keep_size(&mut self, from: u64, count: u64) -> e4::Result<()> {
        let (at, len) = (from * self.block, count * self.block);
        self.file
            .fallocate(FallocateMode::AllocateKeepSize, at, len)
    }

    fn grow(&mut self, end: u64) {
        let end = usize::try_from(end).unwrap_or(0);
        if self.case.contents.len() < end {
            self.case.contents.resize(end, 0);
        }
    }

    /// Writes whole blocks, each with a pattern of its own.
    fn write(&mut self, from: u64, count: u64) -> e4::Result<()> {
        for n in from..from + count {
            let fill = 1 + (n % 200).to_le_bytes()[0];
            let data = vec![fill; usize::try_from(self.block).unwrap_or(0)];
            self.file.write_at(n * self.block, &data)?;
            self.grow((n + 1) * self.block);
            crate::bytes::put(
                &mut self.case.contents,
                usize::try_from(n * self.block).unwrap_or(0),
                &data,
            );
        }
        Ok(())
    }

    fn truncate(&mut self, bytes: u64) -> e4::Result<()> {
        self.file.truncate(bytes)?;
        self.case
            .contents
            .resize(usize::try_from(bytes).unwrap_or(0), 0);
        Ok(())
    }

    fn done(self) -> e4::Result<()> {
        self.file.fsync()?;
        self.cases.push(self.case);
        Ok(())
    }
}

fn make(name: &'static str, block_size: u32, list: &str) -> e4::Result<Image> {
    let mut features = Features::ext4();
    let applied = features.apply(list);
    debug_assert!(applied.is_ok(), "features of the corpus");
    let params = Params {
        features,
        block_size: Some(block_size),
        inodes: Some(64),
        uuid: Some([0x0E; 16]),
        hash_seed: Some([0xE0; 16]),
        time: Some(1_750_000_000),
        ..Params::default()
    };
    let size = usize::try_from(BYTES).unwrap_or(0);
    let device = Arc::new(MemoryDevice::from_bytes(&vec![POISON; size]));
    let formatted = e4_mkfs::format(&*device, &params, &mut |_| {});
    assert!(formatted.is_ok(), "{name}: {:?}", formatted.err());
    let fs = Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &seeds::quiet())?;
    let mut cases = Vec::new();
    fill(&fs, block_size.into(), &mut cases)?;
    fs.unmount()?;
    let mut bytes = vec![0; size];
    device.read_at(0, &mut bytes)?;
    Ok(Image { name, bytes, cases })
}

fn fill(fs: &Filesystem, block: u64, cases: &mut Vec<Case>) -> e4::Result<()> {
    type Build = fn(&mut Making<'_>) -> e4::Result<()>;
    let builds: [(&str, &str, Build); 12] = [
        ("written", "control: written only", |f| f.write(0, 8)),
        ("all", "nothing but unwritten", |f| f.prealloc(0, 16)),
        ("first", "unwritten, then written", |f| {
            f.prealloc(0, 16)?;
            f.write(8, 8)
        }),
        ("last", "written, then unwritten", |f| {
            f.prealloc(0, 16)?;
            f.write(0, 8)
        }),
        ("middle", "unwritten between written", |f| {
            f.prealloc(0, 24)?;
            f.write(0, 8)?;
            f.write(16, 8)
        }),
        ("island", "written between unwritten", |f| {
            f.prealloc(0, 24)?;
            f.write(10, 1)
        }),
        ("comb", "every other block, a tree of two levels", |f| {
            f.prealloc(0, 400)?;
            (0..200).try_for_each(|n| f.write(n * 2, 1))
        }),
        ("comb-shifted", "every other block, unwritten first", |f| {
            f.prealloc(0, 400)?;
            (0..200).try_for_each(|n| f.write(n * 2 + 1, 1))
        }),
        ("hole", "unwritten, hole, unwritten, hole, written", |f| {
            f.prealloc(0, 4)?;
            f.prealloc(8, 4)?;
            f.write(16, 4)
        }),
        ("partial", "the size ends inside an unwritten block", |f| {
            f.prealloc(0, 8)?;
            f.write(0, 2)?;
            let end = f.block * 6 + 77;
            f.truncate(end)
        }),
        ("beyond", "unwritten behind the end of the file", |f| {
            f.write(0, 3)?;
            f.keep_size(0, 32)
        }),
        (
            "extended",
            "unwritten behind the end, then grown over it",
            |f| {
                f.write(0, 3)?;
                f.keep_size(0, 32)?;
                let end = f.block * 20 + 5;
                f.truncate(end)
            },
        ),
    ];
    for (name, about, build) in builds {
        let path = format!("/{name}");
        let file = fs.open_file(&path, OpenFlags::create())?;
        let case = Case {
            path,
            about,
            contents: Vec::new(),
        };
        let mut making = Making {
            file,
            block,
            cases,
            case,
        };
        build(&mut making)?;
        making.done()?;
    }
    Ok(())
}

/// What a reader made of a file.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Verdict {
    /// What it should be.
    Right,
    /// It says that it cannot read it.
    Refused,
    /// Shorter or longer than it should be, else right as far as it goes.
    Length,
    /// Poison: what lay on the disk before.
    Stale,
    /// Something else.
    Wrong,
}

/// Judges what a reader printed; `ok` is how it ended.
#[must_use]
pub fn judge(case: &Case, found: &[u8], ok: bool) -> Verdict {
    if found == case.contents {
        return Verdict::Right;
    }
    let pairs = found.iter().zip(&case.contents);
    if pairs.clone().any(|(f, w)| *f == POISON && *w != POISON) {
        return Verdict::Stale;
    }
    if !ok || found.is_empty() {
        return Verdict::Refused;
    }
    if pairs.clone().all(|(f, w)| f == w) {
        Verdict::Length
    } else {
        Verdict::Wrong
    }
}
