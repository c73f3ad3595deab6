//! What the tests of this crate share: a directory in memory that checks what it is given, a
//! checker of whole directories that knows nothing of the code under test, names, and images.
#![allow(dead_code, unreachable_pub)] // each test uses a part

pub mod checker;
pub mod collide;
pub mod image;
pub mod oracle;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::rc::Rc;

use e4_dir::{Check, DirContext, DirError, DirRead, DirStore};
use e4_format::dir::DirFormat;
use e4_format::htree::{HashAlgorithm, HashVersion};
use e4_format::{BlockSize, FileBlock, InodeNo};

/// Errors of [`MemDir`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemError {
    Dir(DirError),
    NoSpace,
}

impl From<DirError> for MemError {
    fn from(e: DirError) -> Self {
        Self::Dir(e)
    }
}

/// A directory in memory. Runs every check on every read, counts, and remembers what was written.
#[derive(Clone)]
pub struct MemDir {
    pub cx: DirContext,
    pub indexed: bool,
    pub blocks: Vec<Rc<Vec<u8>>>,
    /// Blocks that may still be appended.
    pub space: u32,
    pub reads: Cell<u64>,
    pub unusable: Cell<u32>,
    pub appended: u32,
    pub written: BTreeSet<u32>,
}

impl MemDir {
    pub fn new(cx: DirContext) -> Self {
        Self {
            cx,
            indexed: false,
            blocks: Vec::new(),
            space: u32::MAX,
            reads: Cell::new(0),
            unusable: Cell::new(0),
            appended: 0,
            written: BTreeSet::new(),
        }
    }

    /// With `.` (inode 11) and `..` (the root).
    pub fn initialised(cx: DirContext) -> Self {
        let mut dir = Self::new(cx);
        e4_dir::init(&mut dir, InodeNo::ROOT, ino(11)).expect("init");
        dir
    }

    /// Forgets what was counted.
    pub fn reset(&mut self) {
        self.reads.set(0);
        self.appended = 0;
        self.written.clear();
    }

    pub fn block(&self, at: u32) -> &[u8] {
        &self.blocks[at as usize]
    }

    pub fn block_mut(&mut self, at: u32) -> &mut Vec<u8> {
        Rc::make_mut(&mut self.blocks[at as usize])
    }
}

impl DirRead for MemDir {
    type Error = MemError;
    type Block = Bytes;

    fn context(&self) -> &DirContext {
        &self.cx
    }

    fn is_indexed(&self) -> bool {
        self.indexed
    }

    fn blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("blocks")
    }

    fn read(&self, at: FileBlock, check: Check<'_>) -> Result<Bytes, MemError> {
        self.reads.set(self.reads.get() + 1);
        let block = Rc::clone(&self.blocks[at.get() as usize]); // only called inside the directory
        check.run(&block)?;
        Ok(Bytes(block))
    }

    fn index_unusable(&self, _: &MemError) {
        self.unusable.set(self.unusable.get() + 1);
    }
}

impl DirStore for MemDir {
    fn set_indexed(&mut self, indexed: bool) {
        self.indexed = indexed;
    }

    fn append(&mut self, count: u32) -> Result<(), MemError> {
        assert!(
            self.written.is_empty(),
            "appended after something was written"
        );
        self.space = self.space.checked_sub(count).ok_or(MemError::NoSpace)?;
        for _ in 0..count {
            self.blocks
                .push(Rc::new(vec![0xA5; self.cx.format.block_size.len()]));
        }
        self.appended += count;
        Ok(())
    }

    fn write(&mut self, at: FileBlock, bytes: &[u8]) -> Result<(), MemError> {
        assert_eq!(bytes.len(), self.cx.format.block_size.len());
        assert!(self.written.insert(at.get()), "block {at} written twice");
        self.blocks[at.get() as usize] = Rc::new(bytes.to_vec());
        Ok(())
    }
}

/// A block of a [`MemDir`].
pub struct Bytes(Rc<Vec<u8>>);

impl std::ops::Deref for Bytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

pub fn ino(n: u32) -> InodeNo {
    InodeNo::new(n).expect("inode 0")
}

/// Largest inode number in the contexts made here.
pub const INODES: u32 = 1_000_000;

pub fn context(
    block_size: u32,
    csum: bool,
    algorithm: HashAlgorithm,
    unsigned: bool,
) -> DirContext {
    DirContext {
        format: DirFormat {
            block_size: BlockSize::from_bytes(block_size).expect("block size"),
            csum_tail: csum,
            file_type: true,
            inodes_count: INODES,
        },
        dir_index: true,
        large_dir: false,
        csum_seed: 0x1234_5678,
        hash_seed: [1, 2, 3, 4],
        default_hash: Some(HashVersion {
            algorithm,
            unsigned,
        }),
        unsigned_hash: unsigned,
    }
}

/// A small generator, so that a failure is the same every time.
#[derive(Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).expect("usize")
    }

    /// A name: mostly short, sometimes as long as can be, all bytes a name can have.
    pub fn name(&mut self) -> Vec<u8> {
        let len = match self.below(10) {
            0 => 255 - self.below(10),
            1..4 => 1 + self.below(255),
            _ => 1 + self.below(24),
        };
        let mut name: Vec<u8> = (0..len).map(|_| self.byte()).collect();
        if name == b"." || name == b".." {
            name.push(b'x');
        }
        name
    }

    fn byte(&mut self) -> u8 {
        loop {
            match u8::try_from(self.below(256)).expect("u8") {
                0 | b'/' => {}
                b => return b,
            }
        }
    }
}

/// All names of a directory, in the order of the listing.
pub fn list(dir: &MemDir) -> Vec<Vec<u8>> {
    let mut names = Vec::new();
    let end = e4_dir::iterate(dir, e4_dir::Cursor::START, &mut |e| {
        names.push(e.name.to_vec());
        std::ops::ControlFlow::Continue(())
    });
    assert_eq!(end.expect("iterate"), e4_dir::Cursor::END);
    names
}
