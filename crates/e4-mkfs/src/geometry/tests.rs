//! The numbers of mke2fs, and what is refused.

use super::*;

fn geo(bytes: u64, edit: impl FnOnce(&mut Params)) -> Geometry {
    let mut params = Params::default();
    edit(&mut params);
    decide(&params, bytes, "test", &mut Vec::new()).unwrap()
}

/// Observed with mke2fs 1.47: size in KiB -> blocks, inodes per group, reserved descriptor blocks.
#[test]
fn numbers_of_mke2fs() {
    for (kib, blocks, ipg, gdt, reserved) in [
        (2 << 10, 2048, 256, 15, 102),
        (3 << 10, 3072, 768, 23, 153),
        (8500, 8193, 2128, 64, 409),
        (8700, 8700, 1088, 67, 435),
        (10 << 10, 10240, 1280, 79, 512),
        (33 << 10, 33792, 1688, 256, 1689),
        (70 << 10, 71680, 1992, 256, 3584),
        (100 << 10, 102_400, 1968, 256, 5120),
        (300 << 10, 307_200, 2024, 256, 15360),
        (512 << 10, 131_072, 8192, 63, 6553),
        (1000 << 10, 256_000, 8000, 124, 12800),
        (1 << 20, 262_144, 8192, 127, 13107),
        (33 << 20, 8_650_752, 8192, 1024, 432_537),
        (15 << 30, 4_026_531_840, 4096, 128, 201_326_592),
        (16 << 30, 4_294_967_296, 2048, 0, 214_748_364),
    ] {
        let g = geo(kib << 10, |_| {});
        assert_eq!(
            (
                g.blocks,
                g.inodes_per_group,
                g.reserved_gdt,
                g.reserved_blocks
            ),
            (blocks, ipg, gdt, reserved),
            "{kib} KiB"
        );
    }
}

#[test]
fn errors_name_the_parameter() {
    let refuse = |edit: fn(&mut Params)| {
        let mut params = Params::default();
        edit(&mut params);
        decide(&params, 64 << 20, "test", &mut Vec::new())
            .unwrap_err()
            .to_string()
    };
    for (edit, name) in [
        (
            (|p: &mut Params| p.block_size = Some(512)) as fn(&mut Params),
            "block_size",
        ),
        (|p| p.block_size = Some(3000), "block_size"),
        (|p| p.inode_size = Some(64), "inode_size"),
        (|p| p.inode_size = Some(300), "inode_size"),
        (|p| p.inode_size = Some(2048), "inode_size"),
        (|p| p.bytes_per_inode = Some(500), "bytes_per_inode"),
        (|p| p.inodes = Some(1 << 40), "inodes"),
        (|p| p.reserved_percent = 60.0, "reserved_percent"),
        (|p| p.reserved_percent = f64::NAN, "reserved_percent"),
        (|p| p.reserved_percent = -1.0, "reserved_percent"),
        (|p| p.blocks_per_group = Some(100), "blocks_per_group"),
        (|p| p.blocks_per_group = Some(1 << 20), "blocks_per_group"),
        (|p| p.flex_bg_size = Some(3), "flex_bg_size"),
        (|p| p.journal_mib = Some(500), "journal_mib"),
        (|p| p.journal_mib = Some(0), "journal_mib"),
        (|p| p.resize_limit = Some(1), "resize_limit"),
        (|p| p.size = Some(1 << 40), "size"),
        (|p| p.size = Some(8 << 10), "size"),
    ] {
        let text = refuse(edit);
        assert!(text.starts_with(name), "{name}: {text}");
    }
}

#[test]
fn journal_is_left_out_with_a_note_when_it_cannot_fit() {
    let mut notes = Vec::new();
    let g = decide(&Params::default(), 1 << 20, "test", &mut notes).unwrap();
    assert_eq!(g.journal_blocks, None);
    assert!(!g.features.compat(CompatFeatures::ORPHAN_FILE));
    assert_eq!(notes.len(), 2);
}

#[test]
fn dense_inodes_shrink_the_groups() {
    let g = geo(1 << 30, |p| {
        p.bytes_per_inode = Some(1024);
        p.block_size = Some(4096);
    });
    assert!(u64::from(g.inodes_per_group) * u64::from(g.groups) >= 1 << 20);
    assert!(g.inodes_per_group <= 32768);
}

#[test]
fn tiny_blocks_on_a_huge_device_are_refused() {
    let params = Params {
        block_size: Some(1024),
        ..Params::default()
    };
    let err = decide(&params, 1 << 40, "test", &mut Vec::new()).unwrap_err();
    assert!(
        matches!(err, MkfsError::DescriptorsTooLarge { .. }),
        "{err}"
    );
}
