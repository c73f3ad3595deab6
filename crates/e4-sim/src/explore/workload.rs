//! The workload: seeded operations on a few files, asynchronous writes in flight between them, every promise
//! written into the ledger.
//!
//! Decisions: positions and lengths are whole sectors. Now and then, and at the end, with nothing in flight,
//! what the files hold is compared with what was acknowledged, so that a wrong workload is not mistaken for a right
//! filesystem.

use super::ledger::{Ledger, Name, Promise, SyncBegun, UNIT};
use super::verdict::{
    Findings, Kind, LINKS, kind_of, link_path, link_target, other_path, path, read, read_buffered,
    unsettled,
};
use super::{Params, Planted, PlantedDisk, mount_options};
use crate::{Rng, SimDisk};
use core::ops::Range;
use e4::{AlignedBuf, FallocateMode, File, Filesystem, IoContext, IoEvent, OpenFlags, RenameFlags};
use e4_device::Device;
use e4_sync::Arc;
use hashbrown::HashMap;

/// What the workload has to tell besides the ledger.
pub(super) struct Outcome {
    pub(super) operations: u64,
    pub(super) found: Findings,
}

/// Runs the workload; the filesystem is then dropped as a power cut drops it.
pub(super) fn run(params: &Params, disk: &Arc<SimDisk>, ledger: &Ledger) -> Outcome {
    let device: Arc<dyn Device> = match params.planted {
        Planted::Nothing => Arc::clone(disk) as Arc<dyn Device>,
        bug => Arc::new(PlantedDisk::new(Arc::clone(disk), bug)),
    };
    let mut outcome = Outcome {
        operations: 0,
        found: Findings::default(),
    };
    let result = Filesystem::open(Arc::clone(&device), &mount_options()).and_then(|fs| {
        let mut run = Run::new(params, ledger, device, fs)?;
        for step in params.steps() {
            // Each step draws from a generator of its own, so that leaving one out does not change the others.
            run.rng = Rng::new(params.seed).fork(u64::from(step) + 1);
            run.step()?;
            outcome.operations += 1;
        }
        run.compare(&mut outcome.found)
    });
    if let Err(error) = result {
        let n = outcome.operations;
        outcome
            .found
            .add(Kind::Operation, || format!("operation {n} failed: {error}"));
    }
    outcome
}

struct Actor {
    /// Its number in the ledger.
    id: u64,
    file: File,
    /// The same file, opened with `O_DSYNC`.
    dsync: File,
    name: Name,
}

/// A write in flight.
struct InFlight {
    promise: Promise,
    end: u64,
    durable: bool,
}

struct Run<'a> {
    params: &'a Params,
    ledger: &'a Ledger,
    rng: Rng,
    // Before the filesystem: it collects what is in flight when it goes.
    context: IoContext,
    actors: Vec<Actor>,
    /// Files without a name.
    gone: Vec<u64>,
    links: [bool; LINKS as usize],
    flying: HashMap<u64, InFlight>,
    next: u64,
    fs: Option<Filesystem>,
    device: Arc<dyn Device>,
}

