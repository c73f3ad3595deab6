//! rename, in all its forms, in one handle.
//!
//! Locks: the rename lock (rank 20) if two directories are involved, so that nobody else changes who is above whom while
//! loops are looked for; then the namespace locks of both directories and of the directories that move or go, in
//! order of inode numbers. What the names stand for is looked up before the locks are known, and again under
//! them.
//!
//! Rule 8: what is dirty or complete on the file that takes another's place is written back and published before the handle starts, so the commit
//! that carries the new name carries its contents.

use e4_format::{FileType, InodeNo};
use e4_journal::Handle;
use e4_planted::planted;
use e4_sync::{Arc, RwLockWriteGuard};
use hashbrown::HashSet;
use smallvec::SmallVec;

use super::create::{Newborn, birth_credits, name_credits};
use super::links::{check_name, count_subdirectory, uncount_subdirectory};
use super::remove::{not_found, text};
use super::{Birth, DirEdit, dir_error};
use crate::error::{Error, Result};
use crate::inode::{CREDITS_PER_ORPHAN, CREDITS_PER_STORE, Hold, Inode};
use crate::mount::Shared;
use crate::node::{NewInode, RenameFlags};

/// Namespace locks, released together.
pub(super) type NameLocks<'a> = SmallVec<[RwLockWriteGuard<'a, ()>; 4]>;

/// A name in a directory.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) dir: &'a Inode,
    pub(crate) name: &'a [u8],
}

/// What a rename is about, once it is known.
struct Move<'a> {
    from: Entry<'a>,
    to: Entry<'a>,
    source: &'a Hold,
    target: Option<&'a Hold>,
    flags: RenameFlags,
}

fn is_dir(inode: &Inode) -> bool {
    inode.data().kind == Some(FileType::Directory)
}

fn same(a: &Inode, b: &Inode) -> bool {
    Arc::ptr_eq(a, b)
}

impl Shared {
    /// Moves a name.
    pub(crate) fn rename(
        self: &Arc<Self>,
        from: Entry<'_>,
        to: Entry<'_>,
        flags: RenameFlags,
    ) -> Result<()> {
        self.check_writable()?;
        check_name(from.name)?;
        match check_name(to.name) {
            // The kernel misses the source first.
            Err(Error::NameTooLong { .. }) => {}
            other => other?,
        }
        self.free_left_over();
        loop {
            // Outlive the locks: dropping the target may free it.
            let (source, target);
            let across = !same(from.dir, to.dir);
            let _turn = across.then(|| self.rename_turn.lock());
            let Some(found) = self.lookup_in(from.dir, from.name)? else {
                return Err(not_found(from.name));
            };
            source = found;
            check_name(to.name)?;
            target = self.lookup_in(to.dir, to.name)?;
            let plan = Move {
                from,
                to,
                source: &source,
                target: target.as_ref(),
                flags,
            };
            self.check_existence(&plan)?;
            if across {
                self.check_loops(&plan)?;
            }
            if target.as_ref().is_some_and(|t| same(t, &source)) {
                return Ok(());
            }
            let mut concerned: SmallVec<[&Inode; 4]> = SmallVec::from_slice(&[from.dir, to.dir]);
            for inode in [Some(&source), target.as_ref()].into_iter().flatten() {
                if is_dir(inode) {
                    concerned.push(inode);
                }
            }
            let _names = self.lock_names(&concerned)?;
            let same_target = match &target {
                Some(target) => self.still_names(to.dir, to.name, target)?,
                None => {
                    self.check_dir(to.dir.data(), &to.dir.data().core.read())?;
                    self.dir_lookup(to.dir, to.name)?.is_none()
                }
            };
            if !same_target || !self.still_names(from.dir, from.name, &source)? {
                continue;
            }
            return match flags {
                RenameFlags::Exchange => self.exchange(&plan),
                _ => self.replace(&plan),
            };
        }
    }

    fn check_existence(&self, plan: &Move<'_>) -> Result<()> {
        match (plan.flags, plan.target) {
            (RenameFlags::NoReplace, Some(_)) => Err(Error::Exists {
                path: text(plan.to.name),
            }),
            (RenameFlags::Exchange, None) => Err(not_found(plan.to.name)),
            _ => Ok(()),
        }
    }

    /// No directory may end up below itself, and none above the source can be empty.
    fn check_loops(&self, plan: &Move<'_>) -> Result<()> {
        let below_itself = Error::Invalid {
            what: "a directory cannot move below itself",
        };
        if is_dir(plan.source) && self.is_above(plan.source, plan.to.dir)? {
            return Err(below_itself);
        }
        if let Some(target) = plan.target
            && is_dir(target)
            && self.is_above(target, plan.from.dir)?
        {
            return Err(match plan.flags {
                RenameFlags::Exchange => below_itself,
                _ => Error::NotEmpty {
                    path: text(plan.to.name),
                },
            });
        }
        Ok(())
    }

