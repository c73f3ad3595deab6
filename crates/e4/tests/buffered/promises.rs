//! What the page cache promises, one by one.

use e4::{Filesystem, MountOptions, OpenFlags};

use crate::image::Image;

fn options() -> MountOptions {
    MountOptions {
        background: false,
        ..Default::default()
    }
}

fn read(fs: &Filesystem, path: &str) -> Vec<u8> {
    let file = fs.open_file(path, OpenFlags::read()).unwrap();
    let mut out = vec![0; file.size() as usize];
    assert_eq!(file.read_buffered(0, &mut out).unwrap(), out.len());
    out
}

/// Nothing is allocated before writeback, then all of it in one extent, whatever the order of the writes.
#[test]
fn blocks_are_allocated_late_and_together() {
    let image = Image::new(32 << 20, 4096);
    let fs = image.mount(&options());
    let free = fs.statfs().free_blocks;
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    for i in (0..64_u64).map(|i| i * 37 % 64) {
        file.write_buffered(i * 4096, &[1; 4096]).unwrap();
    }
    assert_eq!(fs.stats().io_ends, 0, "nothing was written yet");
    assert!(free - fs.statfs().free_blocks >= 64, "but it is set aside");
    assert_eq!(file.stat().sectors, 64 * 8);
    file.fsync().unwrap();
    assert_eq!(file.extents().unwrap().len(), 1);
    assert_eq!(free - fs.statfs().free_blocks, 64);
    image.done(fs);
}

/// A file that never reaches the device costs nothing.
#[test]
fn what_is_truncated_or_deleted_is_never_written() {
    let image = Image::new(32 << 20, 1024);
    let fs = image.mount(&options());
    let free = fs.statfs().free_blocks;
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.write_buffered(0, &vec![1; 50_000]).unwrap();
    file.truncate(0).unwrap();
    assert_eq!(fs.statfs().free_blocks, free);
    file.write_buffered(0, &vec![2; 50_000]).unwrap();
    fs.unlink("/f").unwrap();
    assert_eq!(file.size(), 50_000);
    drop(file);
    let stats = fs.stats();
    assert_eq!(
        (
            stats.pages_written,
            stats.dirty_bytes,
            stats.promised_blocks
        ),
        (0, 0, 0)
    );
    fs.sync().unwrap();
    assert_eq!(fs.statfs().free_blocks, free);
    image.done(fs);
}

/// Lack of space is reported by the write, never afterwards.
#[test]
fn no_space_is_reported_by_the_write() {
    for block in [1024_u32, 4096] {
        let image = Image::new(8 << 20, block);
        let fs = image.mount(&options());
        let file = fs.open_file("/f", OpenFlags::create()).unwrap();
        let chunk: Vec<u8> = (0..70_000_u32).map(|i| (i % 251) as u8 + 1).collect();
        let mut total = 0;
        loop {
            match file.append(&chunk) {
                Ok(n) => total += n,
                Err(error) => {
                    assert_eq!(error.errno(), 28, "{error}");
                    break;
                }
            }
            assert!(total < 8 << 20);
        }
        assert!(total > 1 << 20, "only {total} bytes fit");
        file.fsync().unwrap();
        assert_eq!(file.size(), total as u64);
        let all = read(&fs, "/f");
        // Short writes only at the end.
        assert!(
            all.iter()
                .enumerate()
                .all(|(i, b)| *b == (i % 70_000 % 251) as u8 + 1)
        );
        file.truncate(0).unwrap();
        fs.sync().unwrap();
        assert_eq!(file.append(&chunk).unwrap(), chunk.len());
        image.done(fs);
    }
}

/// A closed file's pages stay; a file that is read in order is read ahead.
#[test]
fn read_ahead_and_reuse() {
    let image = Image::new(32 << 20, 4096);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.write_buffered(0, &vec![7; 4 << 20]).unwrap();
    drop(file);
    image.done(fs);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::read()).unwrap();
    let mut out = [0; 1000];
    let mut requests = 0;
    let mut at = 0;
    let mut before = 0;
    while file.read_buffered(at, &mut out).unwrap() > 0 {
        at += 1000;
        let read = fs.stats().pages_read;
        requests += u32::from(read != before);
        before = read;
    }
    assert_eq!(before, 1024, "each page once");
    assert!(requests < 12, "{requests} requests");
    drop(file);
    assert_eq!(read(&fs, "/f").len(), 4 << 20);
    assert_eq!(fs.stats().pages_read, 1024, "still cached");
    image.done(fs);
}

/// Dirty data is written by age, without anybody asking.
#[test]
fn old_pages_are_written() {
    let image = Image::new(32 << 20, 4096);
    let fs = image.mount(&MountOptions {
        dirty_expire: std::time::Duration::from_millis(30),
        ..Default::default()
    });
    for i in 0..300 {
        let file = fs
            .open_file(&format!("/f{i}"), OpenFlags::create())
            .unwrap();
        file.write_buffered(0, &[1; 100]).unwrap();
    }
    let began = std::time::Instant::now();
    while fs.stats().dirty_bytes > 0 {
        assert!(began.elapsed().as_secs() < 60, "{:?}", fs.stats());
        std::thread::yield_now();
    }
    assert_eq!(fs.stats().pages_written, 300);
    image.done(fs);
}

/// mtime is that of the write, not of the writeback.
#[test]
fn writeback_is_not_a_write() {
    let image = Image::new(32 << 20, 4096);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.write_buffered(0, &[1; 100]).unwrap();
    let written = file.stat().mtime;
    fs.sync().unwrap();
    assert_eq!(file.stat().mtime, written);
    drop(file);
    image.done(fs);
    let fs = image.mount(&options());
    assert_eq!(fs.stat("/f").unwrap().mtime, written);
    image.done(fs);
}

/// The page that holds the end of file is punched away before it was ever written: the size reaches the disk all the same.
/// Found by the crash explorer: the size used to travel with the page alone.
#[test]
fn a_punched_end_of_file_keeps_its_size() {
    let image = Image::new(32 << 20, 1024);
    let fs = image.mount(&options());
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    file.write_buffered(0, &[1; 10_000]).unwrap();
    file.fallocate(e4::FallocateMode::PunchHole, 5000, 20_000)
        .unwrap();
    file.fsync().unwrap();
    drop(file);
    image.done(fs);
    let fs = image.mount(&options());
    let bytes = read(&fs, "/f");
    assert_eq!(bytes.len(), 10_000);
    assert_eq!(bytes.iter().map(|b| u64::from(*b)).sum::<u64>(), 5000);
    image.done(fs);
}
