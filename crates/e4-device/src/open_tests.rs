//! Choices on hosts that allow less than this one.

use super::*;

fn disk_image() -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().expect("temporary directory");
    let path = dir.path().join("image");
    std::fs::write(&path, vec![3u8; 1 << 20]).expect("write image");
    (dir, path)
}

fn strict(errno: i32) -> Host {
    Host {
        refuse_io_uring: Some(errno),
        refuse_direct: true,
        no_ram: true,
    }
}

#[test]
fn io_uring_refused_means_threads() {
    for (errno, text) in [
        (Errno::PERM, "io_uring_disabled"),
        (Errno::NOSYS, "old kernel"),
    ] {
        let (_dir, path) = disk_image();
        let host = strict(errno.raw_os_error());
        let dev = open_on(&path, &OpenOptions::default(), &host).expect("open");
        let info = dev.info();
        assert_eq!(info.backend, Backend::Threads);
        assert!(info.reason.contains(text), "{}", info.reason);
        assert!(!info.direct);
        let mut buf = [0; 10];
        dev.read_at(5, &mut buf).expect("read_at");
        assert_eq!(buf, [3; 10]);
    }
}

#[test]
fn demanded_and_refused_is_an_error() {
    let (_dir, path) = disk_image();
    let eperm = Errno::PERM.raw_os_error();
    let options = OpenOptions {
        backend: BackendChoice::IoUring,
        ..OpenOptions::default()
    };
    assert!(matches!(
        open_on(&path, &options, &strict(eperm)).err(),
        Some(DeviceError::NoIoUring { errno, .. }) if errno == eperm
    ));
    let options = OpenOptions {
        direct: DirectChoice::Always,
        ..OpenOptions::default()
    };
    assert!(matches!(
        open_on(&path, &options, &strict(eperm)).err(),
        Some(DeviceError::NoDirect { .. })
    ));
}

#[test]
fn a_coarse_alignment_is_not_chosen() {
    let (_dir, path) = disk_image();
    let options = OpenOptions {
        max_alignment: 1, // finer than any disk
        ..OpenOptions::default()
    };
    let host = Host {
        no_ram: true,
        ..Host::default()
    };
    let dev = open_on(&path, &options, &host).expect("open");
    assert!(!dev.info().direct, "{}", dev.info().reason);
    assert_eq!(dev.info().alignment, 1);
}

#[test]
fn neither_directories_nor_character_devices() {
    let read_only = OpenOptions {
        read_only: true,
        ..OpenOptions::default()
    };
    for path in ["/", "/dev/null"] {
        let refused = open(Path::new(path), &read_only).err();
        assert!(
            matches!(refused, Some(DeviceError::NotADisk { .. })),
            "{path}: {refused:?}"
        );
    }
    let missing = open(Path::new("/nonexistent/image"), &read_only).err();
    assert!(matches!(missing, Some(DeviceError::Open { errno: 2, .. })));
}
