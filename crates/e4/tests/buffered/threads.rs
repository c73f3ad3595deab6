//! Several threads, one file and one small cache: appends do not overlap, readers see whole records and no byte behind the
//! size, direct and buffered writers of different blocks do not disturb each other.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use e4::{AlignedBuf, FallocateMode, File, MountOptions, OpenFlags};

use crate::image::{Image, Rng};

fn options() -> MountOptions {
    MountOptions {
        cache_bytes: 256 << 10,
        dirty_expire: Duration::from_millis(10),
        ..Default::default()
    }
}

#[test]
fn appenders_and_readers() {
    const RECORD: usize = 700;
    let image = Image::new(32 << 20, 1024);
    let fs = image.mount(&options());
    fs.open_file("/log", OpenFlags::create()).unwrap();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let file = fs.open_file("/log", OpenFlags::read()).unwrap();
                let over = &over;
                scope.spawn(move || {
                    let mut rng = Rng(77);
                    while !over.load(Ordering::Acquire) {
                        let size = file.size();
                        let at = rng.below(size.max(1)) / RECORD as u64 * RECORD as u64;
                        let mut out = vec![0; RECORD * 3];
                        let n = file.read_buffered(at, &mut out).unwrap();
                        for record in out[..n].chunks(RECORD) {
                            assert!(record[0] != 0, "a byte nobody wrote at {at}");
                            assert!(record.iter().all(|b| *b == record[0]));
                        }
                    }
                })
            })
            .collect();
        let writers: Vec<_> = (1..4_u8)
            .map(|tag| {
                let file = fs.open_file("/log", OpenFlags::read_write()).unwrap();
                scope.spawn(move || {
                    for i in 0..400 {
                        assert_eq!(file.append(&[tag; RECORD]).unwrap(), RECORD);
                        if i % 100 == 99 {
                            file.fsync().unwrap();
                        }
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().unwrap();
        }
        over.store(true, Ordering::Release);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    assert_eq!(fs.stat("/log").unwrap().size, 3 * 400 * RECORD as u64);
    image.done(fs);
}

/// Each thread owns every n-th kilobyte (parts of blocks, so that neighbours share them) and knows what is in it, however
/// it writes and reads.
#[test]
fn neighbours_do_not_lose_bytes() {
    const PART: u64 = 1024;
    const PARTS: u64 = 240;
    const THREADS: u64 = 4;
    let image = Image::new(32 << 20, 4096);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.fallocate(FallocateMode::Allocate, 0, PARTS * PART / 2)
        .unwrap();
    file.truncate(PARTS * PART).unwrap();
    let work = |file: File, id: u64| {
        let mut rng = Rng(id * 7919 + 1);
        let mut mine = vec![0_u8; PARTS as usize];
        for step in 0..1500_u32 {
            let part = rng.below(PARTS / THREADS) * THREADS + id;
            let at = part * PART;
            let tag = 1 + rng.below(255) as u8;
            match rng.below(8) {
                0..=2 => {
                    file.write_buffered(at, &[tag; PART as usize]).unwrap();
                    mine[part as usize] = tag;
                }
                3 => {
                    let mut buf = AlignedBuf::zeroed(PART as usize);
                    buf.fill(tag);
                    file.write(at, buf).wait().0.unwrap();
                    mine[part as usize] = tag;
                }
                4 => {
                    file.fallocate(FallocateMode::PunchHole, at, PART).unwrap();
                    mine[part as usize] = 0;
                }
                5..=6 => {
                    let mut out = [0xee; PART as usize];
                    assert_eq!(file.read_buffered(at, &mut out).unwrap(), PART as usize);
                    let wanted = mine[part as usize];
                    assert!(
                        out.iter().all(|b| *b == wanted),
                        "buffered, part {part} step {step}: {} for {wanted}",
                        out[0]
                    );
                }
                _ => {
                    let mut out = [0xee; PART as usize];
                    assert_eq!(file.read_at(at, &mut out).unwrap(), PART as usize);
                    let wanted = mine[part as usize];
                    assert!(
                        out.iter().all(|b| *b == wanted),
                        "direct, part {part} step {step}: {} for {wanted}",
                        out[0]
                    );
                }
            }
            if step % 200 == 199 {
                file.fsync().unwrap();
            }
        }
        mine
    };
    let tables: Vec<Vec<u8>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|id| {
                let file = fs.open_file("/f", OpenFlags::read_write()).unwrap();
                scope.spawn(move || work(file, id))
            })
            .collect();
        threads.into_iter().map(|t| t.join().unwrap()).collect()
    });
    drop(file);
    image.done(fs);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::read()).unwrap();
    for part in 0..PARTS {
        let mut out = [0xee; PART as usize];
        file.read_buffered(part * PART, &mut out).unwrap();
        let wanted = tables[(part % THREADS) as usize][part as usize];
        assert!(
            out.iter().all(|b| *b == wanted),
            "part {part} after remount"
        );
    }
    drop(file);
    image.done(fs);
}
