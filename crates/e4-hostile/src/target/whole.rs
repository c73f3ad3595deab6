//! Whole images: opening, walking, reading, writing, recovering, checking.

use e4::device::{Device, MemoryDevice};
use e4::{
    FallocateMode, Filesystem, MountOptions, NewInode, Node, OpenFlags, RenameFlags, XattrSet,
};
use e4_check::{Options, Report};
use e4_format::{BlockSize, FileType, FsBlock};
use e4_journal::recovery::{self, CorruptPolicy};
use e4_journal::{JournalLayout, LogExtent};
use e4_sync::Arc;
use std::ops::ControlFlow;

use crate::bytes::{put, put32_be};
use crate::layout::Class;
use crate::seeds;

/// Names looked at per image, and bytes read per file.
const NAMES: usize = 400;
const BYTES: u64 = 64 << 10;

fn judge(device: &dyn Device, replay: bool) -> Report {
    let options = Options {
        replay,
        now: Some(1_800_000_000),
        ..Options::default()
    };
    e4_check::check(device, &options, &mut |_| {})
}

/// The checker, on what is there and on what a replay would make of it.
pub(super) fn check(script: &[u8]) {
    if let Some((_, image)) = crate::script::image(script) {
        let device = MemoryDevice::from_bytes(&image);
        let _ = (judge(&device, false), judge(&device, true));
    }
}

/// Opening read-only, walking and reading everything: nothing is written but a replayed log.
pub(super) fn read(script: &[u8]) {
    let Some((seed, image)) = crate::script::image(script) else {
        return;
    };
    let device = Arc::new(MemoryDevice::from_bytes(&image));
    let options = MountOptions {
        read_only: true,
        ..seeds::quiet()
    };
    if let Ok(fs) = Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &options) {
        let _ = walk(&fs);
        let replayed = fs.recovery().is_some();
        let _ = fs.unmount();
        let mut after = vec![0; image.len()];
        let _ = device.read_at(0, &mut after);
        assert!(
            replayed || after == image,
            "{}: read-only, and written",
            seed.name
        );
    }
}

/// Opening for writing, walking, and changing things. If the checker found nothing before, it finds nothing after.
pub(super) fn write(script: &[u8]) {
    let Some((seed, image)) = crate::script::image(script) else {
        return;
    };
    let device = Arc::new(MemoryDevice::from_bytes(&image));
    let before = judge(&*device, true);
    let Ok(fs) = Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &seeds::quiet()) else {
        return;
    };
    let found = walk(&fs).unwrap_or_default();
    let _ = change(&fs, &found);
    let closed = fs.unmount().is_ok();
    if before.is_clean() && closed {
        let after = judge(&*device, false);
        assert!(
            after.is_clean(),
            "{}: sound before, not after: {:?}",
            seed.name,
            after.problems.first().map(ToString::to_string)
        );
    }
}

