//! Writers, truncate, punch, fallocate and fsync racing on one file; afterwards the image is clean and every block is zeros
//! or one whole generation of itself.

use std::sync::atomic::{AtomicBool, Ordering};

use e4::{AlignedBuf, FallocateMode, File, Filesystem, MountOptions, OpenFlags};
use e4_judges::fsck;

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

fn stamp(buf: &mut [u8], bs: usize, first: u64, generation: u64) {
    for (i, block) in buf.chunks_mut(bs).enumerate() {
        for word in block.chunks_mut(16) {
            word[..8].copy_from_slice(&(first + i as u64 + 1).to_le_bytes());
            word[8..].copy_from_slice(&generation.to_le_bytes());
        }
    }
}

/// Zeros, or a whole generation of this block.
fn verify(buf: &[u8], bs: usize, first: u64) {
    for (i, block) in buf.chunks(bs).enumerate() {
        if block.iter().all(|b| *b == 0) {
            continue;
        }
        let generation = &block[8..16];
        for word in block.chunks(16).filter(|w| w.len() == 16) {
            assert_eq!(
                &word[..8],
                &(first + i as u64 + 1).to_le_bytes(),
                "foreign data in block {}",
                first + i as u64
            );
            assert_eq!(&word[8..], generation, "torn block {}", first + i as u64);
        }
    }
}

fn writer(
    fs: &Filesystem,
    file: &File,
    seed: u64,
    blocks: u64,
    bs: usize,
    stop: &AtomicBool,
) -> u64 {
    let _stop = Stop(stop);
    let mut rng = Rng(seed * 7919 + 1);
    let mut ctx = fs.io_context();
    let mut events = Vec::new();
    let mut done = 0;
    let mut generation = seed << 32;
    while !stop.load(Ordering::Relaxed) {
        while ctx.outstanding() < 16 {
            let len = 1 + rng.below(4);
            let at = rng.below(blocks - len);
            generation += 1;
            let mut buf = AlignedBuf::zeroed(len as usize * bs);
            if rng.below(4) == 0 {
                ctx.read(file, at * bs as u64, buf, at).unwrap();
            } else {
                stamp(&mut buf, bs, at, generation);
                ctx.write(file, at * bs as u64, buf, u64::MAX).unwrap();
            }
        }
        ctx.wait(1, &mut events);
        for e in events.drain(..) {
            let n = e.result.unwrap();
            done += 1;
            if e.user_data != u64::MAX {
                verify(&e.buf.unwrap()[..n / bs * bs], bs, e.user_data);
            }
        }
    }
    done
}

/// Ends the race when any thread ends it, also by a panic.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn race(block_size: u32, seed: u64, millis: u64) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("disk.img");
    let options = e4::device::OpenOptions {
        create: Some(64 << 20),
        ..Default::default()
    };
    let device = e4::device::open(&path, &options).unwrap();
    let params = e4_mkfs::Params {
        block_size: Some(block_size),
        ..Default::default()
    };
    e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
    let fs = Filesystem::open(device, &MountOptions::default()).unwrap();
    let bs = block_size as usize;
    let blocks = (16 << 20) / u64::from(block_size);
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.fallocate(FallocateMode::Allocate, 0, 16 << 20)
        .unwrap();
    let stop = AtomicBool::new(false);
    std::thread::scope(|s| {
        let (fs, file, stop) = (&fs, &file, &stop);
        let writers: Vec<_> = (1..=2)
            .map(|w| s.spawn(move || writer(fs, file, seed * 10 + w, blocks, bs, stop)))
            .collect();
        s.spawn(move || {
            let _stop = Stop(stop);
            let mut rng = Rng(seed + 77);
            while !stop.load(Ordering::Relaxed) {
                let at = rng.below(16 << 20);
                match rng.below(6) {
                    0 => file.truncate(at / bs as u64 * bs as u64).unwrap(),
                    1 => file.truncate(16 << 20).unwrap(),
                    2 => file
                        .fallocate(
                            FallocateMode::PunchHole,
                            at / bs as u64 * bs as u64,
                            1 << 18,
                        )
                        .unwrap(),
                    3 => file
                        .fallocate(FallocateMode::AllocateKeepSize, at, 1 << 20)
                        .unwrap(),
                    4 => file
                        .fallocate(FallocateMode::Allocate, 0, 16 << 20)
                        .unwrap(),
                    _ => file.fsync().unwrap(),
                }
            }
        });
        s.spawn(move || {
            let _stop = Stop(stop);
            while !stop.load(Ordering::Relaxed) {
                file.fdatasync().unwrap();
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(millis));
        stop.store(true, Ordering::Relaxed);
        for w in writers {
            assert!(w.join().unwrap() > 0);
        }
    });
    let contents = |file: &File| {
        let mut all = vec![0; file.size() as usize];
        assert_eq!(file.read_at(0, &mut all).unwrap(), all.len());
        let whole = all.len() / bs * bs;
        verify(&all[..whole], bs, 0);
        all
    };
    let before = contents(&file);
    println!("{:?}", fs.stats());
    drop(file);
    fs.unmount().unwrap();
    fsck(&path, "afterwards");
    let device = e4::device::open(&path, &Default::default()).unwrap();
    let fs = Filesystem::open(device, &MountOptions::default()).unwrap();
    let file = fs.open_file("/f", OpenFlags::read()).unwrap();
    assert!(
        contents(&file) == before,
        "contents differ after remounting"
    );
}

#[test]
fn race_4k() {
    race(4096, 1, 1500);
}

#[test]
fn race_1k() {
    race(1024, 2, 1500);
}

#[test]
fn race_2k() {
    race(2048, 3, 1500);
}
