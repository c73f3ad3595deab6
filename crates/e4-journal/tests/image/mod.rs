//! Images made by mke2fs, looked at by debugfs, judged by e2fsck; opened by us in memory.

#![allow(dead_code, unreachable_pub)] // each test file uses its part

use std::path::{Path, PathBuf};
use std::process::Output;

use e4_device::{Device, MemoryDevice};
use e4_format::superblock::{SUPERBLOCK_OFFSET, SUPERBLOCK_SIZE};
use e4_format::{FsBlock, GroupDesc, InodeNo, Superblock};
use e4_journal::recovery::{CorruptPolicy, RecoveryReport, recover};
use e4_journal::{
    JournalError, JournalLayout, JournalMode, LogExtent, MetaStore, NoHooks, Options,
};
use e4_sync::Arc;

/// True if the test cannot run here; says so.
pub fn skip(what: &str, available: bool) -> bool {
    if !available {
        e4_judges::skipped(what, "it is not available");
    }
    !available
}

pub fn has_e2fsprogs() -> bool {
    ["mke2fs", "debugfs", "e2fsck"]
        .iter()
        .all(|name| e4_judges::have(name))
}

/// Runs a tool that is there.
pub fn run(name: &str, args: &[&str]) -> Output {
    e4_judges::run(name, args).unwrap_or_else(|| panic!("{name} is not installed"))
}

pub fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// An image in a directory of its own.
pub struct Image {
    dir: tempfile::TempDir,
    pub path: PathBuf,
}

impl Image {
    /// Makes an ext4 image of `size` MiB.
    pub fn make(size: u64, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("image");
        std::fs::File::create(&path)
            .unwrap()
            .set_len(size << 20)
            .unwrap();
        let mut all = vec!["-q", "-F", "-t", "ext4"];
        all.extend(args);
        let image = path.to_str().unwrap();
        all.push(image);
        let made = run("mke2fs", &all);
        assert!(made.status.success(), "mke2fs {all:?}: {}", text(&made));
        Self { dir, path }
    }

    pub fn str(&self) -> &str {
        self.path.to_str().unwrap()
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Runs debugfs commands, writable.
    pub fn debugfs(&self, commands: &str) -> String {
        let script = self.dir.path().join("script");
        std::fs::write(&script, commands).unwrap();
        let output = run(
            "debugfs",
            &["-w", "-f", script.to_str().unwrap(), self.str()],
        );
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    }

    /// Creates a file of `blocks` blocks and returns where they lie.
    pub fn add_file(&self, name: &str, bytes: &[u8], blocks: u32) -> Vec<u64> {
        let source = self.dir.path().join("source");
        std::fs::write(&source, bytes).unwrap();
        self.debugfs(&format!("write {} {name}\n", source.display()));
        self.places(&format!("/{name}"), blocks)
    }

    /// Where the first `blocks` blocks of a file lie.
    pub fn places(&self, file: &str, blocks: u32) -> Vec<u64> {
        let commands: String = (0..blocks).map(|n| format!("bmap {file} {n}\n")).collect();
        self.debugfs(&commands)
            .lines()
            .filter_map(|l| l.trim().parse().ok())
            .collect()
    }

    /// Recovers and repairs; returns what e2fsck said. `clean`: nothing but the recovery was to be done.
    pub fn e2fsck_replays(&self) -> String {
        let output = run("e2fsck", &["-f", "-y", self.str()]);
        let said = text(&output);
        assert!(said.contains("recovering journal"), "{said}");
        assert!(matches!(output.status.code(), Some(0 | 1)), "{said}");
        said
    }

    pub fn e2fsck_is_clean(&self) {
        let output = run("e2fsck", &["-f", "-n", self.str()]);
        assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    }

    pub fn load(&self) -> Fs {
        Fs::new(&std::fs::read(&self.path).unwrap())
    }

    pub fn save(&self, fs: &Fs) {
        std::fs::write(&self.path, fs.bytes()).unwrap();
    }
}

/// The part of a mount this crate needs.
pub struct Fs {
    pub device: Arc<MemoryDevice>,
    pub superblock: Superblock,
}

impl Fs {
    pub fn new(bytes: &[u8]) -> Self {
        let device = Arc::new(MemoryDevice::from_bytes(bytes));
        let superblock = read_superblock(&device);
        Self { device, superblock }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(self.device.info().size).unwrap()];
        self.device.read_at(0, &mut bytes).unwrap();
        bytes
    }

    pub fn size(&self) -> u64 {
        u64::from(self.superblock.block_size().bytes())
    }

    pub fn block(&self, block: u64) -> Vec<u8> {
        let mut bytes = vec![0; self.superblock.block_size().len()];
        self.device
            .read_at(block * self.size(), &mut bytes)
            .unwrap();
        bytes
    }

    /// Sets or clears the flag that makes others look at the journal, as a mount does before its first transaction and
    /// after a recovery.
    pub fn needs_recovery(&mut self, needed: bool) {
        self.superblock = read_superblock(&self.device);
        self.superblock.set_needs_recovery(needed);
        let bytes = self.superblock.encode();
        self.device.write_at(SUPERBLOCK_OFFSET, &bytes).unwrap();
        self.device.flush().unwrap();
    }

    /// Block and byte of an inode.
    pub fn inode_place(&self, ino: u32) -> (FsBlock, usize) {
        let ino = InodeNo::new(ino).unwrap();
        let place = self.superblock.inode_location(ino).unwrap();
        let (n, offset) = self.superblock.desc_location(place.group).unwrap();
        let table = self.block(self.superblock.gdt_block(n).unwrap().get());
        let group = GroupDesc::decode(&table[offset..], &self.superblock, place.group).unwrap();
        let block = group
            .inode_table
            .checked_add(u64::from(place.table_block))
            .unwrap();
        (block, place.offset)
    }

    pub fn layout(&self, places: &[u64]) -> Result<JournalLayout, JournalError> {
        let extents: Vec<_> = (0..)
            .zip(places)
            .map(|(logical, place)| LogExtent {
                logical,
                len: 1,
                physical: FsBlock::new(*place),
            })
            .collect();
        let size = self.superblock.block_size();
        JournalLayout::read(
            &*self.device,
            size,
            self.superblock.blocks_count(),
            &extents,
        )
    }

    pub fn open(&self, places: &[u64], options: Options) -> Arc<MetaStore> {
        let device: Arc<dyn Device> = Arc::<MemoryDevice>::clone(&self.device);
        let mode = JournalMode::Journal(self.layout(places).unwrap());
        MetaStore::open(
            device,
            self.superblock.block_size(),
            mode,
            options,
            Arc::new(NoHooks),
        )
        .unwrap()
    }

    /// As a mount does: recover, then clear the flag.
    pub fn recover(&mut self, places: &[u64]) -> Result<RecoveryReport, JournalError> {
        let mut layout = self.layout(places)?;
        let report = recover(&*self.device, &mut layout, CorruptPolicy::Refuse)?;
        self.needs_recovery(false);
        Ok(report)
    }
}

fn read_superblock(device: &MemoryDevice) -> Superblock {
    let mut bytes = [0; SUPERBLOCK_SIZE];
    device.read_at(SUPERBLOCK_OFFSET, &mut bytes).unwrap();
    Superblock::parse(&bytes).unwrap()
}
