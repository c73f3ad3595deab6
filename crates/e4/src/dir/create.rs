//! Creating inodes of every kind: inode, its table slot, its first block and its name, in one handle.
//!
//! Order: whatever can find no space comes before the first change of the directory; the name comes last. What
//! fails before takes everything back in the same handle, so an error leaves nothing behind.

use std::ops::Range;

use e4_dir::credits_for_insert;
use e4_extent::ROOT_LEN;
use e4_format::extent::{capacity_root, write_leaf};
use e4_format::features::IncompatFeatures;
use e4_format::indirect::pointers_per_block;
use e4_format::xattr::{self, XattrNamespace};
use e4_format::{
    Extent, ExtentState, FileBlock, FileType, FsBlock, Inode as DiskInode, InodeFlags, InodeNo,
    MapKind,
};
use e4_journal::Handle;
use e4_sync::Arc;

use super::links::{check_name, count_subdirectory};
use super::remove::text;
use super::store::DirStoreError;
use super::{DirEdit, DirView, dir_error};
use crate::alloc::{CREDITS_PER_ALLOC, CREDITS_PER_INODE};
use crate::error::{Error, Result};
use crate::extent::shape;
use crate::indirect::CREDITS_PER_INSERT;
use crate::inode::{CREDITS_PER_ORPHAN, CREDITS_PER_STORE, Core, Hold, Inode, InodeState};
use crate::mount::Shared;
use crate::node::NewInode;
use crate::xattr::{CREDITS_PER_XATTR, Lists};

/// Flags that children inherit: `chattr` s u c S d A B j t D P, casefold and DAX.
const INHERITED: u32 = 0x1
    | 0x2
    | 0x4
    | InodeFlags::SYNC.bits()
    | InodeFlags::NODUMP.bits()
    | InodeFlags::NOATIME.bits()
    | 0x400
    | InodeFlags::JOURNAL_DATA.bits()
    | 0x8000
    | InodeFlags::DIRSYNC.bits()
    | 0x0200_0000
    | InodeFlags::PROJINHERIT.bits()
    | InodeFlags::CASEFOLD.bits();
/// Of these, what makes no sense for regular files.
const DIRECTORIES_ONLY: u32 = InodeFlags::DIRSYNC.bits()
    | InodeFlags::TOPDIR.bits()
    | InodeFlags::PROJINHERIT.bits()
    | InodeFlags::CASEFOLD.bits();

/// A name or a short link target fits `i_block` below this many bytes.
const FAST_LINK_MAX: usize = 60;

/// An inode in the making: nothing of it is reachable yet.
pub(super) struct Newborn {
    pub(super) ino: InodeNo,
    pub(super) kind: FileType,
    pub(super) disk: DiskInode,
    /// Its first block, if it has one.
    block: Option<FsBlock>,
    /// ACLs from its directory.
    xattrs: Lists,
}

/// What to make.
#[derive(Clone, Copy)]
pub(crate) struct Birth<'a> {
    pub(crate) new: &'a NewInode,
    /// Target of a symbolic link.
    pub(crate) target: &'a [u8],
}

impl Shared {
    /// Creates `name` in `dir`. The name must not exist.
    pub(crate) fn create_in(
        self: &Arc<Self>,
        dir: &Inode,
        name: &[u8],
        birth: Birth<'_>,
    ) -> Result<Hold> {
        self.check_writable()?;
        check_name(name)?;
        let state = dir.data();
        let _names = state.namespace.write();
        self.check_can_add(state, name)?;
        let credits = create_credits(state, &state.core.read(), birth)?;
        let mut handle = self.meta.start(credits)?;
        let newborn = self.make_inode(&mut handle, state, birth)?;
        let kind = newborn.kind;
        let mut core = state.core.write();
        if let Err(error) = self.insert_name(&mut handle, state, &mut core, name, newborn.ino, kind)
        {
            drop(core);
            self.unmake(&mut handle, &newborn)?;
            return Err(error);
        }
        if kind == FileType::Directory {
            count_subdirectory(&mut core);
        }
        self.store_newborn(&mut handle, &newborn)?;
        self.touch_directory(&mut handle, state, &mut core)?;
        drop(core);
        drop(handle);
        self.hold(newborn.ino)
    }

