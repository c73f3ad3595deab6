//! Zero, collapse and insert range, SEEK_DATA and SEEK_HOLE, against an array of bytes; many extents and few, asynchronous
//! writes in flight and published but unrecorded; afterwards e2fsck.

use e4::{AlignedBuf, FallocateMode as Mode, File, Filesystem, MountOptions, OpenFlags};
use e4_judges::fsck;

struct Disk {
    dir: tempfile::TempDir,
    fs: Option<Filesystem>,
    block: u64,
}

impl Disk {
    fn new(size: u64, block: u32) -> Self {
        let dir = e4_judges::scratch();
        let options = e4::device::OpenOptions {
            create: Some(size),
            ..Default::default()
        };
        let device = e4::device::open(&dir.path().join("disk.img"), &options).unwrap();
        let params = e4_mkfs::Params {
            block_size: Some(block),
            ..Default::default()
        };
        e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap();
        drop(device);
        let mut disk = Self {
            dir,
            fs: None,
            block: u64::from(block),
        };
        disk.mount();
        disk
    }

    fn mount(&mut self) {
        let device = e4::device::open(&self.dir.path().join("disk.img"), &Default::default());
        self.fs = Some(Filesystem::open(device.unwrap(), &MountOptions::default()).unwrap());
    }

    fn file(&self, flags: OpenFlags) -> File {
        self.fs.as_ref().unwrap().open_file("/f", flags).unwrap()
    }

    fn check(&mut self) {
        self.fs.take().unwrap().unmount().unwrap();
        fsck(&self.dir.path().join("disk.img"), "afterwards");
    }
}

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn compare(file: &File, model: &[u8], what: &str) {
    file.wait_for_submitted().unwrap();
    assert_eq!(file.size(), model.len() as u64, "{what}: size");
    let mut got = vec![0; model.len() + 1];
    let n = if model.len().is_multiple_of(2) {
        file.read_at(0, &mut got)
    } else {
        file.read_buffered(0, &mut got)
    };
    assert_eq!(n.unwrap(), model.len(), "{what}");
    let differs = got.iter().zip(model).position(|(a, b)| a != b);
    if let Some(at) = differs {
        panic!("{what}: byte {at} is {}, not {}", got[at], model[at]);
    }
}

/// Every data byte lies where SEEK_DATA says there is data, and the holes read as zeros.
fn seeks(file: &File, model: &[u8]) {
    let size = model.len() as u64;
    let mut at = 0;
    while at < size {
        let data = file.seek_data(at).unwrap().unwrap_or(size);
        assert!(model[at as usize..data as usize].iter().all(|&b| b == 0));
        if data == size {
            break;
        }
        let hole = file.seek_hole(data).unwrap();
        assert!(hole > data && hole <= size);
        assert_eq!(file.seek_data(hole - 1).unwrap(), Some(hole - 1));
        at = hole;
    }
    assert_eq!(file.seek_data(size).unwrap_err().errno(), 6);
    assert_eq!(file.seek_hole(size).unwrap_err().errno(), 6);
    let all = file.extents().unwrap();
    let mut listed = Vec::new();
    let mut from = e4_format::FileBlock::new(0);
    loop {
        let some = file.extents_from(from, 3).unwrap();
        listed.extend_from_slice(&some);
        match some.last() {
            Some(last) if some.len() == 3 => from = e4_format::FileBlock::new(last.end()),
            _ => break,
        }
    }
    assert_eq!(listed, all);
}

fn run(block: u32, seed: u64, steps: u64) {
    let mut disk = Disk::new(64 << 20, block);
    let mut rng = Rng(seed);
    let bs = disk.block;
    let blocks = 600;
    let mut file = disk.file(OpenFlags::create());
    let mut model: Vec<u8> = Vec::new();
    for step in 0..steps {
        let what = format!("block size {block}, seed {seed}, step {step}");
        let at = rng.below(blocks * bs);
        let len = 1 + rng.below(20 * bs);
        let end = (at + len) as usize;
        let (first, count) = (rng.below(blocks) * bs, (1 + rng.below(30)) * bs);
        let behind = (first + count) as usize;
        match rng.below(12) {
            // Through the cache, whatever the alignment.
            10 | 11 => {
                let data = vec![1 + rng.below(255) as u8; len as usize];
                file.wait_for_submitted().unwrap();
                assert_eq!(file.write_buffered(at, &data).unwrap(), data.len());
                model.resize(model.len().max(end), 0);
                model[at as usize..end].copy_from_slice(&data);
            }
            // Several asynchronous writes of one block each, every other one: many extents.
            0..4 => {
                // Of two writes in flight to one block either may be the last.
                file.wait_for_submitted().unwrap();
                let fill = 1 + rng.below(255) as u8;
                let acks: Vec<_> = (0..1 + rng.below(12))
                    .map(|i| {
                        let at = first + 2 * i * bs;
                        let mut buf = AlignedBuf::zeroed(bs as usize);
                        buf.fill(fill);
                        let end = (at + bs) as usize;
                        model.resize(model.len().max(end), 0);
                        model[at as usize..end].fill(fill);
                        file.write(at, buf)
                    })
                    .collect();
                // Some are still in flight when the next operation comes.
                let wait = rng.below(2) == 0;
                for ack in acks {
                    if wait {
                        ack.wait().0.unwrap();
                    } else {
                        drop(ack);
                    }
                }
            }
            4 => {
                let keep = rng.below(2) == 0;
                let mode = [Mode::ZeroRange, Mode::ZeroRangeKeepSize][usize::from(keep)];
                file.fallocate(mode, at, len).unwrap();
                if !keep {
                    model.resize(model.len().max(end), 0);
                }
                let to = end.min(model.len());
                model[(at as usize).min(to)..to].fill(0);
            }
            5 => {
                file.fallocate(Mode::Allocate, at, len).unwrap();
                model.resize(model.len().max(end), 0);
            }
            6 => {
                let done = file.fallocate(Mode::CollapseRange, first, count);
                if behind < model.len() {
                    done.unwrap();
                    model.drain(first as usize..behind);
                } else {
                    assert_eq!(done.unwrap_err().errno(), 22);
                }
            }
            7 => {
                let done = file.fallocate(Mode::InsertRange, first, count);
                if (first as usize) < model.len() {
                    done.unwrap();
                    let zeros = std::iter::repeat_n(0, count as usize);
                    model.splice(first as usize..first as usize, zeros);
                } else {
                    assert_eq!(done.unwrap_err().errno(), 22);
                }
            }
            8 => {
                file.fallocate(Mode::PunchHole, at, len).unwrap();
                let to = end.min(model.len());
                model[(at as usize).min(to)..to].fill(0);
            }
            _ => match rng.below(4) {
                0 => file.fsync().unwrap(),
                1 => {
                    file.truncate(at).unwrap();
                    model.resize(at as usize, 0);
                }
                2 => {
                    file.wait_for_submitted().unwrap();
                    seeks(&file, &model);
                }
                _ => {
                    drop(file);
                    disk.check();
                    disk.mount();
                    file = disk.file(OpenFlags::read_write());
                }
            },
        }
        if step % 8 == 0 {
            compare(&file, &model, &what);
        }
    }
    compare(&file, &model, "at the end");
    drop(file);
    disk.check();
}

