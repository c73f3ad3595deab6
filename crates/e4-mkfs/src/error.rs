//! Why an image was not formatted: one variant per place that refuses, naming the parameter at fault.

use e4_device::DeviceError;
use e4_format::FormatError;

/// A refusal to format. Parameters are named as the caller knows them (field of
/// [`Params`](crate::Params), with the mke2fs letter where there is one).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MkfsError {
    /// Not a power of two from 1024 to 65536.
    #[error("block_size (-b): {bytes} is not a power of two from 1024 to 65536")]
    BlockSize {
        /// What was asked for.
        bytes: u32,
    },
    /// Not a power of two from 128 to the block size.
    #[error("inode_size (-I): {bytes} is not a power of two from 128 to {max}")]
    InodeSize {
        /// What was asked for.
        bytes: u32,
        /// The largest allowed: the block size, at most 1024 below 4 KiB blocks as in mke2fs.
        max: u32,
    },
    /// Outside 1024 ..= 67108864.
    #[error("bytes_per_inode (-i): {ratio} is outside 1024..=67108864")]
    BytesPerInode {
        /// What was asked for.
        ratio: u64,
    },
    /// More inodes than the format can number or the groups can hold.
    #[error("inodes (-N): {asked} inodes do not fit; this geometry holds at most {max}")]
    TooManyInodes {
        /// What was asked for.
        asked: u64,
        /// The most this geometry holds.
        max: u64,
    },
    /// Negative, not a number, or above 50.
    #[error("reserved_percent (-m): {percent} is outside 0..=50")]
    ReservedPercent {
        /// What was asked for.
        percent: f64,
    },
    /// Not a multiple of 8, or outside 256 ..= 8 * block size.
    #[error("blocks_per_group (-g): {blocks} is not a multiple of 8 from 256 to {max}")]
    BlocksPerGroup {
        /// What was asked for.
        blocks: u32,
        /// Bits in one bitmap block (at most 65528).
        max: u32,
    },
    /// Not a power of two.
    #[error("flex_bg_size (-G): {groups} is not a power of two up to 2^31")]
    FlexBgSize {
        /// What was asked for.
        groups: u32,
    },
    /// Longer than the 16 bytes of the superblock.
    #[error("label (-L): {len} bytes, at most 16 fit")]
    LabelTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Longer than the 64 bytes of the superblock.
    #[error("last_mounted (-M): {len} bytes, at most 64 fit")]
    LastMountedTooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// Before 1970 or beyond the 34 bits the format has.
    #[error("time: {seconds} s is outside the range the format can store (0..2^34)")]
    Time {
        /// Seconds since the epoch.
        seconds: i64,
    },
    /// The online growth limit is not above the size.
    #[error("resize_limit (-E resize=): {blocks} blocks is not above the size of {size} blocks")]
    ResizeLimit {
        /// What was asked for.
        blocks: u64,
        /// Size of the filesystem in blocks.
        size: u64,
    },
    /// A journal of this size cannot exist or does not fit.
    #[error("journal_mib (-J size=): {blocks} blocks is outside {min}..={max} for this filesystem")]
    JournalSize {
        /// What was asked for, in blocks.
        blocks: u64,
        /// The smallest journal the format allows.
        min: u64,
        /// The largest that fits.
        max: u64,
    },
    /// No such feature.
    #[error("features (-O): no feature is called {name:?}")]
    UnknownFeature {
        /// The word that was not understood.
        name: String,
    },
    /// A feature that exists but that this formatter does not write.
    #[error("features (-O): {name} is not supported by this formatter")]
    UnsupportedFeature {
        /// Its mke2fs name.
        name: &'static str,
    },
    /// One feature cannot be used without another.
    #[error("features (-O): {feature} needs {needs}")]
    FeatureNeeds {
        /// The feature asked for.
        feature: &'static str,
        /// What is missing.
        needs: &'static str,
    },
    /// The size does not fit into 32-bit block numbers and `64bit` is off.
    #[error("size: {blocks} blocks need the 64bit feature (-O 64bit) or larger blocks (-b)")]
    Needs64Bit {
        /// Blocks.
        blocks: u64,
    },
    /// The requested size is larger than the device.
    #[error("size: {asked} bytes asked for, {device} holds {available}")]
    LargerThanDevice {
        /// Bytes asked for.
        asked: u64,
        /// Bytes there are.
        available: u64,
        /// The device's name.
        device: String,
    },
    /// Too small to hold even the metadata.
    #[error("size: {blocks} blocks of {block_size} bytes are too few for a filesystem")]
    TooSmall {
        /// Blocks.
        blocks: u64,
        /// Bytes per block.
        block_size: u32,
    },
    /// More groups, or more descriptor blocks, than one group can describe.
    #[error(
        "block_size (-b): {blocks} blocks of {block_size} bytes need {desc_blocks} descriptor blocks, at most {max} fit into a group (meta_bg is not written); choose larger blocks"
    )]
    DescriptorsTooLarge {
        /// Blocks of the filesystem.
        blocks: u64,
        /// Bytes per block.
        block_size: u32,
        /// Blocks the descriptor table needs.
        desc_blocks: u64,
        /// What fits.
        max: u64,
    },
    /// A structure found no room.
    #[error("size: no room for {what} ({blocks} contiguous blocks)")]
    NoRoom {
        /// Which structure.
        what: &'static str,
        /// Its length.
        blocks: u64,
    },
    /// The structure built from the parameters was refused by the format layer: a defect here.
    #[error("internal: the format layer refused {what}: {source}")]
    Format {
        /// Which structure.
        what: &'static str,
        /// Its reason.
        source: FormatError,
    },
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
}
