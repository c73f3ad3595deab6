//! What is remembered of every inode between the passes: eight bytes each, allocated group by group.
//!
//! Invariant: groups in which no inode is in use cost nothing.

use e4_format::{FileType, InodeNo};

/// What kind of inode it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Kind {
    /// Not in use.
    #[default]
    Unused,
    /// In use, type as the mode says; `None` for reserved inodes without a type and for damage.
    Used(Option<FileType>),
}

/// One inode.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct InodeState {
    pub(crate) kind: Kind,
    /// `i_links_count`.
    pub(crate) links: u16,
    /// Entries that lead to it, `.` and `..` included.
    pub(crate) refs: u32,
}

impl InodeState {
    pub(crate) fn is_used(self) -> bool {
        self.kind != Kind::Unused
    }

    pub(crate) fn file_type(self) -> Option<FileType> {
        match self.kind {
            Kind::Used(kind) => kind,
            Kind::Unused => None,
        }
    }

    pub(crate) fn is_dir(self) -> bool {
        self.file_type() == Some(FileType::Directory)
    }
}

/// All inodes.
pub(crate) struct InodeTable {
    per_group: u32,
    groups: Vec<Option<Box<[InodeState]>>>,
}

impl InodeTable {
    pub(crate) fn new(per_group: u32, groups: u32) -> Self {
        Self {
            per_group,
            groups: (0..groups).map(|_| None).collect(),
        }
    }

    fn place(&self, ino: InodeNo) -> (usize, usize) {
        let n = ino.get() - 1;
        ((n / self.per_group) as usize, (n % self.per_group) as usize)
    }

    /// The state of an inode; unused if it does not exist.
    pub(crate) fn get(&self, ino: InodeNo) -> InodeState {
        let (group, index) = self.place(ino);
        let group = self.groups.get(group).and_then(Option::as_ref);
        group
            .and_then(|g| g.get(index))
            .copied()
            .unwrap_or_default()
    }

    /// The state of an inode, for changing; `None` if it does not exist.
    pub(crate) fn get_mut(&mut self, ino: InodeNo) -> Option<&mut InodeState> {
        let (group, index) = self.place(ino);
        let len = self.per_group as usize;
        let group = self.groups.get_mut(group)?;
        group
            .get_or_insert_with(|| vec![InodeState::default(); len].into_boxed_slice())
            .get_mut(index)
    }

    /// The inodes of a group in use, as (index in the group, state).
    pub(crate) fn used_in(&self, group: u32) -> impl Iterator<Item = (u32, InodeState)> + '_ {
        let states = self.groups.get(group as usize).and_then(Option::as_ref);
        let states = states.map_or(&[] as &[_], |s| s);
        (0..)
            .zip(states.iter().copied())
            .filter(|(_, s)| s.is_used())
    }

    /// The number of an inode by group and index.
    pub(crate) fn number(&self, group: u32, index: u32) -> Option<InodeNo> {
        let n = group
            .checked_mul(self.per_group)?
            .checked_add(index)?
            .checked_add(1)?;
        InodeNo::new(n)
    }

    /// All inodes in use.
    pub(crate) fn used(&self) -> impl Iterator<Item = (InodeNo, InodeState)> + '_ {
        (0u32..).zip(&self.groups).flat_map(move |(group, _)| {
            self.used_in(group)
                .filter_map(move |(i, s)| Some((self.number(group, i)?, s)))
        })
    }
}