/// Visits every name up to a bound; the files and directories met.
fn walk(fs: &Filesystem) -> e4::Result<Vec<(Node, Vec<u8>)>> {
    let root = fs.root()?;
    let mut met = Vec::new();
    let mut todo = vec![root];
    let mut left = NAMES;
    while let Some(dir) = todo.pop() {
        let mut names = Vec::new();
        let _ = dir.read_dir_from(0, &mut |entry, _| {
            names.push(entry.name.clone());
            left = left.saturating_sub(1);
            if left == 0 {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        for name in names.into_iter().filter(|n| n != b"." && n != b"..") {
            let Ok(Some(node)) = dir.lookup(&name) else {
                continue;
            };
            look(&node);
            if node.kind() == Some(FileType::Directory) && todo.len() < 64 && left > 0 {
                todo.push(node.clone());
            }
            met.push((dir.clone(), name));
        }
    }
    Ok(met)
}

fn look(node: &Node) {
    let _ = node.stat();
    if let Ok(names) = node.list_xattr() {
        for name in names.iter().take(16) {
            let _ = node.get_xattr(name);
        }
    }
    match node.kind() {
        Some(FileType::Symlink) => {
            let _ = node.read_link();
        }
        Some(FileType::Regular) => {
            if let Ok(file) = node.open(OpenFlags::read()) {
                let mut buf = vec![0; 4096];
                let size = file.size();
                for at in [
                    0,
                    4096,
                    BYTES / 2,
                    size / 2,
                    size.saturating_sub(100),
                    u64::MAX - 4096,
                ] {
                    let _ = file.read_at(at, &mut buf);
                }
                let _ = file.extents();
            }
        }
        _ => {}
    }
}

/// Changes what was met, and adds something; errors end the attempt on one file only.
fn change(fs: &Filesystem, met: &[(Node, Vec<u8>)]) -> e4::Result<()> {
    for (dir, name) in met.iter().take(12) {
        let Ok(Some(node)) = dir.lookup(name) else {
            continue;
        };
        let _ = node.set_xattr(b"user.fuzz", &[7; 60], XattrSet::Any);
        if let Ok(file) = node.open(OpenFlags::read_write()) {
            let _ = file.write_at(1000, &[1; 3000]);
            let _ = file.fallocate(FallocateMode::PunchHole, 2048, 5000);
            let _ = file.truncate(file.size() / 2);
            let _ = file.fallocate(FallocateMode::Allocate, 3000, 20_000);
            let _ = file.fsync();
        }
    }
    let root = fs.root()?;
    let new = NewInode::new(FileType::Directory, 0o755);
    let dir = root.create(b"made", &new)?;
    for (n, (from, name)) in met.iter().enumerate().skip(12).take(12) {
        let to = format!("moved{n}");
        let _ = match n % 3 {
            0 => from.unlink(name),
            1 => from.rename(name, &dir, to.as_bytes(), RenameFlags::Replace),
            _ => from.rmdir(name),
        };
    }
    let file = fs.open_file("/made/file", OpenFlags::create())?;
    file.write_at(0, &[9; 10_000])?;
    fs.sync()
}

/// A log of raw bytes behind a sound journal superblock, over a small filesystem.
pub(super) fn recovery(data: &[u8]) {
    let seeds = seeds::all();
    let Some((seed, journal)) = seeds
        .get(1)
        .and_then(|s| Some((s, *s.layout.of_class(Class::JournalSuperblock).first()?)))
    else {
        return;
    };
    let Some((flags, log)) = data.split_first() else {
        return;
    };
    let mut image = seed.image.clone();
    // Begin at the first block; the log's numbers continue from the seed's.
    if flags & 1 == 0 {
        put(&mut image, journal.at + journal.len, log);
        put32_be(&mut image, journal.at + 0x1C, 1);
        crate::seal::seal(&mut image, &seed.layout, &journal);
    } else {
        // Words of four bytes at places of two.
        for record in log.as_chunks::<6>().0 {
            let [p0, p1, rest @ ..] = record;
            let at = usize::from(u16::from_le_bytes([*p0, *p1]));
            put(&mut image, journal.at + at, rest);
        }
        let log = seed
            .layout
            .pieces
            .iter()
            .filter(|p| p.at >= journal.at && p.at < journal.at + (1 << 16));
        log.for_each(|p| crate::seal::seal(&mut image, &seed.layout, p));
    }
    let device = MemoryDevice::from_bytes(&image);
    let extents = [LogExtent {
        logical: 0,
        len: 1024,
        physical: FsBlock::new(journal.block),
    }];
    let blocks = seed.layout.sb.blocks_count();
    let len = u32::try_from(blocks.saturating_sub(journal.block)).unwrap_or(1);
    let extents = extents.map(|e| LogExtent {
        len: e.len.min(len),
        ..e
    });
    if let Ok(mut layout) = JournalLayout::read(&device, BlockSize::KIB1, blocks, &extents) {
        let planned = recovery::examine(&device, &layout);
        let done = recovery::recover(&device, &mut layout, CorruptPolicy::ReplayUpTo);
        assert!(
            planned.is_ok() || done.is_err(),
            "what cannot be planned is not done"
        );
        if done.is_ok() {
            let again = recovery::examine(&device, &layout).expect("a recovered log can be read");
            assert!(again.copies().is_empty(), "a recovered log is empty");
        }
    }
}

/// Raw bytes over the start of an image or over one of its pieces: everything at once.
pub(super) fn raw(data: &[u8]) {
    let Some(([which, piece], bytes)) = data.split_first_chunk() else {
        return;
    };
    let seeds = seeds::all();
    let Some(seed) = seeds.get(usize::from(*which) % seeds.len()) else {
        return;
    };
    let mut image = seed.image.clone();
    let pieces = &seed.layout.pieces;
    let at = match piece {
        0 => 1024,
        n => pieces
            .get(usize::from(*n) * pieces.len() / 256)
            .map_or(0, |p| p.at),
    };
    put(&mut image, at, bytes);
    let device = Arc::new(MemoryDevice::from_bytes(&image));
    let _ = judge(&*device, true);
    if let Ok(fs) = Filesystem::open(Arc::clone(&device) as Arc<dyn Device>, &seeds::quiet()) {
        let found = walk(&fs).unwrap_or_default();
        let _ = change(&fs, &found);
        let _ = fs.unmount();
    }
}
