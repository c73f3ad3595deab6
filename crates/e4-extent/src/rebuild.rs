//! From changed leaves to a [`Plan`]: level by level, every changed node is rewritten once, split,
//! merged with its neighbours or dropped, and what that means for the level above is handed up.
//!
//! Decisions:
//! - All operations share this code; they differ only in how they change the leaves.
//! - Nodes are changed in place where they can be; a split keeps the old block for its first part, a
//!   merge keeps the first block of those merged.
//! - [`Space::Tight`] plans allocate as little as possible: an overflowing node first spills into its
//!   neighbours. It is used when no block can be had.
//!
//! Invariants: no node but the root is ever empty; a parent's key is its child's first block; a tree
//! whose only child fits the root becomes shallower (e2fsck calls the contrary "could be shorter").

use alloc::vec::Vec;
use e4_format::FsBlock;
use e4_format::extent::DEPTH_MAX;

use crate::entries::push_merged;
use crate::error::TreeError;
use crate::pack::{Growth, Sizes, even, fill, pack, sparse};
use crate::plan::{NodeWrite, Plan};
use crate::range::FileRange;
use crate::store::NodeRead;
use crate::touched::{Body, Child, Id, Ptr, Side, Touched, load_node};

/// Whether new nodes may be had.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Space {
    /// Split with slack.
    Roomy,
    /// Use up what the neighbours have free before asking for a node.
    Tight,
}

/// Turns changed leaves into a plan.
pub(crate) struct Rebuild<'a, S> {
    store: &'a S,
    touched: Touched,
    space: Space,
    growth: Growth,
    capacity: usize,
    plan: Plan,
    /// Edits of the level above: parent, slot, what replaces the slot.
    edits: Vec<(Id, usize, Vec<Child>)>,
}

/// Neighbouring nodes that are rewritten together.
#[derive(Default)]
struct Group {
    ids: Vec<Id>,
    entries: usize,
    changed: bool,
}

impl<'a, S: NodeRead> Rebuild<'a, S> {
    pub(crate) fn new(store: &'a S, touched: Touched, space: Space, growth: Growth) -> Self {
        let capacity = usize::from(store.node_entries());
        Self {
            store,
            touched,
            space,
            growth,
            capacity,
            plan: Plan::default(),
            edits: Vec::new(),
        }
    }

    /// The whole way up.
    pub(crate) fn finish(mut self) -> Result<Plan, TreeError<S::Error>> {
        if self.touched.depth() > 0 {
            self.join_extents();
        }
        for level in 0..self.touched.depth() {
            self.look_around(level)?;
            let groups = self.group(level);
            let mut spilled = 0_usize;
            for group in groups.iter().filter(|g| g.changed) {
                spilled += usize::from(self.emit(level, group));
            }
            if spilled > 1 {
                self.growth = Growth::Spread;
            }
            self.hand_up();
        }
        if self.touched.node(0).changed || self.only_child_changed() {
            self.finish_root()?;
        }
        Ok(self.plan)
    }

    /// True if the root has one child and that may have become small enough to move into the root.
    fn only_child_changed(&self) -> bool {
        match self.touched.node(0).body.children() {
            [only] => self.plan.writes.iter().any(|w| w.at == only.ptr),
            _ => false,
        }
    }

    /// Merges extents across the border of neighbouring loaded leaves, one of which has changed.
    fn join_extents(&mut self) {
        let leaves = self.touched.levels[0].clone();
        let mut prev: Option<Id> = None;
        let mut linked = true;
        for (i, &id) in leaves.iter().enumerate() {
            linked &= i > 0 && self.touched.adjacent(leaves[i - 1], id);
            if let Some(left) = prev.filter(|_| linked) {
                self.join_pair(left, id);
            }
            if self.touched.node(id).body.len() > 0 {
                prev = Some(id);
                linked = true;
            }
        }
    }

    fn join_pair(&mut self, left: Id, right: Id) {
        if !self.touched.node(left).changed && !self.touched.node(right).changed {
            return;
        }
        let (Some(&a), Some(&b)) = (
            self.touched.node(left).body.extents().last(),
            self.touched.node(right).body.extents().first(),
        ) else {
            return;
        };
        if !a.can_merge(&b) {
            return;
        }
        if let Body::Leaf(extents) = &mut self.touched.nodes[left].body
            && let Some(last) = extents.last_mut()
        {
            last.len += b.len;
        }
        if let Body::Leaf(extents) = &mut self.touched.nodes[right].body {
            extents.remove(0);
        }
        self.touched.nodes[left].changed = true;
        self.touched.nodes[right].changed = true;
    }

