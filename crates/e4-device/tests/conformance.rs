//! Runs the conformance suite over every backend, on a file in RAM and on a file on disk.

mod suite;

use e4_device::{
    Backend, BackendChoice, Device, DeviceError, DirectChoice, MemoryDevice, OpenOptions,
    ScratchDevice, create, open,
};
use e4_sync::Arc;
use std::path::{Path, PathBuf};
use suite::SIZE;

/// A directory whose files live on a disk if `disk`, else in RAM where the host has such a place.
fn directory(disk: bool) -> tempfile::TempDir {
    let ram = Path::new("/dev/shm");
    if disk || !ram.is_dir() {
        // The build directory: the system's temporary directory may itself be in RAM.
        return tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("temporary directory");
    }
    tempfile::tempdir_in(ram).expect("temporary directory")
}

fn image(dir: &tempfile::TempDir) -> PathBuf {
    dir.path().join("image")
}

fn options(backend: BackendChoice, direct: DirectChoice) -> OpenOptions {
    OpenOptions {
        backend,
        direct,
        ..OpenOptions::default()
    }
}

fn check(disk: bool, backend: BackendChoice, direct: DirectChoice, expected: Backend) {
    let dir = directory(disk);
    let path = image(&dir);
    let mut options = options(backend, direct);
    options.create = Some(SIZE);
    let dev = match open(&path, &options) {
        Err(e @ (DeviceError::NoDirect { .. } | DeviceError::NoIoUring { .. })) => {
            e4_judges::skipped(&format!("{backend:?} {direct:?} on disk={disk}"), e);
            return;
        }
        dev => dev.expect("open"),
    };
    let info = dev.info().clone();
    assert_eq!(info.backend, expected, "{}", info.reason);
    assert_eq!(
        info.direct,
        direct == DirectChoice::Always,
        "{}",
        info.reason
    );
    assert_eq!(info.size, SIZE);
    suite::run_all(&dev);
    drop(dev);
    options.create = None;
    suite::drop_in_flight(|| open(&path, &options).expect("open"));
}

#[test]
fn memory() {
    let dev: Arc<dyn Device> = Arc::new(MemoryDevice::new(SIZE));
    suite::run_all(&dev);
}

#[test]
fn scratch_over_memory() {
    let below: Arc<dyn Device> = Arc::new(MemoryDevice::new(SIZE));
    let dev: Arc<dyn Device> = Arc::new(ScratchDevice::new(below));
    suite::run_all(&dev);
}

#[test]
fn inline_in_ram() {
    check(
        false,
        BackendChoice::Inline,
        DirectChoice::Never,
        Backend::Inline,
    );
}

#[test]
fn inline_on_disk() {
    check(
        true,
        BackendChoice::Inline,
        DirectChoice::Never,
        Backend::Inline,
    );
}

#[test]
fn inline_direct() {
    check(
        true,
        BackendChoice::Inline,
        DirectChoice::Always,
        Backend::Inline,
    );
}

#[test]
fn threads_in_ram() {
    check(
        false,
        BackendChoice::Threads,
        DirectChoice::Never,
        Backend::Threads,
    );
}

#[test]
fn threads_direct() {
    check(
        true,
        BackendChoice::Threads,
        DirectChoice::Always,
        Backend::Threads,
    );
}

#[test]
fn io_uring_in_ram() {
    check(
        false,
        BackendChoice::IoUring,
        DirectChoice::Never,
        Backend::IoUring,
    );
}

#[test]
fn io_uring_on_disk() {
    check(
        true,
        BackendChoice::IoUring,
        DirectChoice::Never,
        Backend::IoUring,
    );
}

#[test]
fn io_uring_direct() {
    check(
        true,
        BackendChoice::IoUring,
        DirectChoice::Always,
        Backend::IoUring,
    );
}

