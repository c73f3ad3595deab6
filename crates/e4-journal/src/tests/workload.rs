//! A random but repeatable sequence of metadata changes, frees and reuses as data, with a model of what every block
//! must hold after each of them; and the judge of recovered images.
//!
//! Every handle stamps its operation's number into the *clock* block, so an image tells which state it claims to be;
//! all other blocks must then agree with the model of exactly that state. A block is written as data only while it is free and
//! the transaction that freed it has committed, and must hold its data in every state that refers to it (I-28).

use std::collections::BTreeMap;

use e4_device::Device;
use e4_format::{FsBlock, Tid};
use e4_sync::Arc;

use super::medium::{CrashState, Medium, Random, Recording};
use super::world::World;
use crate::{MetaStore, Verify};

/// Key of the marks: operations that must survive.
const DURABLE: u64 = 0;
/// Key of the marks: operations that were begun.
const BEGUN: u64 = 1;
/// Blocks the workload plays with, the clock included.
const SPAN: u64 = 26;

#[derive(Clone, PartialEq, Eq, Debug)]
enum Use {
    Free,
    Meta { version: u64 },
    Data { version: u64 },
}

type Model = BTreeMap<u64, Use>;

pub(crate) struct Workload {
    pub(crate) world: World,
    pub(crate) recording: Recording,
    /// By operation number; 0 is the beginning.
    states: Vec<Model>,
}

struct Running {
    world: World,
    medium: Arc<Medium>,
    store: Arc<MetaStore>,
    rng: Random,
    model: Model,
    states: Vec<Model>,
    /// Freed in this transaction.
    freed: BTreeMap<u64, Tid>,
}

/// What a version of a block looks like: its numbers in every sector, sometimes behind the header of a commit record.
fn content(world: &World, block: u64, version: u64) -> Vec<u8> {
    let mut bytes = vec![0u8; world.size.len()];
    for sector in bytes.chunks_mut(512) {
        for (i, word) in sector.chunks_mut(16).enumerate() {
            word[..8].copy_from_slice(&(block << 20 | i as u64).to_le_bytes());
            word[8..].copy_from_slice(&version.to_le_bytes());
        }
    }
    if version.is_multiple_of(3) {
        // As hostile as it gets: a commit record of a transaction yet to come, committed in the far future.
        let tid = u32::try_from(version / 2 + 3).unwrap();
        bytes[..4].copy_from_slice(&e4_format::jbd2::JBD2_MAGIC.to_be_bytes());
        bytes[4..8].copy_from_slice(&2u32.to_be_bytes());
        bytes[8..12].copy_from_slice(&tid.to_be_bytes());
        bytes[0x30..0x38].copy_from_slice(&(u64::MAX >> 1).to_be_bytes());
    }
    bytes
}

fn clock(world: &World, op: u64) -> Vec<u8> {
    let mut bytes = content(world, world.usable(), 1);
    for sector in bytes.chunks_mut(512) {
        sector[256..264].copy_from_slice(&op.to_le_bytes());
    }
    bytes
}

impl Running {
    fn first(&self) -> u64 {
        self.world.usable()
    }

    fn op(&self) -> u64 {
        self.states.len() as u64
    }

    fn pick(&mut self, wanted: impl Fn(&Use) -> bool) -> Option<u64> {
        let fit: Vec<u64> = self
            .model
            .iter()
            .filter(|(block, u)| {
                let free = self.freed.get(block);
                wanted(u) && free.is_none_or(|tid| self.store.is_committed(*tid))
            })
            .map(|(block, _)| *block)
            .collect();
        let n = usize::try_from(self.rng.below(fit.len() as u64)).unwrap();
        fit.get(n).copied()
    }