    /// Loads the neighbours of nodes that became sparse (to merge with them), or, in a tight plan, of
    /// nodes that overflow (to spill into them).
    fn look_around(&mut self, level: usize) -> Result<(), TreeError<S::Error>> {
        let ids = self.touched.levels[level].clone();
        for id in ids {
            let node = self.touched.node(id);
            let (len, lost) = (node.body.len(), node.body.len() < node.old_len);
            let thin = lost && (1..=sparse(self.capacity)).contains(&len);
            let bursting = self.space == Space::Tight && len > self.capacity;
            if node.changed && node.wanted && (thin || bursting) {
                self.touched.neighbour(self.store, id, level, Side::Left)?;
                self.touched.neighbour(self.store, id, level, Side::Right)?;
            }
        }
        Ok(())
    }

    /// Decides which neighbouring nodes are rewritten together. Emptied nodes are dropped here.
    fn group(&mut self, level: usize) -> Vec<Group> {
        let ids = core::mem::take(&mut self.touched.levels[level]);
        let mut groups: Vec<Group> = Vec::new();
        let mut linked = true;
        for (i, &id) in ids.iter().enumerate() {
            linked &= i > 0 && self.touched.adjacent(ids[i - 1], id);
            let node = self.touched.node(id);
            let (len, changed) = (node.body.len(), node.changed);
            if len == 0 {
                self.drop_node(id);
                continue;
            }
            match groups.last_mut() {
                Some(group) if linked && self.joins(group, len, changed) => {
                    let group = groups
                        .last_mut()
                        .unwrap_or_else(|| unreachable!("just matched"));
                    group.ids.push(id);
                    group.entries += len;
                    group.changed |= changed;
                }
                _ => groups.push(Group {
                    ids: alloc::vec![id],
                    entries: len,
                    changed,
                }),
            }
            linked = true;
        }
        groups
    }

    /// True if a node with `len` entries is to be rewritten together with the group before it.
    fn joins(&self, group: &Group, len: usize, changed: bool) -> bool {
        if !group.changed && !changed {
            return false;
        }
        let together = group.entries + len;
        if together <= fill(self.capacity) {
            return true;
        }
        let bursting = group.entries > group.ids.len() * self.capacity || len > self.capacity;
        self.space == Space::Tight && bursting && together <= (group.ids.len() + 1) * self.capacity
    }

    fn drop_node(&mut self, id: Id) {
        let node = self.touched.node(id);
        if let (Some(at), Some((parent, slot))) = (node.at, node.parent) {
            self.plan.freed.push(at);
            self.edits.push((parent, slot, Vec::new()));
        }
    }

    /// Writes one group into as many nodes as it needs; true if it needed more than it had.
    fn emit(&mut self, level: usize, group: &Group) -> bool {
        let old: Vec<FsBlock> = group
            .ids
            .iter()
            .filter_map(|&id| self.touched.node(id).at)
            .collect();
        let body = self.take_bodies(&group.ids);
        let entries = body.len();
        let spills_over = entries > self.capacity && entries <= old.len() * self.capacity;
        let sizes = if self.space == Space::Tight && spills_over {
            even(entries, old.len())
        } else {
            pack(entries, self.capacity, self.growth)
        };
        let goal = old.first().copied();
        let children = self.place(level, body, &sizes, &old, goal);
        self.plan.freed.extend(old.iter().skip(sizes.len()));
        let mut replacement = Some(children);
        for &id in &group.ids {
            let Some((parent, slot)) = self.touched.node(id).parent else {
                continue;
            };
            self.edits
                .push((parent, slot, replacement.take().unwrap_or_default()));
        }
        sizes.len() > old.len()
    }

    /// The entries of a group, one list. Extents that flow on from node to node are packed again.
    fn take_bodies(&mut self, ids: &[Id]) -> Body {
        let mut whole: Option<Body> = None;
        for &id in ids {
            let next = core::mem::replace(&mut self.touched.nodes[id].body, Body::Leaf(Vec::new()));
            match (&mut whole, next) {
                (Some(Body::Leaf(all)), Body::Leaf(more)) => {
                    more.into_iter().for_each(|extent| push_merged(all, extent));
                }
                (Some(Body::Index(all)), Body::Index(mut more)) => all.append(&mut more),
                (empty, next) => *empty = Some(next),
            }
        }
        whole.unwrap_or(Body::Leaf(Vec::new()))
    }

    /// Distributes `body` over nodes: the blocks of `old` first, new ones after that.
    fn place(
        &mut self,
        level: usize,
        body: Body,
        sizes: &Sizes,
        old: &[FsBlock],
        goal: Option<FsBlock>,
    ) -> Vec<Child> {
        let mut children = Vec::with_capacity(sizes.len());
        for (i, part) in split(body, sizes).into_iter().enumerate() {
            let Some(key) = part.key() else { continue };
            let ptr = match old.get(i) {
                Some(&at) => Ptr::Old(at),
                None => self.new_node(goal.unwrap_or_else(|| near(&part))),
            };
            children.push(Child { key, ptr });
            self.plan.writes.push(NodeWrite {
                at: ptr,
                level,
                body: part,
            });
        }
        children
    }