    /// True if `above` is `dir` or one of the directories above it. The caller holds the rename lock.
    fn is_above(&self, above: &Inode, dir: &Inode) -> Result<bool> {
        let mut seen = HashSet::new();
        let mut at = Arc::clone(dir);
        loop {
            if same(&at, above) {
                return Ok(true);
            }
            let ino = at.data().ino;
            if ino == InodeNo::ROOT {
                return Ok(false);
            }
            let bad = |what| Error::BadInode {
                image: Arc::clone(&self.image),
                ino: ino.get(),
                what,
            };
            if !seen.insert(ino) {
                return Err(bad("is a directory below itself"));
            }
            let Some(parent) = self.dir_lookup(&at, b"..")? else {
                return Err(bad("is a directory without '..'"));
            };
            at = at.data().shared.inode(parent)?;
        }
    }

    /// Namespace locks of several directories, in order of their numbers.
    pub(super) fn lock_names<'a>(&self, inodes: &[&'a Inode]) -> Result<NameLocks<'a>> {
        let mut sorted: SmallVec<[&'a Inode; 4]> = SmallVec::from_slice(inodes);
        sorted.sort_by_key(|inode| inode.data().ino);
        sorted.dedup_by_key(|inode| inode.data().ino);
        let lock = |inode: &'a Inode| {
            let state = inode.data();
            state.namespace.write_nested(u64::from(state.ino.get()))
        };
        Ok(sorted.into_iter().map(lock).collect())
    }

    fn check_move(&self, plan: &Move<'_>) -> Result<()> {
        self.check_removable(plan.from.dir.data(), plan.source)?;
        let to = plan.to.dir.data();
        let Some(target) = plan.target else {
            return self.check_not_immutable(to, &to.core.read());
        };
        self.check_removable(to, target)?;
        if plan.flags == RenameFlags::Exchange {
            return Ok(());
        }
        match (is_dir(plan.source), is_dir(target)) {
            (true, false) => Err(Error::NotADirectory {
                path: text(plan.to.name),
            }),
            (false, true) => Err(Error::IsADirectory {
                path: text(plan.to.name),
            }),
            (true, true) => self.check_empty(target, plan.to.name),
            (false, false) => Ok(()),
        }
    }

    /// Everything but `Exchange`.
    fn replace(self: &Arc<Self>, plan: &Move<'_>) -> Result<()> {
        self.check_move(plan)?;
        let across = !same(plan.from.dir, plan.to.dir);
        let moves_dir = is_dir(plan.source);
        if moves_dir && across {
            self.check_dotdot(plan.source)?;
            if plan.target.is_none() {
                self.check_links(plan.to.dir.data())?;
            }
        }
        if plan.target.is_some() {
            self.publish_completed(plan.source)?;
        }
        let whiteout = NewInode::new(FileType::CharDevice, 0);
        let birth = Birth {
            new: &whiteout,
            target: b"",
        };
        let mut handle = self.meta.start(self.rename_credits(plan, birth)?)?;
        let newborn = match plan.flags {
            RenameFlags::Whiteout => {
                Some(self.make_inode(&mut handle, plan.from.dir.data(), birth)?)
            }
            _ => None,
        };
        if let Err(error) = self.put_name(&mut handle, plan) {
            if let Some(newborn) = &newborn {
                self.unmake(&mut handle, newborn)?;
            }
            return Err(error);
        }
        if planted!(RenameInTwoSteps) {
            drop(handle);
            self.meta.commit_all()?;
            handle = self.meta.start(self.rename_credits(plan, birth)?)?;
        }
        self.take_name(&mut handle, plan, newborn.as_ref())?;
        if moves_dir && across {
            self.set_parent(&mut handle, plan.source, plan.to.dir)?;
        }
        self.store_moved(&mut handle, plan.source)?;
        match plan.target {
            Some(target) => self.drop_link(&mut handle, target),
            None => Ok(()),
        }
    }

    fn rename_credits(&self, plan: &Move<'_>, birth: Birth<'_>) -> Result<u32> {
        let to = plan.to.dir.data();
        let name = { name_credits(to, &to.core.read())? };
        // The old name's block and directory, the moved inode, its `..`, and the replaced one as orphan.
        let rest = 2 + 3 * CREDITS_PER_STORE + CREDITS_PER_ORPHAN;
        let whiteout = match plan.flags {
            RenameFlags::Whiteout => birth_credits(birth),
            _ => 0,
        };
        Ok(name + rest + whiteout)
    }

    /// The new name comes to stand for the source. The only step that may find no space.
    fn put_name(&self, handle: &mut Handle, plan: &Move<'_>) -> Result<()> {
        let what = self.entry_of(plan.source)?;
        let state = plan.to.dir.data();
        let mut core = state.core.write();
        match plan.target {
            Some(_) => self.replace_name(handle, state, &mut core, plan.to.name, what)?,
            None => {
                self.insert_name(handle, state, &mut core, plan.to.name, what.0, what.1)?;
                if what.1 == FileType::Directory && !same(plan.from.dir, plan.to.dir) {
                    count_subdirectory(&mut core);
                }
            }
        }
        self.touch_directory(handle, state, &mut core)
    }

    /// The old name goes, or comes to stand for the whiteout.
    fn take_name(
        &self,
        handle: &mut Handle,
        plan: &Move<'_>,
        whiteout: Option<&Newborn>,
    ) -> Result<()> {
        let state = plan.from.dir.data();
        if let Some(newborn) = whiteout {
            self.store_newborn(handle, newborn)?;
        }
        let mut core = state.core.write();
        match whiteout {
            None => self.remove_name(handle, state, &mut core, plan.from.name)?,
            Some(newborn) => {
                let what = (newborn.ino, newborn.kind);
                self.replace_name(handle, state, &mut core, plan.from.name, what)?;
            }
        }
        // Also in one directory, if a directory was replaced.
        let across = !same(plan.from.dir, plan.to.dir);
        if is_dir(plan.source) && (across || plan.target.is_some()) {
            uncount_subdirectory(&mut core);
        }
        self.touch_directory(handle, state, &mut core)
    }

    fn exchange(self: &Arc<Self>, plan: &Move<'_>) -> Result<()> {
        self.check_move(plan)?;
        let Some(target) = plan.target else {
            return Err(not_found(plan.to.name));
        };
        let across = !same(plan.from.dir, plan.to.dir);
        let (from, to) = (plan.from.dir.data(), plan.to.dir.data());
        let moves = [(plan.source, plan.to.dir), (target, plan.from.dir)];
        for (inode, dir) in moves {
            if across && is_dir(inode) {
                self.check_dotdot(inode)?;
                if !(is_dir(plan.source) && is_dir(target)) {
                    self.check_links(dir.data())?;
                }
            }
        }
        let (source_entry, target_entry) = (self.entry_of(plan.source)?, self.entry_of(target)?);
        let mut handle = self.meta.start(4 + 4 * CREDITS_PER_STORE)?;
        for (dir, name, gone, come) in [
            (to, plan.to.name, target_entry, source_entry),
            (from, plan.from.name, source_entry, target_entry),
        ] {
            let mut core = dir.core.write();
            self.replace_name(&mut handle, dir, &mut core, name, come)?;
            if across && come.1 == FileType::Directory {
                count_subdirectory(&mut core);
            }
            if across && gone.1 == FileType::Directory {
                uncount_subdirectory(&mut core);
            }
            self.touch_directory(&mut handle, dir, &mut core)?;
        }
        for (inode, dir) in moves {
            if across && is_dir(inode) {
                self.set_parent(&mut handle, inode, dir)?;
            }
            self.store_moved(&mut handle, inode)?;
        }
        Ok(())
    }

    fn entry_of(&self, inode: &Inode) -> Result<(InodeNo, FileType)> {
        let state = inode.data();
        match state.kind {
            Some(kind) => Ok((state.ino, kind)),
            None => Err(Error::BadInode {
                image: Arc::clone(&self.image),
                ino: state.ino.get(),
                what: "is of no known type",
            }),
        }
    }

    /// A moved directory's `..` can be changed: found out before anything is.
    fn check_dotdot(&self, dir: &Inode) -> Result<()> {
        match self.dir_lookup(dir, b"..")? {
            Some(_) => Ok(()),
            None => Err(Error::BadInode {
                image: Arc::clone(&self.image),
                ino: dir.data().ino.get(),
                what: "is a directory without '..'",
            }),
        }
    }

    fn set_parent(&self, handle: &mut Handle, dir: &Inode, parent: &Inode) -> Result<()> {
        let state = dir.data();
        let mut core = state.core.write();
        let mut edit = DirEdit::new(state, &mut core, handle)?;
        e4_dir::set_dotdot(&mut edit, parent.data().ino)
            .map(drop)
            .map_err(|e| dir_error(state, e))
    }

    fn store_moved(&self, handle: &mut Handle, inode: &Inode) -> Result<()> {
        let state = inode.data();
        let mut core = state.core.write();
        core.disk.ctime = self.now();
        self.store_core(handle, state, &core, false)
    }

    /// Writes back what is dirty and converts what has completed on the inode; errors stay for those who wrote.
    pub(super) fn publish_completed(&self, inode: &Hold) -> Result<()> {
        if !planted!(RenameWithoutWriteback) {
            let _ = self.flush_pages(inode, 0..u64::MAX);
        }
        self.drive();
        let observer = inode.observer();
        // Its errors are for the files' own fsync: a failed write does not forbid a new name.
        let _ = self.engine.barrier(inode, &observer);
        self.check_writable()
    }
}
