//! Attributes put into an image by hand: one in an inode, one in a block of its own.
//!
//! Decision: by hand, because seed images must not change when the library learns to write attributes.

use e4_format::xattr::XATTR_MAGIC;
use e4_format::{FileType, FsBlock};

use crate::bytes::{get16, get32, put, put16, put32};
use crate::layout::{Class, Layout, Piece};
use crate::seal::seal;

const NAME: &[u8; 8] = b"planted\0";
const VALUE: &[u8; 24] = b"the value of a attribute";
const ENTRY: usize = 16;
/// Index of the namespace `user.`.
const USER: u8 = 1;

/// Plants both; `None` if the image has no room for them.
pub(crate) fn plant(image: &mut [u8]) -> Option<()> {
    let layout = Layout::of(image)?;
    let inodes = layout.of_class(Class::Inode);
    let named = |kind| {
        inodes
            .iter()
            .rfind(|p| p.owner > 12 && p.kind == Some(kind))
    };
    let (file, dir) = (*named(FileType::Regular)?, *named(FileType::Directory)?);
    in_inode(image, &layout, &file);
    in_block(image, &layout, &dir)
}

/// An entry whose value ends at `end` of the area that begins at `base`; offsets count from `base`.
fn entry(image: &mut [u8], base: usize, first: usize, end: usize, name: &[u8]) {
    let value = end - VALUE.len();
    put(image, base + value, VALUE);
    let at = base + first;
    put(image, at, &[7, USER]);
    put16(image, at + 2, u16::try_from(value).unwrap_or(0));
    put32(image, at + 8, u32::try_from(VALUE.len()).unwrap_or(0));
    let hash = name
        .iter()
        .fold(0u32, |h, b| h.rotate_left(5) ^ u32::from(*b));
    let words = VALUE.as_chunks::<4>().0.iter();
    let hash = words.fold(hash, |h, w| h.rotate_left(16) ^ u32::from_le_bytes(*w));
    put32(image, at + 12, hash);
    put(image, at + ENTRY, name);
}

fn in_inode(image: &mut [u8], layout: &Layout, inode: &Piece) {
    if inode.len <= 128 {
        return;
    }
    let area = inode.at + 128 + usize::from(get16(image, inode.at + 0x80));
    put32(image, area, XATTR_MAGIC);
    let room = inode.at + inode.len - area - 4;
    entry(image, area + 4, 0, room, &NAME[..7]);
    seal(image, layout, inode);
}

fn in_block(image: &mut [u8], layout: &Layout, inode: &Piece) -> Option<()> {
    let sb = &layout.sb;
    let bs = sb.block_size().len();
    let spare = layout
        .of_class(Class::Unused)
        .iter()
        .rfind(|p| p.block > 1)?;
    let block = Piece {
        class: Class::Xattr,
        owner: inode.owner,
        ..*spare
    };
    image.get_mut(block.at..block.at + bs)?.fill(0);
    for (at, word) in [(0, XATTR_MAGIC), (4, 1), (8, 1)] {
        put32(image, block.at + at, word);
    }
    entry(image, block.at, 32, bs, &NAME[..7]);
    let hash = get32(image, block.at + 32 + 12);
    put32(image, block.at + 12, hash);
    seal(image, layout, &block);
    put32(image, inode.at + 0x68, u32::try_from(block.block).ok()?);
    let sectors = get32(image, inode.at + 0x1C);
    put32(
        image,
        inode.at + 0x1C,
        sectors + u32::try_from(bs / 512).ok()?,
    );
    seal(image, layout, inode);
    take(image, layout, FsBlock::new(block.block))
}

/// Marks a block as used, in its bitmap and in both counts.
fn take(image: &mut [u8], layout: &Layout, block: FsBlock) -> Option<()> {
    let (group, bit) = layout.sb.group_of_block(block)?;
    let of_group = |class| {
        layout
            .of_class(class)
            .iter()
            .find(|p| p.owner == group.get())
    };
    let (map, desc) = (
        *of_group(Class::BlockBitmap)?,
        *of_group(Class::Descriptor)?,
    );
    *image.get_mut(map.at + bit as usize / 8)? |= 1 << (bit % 8);
    let free = get16(image, desc.at + 0xC);
    put16(image, desc.at + 0xC, free.checked_sub(1)?);
    seal(image, layout, &map);
    seal(image, layout, &desc);
    let sb = *layout.of_class(Class::Superblock).first()?;
    let free = get32(image, sb.at + 0xC);
    put32(image, sb.at + 0xC, free.checked_sub(1)?);
    seal(image, layout, &sb);
    Some(())
}
