//! A deterministic workload with everything the data path has, and its model.

use std::path::Path;

use e4::format::features::IncompatFeatures;
use e4::{AlignedBuf, FallocateMode, File, Filesystem, MountOptions, OpenFlags};

/// Opens an image for writing.
pub(crate) fn open(path: &Path) -> Filesystem {
    let device = e4::device::open(path, &Default::default()).unwrap();
    Filesystem::open(device, &MountOptions::default()).unwrap()
}

/// xorshift: the same sequence everywhere.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n.max(1)
    }
}

/// What the file must contain.
#[derive(Default)]
pub(crate) struct Model {
    pub(crate) bytes: Vec<u8>,
}

impl Model {
    fn write(&mut self, at: usize, data: &[u8]) {
        if self.bytes.len() < at + data.len() {
            self.bytes.resize(at + data.len(), 0);
        }
        self.bytes[at..at + data.len()].copy_from_slice(data);
    }

    fn punch(&mut self, at: usize, len: usize) {
        let end = (at + len).min(self.bytes.len());
        if at < end {
            self.bytes[at..end].fill(0);
        }
    }
}

fn pattern(seed: u64, len: usize) -> Vec<u8> {
    let mut rng = Rng(seed | 1);
    (0..len).map(|_| (rng.below(255) + 1) as u8).collect()
}

/// Random operations on one file: unaligned and aligned writes, appends, holes, truncates, punches,
/// preallocation, reads compared on the way.
pub(crate) fn exercise(
    fs: &Filesystem,
    file: &File,
    model: &mut Model,
    seed: u64,
    ops: u32,
    max: u64,
) {
    let mut rng = Rng(seed);
    let bs = u64::from(fs.statfs().block_size);
    let extents = fs
        .superblock()
        .incompat()
        .contains(IncompatFeatures::EXTENTS);
    for op in 0..ops {
        let at = rng.below(max);
        let aligned = at / bs * bs;
        match rng.below(12) {
            0..=3 => {
                let data = pattern(seed ^ u64::from(op), (bs * (1 + rng.below(6))) as usize);
                let mut buf = AlignedBuf::zeroed(data.len());
                buf.copy_from_slice(&data);
                assert_eq!(file.write(aligned, buf).wait().0.unwrap(), data.len());
                model.write(aligned as usize, &data);
            }
            4 | 5 => {
                let data = pattern(seed ^ u64::from(op), 1 + rng.below(3 * bs) as usize);
                assert_eq!(file.write_at(at, &data).unwrap(), data.len());
                model.write(at as usize, &data);
            }
            6 => {
                file.fallocate(FallocateMode::PunchHole, at, 1 + rng.below(20 * bs))
                    .unwrap();
                // The generator's next draw is the length: repeat it on the model by reading it back.
                let mut now = vec![0; file.size() as usize];
                assert_eq!(file.read_at(0, &mut now).unwrap(), now.len());
                let changed = now.iter().zip(&model.bytes).position(|(a, b)| a != b);
                if let Some(first) = changed {
                    assert!(first as u64 >= at, "punch at {at} changed byte {first}");
                    let last = now
                        .iter()
                        .zip(&model.bytes)
                        .rposition(|(a, b)| a != b)
                        .unwrap();
                    assert!(
                        (last as u64) < at + 20 * bs,
                        "punch at {at} changed byte {last}"
                    );
                    assert!(
                        now[first..=last].iter().all(|b| *b == 0),
                        "punch left data behind"
                    );
                }
                model.punch(at as usize, now.len());
                model.bytes = now;
            }
            // Only an extent can be unwritten: refused, as the kernel refuses it.
            7 | 8 if !extents => {
                let refused = file.fallocate(FallocateMode::Allocate, aligned, bs);
                assert_eq!(refused.unwrap_err().errno(), 95, "EOPNOTSUPP");
            }
            7 => {
                file.fallocate(FallocateMode::Allocate, aligned, bs * (1 + rng.below(30)))
                    .unwrap();
                model.bytes.resize(file.size() as usize, 0);
            }
            8 => file
                .fallocate(
                    FallocateMode::AllocateKeepSize,
                    aligned,
                    bs * (1 + rng.below(30)),
                )
                .unwrap(),
            9 if op % 4 == 0 => {
                file.truncate(at).unwrap();
                model.bytes.resize(at as usize, 0);
            }
            10 => file.fsync().unwrap(),
            _ => {
                let mut buf = vec![0xAA; 1 + rng.below(9 * bs) as usize];
                let n = file.read_at(at, &mut buf).unwrap();
                let end = model.bytes.len().min(at as usize + buf.len());
                let want = model.bytes.get(at as usize..end).unwrap_or_default();
                assert!(
                    buf[..n] == *want,
                    "op {op}: read of {} at {at} differs",
                    buf.len()
                );
            }
        }
        assert_eq!(file.size(), model.bytes.len() as u64, "size after op {op}");
    }
}

/// The whole file.
pub(crate) fn contents(file: &File) -> Vec<u8> {
    let mut all = vec![0; file.size() as usize];
    assert_eq!(file.read_at(0, &mut all).unwrap(), all.len());
    all
}

/// Creates and exercises a few files; returns their names and contents.
pub(crate) fn populate(fs: &Filesystem, seed: u64, ops: u32) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    fs.mkdir("/d", 0o755).unwrap();
    for (i, name) in ["a", "d/b", "d/c"].into_iter().enumerate() {
        let file = fs
            .open_file(&format!("/{name}"), OpenFlags::create())
            .unwrap();
        let mut model = Model::default();
        exercise(
            fs,
            &file,
            &mut model,
            seed * 31 + i as u64 + 1,
            ops,
            1 << 20,
        );
        assert!(
            contents(&file) == model.bytes,
            "{name} differs from its model"
        );
        out.push((name.to_owned(), model.bytes));
    }
    for i in 0..200 {
        drop(
            fs.open_file(&format!("/d/name-{i:04}"), OpenFlags::create())
                .unwrap(),
        );
    }
    out
}
