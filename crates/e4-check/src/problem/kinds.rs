//! The table of everything the checker can find.
//!
//! Columns: variant and fields, severity, message, what to do.

use super::{EntryName, Location, Metadata, Place, Region, Severity, Sum, Type};
use core::fmt;
use e4_device::DeviceError;
use e4_format::{FileBlock, FormatError, FsBlock, GroupNo, InodeNo, Tid};

macro_rules! problems {
    ($( $name:ident { $($field:ident : $ty:ty),* } $severity:ident $message:literal $advice:literal; )*) => {
        /// One thing that is wrong, or worth knowing. `Display` says what, and what to do.
        #[derive(Clone, PartialEq, Eq, Debug)]
        #[non_exhaustive]
        #[allow(missing_docs)] // the message names every field
        pub enum Problem {
            $( $name { $($field: $ty),* }, )*
        }

        impl Problem {
            /// The names of all kinds, as [`kind`](Self::kind) gives them.
            pub const KINDS: &[&str] = &[$( stringify!($name) ),*];

            /// The variant's name.
            #[must_use]
            pub const fn kind(&self) -> &'static str {
                match self { $( Self::$name { .. } => stringify!($name), )* }
            }

            /// How bad it is.
            #[must_use]
            pub const fn severity(&self) -> Severity {
                match self { $( Self::$name { .. } => Severity::$severity, )* }
            }

            /// What to do about it.
            #[must_use]
            pub const fn advice(&self) -> &'static str {
                match self { $( Self::$name { .. } => $advice, )* }
            }

            /// Where it is.
            #[must_use]
            pub fn location(&self) -> Location {
                let mut place = Location::default();
                match self { $( Self::$name { $($field),* } => { $( $field.place(&mut place); )* } )* }
                place
            }

            pub(super) fn message(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self { $( Self::$name { $($field),* } => write!(f, $message, $($field = $field),*), )* }
            }
        }
    };
}