    /// Allocates an inode and what its contents need. On an error nothing is left of it.
    pub(super) fn make_inode(
        self: &Arc<Self>,
        handle: &mut Handle,
        parent: &InodeState,
        birth: Birth<'_>,
    ) -> Result<Newborn> {
        let kind = birth.new.kind;
        let mut disk = self.new_inode(parent, birth)?;
        let xattrs = self.inherit_acl(parent, birth, &mut disk)?;
        if kind == FileType::Directory {
            self.check_links(parent)?;
        }
        let ino = self.alloc.alloc_inode(handle, parent.ino, kind)?;
        let mut newborn = Newborn {
            ino,
            kind,
            disk,
            block: None,
            xattrs,
        };
        let filled = match kind {
            FileType::Directory => self.init_directory(handle, &mut newborn, parent.ino),
            FileType::Symlink => self.init_symlink(handle, &mut newborn, birth.target),
            _ => Ok(()),
        };
        match filled.and_then(|()| self.init_xattrs(handle, &mut newborn)) {
            Ok(()) => Ok(newborn),
            Err(error) => {
                self.unmake(handle, &newborn)?;
                Err(error)
            }
        }
    }

    /// Takes back what [`Shared::make_inode`] did.
    pub(super) fn unmake(&self, handle: &mut Handle, newborn: &Newborn) -> Result<()> {
        if let Some(block) = newborn.block {
            handle.forget(block)?;
            self.alloc.free(handle, block, 1)?;
        }
        let mut core = Core::new(newborn.disk.clone());
        self.drop_xattrs(handle, newborn.ino, &mut core)?;
        self.alloc
            .free_inode(handle, newborn.ino, Some(newborn.kind))
    }

    /// The ACLs a new inode gets from its directory, and what they or the umask leave of its mode.
    fn inherit_acl(
        &self,
        parent: &InodeState,
        birth: Birth<'_>,
        disk: &mut DiskInode,
    ) -> Result<Lists> {
        let room = xattr::inode_room(self.sb.inode_size(), disk.extra_isize);
        let mut lists = Lists {
            room,
            ..Lists::default()
        };
        if birth.new.kind == FileType::Symlink {
            return Ok(lists);
        }
        let Some(acl) = self.default_acl(parent)? else {
            disk.mode &= !(birth.new.umask & 0o777);
            return Ok(lists);
        };
        let inherited = acl.inherit(disk.mode, birth.new.kind == FileType::Directory);
        disk.mode = disk.mode & !0o777 | inherited.mode;
        for (which, acl) in [
            (XattrNamespace::PosixAclAccess, inherited.access),
            (XattrNamespace::PosixAclDefault, inherited.default),
        ] {
            if let Some(acl) = acl {
                lists = self.place_xattr(&lists, (which, b""), Some(&acl.to_disk()))?;
            }
        }
        Ok(lists)
    }

    /// Gives a new inode the block its attributes need, if they need one.
    fn init_xattrs(&self, handle: &mut Handle, newborn: &mut Newborn) -> Result<()> {
        if newborn.xattrs.block.is_empty() {
            return Ok(());
        }
        let goal = self.alloc.goal_of_inode(newborn.ino);
        let whose = (newborn.ino, goal);
        newborn.disk.file_acl = self.exchange_block(handle, whose, None, &newborn.xattrs.block)?;
        newborn.disk.sectors += u64::from(self.sb.block_size().bytes() / 512);
        Ok(())
    }

    /// Stores a new inode, attributes included. One credit.
    pub(super) fn store_newborn(&self, handle: &mut Handle, newborn: &Newborn) -> Result<()> {
        self.store_new_inode(handle, newborn.ino, &newborn.disk)?;
        if newborn.xattrs.body.is_empty() {
            return Ok(());
        }
        let extra = newborn.disk.extra_isize;
        self.edit_inode(handle, newborn.ino, |bytes| {
            newborn.xattrs.write_body(bytes, extra)?;
            newborn.disk.encode(bytes, &self.sb, newborn.ino)
        })
    }

