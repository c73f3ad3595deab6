//! How fast are random direct writes into preallocated space? `random_write IMAGE [SECONDS] [DEPTH] [BLOCK]`
//!
//! Formats IMAGE (2 GiB), preallocates 1 GiB, writes every block once in random order (unwritten), then again
//! (written), and compares with the bare device. The final fsync is inside the timing.

use std::time::Instant;

use e4::{AlignedBuf, FallocateMode, Filesystem, MountOptions, OpenFlags};

const GIB: u64 = 1 << 30;

fn permutation(n: u64) -> Vec<u64> {
    let mut order: Vec<u64> = (0..n).collect();
    let mut x = 0x9E37_79B9_7F4A_7C15_u64;
    for i in (1..order.len()).rev() {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        order.swap(i, (x % (i as u64 + 1)) as usize);
    }
    order
}

fn raw(device: &dyn e4::device::Device, order: &[u64], depth: usize, bs: usize) -> f64 {
    use e4::device::{IoSlice, Op, QueueId, Request, Token, Wait};
    let start = Instant::now();
    let (mut requests, mut done) = (Vec::new(), Vec::new());
    let (mut flying, mut next) = (0, 0);
    while next < order.len() || flying > 0 {
        while flying < depth && next < order.len() {
            let mut buf = AlignedBuf::recycled(bs);
            buf[..8].copy_from_slice(&order[next].to_le_bytes());
            let at = GIB / 2 + order[next] * bs as u64;
            requests.push(Request {
                token: Token(0),
                op: Op::Write {
                    at,
                    data: IoSlice::Owned(buf),
                },
            });
            flying += 1;
            next += 1;
        }
        device.submit(QueueId(0), &mut requests);
        flying -= device.poll(QueueId(0), &mut done, Wait::One);
        done.clear();
    }
    device.flush().unwrap();
    order.len() as f64 / start.elapsed().as_secs_f64()
}

fn pass(fs: &Filesystem, order: &[u64], depth: usize, bs: usize) -> f64 {
    let file = fs.open_file("/f", OpenFlags::read_write()).unwrap();
    let start = Instant::now();
    let mut ctx = fs.io_context();
    let mut events = Vec::new();
    let mut next = 0;
    while next < order.len() || ctx.outstanding() > 0 {
        while ctx.outstanding() < depth && next < order.len() {
            let mut buf = AlignedBuf::recycled(bs);
            buf[..8].copy_from_slice(&order[next].to_le_bytes());
            ctx.write(&file, order[next] * bs as u64, buf, 0).unwrap();
            next += 1;
        }
        ctx.wait(1, &mut events);
        for e in events.drain(..) {
            e.result.unwrap();
        }
    }
    file.fsync().unwrap();
    order.len() as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let path = args
        .get(1)
        .map_or("/dev/shm/e4-random-write.img", String::as_str);
    let depth: usize = args.get(2).map_or(32, |a| a.parse().unwrap());
    let bs: usize = args.get(3).map_or(4096, |a| a.parse().unwrap());
    let path = std::path::Path::new(path);
    let order = permutation(GIB / bs as u64);
    for round in 0..std::env::var("ROUNDS").map_or(3, |r| r.parse().unwrap()) {
        let options = e4::device::OpenOptions {
            create: Some(2 * GIB),
            ..Default::default()
        };
        let device = e4::device::open(path, &options).unwrap();
        let raw_first = raw(&*device, &order, depth, bs);
        let raw_again = raw(&*device, &order, depth, bs);
        e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).unwrap();
        println!("{:?}: {}", device.info().backend, device.info().reason);
        let fs = Filesystem::open(device, &MountOptions::default()).unwrap();
        let file = fs.open_file("/f", OpenFlags::create()).unwrap();
        file.fallocate(FallocateMode::Allocate, 0, GIB).unwrap();
        let unwritten = pass(&fs, &order, depth, bs);
        let stats = fs.stats();
        let written = pass(&fs, &order, depth, bs);
        println!(
            "round {round}: raw {raw_first:.0} / {raw_again:.0}  unwritten {unwritten:.0}  written {written:.0}  \
             unwritten/written {:.3}  unwritten/raw {:.3}  extents {}",
            unwritten / written,
            unwritten / raw_again,
            file.extents().unwrap().len()
        );
        println!("{stats:?}");
        drop(file);
        fs.unmount().unwrap();
    }
    std::fs::remove_file(path).unwrap();
}
