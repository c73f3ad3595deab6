//! The allocator on images made by mke2fs, mounted in memory, judged by an independent reading of the
//! bitmaps and by `e2fsck -fn`.

mod concurrent;
mod hostile;
mod image;
mod inodes;
mod random;
mod rules;