    /// Adds a name. Nothing has changed on an error.
    pub(super) fn insert_name(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
        name: &[u8],
        ino: InodeNo,
        kind: FileType,
    ) -> Result<()> {
        let mut edit = DirEdit::new(state, core, handle)?;
        match e4_dir::insert(&mut edit, name, ino, kind) {
            Ok(()) => Ok(()),
            Err(DirStoreError::Dir(e4_dir::DirError::Exists { .. })) => {
                Err(Error::Exists { path: text(name) })
            }
            Err(other) => Err(dir_error(state, other)),
        }
    }

    /// Stores a directory whose names have changed just now.
    pub(super) fn touch_directory(
        &self,
        handle: &mut Handle,
        state: &InodeState,
        core: &mut Core,
    ) -> Result<()> {
        let now = self.now();
        core.disk.mtime = now;
        core.disk.ctime = now;
        self.store_core(handle, state, core, true)
    }

    /// A fresh inode, its owner and flags inherited from the directory as ext4 does.
    fn new_inode(&self, parent: &InodeState, birth: Birth<'_>) -> Result<DiskInode> {
        let new = birth.new;
        let now = self.now();
        let mut disk = DiskInode::empty(&self.sb);
        disk.mode = new.kind.mode_bits() | (new.mode & 0o7777);
        disk.links_count = 1;
        (disk.uid, disk.gid) = (new.uid, new.gid);
        disk.generation = self.new_generation();
        (disk.atime, disk.mtime, disk.ctime, disk.crtime) = (now, now, now, now);
        let core = parent.core.read();
        let mut inherited = core.disk.flags.bits() & INHERITED;
        match new.kind {
            FileType::Directory => disk.links_count = 2,
            FileType::Regular => inherited &= !DIRECTORIES_ONLY,
            _ => inherited &= InodeFlags::NODUMP.bits() | InodeFlags::NOATIME.bits(),
        }
        disk.flags = InodeFlags::from_bits(inherited);
        if core.disk.flags.contains(InodeFlags::PROJINHERIT) {
            disk.projid = core.disk.projid;
        }
        if core.disk.mode & 0o2000 != 0 {
            disk.gid = core.disk.gid;
            if new.kind == FileType::Directory {
                disk.mode |= 0o2000;
            }
        }
        drop(core);
        match new.kind {
            FileType::CharDevice | FileType::BlockDevice => disk.set_rdev(new.rdev),
            FileType::Regular | FileType::Directory => self.plant_tree(&mut disk)?,
            FileType::Symlink if birth.target.len() >= FAST_LINK_MAX => {
                self.plant_tree(&mut disk)?;
            }
            _ => {}
        }
        Ok(disk)
    }

    /// Gives an inode an empty extent tree; in an image without extents an empty block map, which is all zeros.
    fn plant_tree(&self, disk: &mut DiskInode) -> Result<()> {
        if !self.sb.incompat().contains(IncompatFeatures::EXTENTS) {
            return Ok(());
        }
        disk.flags.insert(InodeFlags::EXTENTS);
        let mut root = [0; ROOT_LEN];
        write_leaf(&mut root, &[], capacity_root(), 0)
            .map_err(|source| crate::meta::format_error(&self.image, source))?;
        disk.i_block = root;
        Ok(())
    }

    /// Gives a new directory its first block. The directory is not loaded yet, so a state of its own
    /// carries the edit.
    fn init_directory(
        self: &Arc<Self>,
        handle: &mut Handle,
        newborn: &mut Newborn,
        parent: InodeNo,
    ) -> Result<()> {
        let state = InodeState::new(Arc::clone(self), newborn.ino, newborn.disk.clone());
        let mut core = Core::new(newborn.disk.clone());
        let mut edit = DirEdit::new(&state, &mut core, handle)?;
        let made = e4_dir::init(&mut edit, parent, newborn.ino).map_err(|e| dir_error(&state, e));
        newborn.block = first_block(&state, &core)?;
        newborn.disk = core.disk;
        made
    }

