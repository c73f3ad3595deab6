//! Listing a directory.
//!
//! Decisions: one call lists until the visitor has enough; nothing is kept between calls but a
//! [`Cursor`]. In hash order, leaves that share a hash are listed together, sorted. A name whose
//! hash does not belong into its leaf (damage) is listed at the nearer end of the leaf's range, so
//! that positions only ever grow and a listing ends.

use core::ops::ControlFlow;
use e4_format::htree::HashVersion;
use e4_format::{FileBlock, FileType, InodeNo, dir};

use crate::context::{DirContext, FIRST, is_dot};
use crate::cursor::{Cursor, Key, Position};
use crate::error::{DirError, in_block};
use crate::lookup::Visits;
use crate::path::{Index, Path};
use crate::root;
use crate::store::{DirRead, Expect, index_kind, read, read_any};

/// One entry of a listing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Listed<'a> {
    /// The name.
    pub name: &'a [u8],
    /// The inode.
    pub inode: InodeNo,
    /// Type as the entry states it; `None` if the image does not store it or it is unknown.
    pub file_type: Option<FileType>,
    /// Where to go on after this entry.
    pub next: Cursor,
}

/// Who gets the entries; breaks when it has enough. The entry it was given last counts as seen.
pub type Visitor<'v> = &'v mut dyn FnMut(Listed<'_>) -> ControlFlow<()>;

/// Shows the entries from `from` on, `.` and `..` among them, and returns where to go on:
/// [`Cursor::END`] if there is no more.
///
/// # Errors
/// Damage; the store failed; [`DirError::CursorMode`] if `from` is of another kind of directory.
/// Entries shown before are valid.
pub fn iterate<S: DirRead + ?Sized>(
    store: &S,
    from: Cursor,
    visit: Visitor<'_>,
) -> Result<Cursor, S::Error> {
    let cx = store.context();
    let start = match from.0 {
        Position::End => return Ok(Cursor::END),
        Position::Linear { block, offset } => return linear(store, block, offset, visit),
        Position::Start | Position::AfterDot => Key::FIRST,
        Position::Hash(key) => key,
    };
    if cx.dir_index && store.is_indexed() {
        let path = Index::open(store).and_then(|i| Ok((i.hash, i.descend(store, start.major())?)));
        match path {
            Ok((hash, path)) => return by_index(store, from, start, (hash, path), visit),
            Err(why) if from.0 != Position::Start => return Err(why),
            Err(why) => store.index_unusable(&why),
        }
    } else if let (true, 1, Some(hash)) = (cx.dir_index, store.blocks(), cx.default_hash) {
        return single_block(store, from, start, hash, visit);
    } else if from.0 != Position::Start {
        return Err(DirError::CursorMode.into());
    }
    linear(store, FIRST, 0, visit)
}

/// The entries of a leaf or of several, by key.
type Group = Vec<(Key, Item)>;

/// An entry taken out of its block.
struct Item {
    name: Vec<u8>,
    inode: InodeNo,
    file_type: Option<FileType>,
}

fn by_index<S: DirRead + ?Sized>(
    store: &S,
    from: Cursor,
    start: Key,
    (hash, mut path): (HashVersion, Path<S::Block>),
    visit: Visitor<'_>,
) -> Result<Cursor, S::Error> {
    if let Some(stopped) = dots(store, from, visit)? {
        return Ok(stopped);
    }
    let mut visits = Visits::new(store);
    loop {
        let mut group = Group::new();
        let more = loop {
            let at = path.leaf();
            let block = read(store, at, Expect::Linear)?;
            visits.count()?;
            collect(
                store.context(),
                hash,
                at,
                &block,
                |h| path.clamp(h),
                start,
                &mut group,
            )?;
            let continued = path.upper().is_some_and(|u| u & 1 == 1);
            let more = path.advance(store)?;
            if !(more && continued) {
                break more;
            }
        };
        if let ControlFlow::Break(stopped) = show(group, visit) {
            return Ok(stopped);
        }
        if !more {
            return Ok(Cursor::END);
        }
    }
}

fn single_block<S: DirRead + ?Sized>(
    store: &S,
    from: Cursor,
    start: Key,
    hash: HashVersion,
    visit: Visitor<'_>,
) -> Result<Cursor, S::Error> {
    if let Some(stopped) = dots(store, from, visit)? {
        return Ok(stopped);
    }
    let block = read(store, FIRST, Expect::Linear)?;
    let mut group = Group::new();
    collect(
        store.context(),
        hash,
        FIRST,
        &block,
        |h| h,
        start,
        &mut group,
    )?;
    match show(group, visit) {
        ControlFlow::Break(stopped) => Ok(stopped),
        ControlFlow::Continue(()) => Ok(Cursor::END),
    }
}

/// Shows `.` and `..` as far as they lie behind `from`; the position if the visitor has enough.
fn dots<S: DirRead + ?Sized>(
    store: &S,
    from: Cursor,
    visit: Visitor<'_>,
) -> Result<Option<Cursor>, S::Error> {
    if matches!(from.0, Position::Hash(_)) {
        return Ok(None);
    }
    let index = store.is_indexed();
    let block = read(
        store,
        FIRST,
        if index { Expect::Root } else { Expect::Linear },
    )?;
    let (this, parent) = root::dots(store.context(), &block, index)?;
    let file_type = store
        .context()
        .format
        .file_type
        .then_some(FileType::Directory);
    let behind = Cursor(Position::Hash(Key::FIRST));
    let both = [
        (&b"."[..], this, Cursor(Position::AfterDot)),
        (b"..", parent, behind),
    ];
    for (name, inode, next) in both
        .into_iter()
        .skip(usize::from(from.0 == Position::AfterDot))
    {
        if visit(Listed {
            name,
            inode,
            file_type,
            next,
        })
        .is_break()
        {
            return Ok(Some(next));
        }
    }
    Ok(None)
}

/// Takes the entries from `start` on out of a block.
fn collect(
    cx: &DirContext,
    hash: HashVersion,
    at: FileBlock,
    block: &[u8],
    place: impl Fn(u32) -> u32,
    start: Key,
    group: &mut Group,
) -> Result<(), DirError> {
    for e in dir::entries(block, &cx.format) {
        let e = e.map_err(in_block(at))?;
        let Some(inode) = e.inode.filter(|_| !is_dot(e.name)) else {
            continue;
        };
        let key = Key::new(place(cx.hash(hash, e.name).major), e.name);
        if key >= start {
            group.push((
                key,
                Item {
                    name: e.name.to_vec(),
                    inode,
                    file_type: e.file_type,
                },
            ));
        }
    }
    Ok(())
}

fn show(mut group: Group, visit: Visitor<'_>) -> ControlFlow<Cursor> {
    group.sort_unstable_by(|(a, x), (b, y)| a.cmp(b).then_with(|| x.name.cmp(&y.name)));
    for (key, item) in &group {
        let next = Cursor(Position::Hash(key.after()));
        let &Item {
            ref name,
            inode,
            file_type,
        } = item;
        if visit(Listed {
            name,
            inode,
            file_type,
            next,
        })
        .is_break()
        {
            return ControlFlow::Break(next);
        }
    }
    ControlFlow::Continue(())
}

fn linear<S: DirRead + ?Sized>(
    store: &S,
    first: FileBlock,
    offset: u16,
    visit: Visitor<'_>,
) -> Result<Cursor, S::Error> {
    let cx = store.context();
    let mut from = usize::from(offset);
    for at in (first.get()..store.blocks()).map(FileBlock::new) {
        let block = read_any(store, at)?;
        let index = store.is_indexed() && index_kind(cx, at, &block).is_some();
        let format = if index { cx.whole() } else { cx.format };
        for e in dir::entries(&block, &format) {
            let e = e.map_err(in_block(at))?;
            let Some(inode) = e.inode.filter(|_| e.offset >= from) else {
                continue;
            };
            if index && !is_dot(e.name) {
                continue;
            }
            // Behind the last entry of a block is the first of the next one.
            let next = match u16::try_from(e.offset + e.rec_len) {
                Ok(offset) if usize::from(offset) < cx.format.usable() => {
                    Position::Linear { block: at, offset }
                }
                _ => match at.checked_add(1) {
                    Some(block) => Position::Linear { block, offset: 0 },
                    None => Position::End,
                },
            };
            let next = Cursor(next);
            let listed = Listed {
                name: e.name,
                inode,
                file_type: e.file_type,
                next,
            };
            if visit(listed).is_break() {
                return Ok(next);
            }
        }
        from = 0;
    }
    Ok(Cursor::END)
}