#[test]
fn read_only_everywhere() {
    for backend in [
        BackendChoice::Auto,
        BackendChoice::Inline,
        BackendChoice::Threads,
    ] {
        for disk in [false, true] {
            let dir = directory(disk);
            let contents = suite::pattern(4, SIZE as usize);
            std::fs::write(image(&dir), &contents[..]).expect("write image");
            let options = OpenOptions {
                read_only: true,
                ..options(backend, DirectChoice::Auto)
            };
            let dev = open(&image(&dir), &options).expect("open");
            assert!(!dev.info().direct, "{}", dev.info().reason);
            suite::read_only(&dev, &contents);
        }
    }
}

#[test]
fn automatic_choice_and_its_reason() {
    let ram = directory(false);
    let dev = create(&image(&ram), SIZE).expect("create");
    if ram.path().starts_with("/dev/shm") {
        assert_eq!(dev.info().backend, Backend::Inline, "{}", dev.info().reason);
        assert!(dev.info().reason.contains("RAM"), "{}", dev.info().reason);
    } else {
        eprintln!("SKIPPED: no /dev/shm here");
    }
    let disk = directory(true);
    let dev = create(&image(&disk), SIZE).expect("create");
    eprintln!("on disk: {}", dev.info().reason);
    assert_ne!(dev.info().backend, Backend::Inline, "{}", dev.info().reason);
    suite::run_all(&dev);
}

/// An image whose size is no multiple of the direct-I/O unit stays reachable to its last byte.
#[test]
fn odd_size_is_buffered() {
    let dir = directory(true);
    std::fs::write(image(&dir), vec![7u8; 10_000]).expect("write image");
    let dev = open(&image(&dir), &OpenOptions::default()).expect("open");
    assert!(!dev.info().direct, "{}", dev.info().reason);
    let mut last = [0];
    dev.read_at(9_999, &mut last).expect("read_at");
    assert_eq!(last, [7]);
    let wanted = options(BackendChoice::Auto, DirectChoice::Always);
    drop(dev);
    assert!(matches!(
        open(&image(&dir), &wanted),
        Err(DeviceError::NoDirect { .. })
    ));
}

#[test]
fn sixteen_tebibytes_of_nothing() {
    let dev = MemoryDevice::new(16 << 40);
    let mut buf = [1u8; 4096];
    dev.read_at((16 << 40) - 4096, &mut buf).expect("read_at");
    assert_eq!(buf, [0; 4096]);
    assert_eq!(dev.allocated(), 0);
    dev.write_at((16 << 40) - 4096, &[5; 4096])
        .expect("write_at");
    dev.write_at(1 << 40, &[6; 100]).expect("write_at");
    assert!(dev.allocated() <= 2 << 20);
    dev.read_at(1 << 40, &mut buf).expect("read_at");
    assert_eq!((buf[99], buf[100]), (6, 0));
    dev.discard(0, 16 << 40).expect("discard");
    assert_eq!(dev.allocated(), 0);
}

/// The file is shortened behind our back: an error that says so, not a hang or a panic.
#[test]
fn shortened_file() {
    for backend in [
        BackendChoice::Inline,
        BackendChoice::Threads,
        BackendChoice::Auto,
    ] {
        let dir = directory(true);
        let dev = open(
            &image(&dir),
            &OpenOptions {
                create: Some(SIZE),
                ..options(backend, DirectChoice::Never)
            },
        )
        .expect("open");
        let file = std::fs::OpenOptions::new().write(true).open(image(&dir));
        file.expect("second descriptor")
            .set_len(8192)
            .expect("shorten");
        let mut buf = [0; 4096];
        assert_eq!(dev.read_at(4096, &mut buf), Ok(()));
        let gone = |r: &Result<(), DeviceError>| matches!(r, Err(DeviceError::Shortened { .. }));
        assert!(gone(&dev.read_at(8192, &mut buf)));
        let requests = vec![suite::read(0, 4096, 8192), suite::read(1, 0, 8192)];
        let done = suite::run(&*dev, e4_device::QueueId(0), requests);
        assert!(
            gone(&done[0].result.clone().map_err(|e| *e)),
            "{:?}",
            done[0].result
        );
        assert_eq!(done[1].result, Ok(()));
    }
}
