//! Random operations on one file, buffered and direct mixed, against a vector of bytes. The cache is so small that
//! eviction and writeback by pressure happen all the time.

use std::time::Duration;

use e4::{FallocateMode, File, Filesystem, MountOptions, OpenFlags};

use crate::image::{Image, Rng};

/// Largest file.
const MAX: u64 = 300_000;

struct Model {
    bytes: Vec<u8>,
    rng: Rng,
    block: u64,
    log: Vec<String>,
}

impl Model {
    fn write(&mut self, at: u64, data: &[u8]) {
        let (at, end) = (at as usize, at as usize + data.len());
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[at..end].copy_from_slice(data);
    }

    fn zero(&mut self, at: u64, len: u64) {
        let end = ((at + len) as usize).min(self.bytes.len());
        if let Some(part) = self.bytes.get_mut(at as usize..end) {
            part.fill(0);
        }
    }

    fn place(&mut self) -> (u64, u64) {
        let len = match self.rng.below(4) {
            0 => 1 + self.rng.below(200),
            1 => self.block * (1 + self.rng.below(8)),
            _ => 1 + self.rng.below(20_000),
        };
        let at = self.rng.below(MAX - 40_000);
        match self.rng.below(2) {
            0 => (at / self.block * self.block, len),
            _ => (at, len),
        }
    }

    fn same(&self, what: &str, at: u64, found: &[u8]) {
        let start = (at as usize).min(self.bytes.len());
        let wanted = &self.bytes[start..(start + found.len()).min(self.bytes.len())];
        assert_eq!(
            wanted.len(),
            found.len(),
            "{what} at {at}: length; {:?}",
            self.tail()
        );
        if let Some(i) = (0..found.len()).find(|i| found[*i] != wanted[*i]) {
            panic!(
                "{what} at {at}: byte {} is {} instead of {}; {:#?}",
                at as usize + i,
                found[i],
                wanted[i],
                self.tail()
            );
        }
    }

    fn tail(&self) -> &[String] {
        &self.log[self.log.len().saturating_sub(30)..]
    }

    fn step(&mut self, fs: &Filesystem, file: &File) {
        let (at, len) = self.place();
        let op = self.rng.below(20);
        self.log.push(format!(
            "op {op} at {at} len {len} size {}",
            self.bytes.len()
        ));
        match op {
            0..=5 => {
                let data = self.rng.bytes(len);
                assert_eq!(file.write_buffered(at, &data).unwrap(), data.len());
                self.write(at, &data);
            }
            6 => {
                let data = self.rng.bytes(len.min(3000));
                if self.bytes.len() as u64 + len < MAX {
                    let end = self.bytes.len() as u64;
                    assert_eq!(file.append(&data).unwrap(), data.len());
                    self.write(end, &data);
                }
            }
            7..=9 => {
                let mut out = vec![0xee; len as usize];
                let n = file.read_buffered(at, &mut out).unwrap();
                self.expect(at, len, n);
                self.same("buffered read", at, &out[..n]);
            }
            10..=11 => {
                let data = self.rng.bytes(len);
                assert_eq!(file.write_at(at, &data).unwrap(), data.len());
                self.write(at, &data);
            }
            12..=13 => {
                let mut out = vec![0xee; len as usize];
                let n = file.read_at(at, &mut out).unwrap();
                self.expect(at, len, n);
                self.same("direct read", at, &out[..n]);
            }
            14 => {
                file.truncate(at).unwrap();
                self.bytes.resize(at as usize, 0);
            }
            15 => {
                file.fallocate(FallocateMode::PunchHole, at, len).unwrap();
                self.zero(at, len);
            }
            16 => {
                file.fallocate(FallocateMode::Allocate, at, len).unwrap();
                let end = (at + len) as usize;
                if self.bytes.len() < end {
                    self.bytes.resize(end, 0);
                }
            }
            17 => file
                .fallocate(FallocateMode::AllocateKeepSize, at, len)
                .unwrap(),
            18 => file.fsync().unwrap(),
            _ => match self.rng.below(4) {
                0 => fs.sync().unwrap(),
                _ => drop(file.extents().unwrap()),
            },
        }
        assert_eq!(file.size(), self.bytes.len() as u64, "{:?}", self.tail());
    }

    fn expect(&self, at: u64, len: u64, n: usize) {
        let left = (self.bytes.len() as u64).saturating_sub(at);
        assert_eq!(n as u64, len.min(left), "{:?}", self.tail());
    }

    fn whole(&self, file: &File, what: &str) {
        let mut out = vec![0xee; self.bytes.len() + 1];
        let n = file.read_buffered(0, &mut out).unwrap();
        self.same(&format!("{what}, buffered"), 0, &out[..n]);
        let n = file.read_at(0, &mut out).unwrap();
        self.same(&format!("{what}, direct"), 0, &out[..n]);
        assert_eq!(n, self.bytes.len(), "{what}");
    }
}

fn run(block: u32, cache_bytes: usize, background: bool, seed: u64, steps: usize) {
    let image = Image::new(24 << 20, block);
    let options = MountOptions {
        cache_bytes,
        dirty_expire: Duration::from_millis(20),
        background,
        ..Default::default()
    };
    let mut model = Model {
        bytes: Vec::new(),
        rng: Rng(seed),
        block: u64::from(block),
        log: Vec::new(),
    };
    for round in 0..3 {
        let fs = image.mount(&options);
        let mut file = fs.open_file("/f", OpenFlags::create()).unwrap();
        model.whole(&file, "after mounting");
        for step in 0..steps {
            model.step(&fs, &file);
            assert!(
                fs.stats().cached_bytes <= cache_bytes.max(64 << 10) as u64,
                "the cache grows past its bound"
            );
            if step % 40 == 39 {
                file = fs.open_file("/f", OpenFlags::read_write()).unwrap();
            }
        }
        model.whole(&file, &format!("round {round}"));
        drop(file);
        image.done(fs);
    }
}

#[test]
fn small_blocks_tiny_cache() {
    for seed in 1..4 {
        run(1024, 64 << 10, true, seed * 0x9E37_79B9, 500);
    }
}

#[test]
fn middle_blocks_without_background() {
    run(2048, 128 << 10, false, 0xC0FF_EE11, 600);
}

#[test]
fn large_blocks_tiny_cache() {
    for seed in 1..3 {
        run(4096, 64 << 10, true, seed * 0x51_7CC1, 500);
    }
}

#[test]
fn everything_fits() {
    run(4096, 64 << 20, true, 0xDEAD_0001, 600);
}