problems! {
    // Device and superblock.
    ReadFailed { block: FsBlock, error: DeviceError } Error
        "block {block} cannot be read: {error}" "copy the image to a healthy medium first";
    SuperblockInvalid { error: FormatError } Error
        "the superblock is damaged: {error}" "e2fsck -f restores it from a backup";
    NoSuperblock { } Fatal
        "neither superblock nor backup is usable" "check that this is an ext2, ext3 or ext4 image; look for backups with mke2fs -n";
    BackupSuperblockUsed { group: GroupNo, block: FsBlock } Note
        "group {group}: checking goes on with the backup superblock in block {block}" "the backup may be older than the rest";
    UnsupportedFeatures { error: FormatError } Fatal
        "{error}: this checker cannot judge such an image" "use e2fsck -f";
    LargerThanDevice { blocks: u64, device: u64 } Fatal
        "the filesystem has {blocks} blocks, the device only {device}" "the image was cut off: restore it, or let e2fsck -f save what is left";
    BackupSuperblockInvalid { group: GroupNo, block: FsBlock, error: FormatError } Warning
        "group {group}: the backup superblock in block {block} is damaged: {error}" "e2fsck -f rewrites it";
    BackupSuperblockDiffers { group: GroupNo, block: FsBlock, field: &'static str } Warning
        "group {group}: the backup superblock in block {block} has another {field}" "e2fsck -f rewrites it";
    BackupDescriptorsDiffer { group: GroupNo, block: FsBlock, described: GroupNo } Warning
        "group {group}: the descriptor table in block {block} describes group {described} differently" "e2fsck -f rewrites it";
    ErrorsRecorded { count: u32 } Warning
        "the filesystem was marked as having errors ({count} recorded)" "e2fsck -f clears the mark after its check";
    NotUnmounted { } Warning
        "the filesystem was not cleanly unmounted" "harmless if this check finds nothing else";
    ReservedBlocks { found: u64, blocks: u64 } Error
        "{found} of {blocks} blocks are reserved for root, more than half" "set a sane number with tune2fs -r";
    SuperblockField { field: &'static str, value: u32 } Error
        "the superblock's {field} is {value:#x}, which has no meaning here" "e2fsck refuses such an image; clear the field with debugfs (ssv)";
    UnknownFeatures { word: &'static str, bits: u32 } Error
        "the filesystem has {word} features nobody here knows ({bits:#x}); what they ask for was not checked" "use the e2fsck of whoever set them";
    SuperblockTime { field: &'static str, value: u32 } Error
        "the superblock's {field} is {value}, more than a day ahead of the clock" "set the clock, or let e2fsck -f correct the time";
    QuotaInode { what: &'static str, found: u32 } Error
        "the superblock names inode {found} as the {what} quota file, which it cannot be" "e2fsck -f clears the field";
    SuperblockFreeBlocks { found: u64, expected: u64 } Error
        "the superblock counts {found} free blocks, there are {expected}" "e2fsck -f corrects the count";
    SuperblockFreeInodes { found: u32, expected: u32 } Error
        "the superblock counts {found} free inodes, there are {expected}" "e2fsck -f corrects the count";

    SuperblockCountsStale { blocks: u64, inodes: u32 } Note
        "the superblock counts {blocks} free blocks and {inodes} free inodes too many or too few" "normal after a crash: the next mount counts anew";

    // Group descriptors.
    GroupChecksum { group: GroupNo, expected: u16, found: u16 } Error
        "group {group}: descriptor checksum {found:#06x}, computed {expected:#06x}" "e2fsck -f recomputes it after checking the group";
    GroupMetadataOutside { group: GroupNo, what: Metadata, block: FsBlock } Error
        "group {group}: {what} at block {block}, outside the filesystem" "e2fsck -f looks for it in the backup descriptors";
    GroupCount { group: GroupNo, what: &'static str, found: u32, limit: u32 } Error
        "group {group}: {found} {what}, at most {limit} are possible" "e2fsck -f corrects the count";
    GroupMetadataOverlap { group: GroupNo, what: Metadata, block: FsBlock } Error
        "group {group}: {what} at block {block} overlaps other metadata" "e2fsck -f moves it";
    GroupMetadataElsewhere { group: GroupNo, what: Metadata, block: FsBlock } Error
        "group {group}: {what} at block {block} lies in another group, which flex_bg would have to allow" "e2fsck -f moves it";
    GroupUninitFlag { group: GroupNo } Error
        "group {group}: marked as partly uninitialised although descriptors have no checksums" "e2fsck -f clears the mark";

    // Journal.
    JournalMissing { } Error
        "the filesystem has a journal, but the superblock does not say where" "e2fsck -f recreates it";
    JournalExternal { device: u32 } Note
        "the journal is on another device ({device:#x}) and was not checked" "check it with e2fsck -f";
    JournalInode { inode: InodeNo } Error
        "inode {inode}, the journal, is no plain file with blocks" "e2fsck -f recreates it";
    JournalLength { inode: InodeNo, found: u32, blocks: u64 } Error
        "inode {inode}, the journal: its superblock says {found} blocks, {blocks} are mapped" "e2fsck -f recreates it";
    JournalSuperblock { block: FsBlock, error: FormatError } Error
        "block {block}: {error}" "e2fsck -f recreates the journal; changes still in it are lost";
    JournalFlagWithoutJournal { } Error
        "the filesystem needs recovery but has no journal" "e2fsck -f clears the mark";
    JournalNeedsReplay { tid: Tid, start: u32 } Warning
        "the journal holds changes from transaction {tid} on (log block {start}) that are not yet in place" "mount once, or check with the journal replayed in memory";
    JournalUnmarked { tid: Tid, start: u32 } Error
        "the journal holds transaction {tid} (log block {start}), but the superblock does not ask for recovery" "e2fsck -f replays it";
    JournalReplayed { transactions: u32, blocks: u64, revoked: u64 } Note
        "what follows is the state after replaying {transactions} transactions ({blocks} blocks, {revoked} revoked) in memory" "the next mount replays them for good";
    JournalLogDamaged { tid: Tid, block: FsBlock } Error
        "the log is damaged inside transaction {tid} (block {block}), before its commit; later changes are lost" "mount or e2fsck -f replays what comes before";
    JournalFastCommits { } Warning
        "the journal may hold fast commits, which are not replayed here" "mount once with the kernel, then check again";
    JournalUnclaimed { inode: InodeNo } Error
        "the superblock names inode {inode} as the journal, but the filesystem has none" "e2fsck -f settles which is right";
    JournalReadOnlyFeatures { bits: u32 } Error
        "the journal has features nobody knows ({bits:#x}); no mount will accept it" "e2fsck -f recreates the journal";
    JournalSize { inode: InodeNo, found: u64, expected: u64 } Error
        "inode {inode}, the journal, has {found} bytes instead of {expected}" "e2fsck -f recreates it";
    JournalUsers { found: u32 } Error
        "the journal says that {found} filesystems use it" "e2fsck -f corrects it";
    JournalAborted { errno: i32 } Error
        "the journal was aborted with error {errno}" "look for the cause in the log of the machine; e2fsck -f clears it";

    // Inodes.
    InodeChecksum { inode: InodeNo, expected: Sum, found: Sum } Error
        "inode {inode}: checksum {found}, computed {expected}" "e2fsck -f recomputes it if the inode makes sense, else clears the inode";
    InodeExtraSize { inode: InodeNo, found: u16, room: usize } Error
        "inode {inode}: {found} bytes of extra fields where there is room for {room}" "e2fsck -f corrects it";
    InodeSize { inode: InodeNo, size: u64 } Error
        "inode {inode}: a size of {size} bytes is impossible" "e2fsck -f truncates the file to its blocks";
    InodeMode { inode: InodeNo, mode: u16 } Error
        "inode {inode}: mode {mode:#o} names no file type" "e2fsck -f clears the inode";
    RootInvalid { inode: InodeNo } Error
        "inode {inode}, the root directory, is not a directory" "e2fsck -f makes a new root and finds the rest for lost+found";
    ReservedInode { inode: InodeNo, mode: u16 } Error
        "inode {inode} is reserved but has mode {mode:#o}" "e2fsck -f clears it";
    DeletedWithoutTime { inode: InodeNo } Error
        "inode {inode} has no links but no deletion time either" "e2fsck -f sets the time";
    DeletionTime { inode: InodeNo, dtime: u32 } Error
        "inode {inode} is in use but has a deletion time ({dtime})" "e2fsck -f clears the time";
    ExtentFlag { inode: InodeNo } Error
        "inode {inode} is mapped by extents, which the filesystem does not have" "e2fsck -f sets the feature or clears the inode";
    InlineData { inode: InodeNo } Error
        "inode {inode} holds its data itself, which the filesystem does not have" "e2fsck -f clears the inode";
    IndexFlag { inode: InodeNo } Error
        "inode {inode} is flagged as an indexed directory, which it cannot be" "e2fsck -f clears the flag";
    SpecialFlags { inode: InodeNo } Error
        "inode {inode}: a device, pipe or socket with flags only files have" "e2fsck -f clears the inode";
    SpecialBlocks { inode: InodeNo } Warning
        "inode {inode}: a device, pipe or socket with left-overs where files have block numbers" "harmless";
    SpecialSize { inode: InodeNo, size: u64 } Error
        "inode {inode}: a device, pipe or socket of {size} bytes" "e2fsck -f sets the size to 0";
    SymlinkInvalid { inode: InodeNo, size: u64 } Error
        "inode {inode}: a symlink whose target and length ({size}) do not match" "e2fsck -f removes it; make it anew";
    HiddenInode { inode: InodeNo, field: &'static str, value: u64 } Error
        "inode {inode} is reserved and not in use, but its {field} is {value:#x}" "e2fsck -f clears it";
    InodeTime { inode: InodeNo, field: &'static str } Error
        "inode {inode}: {field} lies behind the year 2310; an old kernel wrote times before 1970 so" "e2fsck -f corrects it";
    LargeFileFlag { inode: InodeNo, size: u64 } Error
        "inode {inode} has {size} bytes, but the filesystem is not marked for large files" "e2fsck -f sets the mark";
    ResizeInode { inode: InodeNo, region: Region } Error
        "inode {inode}, the resize inode, does not hold the reserved descriptor blocks ({region})" "e2fsck -f recreates it";
    ResizeReserve { inode: InodeNo, block: FsBlock } Warning
        "inode {inode}, the resize inode: reserved descriptor block {block} names wrong copies of itself" "no mount looks at it; resize2fs and the kernel refuse to grow that far";
    InodeInBadBlock { inode: InodeNo, block: FsBlock } Error
        "inode {inode} lies in block {block}, which is listed as bad" "e2fsck -f removes what names it";

    InodeField { inode: InodeNo, field: &'static str, value: u32 } Error
        "inode {inode}: {field} is {value:#x}, which has no meaning here" "e2fsck -f clears it";

    // Maps.
    ExtentNode { inode: InodeNo, region: Region, error: FormatError } Error
        "inode {inode}, {region}: {error}" "e2fsck -f cuts the damaged part of the file off; restore it from a backup";
    ExtentChecksum { inode: InodeNo, block: FsBlock, expected: Sum, found: Sum } Error
        "inode {inode}, extent block {block}: checksum {found}, computed {expected}" "e2fsck -f recomputes it if the block makes sense";
    ExtentPlace { inode: InodeNo, block: FsBlock, error: FormatError } Error
        "inode {inode}, extent block {block} does not fit its parent: {error}" "e2fsck -f cuts the damaged part of the file off; restore it from a backup";
    ExtentStart { inode: InodeNo, block: FsBlock, found: FileBlock, expected: FileBlock } Error
        "inode {inode}, extent block {block} begins at {found}, its parent says {expected}" "e2fsck -f corrects the parent";
    ExtentRoom { inode: InodeNo, region: Region, found: u16, expected: u16 } Error
        "inode {inode}, {region}: an extent node with room for {found} entries instead of {expected}" "e2fsck -f rebuilds the tree";
    ExtentEmpty { inode: InodeNo, block: FsBlock } Error
        "inode {inode}, extent block {block} is empty" "e2fsck -f rebuilds the tree";
    BlockOutside { inode: InodeNo, logical: FileBlock, block: FsBlock } Error
        "inode {inode}: block {logical} is mapped to {block}, outside the filesystem" "e2fsck -f removes the mapping; restore the file from a backup";
    BlockIsMetadata { inode: InodeNo, block: FsBlock, count: u64 } Error
        "inode {inode}: {count} blocks from {block} on belong to the filesystem itself" "e2fsck -f gives the file copies; restore it from a backup";
    BlockClaimedTwice { inode: InodeNo, block: FsBlock, count: u64 } Error
        "inode {inode}: {count} blocks from {block} on are claimed more than once" "e2fsck -f gives each file a copy; check which one is right";
    TooManyClaimedTwice { blocks: u64 } Error
        "more than {blocks} blocks are claimed more than once; the rest is not listed" "restore the image from a backup";
    UnwrittenDirectory { inode: InodeNo, logical: FileBlock } Error
        "inode {inode}: directory block {logical} is in an unwritten extent" "e2fsck -f marks it as written";
    BlocksBehindEnd { inode: InodeNo, size: u64, logical: FileBlock } Error
        "inode {inode} has {size} bytes but a written block {logical} behind its end" "e2fsck -f corrects the size";
    DirectorySize { inode: InodeNo, size: u64, expected: u64 } Error
        "inode {inode}: a directory of {size} bytes with blocks for {expected}" "e2fsck -f corrects the size";
    SectorCount { inode: InodeNo, found: u64, expected: u64 } Error
        "inode {inode} counts {found} sectors, it has {expected}" "e2fsck -f corrects the count";

    // Attributes.
    XattrOutside { inode: InodeNo, block: FsBlock } Error
        "inode {inode}: attribute block {block} is outside the filesystem or part of its metadata" "e2fsck -f drops the attributes";
    XattrBlock { inode: InodeNo, block: FsBlock, error: FormatError } Error
        "inode {inode}: {error} (block {block})" "e2fsck -f drops the attributes";
    XattrInInode { inode: InodeNo, error: FormatError } Error
        "inode {inode}: {error}" "e2fsck -f drops the attributes";
    XattrName { inode: InodeNo, offset: usize } Error
        "inode {inode}: the attribute at byte {offset} belongs to no namespace" "e2fsck -f drops the attribute";
    XattrHash { inode: InodeNo, offset: usize, found: Sum, expected: Sum } Error
        "inode {inode}: the attribute at byte {offset} has hash {found}, computed {expected}" "e2fsck -f drops the attribute";
    XattrOverlap { inode: InodeNo, offset: usize } Error
        "inode {inode}: the value of the attribute at byte {offset} overlaps another" "e2fsck -f drops the attributes";
    XattrRefcount { block: FsBlock, found: u32, expected: u32 } Error
        "attribute block {block} counts {found} users, it has {expected}" "e2fsck -f corrects the count";

    // Directories.
    DirectoryHole { inode: InodeNo, logical: FileBlock, count: u64 } Error
        "inode {inode}: the directory has no block at {logical} ({count} missing)" "e2fsck -f fills it with an empty block";
    DirectoryChecksum { inode: InodeNo, logical: FileBlock, block: FsBlock, expected: Sum, found: Sum } Error
        "inode {inode}, directory block {logical} ({block}): checksum {found}, computed {expected}" "e2fsck -f recomputes it if the block makes sense";
    DirectoryTail { inode: InodeNo, logical: FileBlock, block: FsBlock } Error
        "inode {inode}, directory block {logical} ({block}) has no room for its checksum" "e2fsck -f rebuilds the directory";
    DirectoryRecord { inode: InodeNo, logical: FileBlock, block: FsBlock, error: FormatError } Error
        "inode {inode}, directory block {logical} ({block}): {error}" "e2fsck -f repairs the chain; entries behind it may end in lost+found";
    DirectoryName { inode: InodeNo, logical: FileBlock, block: FsBlock, offset: usize } Error
        "inode {inode}, directory block {logical} ({block}): an impossible name at byte {offset}" "e2fsck -f replaces it";
    DotMissing { inode: InodeNo } Error
        "inode {inode}: the directory does not begin with '.'" "e2fsck -f puts it in place";
    DotDotMissing { inode: InodeNo } Error
        "inode {inode}: the directory's second entry is not '..'" "e2fsck -f puts it in place";
    DotWrong { inode: InodeNo, found: u32 } Error
        "inode {inode}: '.' leads to inode {found}" "e2fsck -f corrects it";
    DotTwice { inode: InodeNo, logical: FileBlock, name: EntryName } Error
        "inode {inode}: another entry {name} in block {logical}" "e2fsck -f removes it";
    EntryInode { inode: InodeNo, name: EntryName, found: u32 } Error
        "inode {inode}: entry {name} leads to inode {found}, which no file can have" "e2fsck -f removes the entry";
    EntryUnused { inode: InodeNo, name: EntryName, child: u32 } Error
        "inode {inode}: entry {name} leads to inode {child}, which is not in use" "e2fsck -f removes the entry; the file is lost";
    EntryUninit { inode: InodeNo, name: EntryName, child: u32 } Error
        "inode {inode}: entry {name} leads to inode {child}, where its group says no inode was ever used" "e2fsck -f extends the used part of the group";
    EntryType { inode: InodeNo, name: EntryName, found: Type, expected: Type } Error
        "inode {inode}: entry {name} says {found}, the inode is a {expected}" "e2fsck -f corrects the entry";
    EntryTypeSet { inode: InodeNo, name: EntryName } Error
        "inode {inode}: entry {name} states a type, which entries of this filesystem do not have" "e2fsck -f clears it";
    EntryRoot { inode: InodeNo, name: EntryName } Error
        "inode {inode}: entry {name} leads to the root directory" "e2fsck -f removes the entry";
    DirectoryLinkedTwice { inode: InodeNo, name: EntryName, child: u32 } Error
        "inode {inode}: entry {name} is another link to directory {child}" "e2fsck -f removes the entry";
    DuplicateName { inode: InodeNo, name: EntryName } Error
        "inode {inode}: the name {name} is there twice" "e2fsck -f renames one of them";
    DirectorySkipped { inode: InodeNo } Warning
        "inode {inode}: the directory is too damaged or too large; what it names is not checked" "repair the rest first";

    // Htrees.
    HtreeRoot { inode: InodeNo, error: FormatError } Error
        "inode {inode}: {error}" "e2fsck -fD rebuilds the index";
    HtreeHash { inode: InodeNo, found: u8 } Error
        "inode {inode}: the index uses hash {found}, which is not known" "e2fsck -fD rebuilds the index";
    HtreeNode { inode: InodeNo, logical: FileBlock, error: FormatError } Error
        "inode {inode}, index block {logical}: {error}" "e2fsck -fD rebuilds the index";
    HtreeDisguise { inode: InodeNo, logical: FileBlock } Error
        "inode {inode}, index block {logical}: its records do not cover the block as an index's must" "e2fsck -fD rebuilds the index";
    HtreeChild { inode: InodeNo, logical: FileBlock, child: FileBlock } Error
        "inode {inode}, index block {logical} leads to block {child}, which the directory does not have" "e2fsck -fD rebuilds the index";
    HtreeTwice { inode: InodeNo, logical: FileBlock } Error
        "inode {inode}: two index entries lead to block {logical}" "e2fsck -fD rebuilds the index";
    HtreeUnreachable { inode: InodeNo, logical: FileBlock } Error
        "inode {inode}: no index entry leads to block {logical}" "e2fsck -fD rebuilds the index";
    HtreeRange { inode: InodeNo, logical: FileBlock, name: EntryName, hash: Sum } Error
        "inode {inode}, block {logical}: the index does not find {name} there (hash {hash})" "e2fsck -fD rebuilds the index";

    // Connectivity and links.
    DirectoryLost { inode: InodeNo } Error
        "inode {inode}: no entry leads to this directory" "e2fsck -f puts it into lost+found";
    DirectoryLoop { inode: InodeNo } Error
        "inode {inode}: the directory is its own ancestor" "e2fsck -f puts it into lost+found";
    DotDotWrong { inode: InodeNo, found: u32, expected: InodeNo } Error
        "inode {inode}: '..' leads to inode {found}, the parent is {expected}" "e2fsck -f corrects it";
    InodeLost { inode: InodeNo, links: u16 } Error
        "inode {inode} counts {links} links, but no entry leads to it" "e2fsck -f puts it into lost+found";
    LinkCount { inode: InodeNo, found: u16, expected: u32 } Error
        "inode {inode} counts {found} links, {expected} entries lead to it" "e2fsck -f corrects the count";

    // Orphans.
    OrphansPending { count: u64 } Warning
        "{count} inodes wait to be truncated or deleted" "the next mount does it";
    OrphanLeftover { inode: InodeNo, dtime: u32 } Error
        "inode {inode} has inode {dtime} as deletion time: it was on a list of orphans that is lost" "e2fsck -f clears it";
    OrphanList { found: u32 } Error
        "the list of orphans leads to inode {found}, which cannot be on it" "e2fsck -f ends the list there";
    OrphanLoop { inode: InodeNo } Error
        "the list of orphans comes back to inode {inode}" "e2fsck -f ends the list there";
    OrphanFile { inode: InodeNo } Error
        "inode {inode}, the orphan file, is no plain file with blocks" "e2fsck -f recreates it";
    OrphanBlock { inode: InodeNo, block: FsBlock, error: FormatError } Error
        "inode {inode}: {error} (block {block})" "e2fsck -f recreates the orphan file";
    OrphanEntry { inode: InodeNo, block: FsBlock, found: u32 } Error
        "inode {inode}, block {block}: orphan {found} is no inode in use" "e2fsck -f clears the entry";
    OrphanMarkStale { } Error
        "the superblock says that the orphan file is in use, but there is no orphan in it" "e2fsck -f clears the mark";
    OrphanMark { count: u64 } Error
        "the orphan file holds {count} inodes, but the superblock does not say so" "e2fsck -f clears them";

    // Bitmaps and counts.
    BlockBitmapChecksum { group: GroupNo, block: FsBlock, expected: Sum, found: Sum } Error
        "group {group}: block bitmap checksum {found}, computed {expected} (block {block})" "e2fsck -f rebuilds the bitmap";
    InodeBitmapChecksum { group: GroupNo, block: FsBlock, expected: Sum, found: Sum } Error
        "group {group}: inode bitmap checksum {found}, computed {expected} (block {block})" "e2fsck -f rebuilds the bitmap";
    BlocksMarkedFree { group: GroupNo, block: FsBlock, count: u64 } Error
        "group {group}: {count} blocks from {block} on are in use but marked free" "do not mount for writing: they would be overwritten; e2fsck -f corrects the bitmap";
    BlocksMarkedUsed { group: GroupNo, block: FsBlock, count: u64 } Error
        "group {group}: {count} blocks from {block} on are marked used but belong to nothing" "e2fsck -f frees them";
    BlockBitmapPadding { group: GroupNo } Error
        "group {group}: the block bitmap has blocks behind the end of the group as free" "e2fsck -f sets the padding";
    BlocksUninit { group: GroupNo, block: FsBlock, count: u64 } Error
        "group {group}: {count} blocks from {block} on are in use, but the block bitmap is marked as never written" "do not mount for writing; e2fsck -f writes the bitmap";
    InodesMarkedFree { group: GroupNo, inode: InodeNo, count: u32 } Error
        "group {group}: {count} inodes from {inode} on are in use but marked free" "do not mount for writing: they would be overwritten; e2fsck -f corrects the bitmap";
    InodesMarkedUsed { group: GroupNo, inode: InodeNo, count: u32 } Error
        "group {group}: {count} inodes from {inode} on are marked used but are not" "e2fsck -f frees them";
    InodeBitmapPadding { group: GroupNo } Error
        "group {group}: the inode bitmap has inodes behind the end of the table as free" "e2fsck -f sets the padding";
    GroupFreeBlocks { group: GroupNo, found: u32, expected: u32 } Error
        "group {group} counts {found} free blocks, it has {expected}" "e2fsck -f corrects the count";
    GroupFreeInodes { group: GroupNo, found: u32, expected: u32 } Error
        "group {group} counts {found} free inodes, it has {expected}" "e2fsck -f corrects the count";
    GroupDirectories { group: GroupNo, found: u32, expected: u32 } Error
        "group {group} counts {found} directories, it has {expected}" "e2fsck -f corrects the count";
}
