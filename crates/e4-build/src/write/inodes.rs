//! The inode tables, from inodes in order; extent trees that do not fit into their inode on the way.

use super::{Batch, Writer};
use crate::error::{BuildError, show};
use crate::layout::measure::FAST_SYMLINK;
use crate::layout::{Placed, extents};
use crate::tree::{Kind, NodeId};
use e4_format::{BlockSize, FileType, GroupNo, Inode, InodeFlags, InodeNo, Superblock, Timestamp};
use e4_mkfs::{GroupUsage, SystemTable};

/// Writes the tables; returns what each group holds.
pub(super) fn write(
    writer: &Writer<'_>,
    system: &SystemTable,
) -> Result<Vec<GroupUsage>, BuildError> {
    let draft = &writer.layout.draft;
    let sb = draft.superblock();
    let nodes = writer.nodes();
    let placed = &writer.layout.placed;
    let mut rest = nodes.iter().copied().zip(placed);
    let mut table = system.bytes.clone();
    let mut usage = Vec::new();
    let mut trees = Batch::new(writer.device, sb.block_size().log2());
    // Root and lost+found go into slots the system's table left free.
    let mut own = GroupUsage {
        inodes: draft.first_free_inode() - 1,
        directories: 0,
    };
    for (node, places) in rest.by_ref().take(2) {
        put(writer, sb, &mut table, 0, (node, places), &mut trees)?;
        own.directories += 1;
    }
    let per_group = sb.inodes_per_group();
    let mut first = 1;
    loop {
        let len = per_group as usize * sb.inode_size();
        table.resize(len.max(table.len()), 0);
        while own.inodes < per_group {
            let Some((node, places)) = rest.next() else {
                break;
            };
            put(
                writer,
                sb,
                &mut table,
                first - 1,
                (node, places),
                &mut trees,
            )?;
            own.inodes += 1;
            own.directories += u32::from(places.directory.is_some());
        }
        if own.inodes > 0 {
            let group = u32::try_from(usage.len()).unwrap_or(u32::MAX);
            let used = own.inodes as usize * sb.inode_size();
            let used = used.next_multiple_of(sb.block_size().len());
            let at = draft.inode_table(GroupNo::new(group));
            let bytes = table.get(..used).unwrap_or(&table);
            if let Some(at) = at.and_then(|b| sb.block_size().byte_of(b)) {
                writer.device.write_at(at.get(), bytes)?;
            }
        }
        let full = own.inodes == per_group;
        usage.push(std::mem::take(&mut own));
        if !full || rest.len() == 0 {
            break;
        }
        first += per_group;
        table.clear();
    }
    trees.flush()?;
    Ok(usage)
}

/// Encodes one inode into its slot; `before` inodes precede the table.
fn put(
    writer: &Writer<'_>,
    sb: &Superblock,
    table: &mut [u8],
    before: u32,
    (node, placed): (NodeId, &Placed),
    trees: &mut Batch<'_>,
) -> Result<(), BuildError> {
    let ino = writer.ino(node);
    let inode = inode_of(writer, sb, ino, node, placed, trees)?;
    let at = (ino.get() - 1 - before) as usize * sb.inode_size();
    let slot = table.get_mut(at..).unwrap_or_default();
    if let Some(n) = placed.inline
        && let Some(bytes) = writer.layout.inline_xattrs.get(n as usize)
    {
        let from = 128 + usize::from(inode.extra_isize);
        if let Some(to) = slot.get_mut(from..from + bytes.len()) {
            to.copy_from_slice(bytes);
        }
    }
    inode
        .encode(slot, sb, ino)
        .map_err(|source| BuildError::Format {
            what: "an inode",
            source,
        })
}

fn inode_of(
    writer: &Writer<'_>,
    sb: &Superblock,
    ino: InodeNo,
    node: NodeId,
    placed: &Placed,
    trees: &mut Batch<'_>,
) -> Result<Inode, BuildError> {
    let mut inode = Inode::empty(sb);
    let Some(found) = writer.tree.node(node) else {
        return Ok(inode);
    };
    let meta = &found.meta;
    let kind = found.kind.file_type();
    inode.mode = kind.mode_bits() | meta.mode;
    (inode.uid, inode.gid) = (meta.uid, meta.gid);
    let time = meta.shown_time(writer.options.epoch).unwrap_or(Timestamp {
        sec: writer.time,
        nsec: 0,
    });
    let time = time.clamp_storable(inode.extra_isize > 0);
    (inode.atime, inode.ctime, inode.mtime, inode.crtime) = (time, time, time, time);
    inode.links_count = writer.layout.order.stored_links(node);
    let list = writer.layout.extents_of(placed);
    let places = writer.layout.tree_of(placed);
    let blocks: u64 = list.iter().map(|e| u64::from(e.len)).sum();
    let mut all = blocks + places.len() as u64;
    let block_size = sb.block_size();
    match &found.kind {
        Kind::Directory(_) => {
            inode.size = blocks << block_size.log2();
            let blocks = placed
                .directory
                .and_then(|d| writer.layout.directories.get(d as usize));
            if blocks.is_some_and(|b| b.indexed) {
                inode.flags.insert(InodeFlags::INDEX);
            }
        }
        Kind::File(content) => inode.size = content.size,
        Kind::Symlink(target) => inode.size = target.len() as u64,
        Kind::Device { major, minor, .. } => {
            inode.i_block = device_number(*major, *minor).ok_or(BuildError::DeviceNumber {
                path: show(&writer.layout.order.path(writer.tree, node)),
                major: *major,
                minor: *minor,
            })?;
        }
        Kind::Fifo | Kind::Socket => {}
    }
    match &found.kind {
        Kind::Symlink(target) if target.len() <= FAST_SYMLINK => {
            if let Some(to) = inode.i_block.get_mut(..target.len()) {
                to.copy_from_slice(target);
            }
        }
        _ if matches!(
            kind,
            FileType::Directory | FileType::Regular | FileType::Symlink
        ) =>
        {
            inode.flags.insert(InodeFlags::EXTENTS);
            let seed = writer.seed(ino);
            let (root, nodes) = extents::encode(list, places, block_size, seed)?;
            inode.i_block = root;
            for (at, bytes) in nodes {
                trees.put(at, &bytes)?;
            }
        }
        _ => {}
    }
    if let Some(block) = placed
        .xattr
        .and_then(|n| writer.layout.xattr_blocks.get(n as usize))
    {
        inode.file_acl = Some(block.at);
        all += 1;
    }
    inode.sectors = sectors(all, block_size);
    Ok(inode)
}

fn sectors(blocks: u64, block_size: BlockSize) -> u64 {
    blocks << (block_size.log2() - 9)
}

/// `i_block` of a device node: the old 8:8 bits in the first word where they suffice, else the new 12:20 bits in the
/// second.
fn device_number(major: u32, minor: u32) -> Option<[u8; 60]> {
    if major >= 1 << 12 || minor >= 1 << 20 {
        return None;
    }
    let mut i_block = [0; 60];
    let (at, word) = if major < 256 && minor < 256 {
        (0, major << 8 | minor)
    } else {
        (4, minor & 0xFF | major << 8 | (minor & !0xFF) << 12)
    };
    if let Some(to) = i_block.get_mut(at..at + 4) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    Some(i_block)
}
