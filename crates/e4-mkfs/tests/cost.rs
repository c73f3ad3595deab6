//! What formatting costs, that it is deterministic, and that bad parameters touch nothing.

mod support;

use e4_device::{Device, MemoryDevice};
use e4_mkfs::{Medium, Params};

const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

fn fixed() -> Params {
    Params {
        medium: Medium::Zeroed,
        uuid: Some(*b"0123456789abcdef"),
        hash_seed: Some(*b"fedcba9876543210"),
        time: Some(1_600_000_000),
        ..Params::default()
    }
}

#[test]
fn sparse_media_stay_sparse() {
    for (size, most) in [(2 * GIB, 8 << 20), (16 * TIB, 700 << 20)] {
        let device = MemoryDevice::new(size);
        let report = e4_mkfs::format(&device, &fixed(), &mut |_| {}).unwrap();
        assert!(report.written < most, "{size}: wrote {}", report.written);
        // The device allocates in large pieces, most of which stay untouched.
        assert!(
            device.allocated() < size / 100,
            "{size}: {}",
            device.allocated()
        );
    }
}

#[test]
fn same_parameters_same_bytes() {
    let image = |p: &Params, fill: u8| {
        let device = MemoryDevice::from_bytes(&vec![fill; 20 << 20]);
        e4_mkfs::format(&device, p, &mut |_| {}).unwrap();
        let mut bytes = vec![0; 20 << 20];
        device.read_at(0, &mut bytes).unwrap();
        bytes
    };
    assert!(image(&fixed(), 0) == image(&fixed(), 0));
    let other = Params {
        uuid: Some([7; 16]),
        ..fixed()
    };
    assert!(image(&fixed(), 0) != image(&other, 0));
    // Random identity differs each time.
    let random = Params {
        uuid: None,
        ..fixed()
    };
    assert!(image(&random, 0) != image(&random, 0));
}

#[test]
fn refusals_write_nothing() {
    let device = MemoryDevice::new(64 << 20);
    for (name, edit) in [
        (
            "block_size",
            (|p: &mut Params| p.block_size = Some(1000)) as fn(&mut Params),
        ),
        ("label", |p| p.label = "seventeen bytes!!".into()),
        ("last_mounted", |p| p.last_mounted = "x".repeat(65)),
        ("time", |p| p.time = Some(-1)),
        ("time", |p| p.time = Some(1 << 40)),
        ("inodes", |p| p.inodes = Some(500_000)),
        ("features", |p| p.features.apply("meta_bg").unwrap()),
        ("features", |p| p.features.apply("bigalloc").unwrap()),
    ] {
        let mut params = fixed();
        edit(&mut params);
        let err = e4_mkfs::format(&device, &params, &mut |_| {})
            .unwrap_err()
            .to_string();
        assert!(err.starts_with(name), "{name}: {err}");
    }
    assert_eq!(device.allocated(), 0);
}

#[test]
fn progress_reaches_the_end_of_every_stage() {
    let device = MemoryDevice::new(64 << 20);
    let mut last = Vec::new();
    let params = Params {
        medium: Medium::Unknown,
        ..fixed()
    };
    e4_mkfs::format(&device, &params, &mut |p| {
        last.retain(|(stage, _)| *stage != p.stage);
        last.push((p.stage, p.done == p.total));
    })
    .unwrap();
    assert_eq!(last.len(), 4);
    assert!(last.iter().all(|(_, ended)| *ended), "{last:?}");
}