    fn step(&mut self) {
        let op = self.op();
        self.medium.mark(BEGUN, op);
        // Data first: whoever refers to it below must find it after a crash.
        let mut refer = Vec::new();
        for _ in 0..self.rng.below(2) {
            if let Some(block) = self.pick(|u| *u == Use::Free) {
                let bytes = content(&self.world, block, op);
                let at = block * u64::from(self.world.size.bytes());
                self.medium.write_at(at, &bytes).unwrap();
                if self.rng.below(4) == 0 {
                    self.store.flush_device().unwrap();
                }
                refer.push(block);
            }
        }
        let mut handle = self.store.start(6).unwrap();
        let tid = handle.tid();
        for block in refer {
            self.model.insert(block, Use::Data { version: op });
            self.freed.remove(&block);
        }
        let kind = self.rng.below(8);
        for _ in 0..=self.rng.below(2) {
            if let Some(block) = self.pick(|u| matches!(u, Use::Meta { .. })) {
                let cached = self.store.read(FsBlock::new(block), Verify::NONE).unwrap();
                let bytes = content(&self.world, block, op);
                handle.modify(&cached).unwrap().copy_from_slice(&bytes);
                self.model.insert(block, Use::Meta { version: op });
            }
        }
        if kind <= 2
            && let Some(block) = self.pick(|u| *u != Use::Free)
        {
            if matches!(self.model[&block], Use::Meta { .. }) {
                handle.forget(FsBlock::new(block)).unwrap();
            }
            self.model.insert(block, Use::Free);
            self.freed.insert(block, tid);
            // Metadata again in the same transaction: legal, its old content never was anybody else's.
            if kind == 2 {
                self.create(&mut handle, block, op);
            }
        }
        if kind <= 4
            && let Some(block) = self.pick(|u| *u == Use::Free)
        {
            self.create(&mut handle, block, op);
        }
        let cached = self
            .store
            .read(FsBlock::new(self.first()), Verify::NONE)
            .unwrap();
        handle
            .modify(&cached)
            .unwrap()
            .copy_from_slice(&clock(&self.world, op));
        drop(handle);
        self.states.push(self.model.clone());
        match self.rng.below(8) {
            0..=2 => {
                self.store.commit(tid).unwrap();
                self.medium.mark(DURABLE, op);
            }
            3 => self.store.checkpoint_all().unwrap(),
            _ => {}
        }
    }

    fn create(&mut self, handle: &mut crate::Handle, block: u64, op: u64) {
        let cached = handle.create(FsBlock::new(block)).unwrap();
        let bytes = content(&self.world, block, op);
        handle.modify(&cached).unwrap().copy_from_slice(&bytes);
        self.model.insert(block, Use::Meta { version: op });
        self.freed.remove(&block);
    }
}

impl Workload {
    /// Runs `ops` operations on a fresh filesystem and records the device.
    pub(crate) fn run(world: World, seed: u64, ops: u64) -> Self {
        let medium = world.format(0x69);
        let first = world.usable();
        let put = |block: u64, bytes: &[u8]| {
            let at = block * u64::from(world.size.bytes());
            medium.write_at(at, bytes).unwrap();
        };
        let mut model = Model::new();
        put(first, &clock(&world, 0));
        for block in first + 1..first + SPAN {
            let used = block < first + SPAN / 2;
            model.insert(
                block,
                if used {
                    Use::Meta { version: 0 }
                } else {
                    Use::Free
                },
            );
            put(block, &content(&world, block, 0));
        }
        medium.record();
        let store = world.open(&medium);
        let mut running = Running {
            world,
            medium,
            store,
            rng: Random::new(seed),
            states: vec![model.clone()],
            model,
            freed: BTreeMap::new(),
        };
        for _ in 0..ops {
            running.step();
        }
        if seed.is_multiple_of(2) {
            running.store.shutdown().unwrap();
            running.medium.mark(DURABLE, running.op() - 1);
        }
        Self {
            world,
            recording: running.medium.recording(),
            states: running.states,
        }
    }

    /// Recovers a crashed image and compares it with the model. Returns the state it holds.
    pub(crate) fn judge(&self, crash: &CrashState) -> Result<u64, String> {
        let medium = Medium::new(crash.bytes.clone());
        let report = self
            .world
            .recover(&medium)
            .map_err(|e| format!("recovery refused: {e}"))?;
        let op = self
            .compare(&medium.bytes(), crash.events)
            .map_err(|e| format!("{e}; {report:?}"))?;
        Ok(op)
    }

    /// Compares an image that needs no recovery with the model.
    pub(crate) fn compare(&self, bytes: &[u8], events: usize) -> Result<u64, String> {
        let world = &self.world;
        let found = world.block(bytes, world.usable());
        let op = u64::from_le_bytes(found[256..264].try_into().unwrap());
        if found != clock(world, op) {
            return Err(format!("the clock block is torn (claims operation {op})"));
        }
        let durable = self.recording.marked(DURABLE, events);
        let begun = self.recording.marked(BEGUN, events);
        if !(durable..=begun).contains(&op) {
            return Err(format!("operation {op} is outside {durable}..={begun}"));
        }
        let model = &self.states[usize::try_from(op).unwrap()];
        for (block, wanted) in model {
            let (Use::Meta { version } | Use::Data { version }) = wanted else {
                continue;
            };
            let found = world.block(bytes, *block);
            if found != content(world, *block, *version) {
                let holds = u64::from_le_bytes(found[24..32].try_into().unwrap());
                return Err(format!(
                    "at operation {op} block {block} should be {wanted:?}, looks like version {holds}"
                ));
            }
        }
        Ok(op)
    }
}