impl<'a> Run<'a> {
    fn new(
        params: &'a Params,
        ledger: &'a Ledger,
        device: Arc<dyn Device>,
        fs: Filesystem,
    ) -> e4::Result<Run<'a>> {
        let mut run = Run {
            params,
            ledger,
            rng: Rng::new(params.seed),
            context: fs.io_context(),
            actors: Vec::new(),
            gone: Vec::new(),
            links: [false; LINKS as usize],
            flying: HashMap::new(),
            next: 0,
            fs: Some(fs),
            device,
        };
        run.create()?;
        Ok(run)
    }

    fn step(&mut self) -> e4::Result<()> {
        let missing = (self.actors.len() as u64) < self.params.files;
        if self.actors.is_empty() || missing && self.rng.chance(1, 6) {
            return self.create();
        }
        let n = self.rng.index(self.actors.len());
        if self.params.names && self.rng.chance(1, 5) {
            return self.names(n);
        }
        if self.params.buffered && self.rng.chance(1, 3) {
            return self.buffered(n);
        }
        match self.rng.below(100) {
            0..28 => self.write(n, false),
            28..36 => self.unaligned(n),
            36..46 => self.append(n),
            46..52 => self.write(n, true),
            52..58 => self.sync(n, true),
            58..63 => self.sync(n, false),
            63..64 => self.sync_all(),
            64..68 => self.punch(n),
            68..70 => self.zero(n),
            70..74 => self.truncate_down(n),
            74..77 => self.truncate_up(n),
            77..84 => self.fallocate(n),
            _ => {
                let least = self.rng.index(self.flying.len() + 1);
                self.collect(least)
            }
        }
    }

    fn block(&self) -> u64 {
        u64::from(self.params.block_size)
    }

    fn create(&mut self) -> e4::Result<()> {
        let id = self.ledger.create();
        drop(self.fs()?.open_file(&path(id), OpenFlags::create())?);
        let actor = self.open(id, Name::Plain)?;
        self.actors.push(actor);
        let n = self.actors.len() - 1;
        if self.rng.chance(2, 3) {
            self.allocate(n, 0, self.params.file_blocks * self.block(), true)?;
        }
        Ok(())
    }

    fn fs(&self) -> e4::Result<&Filesystem> {
        self.fs.as_ref().ok_or(e4::Error::Closed)
    }

    fn open(&self, id: u64, name: Name) -> e4::Result<Actor> {
        let at = match name {
            Name::Moved => other_path(id),
            _ => path(id),
        };
        let flags = OpenFlags {
            dsync: true,
            ..OpenFlags::read_write()
        };
        Ok(Actor {
            id,
            file: self.fs()?.open_file(&at, OpenFlags::read_write())?,
            dsync: self.fs()?.open_file(&at, flags)?,
            name,
        })
    }

    /// Something about names, or the whole mount.
    fn names(&mut self, n: usize) -> e4::Result<()> {
        match self.rng.below(12) {
            0..3 => self.move_name(n),
            3..5 => self.add_name(n),
            5..8 => self.remove_name(n),
            8..11 => self.link(),
            _ => self.remount(),
        }
    }

    fn named(&mut self, n: usize, name: Name) -> (String, String) {
        let actor = &mut self.actors[n];
        actor.name = name;
        self.ledger.name_possible(actor.id, name);
        (path(actor.id), other_path(actor.id))
    }

    fn move_name(&mut self, n: usize) -> e4::Result<()> {
        let (from, to) = match self.actors[n].name {
            Name::Plain => self.named(n, Name::Moved),
            Name::Moved => {
                let (plain, moved) = self.named(n, Name::Plain);
                (moved, plain)
            }
            Name::Both | Name::Gone => return self.remove_name(n),
        };
        self.fs()?.rename(&from, &to, RenameFlags::Replace)
    }

    fn add_name(&mut self, n: usize) -> e4::Result<()> {
        let old = self.actors[n].name;
        let (plain, moved) = match old {
            Name::Plain | Name::Moved => self.named(n, Name::Both),
            Name::Both | Name::Gone => return self.remove_name(n),
        };
        match old {
            Name::Plain => self.fs()?.link(&plain, &moved),
            _ => self.fs()?.link(&moved, &plain),
        }
    }

    /// The last name goes while the file is open and writes may be in flight; then the last user does.
    fn remove_name(&mut self, n: usize) -> e4::Result<()> {
        let keep_plain = self.rng.chance(1, 2);
        match self.actors[n].name {
            Name::Both if keep_plain => {
                let (_, moved) = self.named(n, Name::Plain);
                self.fs()?.unlink(&moved)
            }
            Name::Both => {
                let (plain, _) = self.named(n, Name::Moved);
                self.fs()?.unlink(&plain)
            }
            old => {
                let (plain, moved) = self.named(n, Name::Gone);
                let name = if old == Name::Moved { moved } else { plain };
                self.fs()?.unlink(&name)?;
                if self.rng.chance(1, 3) {
                    // Nobody can tell afterwards, but its blocks must not be somebody else's yet.
                    self.write(n, false)?;
                }
                if self.rng.chance(1, 3) {
                    self.sync(n, true)?;
                }
                let actor = self.actors.swap_remove(n);
                self.gone.push(actor.id);
                Ok(())
            }
        }
    }

    /// A symbolic link comes or goes.
    fn link(&mut self) -> e4::Result<()> {
        let n = self.rng.below(LINKS);
        let there = &mut self.links[n as usize];
        *there = !*there;
        if *there {
            drop(self.fs()?.symlink(&link_target(n), &link_path(n))?);
            Ok(())
        } else {
            self.fs()?.unlink(&link_path(n))
        }
    }

    /// An orderly unmount, and the next mount.
    fn remount(&mut self) -> e4::Result<()> {
        self.collect(self.flying.len())?;
        let begun = self.all_begin();
        let actors: Vec<(u64, Name)> = self.actors.drain(..).map(|a| (a.id, a.name)).collect();
        if let Some(fs) = self.fs.take() {
            fs.unmount()?;
        }
        begun.into_iter().for_each(|b| self.ledger.synced(b));
        let fs = Filesystem::open(Arc::clone(&self.device), &mount_options())?;
        self.context = fs.io_context();
        self.fs = Some(fs);
        for (id, name) in actors {
            let actor = self.open(id, name)?;
            self.actors.push(actor);
        }
        Ok(())
    }

    /// Whole blocks, anywhere in the file; half of them in a few hot blocks.
    fn write(&mut self, n: usize, durable: bool) -> e4::Result<()> {
        let span = self.params.file_blocks;
        let (block, len) = if self.rng.chance(1, 2) {
            (self.rng.below(4.min(span)), 1)
        } else {
            (self.rng.below(span), 1 + self.rng.below(4))
        };
        let at = block * self.block();
        self.submit(n, at, len * self.block(), durable)
    }

    /// Sectors, not blocks.
    fn unaligned(&mut self, n: usize) -> e4::Result<()> {
        let sectors = self.params.file_blocks * self.block() / UNIT;
        let at = self.rng.below(sectors) * UNIT;
        let len = (1 + self.rng.below(3 * self.block() / UNIT)) * UNIT;
        let durable = self.rng.chance(1, 8);
        self.submit(n, at, len, durable)
    }

    /// Sectors through the page cache, whatever is in flight; sometimes at the end. Acknowledged is not durable.
    fn buffered(&mut self, n: usize) -> e4::Result<()> {
        let sectors = self.params.file_blocks * self.block() / UNIT;
        let len = (1 + self.rng.below(4 * self.block() / UNIT)) * UNIT;
        let at = match self.rng.below(4) {
            0 => self.actors[n].file.size().min(sectors * UNIT) / UNIT * UNIT,
            _ => self.rng.below(sectors) * UNIT,
        };
        let actor = &self.actors[n];
        if at + len > actor.file.size() {
            self.ledger.size_possible(actor.id, at + len);
        }
        let mut bytes = vec![0; len as usize];
        let promise = self.ledger.write(actor.id, at, &mut bytes);
        actor.file.write_buffered(at, &bytes)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    /// At the end of the file as it will be.
    fn append(&mut self, n: usize) -> e4::Result<()> {
        let actor = &self.actors[n];
        let mine = self.flying.values().filter(|f| f.promise.file == actor.id);
        let end = mine
            .map(|f| f.end)
            .max()
            .unwrap_or(0)
            .max(actor.file.size());
        let limit = 2 * self.params.file_blocks * self.block();
        let at = if end < limit {
            end
        } else {
            self.rng.below(limit / UNIT) * UNIT
        };
        let len = if self.rng.chance(2, 3) {
            (1 + self.rng.below(3)) * self.block()
        } else {
            (1 + self.rng.below(5)) * UNIT
        };
        let durable = self.rng.chance(1, 5);
        self.submit(n, at, len, durable)
    }

    fn submit(&mut self, n: usize, at: u64, len: u64, durable: bool) -> e4::Result<()> {
        while self.flying.len() >= self.params.depth.max(1) {
            self.collect(1)?;
        }
        let mut buf = AlignedBuf::zeroed(len as usize);
        let actor = &self.actors[n];
        if at + len > actor.file.size() {
            self.ledger.size_possible(actor.id, at + len);
        }
        let promise = self.ledger.write(actor.id, at, &mut buf);
        let file = if durable { &actor.dsync } else { &actor.file };
        let flying = InFlight {
            promise,
            end: at + len,
            durable,
        };
        self.flying.insert(self.next, flying);
        self.context.write(file, at, buf, self.next)?;
        self.next += 1;
        // What waits must not wait for what sits in our own pocket.
        self.context.submit();
        Ok(())
    }

    /// Collects at least `least` writes.
    fn collect(&mut self, least: usize) -> e4::Result<()> {
        let mut events: Vec<IoEvent> = Vec::new();
        self.context.wait(least, &mut events);
        for event in events {
            let Some(flying) = self.flying.remove(&event.user_data) else {
                continue;
            };
            match event.result {
                Ok(_) if flying.durable => self.ledger.durable(flying.promise),
                Ok(_) => self.ledger.acknowledged(flying.promise),
                Err(error) => {
                    self.ledger.failed(flying.promise);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Sizes an actor's file may have in a moment.
    fn sizes(&self, n: usize) -> Vec<u64> {
        let actor = &self.actors[n];
        let mine = self.flying.values().filter(|f| f.promise.file == actor.id);
        let ends: Vec<u64> = mine.map(|f| f.end).collect();
        let mut sizes = vec![actor.file.size()];
        sizes.extend(ends.into_iter().filter(|&end| end > actor.file.size()));
        sizes
    }

    fn sync(&mut self, n: usize, all: bool) -> e4::Result<()> {
        let (id, sizes) = (self.actors[n].id, self.sizes(n));
        let begun = self.ledger.sync_begins(id, sizes.into_iter(), all);
        if all {
            self.actors[n].file.fsync()?;
        } else {
            self.actors[n].file.fdatasync()?;
        }
        self.ledger.synced(begun);
        Ok(())
    }

    /// Everything is about to be made durable.
    fn all_begin(&self) -> Vec<SyncBegun> {
        let there = (0..self.actors.len()).map(|n| (self.actors[n].id, self.sizes(n)));
        let gone = self.gone.iter().map(|&id| (id, Vec::new()));
        let all = there.chain(gone);
        all.map(|(id, sizes)| self.ledger.sync_begins(id, sizes.into_iter(), true))
            .collect()
    }

    fn sync_all(&mut self) -> e4::Result<()> {
        let begun = self.all_begin();
        self.fs()?.sync()?;
        begun.into_iter().for_each(|b| self.ledger.synced(b));
        Ok(())
    }

    /// A range of sectors in the file, mostly of whole blocks.
    fn range(&mut self) -> Range<u64> {
        let unit = if self.rng.chance(1, 3) {
            UNIT
        } else {
            self.block()
        };
        let span = self.params.file_blocks * self.block() / unit;
        let start = self.rng.below(span);
        let len = 1 + self.rng.below((span / 3).max(1));
        start * unit..(start + len) * unit
    }

    fn punch(&mut self, n: usize) -> e4::Result<()> {
        let range = self.range();
        let actor = &self.actors[n];
        let promise = self.ledger.zero(actor.id, range.clone());
        let len = range.end - range.start;
        actor
            .file
            .fallocate(FallocateMode::PunchHole, range.start, len)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn zero(&mut self, n: usize) -> e4::Result<()> {
        if !self.params.has_extents() {
            return Ok(());
        }
        let range = self.range();
        let extend = self.rng.chance(1, 2);
        let actor = &self.actors[n];
        let mode = if extend {
            FallocateMode::ZeroRange
        } else {
            FallocateMode::ZeroRangeKeepSize
        };
        if extend && range.end > actor.file.size() {
            self.ledger.size_possible(actor.id, range.end);
        }
        let promise = self.ledger.zero(actor.id, range.clone());
        let len = range.end - range.start;
        actor.file.fallocate(mode, range.start, len)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn truncate_down(&mut self, n: usize) -> e4::Result<()> {
        let size = self.range().start.min(self.actors[n].file.size());
        let actor = &self.actors[n];
        self.ledger.size_possible(actor.id, size);
        let promise = self.ledger.zero(actor.id, size..u64::MAX / UNIT * UNIT);
        actor.file.truncate(size)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn truncate_up(&mut self, n: usize) -> e4::Result<()> {
        let size = self.actors[n].file.size() + (1 + self.rng.below(12)) * UNIT;
        let actor = &self.actors[n];
        // It waits for what is in flight, which may end further on: then it is a truncation to less.
        let promise = self.ledger.zero(actor.id, size..u64::MAX / UNIT * UNIT);
        self.ledger.size_possible(actor.id, size);
        actor.file.truncate(size)?;
        self.ledger.acknowledged(promise);
        Ok(())
    }

    fn fallocate(&mut self, n: usize) -> e4::Result<()> {
        let range = self.range();
        let extend = self.rng.chance(2, 3);
        self.allocate(n, range.start, range.end - range.start, extend)
    }

    fn allocate(&mut self, n: usize, at: u64, len: u64, extend: bool) -> e4::Result<()> {
        if !self.params.has_extents() {
            return Ok(());
        }
        let actor = &self.actors[n];
        let mode = if extend {
            FallocateMode::Allocate
        } else {
            FallocateMode::AllocateKeepSize
        };
        if extend && at + len > actor.file.size() {
            self.ledger.size_possible(actor.id, at + len);
        }
        actor.file.fallocate(mode, at, len)
    }

    /// Collects everything and compares the files with what was acknowledged.
    fn compare(&mut self, found: &mut Findings) -> e4::Result<()> {
        self.collect(self.flying.len())?;
        for actor in &self.actors {
            let at = match actor.name {
                Name::Moved => other_path(actor.id),
                _ => path(actor.id),
            };
            if self.params.buffered {
                // What the cache shows, before a direct read makes it write back.
                let cached = read_buffered(self.fs()?, &at)?.unwrap_or_default();
                self.judge(actor.id, &cached, found);
            }
            let content = read(self.fs()?, &at)?.unwrap_or_default();
            self.judge(actor.id, &content, found);
        }
        if let Some(what) = unsettled(self.fs()?)? {
            found.add(Kind::Operation, || what);
        }
        Ok(())
    }

    /// Compares a file's content with what was acknowledged.
    fn judge(&self, id: u64, content: &[u8], found: &mut Findings) {
        let units = self.ledger.units(id).max(content.len() as u64 / UNIT);
        for unit in 0..units {
            let from = (unit * UNIT) as usize;
            let absent = [0; UNIT as usize];
            let sector = content.get(from..from + UNIT as usize).unwrap_or(&absent);
            let judged = self.ledger.history.judge(id, unit, sector, false);
            if let Err(violation) = judged {
                let kind = kind_of(&violation);
                found.add(Kind::Operation, || {
                    format!("while running ({kind:?}): {violation}")
                });
            }
        }
    }
}
