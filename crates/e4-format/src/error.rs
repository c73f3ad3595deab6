//! What can be wrong with bytes from an image: one variant per place where it is noticed.
//!
//! Decisions: variants carry numbers, not text. Structures that do not know where they came from (extent
//! nodes, directory blocks) leave inode and block to the caller. `expected` is what we computed, `found`
//! what the image says.

use crate::features::{IncompatFeatures, RoCompatFeatures};
use crate::jbd2::{BlockKind, JournalCompat, JournalIncompat};
use crate::units::{FileBlock, FsBlock, GroupNo, InodeNo, Tid};

/// An error in the bytes of an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)] // the fields are named after what the message prints
pub enum FormatError {
    /// Fewer bytes than the structure has.
    #[error("{what}: only {len} bytes")]
    Truncated { what: &'static str, len: usize },

    /// Not an ext2, ext3 or ext4 image.
    #[error("not an ext4 filesystem: magic number {found:#06x} instead of 0xef53")]
    SuperblockMagic { found: u16 },
    #[error("superblock: revision {found} is not known")]
    SuperblockRevision { found: u32 },
    #[error("superblock: checksum type {found} is not known")]
    SuperblockChecksumType { found: u8 },
    #[error("superblock: checksum {found:#010x}, computed {expected:#010x}")]
    SuperblockChecksum { expected: u32, found: u32 },
    /// Incompatible features outside [`SUPPORTED_INCOMPAT`](crate::features::SUPPORTED_INCOMPAT).
    #[error("unsupported features: {names}")]
    UnsupportedIncompat { names: IncompatFeatures },
    /// Features that not even reading copes with.
    #[error("unsupported features: {names}")]
    UnsupportedRoCompat { names: RoCompatFeatures },
    #[error("superblock: block size 1024 << {log} is not legal")]
    BlockSize { log: u32 },
    #[error("superblock: cluster size 1024 << {cluster} differs from block size 1024 << {block}")]
    ClusterSize { block: u32, cluster: u32 },
    #[error("superblock: inode size {found} is not legal")]
    InodeSize { found: u16 },
    #[error("superblock: first inode {found} is not legal")]
    FirstInode { found: u32 },
    #[error("superblock: group descriptor size {found} is not legal")]
    DescSize { found: u16 },
    #[error("superblock: first data block {found} with blocks of {block_size} bytes")]
    FirstDataBlock { found: u32, block_size: u32 },
    #[error("superblock: {found} blocks per group; a multiple of 8 up to {limit} is legal")]
    BlocksPerGroup { found: u32, limit: u32 },
    #[error("superblock: {found} inodes per group; a multiple of 8 up to {limit} is legal")]
    InodesPerGroup { found: u32, limit: u32 },
    #[error("superblock: {found} blocks are not legal")]
    BlocksCount { found: u64 },
    #[error("superblock: {inodes} inodes, but {groups} groups of {inodes_per_group}")]
    InodesCount {
        inodes: u32,
        groups: u64,
        inodes_per_group: u32,
    },
    #[error("superblock: {found} reserved descriptor blocks are not legal")]
    ReservedGdtBlocks { found: u32 },
    #[error("superblock: a descriptor table of {blocks} blocks does not fit")]
    GdtTooLarge { blocks: u64 },
    /// The image is longer than what it lies on.
    #[error("the filesystem has {blocks} blocks, the device only {device}")]
    DeviceTooSmall { blocks: u64, device: u64 },

    /// A pointer of a block map.
    #[error("pointer {at} of a block map is {block}, which it cannot be")]
    BlockPointer { at: u32, block: FsBlock },

    #[error("group {group}: descriptor checksum {found:#06x}, computed {expected:#06x}")]
    GroupDescChecksum {
        group: GroupNo,
        expected: u16,
        found: u16,
    },
    #[error("group {group}: block bitmap at {block}, outside the filesystem")]
    BlockBitmapLocation { group: GroupNo, block: FsBlock },
    #[error("group {group}: inode bitmap at {block}, outside the filesystem")]
    InodeBitmapLocation { group: GroupNo, block: FsBlock },
    #[error("group {group}: inode table at {block}, outside the filesystem")]
    InodeTableLocation { group: GroupNo, block: FsBlock },
    #[error("group {group}: {found} free blocks of {limit}")]
    GroupFreeBlocks {
        group: GroupNo,
        found: u32,
        limit: u32,
    },
    #[error("group {group}: {found} free inodes of {limit}")]
    GroupFreeInodes {
        group: GroupNo,
        found: u32,
        limit: u32,
    },
    #[error("group {group}: {found} directories in {limit} inodes")]
    GroupUsedDirs {
        group: GroupNo,
        found: u32,
        limit: u32,
    },
    #[error("group {group}: {found} never used inodes of {limit}")]
    GroupItableUnused {
        group: GroupNo,
        found: u32,
        limit: u32,
    },
    #[error("group {group}: block bitmap checksum {found:#010x}, computed {expected:#010x}")]
    BlockBitmapChecksum {
        group: GroupNo,
        expected: u32,
        found: u32,
    },
    #[error("group {group}: inode bitmap checksum {found:#010x}, computed {expected:#010x}")]
    InodeBitmapChecksum {
        group: GroupNo,
        expected: u32,
        found: u32,
    },

    #[error("inode {ino}: checksum {found:#010x}, computed {expected:#010x}")]
    InodeChecksum {
        ino: InodeNo,
        expected: u32,
        found: u32,
    },
    #[error("inode {ino}: {found} bytes of extra fields in {room}")]
    InodeExtraSize {
        ino: InodeNo,
        found: u16,
        room: usize,
    },
    #[error("inode {ino}: a size of {size} bytes is not legal")]
    InodeSizeTooLarge { ino: InodeNo, size: u64 },
    #[error("inode {ino}: {sectors} sectors cannot be stored")]
    InodeSectors { ino: InodeNo, sectors: u64 },
    #[error("inode {ino}: attribute block {block} cannot be stored")]
    InodeAclLocation { ino: InodeNo, block: FsBlock },

    #[error("extent node: magic number {found:#06x} instead of 0xf30a")]
    ExtentMagic { found: u16 },
    #[error("extent node: room for {found} entries, possible are 1 to {limit}")]
    ExtentMax { found: u16, limit: u16 },
    #[error("extent node: depth {found}, not {limit}")]
    ExtentDepth { found: u16, limit: u16 },
    #[error("extent node of depth {depth}: {found} entries, room for {max}")]
    ExtentEntries { found: u16, max: u16, depth: u16 },
    #[error("extent {entry}: {len} blocks from {block} are not legal")]
    ExtentRange {
        entry: usize,
        block: FileBlock,
        len: u32,
    },
    #[error("extent node: entry {entry} (block {block}) is out of order or overlaps")]
    ExtentOrder { entry: usize, block: FileBlock },
    #[error("extent node: child {entry} at block {leaf} is not legal")]
    ExtentChild { entry: usize, leaf: FsBlock },
    #[error("extent node: begins at {found} or ends outside the {from}..{to:?} of its parent")]
    ExtentOutsideParent {
        found: FileBlock,
        from: FileBlock,
        to: Option<FileBlock>,
    },
    #[error("extent node: checksum {found:#010x}, computed {expected:#010x}")]
    ExtentChecksum { expected: u32, found: u32 },

    #[error("directory entry at byte {offset}: record length {found}")]
    DirRecordLength { offset: usize, found: usize },
    #[error("directory entry at byte {offset}: inode {found} does not exist")]
    DirInode { offset: usize, found: u32 },
    #[error("directory entry at byte {offset}: a name that is empty or contains '/' or NUL")]
    DirName { offset: usize },
    #[error("a name of {len} bytes; 1 to 255 are possible")]
    DirNameLength { len: usize },
    #[error("directory block: no checksum at its end")]
    DirTail,
    #[error("directory block: checksum {found:#010x}, computed {expected:#010x}")]
    DirChecksum { expected: u32, found: u32 },

    #[error("htree root: reserved {reserved:#x}, length {info_len}, flags {flags:#x}")]
    DxRootInfo {
        reserved: u32,
        info_len: u8,
        flags: u8,
    },
    #[error("htree root: {found} indirect levels, at most {limit} are possible")]
    DxDepth { found: u8, limit: u8 },
    #[error("htree node: room for {found} entries instead of {expected}")]
    DxLimit { found: usize, expected: usize },
    #[error("htree node: {found} entries, room for {limit}")]
    DxCount { found: usize, limit: usize },
    #[error("htree node: entry {entry} (hash {hash:#010x}) is out of order")]
    DxOrder { entry: usize, hash: u32 },
    #[error("htree node: entry {entry} leads to block {block}")]
    DxChild { entry: usize, block: FileBlock },
    #[error("htree node: checksum {found:#010x}, computed {expected:#010x}")]
    DxChecksum { expected: u32, found: u32 },

    #[error("orphan file block {block}: magic number {found:#010x} instead of 0x0b10ca04")]
    OrphanMagic { block: FsBlock, found: u32 },
    #[error("orphan file block {block}: checksum {found:#010x}, computed {expected:#010x}")]
    OrphanChecksum {
        block: FsBlock,
        expected: u32,
        found: u32,
    },
    #[error("orphan file: slot {slot} holds {found} instead of inode {expected}")]
    OrphanSlot {
        slot: usize,
        expected: InodeNo,
        found: u32,
    },

    #[error("attribute block {block}: magic number {magic:#010x}, {blocks} blocks")]
    XattrHeader {
        block: FsBlock,
        magic: u32,
        blocks: u32,
    },
    #[error("attribute block {block}: checksum {found:#010x}, computed {expected:#010x}")]
    XattrChecksum {
        block: FsBlock,
        expected: u32,
        found: u32,
    },
    #[error("attribute at byte {offset}: name or value outside its area")]
    XattrEntry { offset: usize },
    #[error("attributes of {needed} bytes where {room} are left")]
    XattrSpace { needed: usize, room: usize },
    #[error("attribute at byte {offset}: value in inode {inode}, which is not supported")]
    XattrValueInode { offset: usize, inode: u32 },

    #[error("journal: expected {expected:?}, found {found:?}")]
    JournalBlockKind {
        expected: BlockKind,
        found: Option<BlockKind>,
    },
    #[error("journal: blocks of {found} bytes, the filesystem has {expected}")]
    JournalBlockSize { expected: u32, found: u32 },
    /// Features of the journal outside
    /// [`SUPPORTED_JOURNAL_INCOMPAT`](crate::jbd2::SUPPORTED_JOURNAL_INCOMPAT).
    #[error("unsupported features of the journal: {names}")]
    UnsupportedJournalIncompat { names: JournalIncompat },
    #[error("journal: contradicting checksum features: {compat} {incompat}")]
    JournalChecksumVersions {
        compat: JournalCompat,
        incompat: JournalIncompat,
    },
    #[error("journal: checksum type {found} is not known")]
    JournalChecksumType { found: u8 },
    #[error("journal superblock: checksum {found:#010x}, computed {expected:#010x}")]
    JournalSuperblockChecksum { expected: u32, found: u32 },
    #[error("journal: log from {first} in {maxlen} blocks, {fast_commit} for fast commits")]
    JournalGeometry {
        first: u32,
        maxlen: u32,
        fast_commit: u32,
    },
    #[error("journal: start {start} is outside the log {first}..{end}")]
    JournalStart { start: u32, first: u32, end: u32 },
    #[error("journal, transaction {tid}, {kind:?}: checksum {found:#x}, computed {expected:#x}")]
    JournalBlockChecksum {
        kind: BlockKind,
        tid: Tid,
        expected: u32,
        found: u32,
    },
    #[error(
        "journal, transaction {tid}, copy of block {block}: checksum {found:#x}, computed {expected:#x}"
    )]
    JournalDataChecksum {
        block: FsBlock,
        tid: Tid,
        expected: u32,
        found: u32,
    },
    #[error("journal, transaction {tid}: {found} bytes of revokes in {limit}")]
    JournalRevokeLength { tid: Tid, found: u32, limit: usize },
}