#[test]
fn an_array_of_bytes_agrees() {
    for (block, seed) in [(1024, 1), (4096, 2), (1024, 3)] {
        run(block, seed, 400);
    }
}

/// Thousands of extents in many leaves: the shift takes several handles, and a small journal several transactions.
#[test]
fn many_extents_move() {
    let mut disk = Disk::new(64 << 20, 1024);
    let file = disk.file(OpenFlags::create());
    let n = 12_000_u64;
    let mut ctx = disk.fs.as_ref().unwrap().io_context();
    let mut events = Vec::new();
    for i in 0..n {
        let mut buf = AlignedBuf::zeroed(1024);
        buf.fill((i % 251) as u8 + 1);
        ctx.write(&file, 2 * i * 1024, buf, i).unwrap();
        if ctx.outstanding() >= 64 {
            ctx.wait(32, &mut events);
        }
    }
    while ctx.outstanding() > 0 {
        ctx.wait(1, &mut events);
    }
    drop(ctx);
    let mut model: Vec<u8> = (0..2 * n - 1)
        .flat_map(|b| {
            [if b % 2 == 0 {
                (b / 2 % 251) as u8 + 1
            } else {
                0
            }; 1024]
        })
        .collect();
    compare(&file, &model, "written");
    assert!(file.extents().unwrap().len() as u64 >= n);
    for (mode, at, len) in [
        (Mode::InsertRange, 4_u64, 3_u64),
        (Mode::CollapseRange, 1, 6000),
        (Mode::InsertRange, 9001, 70_000),
        (Mode::CollapseRange, 0, 1),
        (Mode::CollapseRange, 9002, 60_000),
        (Mode::ZeroRange, 100, 9000),
    ] {
        file.fallocate(mode, at * 1024, len * 1024).unwrap();
        let (from, to) = (at as usize * 1024, (at + len) as usize * 1024);
        match mode {
            Mode::InsertRange => {
                let zeros = std::iter::repeat_n(0, to - from);
                model.splice(from..from, zeros);
            }
            Mode::CollapseRange => drop(model.drain(from..to)),
            _ => model[from..to].fill(0),
        }
        compare(&file, &model, &format!("{mode:?}"));
    }
    seeks(&file, &model);
    drop(file);
    disk.check();
}

#[test]
fn what_is_refused() {
    let disk = Disk::new(16 << 20, 4096);
    let file = disk.file(OpenFlags::create());
    file.write_at(0, &vec![7; 20_000]).unwrap();
    let errno = |mode, at, len| file.fallocate(mode, at, len).map_err(|e| e.errno());
    for mode in [Mode::CollapseRange, Mode::InsertRange] {
        assert_eq!(errno(mode, 4096, 100), Err(22));
        assert_eq!(errno(mode, 100, 4096), Err(22));
        assert_eq!(errno(mode, 20_480, 4096), Err(22));
        assert_eq!(errno(mode, 4096, 0), Err(22));
    }
    assert_eq!(errno(Mode::CollapseRange, 4096, 16_384), Err(22));
    assert_eq!(errno(Mode::InsertRange, 4096, (1 << 44) - 8192), Err(27));
    // A block far behind the end of file has nowhere to go.
    file.fallocate(Mode::AllocateKeepSize, (1 << 44) - 3 * 4096, 4096)
        .unwrap();
    assert_eq!(errno(Mode::InsertRange, 4096, 1 << 20), Err(22));
    compare(&file, &vec![7; 20_000], "nothing happened");
    assert_eq!(errno(Mode::CollapseRange, 4096, 4096), Ok(()));
    compare(&file, &vec![7; 15_904], "collapsed");
}