    /// Stores the target of a new symbolic link: in the inode if it fits, else in a block, which is metadata.
    fn init_symlink(
        self: &Arc<Self>,
        handle: &mut Handle,
        newborn: &mut Newborn,
        target: &[u8],
    ) -> Result<()> {
        newborn.disk.size = target.len() as u64;
        if target.len() < FAST_LINK_MAX {
            if let Some(to) = newborn.disk.i_block.get_mut(..target.len()) {
                to.copy_from_slice(target);
            }
            return Ok(());
        }
        // A terminating NUL belongs into the block, as the kernel has it.
        if target.len() >= self.sb.block_size().len() {
            return Err(Error::NameTooLong { len: target.len() });
        }
        let state = InodeState::new(Arc::clone(self), newborn.ino, newborn.disk.clone());
        let mut core = Core::new(newborn.disk.clone());
        state.insert_dir_run(&mut core, handle, 0..1)?;
        newborn.block = first_block(&state, &core)?;
        newborn.disk = core.disk;
        if let Some(at) = newborn.block {
            let block = handle.create(at)?;
            let mut guard = handle.modify(&block)?;
            if let Some(to) = guard.get_mut(..target.len()) {
                to.copy_from_slice(target);
            }
        }
        Ok(())
    }
}

fn first_block(state: &InodeState, core: &Core) -> Result<Option<FsBlock>> {
    let pieces = state.map(core, 0..1)?;
    Ok(pieces.first().and_then(crate::extent::Piece::physical))
}

impl InodeState {
    /// Allocates blocks of a directory, written (they are metadata, filled in the same transaction).
    pub(crate) fn insert_dir_run(
        &self,
        core: &mut Core,
        handle: &mut Handle,
        blocks: Range<u32>,
    ) -> Result<u32> {
        let goal = self.shared.alloc.goal_of_inode(self.ino);
        let mut want = blocks.end - blocks.start;
        if core.disk.map_kind() == MapKind::Indirect {
            want = want.min(pointers_per_block(self.shared.sb.block_size()));
        }
        let run = self.shared.alloc.alloc(
            handle,
            FsBlock::new(goal.get()),
            want,
            crate::alloc::Account::Free,
        )?;
        let first = FileBlock::new(blocks.start);
        let inserted = match core.disk.map_kind() {
            MapKind::Indirect => self.insert_mapped(core, handle, first, (run.start, run.len)),
            _ => {
                let extent = Extent {
                    block: first,
                    len: run.len,
                    start: run.start,
                    state: ExtentState::Written,
                };
                let account = crate::alloc::Account::Free;
                self.insert_extent(core, handle, &extent, account).map(drop)
            }
        };
        if let Err(error) = inserted {
            self.shared
                .alloc
                .free(handle, run.start, u64::from(run.len))?;
            return Err(error);
        }
        let per_block = u64::from(self.shared.sb.block_size().bytes() / 512);
        core.disk.sectors += u64::from(run.len) * per_block;
        Ok(blocks.start + run.len)
    }
}

/// Credits of adding a name to a directory: the blocks it changes and may add, and the directory's inode.
pub(super) fn name_credits(state: &InodeState, core: &Core) -> Result<u32> {
    let view = DirView::new(state, core)?;
    let cost = credits_for_insert(&view);
    let per_append = match core.disk.map_kind() {
        MapKind::Indirect => CREDITS_PER_INSERT,
        _ => {
            let tree = e4_extent::credits_for_insert(shape(state, core)?);
            tree.blocks(u32::MAX) + CREDITS_PER_ALLOC + 1
        }
    };
    Ok(cost.written + cost.appended * per_append + CREDITS_PER_STORE)
}

/// Credits of [`Shared::make_inode`], storing the inode, and taking it back.
pub(super) fn birth_credits(birth: Birth<'_>) -> u32 {
    let block = match birth.new.kind {
        FileType::Directory => true,
        FileType::Symlink => birth.target.len() >= FAST_LINK_MAX,
        _ => false,
    };
    CREDITS_PER_INODE
        + CREDITS_PER_STORE
        + CREDITS_PER_XATTR
        + u32::from(block) * (CREDITS_PER_ALLOC + 2)
}

fn create_credits(state: &InodeState, core: &Core, birth: Birth<'_>) -> Result<u32> {
    Ok(name_credits(state, core)? + birth_credits(birth) + CREDITS_PER_ORPHAN)
}