    fn new_node(&mut self, goal: FsBlock) -> Ptr {
        let n = u32::try_from(self.plan.goals.len()).unwrap_or(u32::MAX);
        self.plan.goals.push(goal);
        Ptr::New(n)
    }

    /// Applies the collected edits to the parents.
    fn hand_up(&mut self) {
        let mut edits = core::mem::take(&mut self.edits);
        edits.sort_by_key(|&(parent, slot, _)| (parent, slot));
        let mut rest = edits.as_mut_slice();
        while let Some(&(parent, ..)) = rest.first() {
            let count = rest.iter().take_while(|e| e.0 == parent).count();
            let (mine, others) = core::mem::take(&mut rest).split_at_mut(count);
            rest = others;
            self.edit_parent(parent, mine);
        }
    }

    fn edit_parent(&mut self, parent: Id, edits: &mut [(Id, usize, Vec<Child>)]) {
        let node = &mut self.touched.nodes[parent];
        let Body::Index(old) = &node.body else { return };
        let mut new = Vec::with_capacity(old.len() + edits.len());
        let mut next = 0;
        for (_, slot, children) in edits.iter_mut() {
            new.extend_from_slice(old.get(next..*slot).unwrap_or_default());
            new.append(children);
            next = *slot + 1;
        }
        new.extend_from_slice(old.get(next..).unwrap_or_default());
        if new == *old {
            return;
        }
        let growth_side = match edits {
            [(_, slot, _)] if *slot + 1 == old.len() => Growth::Back,
            [(_, 0, _)] => Growth::Front,
            _ => Growth::Spread,
        };
        if self.growth != growth_side {
            self.growth = Growth::Spread;
        }
        node.body = Body::Index(new);
        node.changed = true;
    }

    /// Writes the root: grows the tree while it does not fit, shrinks it while its only child does.
    fn finish_root(&mut self) -> Result<(), TreeError<S::Error>> {
        let mut level = self.touched.depth();
        let root_entries = usize::from(self.store.root_entries());
        let (depth, changed) = (level, self.touched.node(0).changed);
        let mut top = self.take_bodies(&[0]);
        while top.len() > root_entries {
            if level >= usize::from(DEPTH_MAX) {
                return Err(TreeError::WouldBeTooDeep { max: DEPTH_MAX });
            }
            let sizes = pack(top.len(), self.capacity, self.growth);
            top = Body::Index(self.place(level, top, &sizes, &[], None));
            level += 1;
        }
        while level > 0 {
            let only = match top.children() {
                [] => {
                    top = Body::Leaf(Vec::new());
                    level = 0;
                    break;
                }
                [
                    Child {
                        ptr: Ptr::Old(at),
                        key,
                    },
                ] => (*at, *key),
                _ => break,
            };
            let Some(body) = self.take_if_small(only, level - 1, root_entries)? else {
                break;
            };
            self.plan.freed.push(only.0);
            top = body;
            level -= 1;
        }
        if changed || level != depth {
            self.plan.root = Some((level, top));
        }
        Ok(())
    }

    /// The contents of a node if they fit the root; a planned write of it is then cancelled.
    fn take_if_small(
        &mut self,
        (at, key): (FsBlock, e4_format::FileBlock),
        level: usize,
        root_entries: usize,
    ) -> Result<Option<Body>, TreeError<S::Error>> {
        let planned = self.plan.writes.iter().rposition(|w| w.at == Ptr::Old(at));
        if let Some(i) = planned {
            let fits = self.plan.writes[i].body.len() <= root_entries;
            return Ok(fits.then(|| self.plan.writes.remove(i).body));
        }
        let confined = FileRange::new(key, FileRange::ALL.end);
        let body = load_node(self.store, at, level, confined)?;
        Ok((body.len() <= root_entries).then_some(body))
    }
}

/// Cuts a list of entries into lists of the given sizes.
fn split(body: Body, sizes: &Sizes) -> Vec<Body> {
    if sizes.len() == 1 {
        return alloc::vec![body];
    }
    match body {
        Body::Leaf(extents) => {
            let mut rest = extents.into_iter();
            sizes
                .iter()
                .map(|&n| Body::Leaf(rest.by_ref().take(n).collect()))
                .collect()
        }
        Body::Index(children) => {
            let mut rest = children.into_iter();
            sizes
                .iter()
                .map(|&n| Body::Index(rest.by_ref().take(n).collect()))
                .collect()
        }
    }
}

/// Where a node with these entries is best put: near what it points to.
fn near(body: &Body) -> FsBlock {
    match body {
        Body::Leaf(extents) => extents.first().map_or(FsBlock::new(0), |e| e.start),
        Body::Index(children) => match children.first() {
            Some(Child {
                ptr: Ptr::Old(at), ..
            }) => *at,
            _ => FsBlock::new(0),
        },
    }
}
