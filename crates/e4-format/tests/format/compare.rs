//! What we read is what dumpe2fs and debugfs read.

use crate::image::{Config, Image, fresh, matrix, populated};
use crate::oracle;
use e4_format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures};
use e4_format::htree::{HashAlgorithm, HashVersion};
use e4_format::{ExtentState, InodeNo, csum};

#[test]
fn dumpe2fs() {
    for config in matrix() {
        let Some(image) = fresh(config) else { return };
        let Some(text) = oracle::text("dumpe2fs", &[image.path.to_str().unwrap()]) else {
            return;
        };
        header(&image, &text);
        groups(&image, &text);
    }
}

fn header(image: &Image, text: &str) {
    let sb = &image.sb;
    let field = |name: &str| {
        let line = text
            .lines()
            .find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        line.map(str::trim)
    };
    let number = |name: &str| field(name).unwrap().parse::<u64>().unwrap();
    // dumpe2fs orders features by word, then by bit; so do we.
    let ours = format!("{} {} {}", sb.compat(), sb.incompat(), sb.ro_compat());
    assert_eq!(field("Filesystem features"), Some(ours.trim()));
    assert_eq!(number("Inode count"), u64::from(sb.inodes_count()));
    assert_eq!(number("Block count"), sb.blocks_count());
    assert_eq!(number("Reserved block count"), sb.reserved_blocks_count());
    assert_eq!(number("Free blocks"), sb.free_blocks_count());
    assert_eq!(number("Free inodes"), u64::from(sb.free_inodes_count()));
    assert_eq!(number("First block"), u64::from(sb.first_data_block()));
    assert_eq!(number("Block size"), u64::from(sb.block_size().bytes()));
    assert_eq!(number("Blocks per group"), u64::from(sb.blocks_per_group()));
    assert_eq!(number("Inodes per group"), u64::from(sb.inodes_per_group()));
    assert_eq!(
        number("Inode blocks per group"),
        u64::from(sb.inode_table_blocks())
    );
    assert_eq!(number("First inode"), u64::from(sb.first_inode()));
    assert_eq!(number("Inode size"), sb.inode_size() as u64);
    if let Some(size) = field("Group descriptor size") {
        assert_eq!(size.parse(), Ok(sb.desc_size()));
    }
    if let Some(n) = field("Flex block group size") {
        assert_eq!(n.parse(), Ok(sb.groups_per_flex()));
    }
    if let Some(n) = field("Reserved GDT blocks") {
        assert_eq!(n.parse(), Ok(sb.reserved_gdt_blocks()));
    }
    if let Some(n) = field("Journal inode") {
        assert_eq!(n.parse().ok(), sb.journal_inum().map(InodeNo::get));
    }
    if let Some(n) = field("Orphan file inode") {
        assert_eq!(n.parse().ok(), sb.orphan_file_inum().map(InodeNo::get));
    }
    if let Some(n) = field("Checksum seed") {
        assert_eq!(n, format!("{:#010x}", sb.checksum_seed()));
    }
    if let Some(n) = field("Desired extra isize") {
        assert_eq!(n.parse(), Ok(sb.new_inode_extra_isize()));
    }
    assert_eq!(
        field("Filesystem state") == Some("clean"),
        sb.state().is_clean()
    );
    let hash = sb.def_hash_version().unwrap();
    assert_eq!(
        (hash.algorithm, hash.unsigned),
        (HashAlgorithm::HalfMd4, false)
    );
    assert_eq!(field("Default directory hash"), Some("half_md4"));
    assert_eq!(field("Filesystem flags"), Some("signed_directory_hash"));
}

fn groups(image: &Image, text: &str) {
    let parts = text
        .split("\nGroup ")
        .filter(|p| p.starts_with(|c: char| c.is_ascii_digit()));
    let parts: Vec<&str> = parts.collect();
    assert_eq!(parts.len(), image.sb.groups() as usize);
    for (group, part) in image.sb.group_numbers().zip(parts) {
        let desc = image.desc(group);
        let has = |what: String| assert!(part.contains(&what), "group {group}: {what}\n{part}");
        let first = image.sb.group_first_block(group).unwrap().get();
        let last = first + u64::from(image.sb.blocks_in_group(group)) - 1;
        has(format!("{group}: (Blocks {first}-{last})"));
        has(format!("Block bitmap at {}", desc.block_bitmap));
        has(format!("Inode bitmap at {}", desc.inode_bitmap));
        let end = desc.inode_table.get() + u64::from(image.sb.inode_table_blocks()) - 1;
        has(format!("Inode table at {}-{end}", desc.inode_table));
        let (free, inodes) = (desc.free_blocks_count, desc.free_inodes_count);
        has(format!(
            "{free} free blocks, {inodes} free inodes, {} dir",
            desc.used_dirs_count
        ));
        if desc.itable_unused > 0 {
            has(format!("{} unused inodes", desc.itable_unused));
        }
        if image.sb.has_metadata_csum() {
            has(format!("csum {:#010x}", desc.block_bitmap_csum));
            has(format!("csum {:#010x}", desc.inode_bitmap_csum));
        }
        let copy = part.contains("superblock at");
        assert_eq!(image.sb.has_super_backup(group), copy, "group {group}");
    }
}

#[test]
fn debugfs_extents_and_inodes() {
    let config = Config {
        name: "all",
        block_size: 1024,
        features: "orphan_file",
        inode_size: 256,
    };
    let Some(image) = populated(config) else {
        return;
    };
    for name in ["/frag", "/prealloc", "/small", "/many", "/long-link"] {
        let ino = image.lookup(InodeNo::ROOT, &name.as_bytes()[1..]).unwrap();
        let Some(text) = oracle::debugfs(&image.path, &format!("ex {name}")) else {
            return;
        };
        let (extents, _) = image.extents(ino);
        let ours = extents.iter().map(|e| {
            let uninit = e.state == ExtentState::Unwritten;
            let last = e.physical(e.block.checked_add(e.len - 1).unwrap()).unwrap();
            (
                e.block.get().into(),
                (e.end() - 1).into(),
                e.start.get(),
                last.get(),
                e.len.into(),
                uninit,
            )
        });
        assert_eq!(ours.collect::<Vec<_>>(), leaves(&text), "{name}\n{text}");

        let stat = oracle::debugfs(&image.path, &format!("stat {name}")).unwrap();
        let inode = image.inode(ino);
        let has = |what: String| assert!(stat.contains(&what), "{name}: {what}\n{stat}");
        has(format!("Inode: {ino} "));
        has(format!("Mode:  {:04o} ", inode.mode & 0o7777));
        has(format!("Flags: {:#x}", inode.flags.bits()));
        has(format!("Size: {}", inode.size));
        has(format!("Links: {} ", inode.links_count));
        has(format!("Blockcount: {}", inode.sectors));
        has(format!("Generation: {} ", inode.generation));
        has(format!("Size of extra inode fields: {}", inode.extra_isize));
        let words = |t: e4_format::Timestamp| format!("{:#010x}:{:08x}", t.sec, t.nsec << 2);
        has(format!("mtime: {}", words(inode.mtime)));
        has(format!("crtime: {}", words(inode.crtime)));
    }
}

/// Leaf lines of `ex`: `Level Entries Logical Physical Length Flags`.
fn leaves(text: &str) -> Vec<(u64, u64, u64, u64, u64, bool)> {
    let mut found = Vec::new();
    for line in text.lines() {
        let clean = line.replace(['/', '-'], " ");
        let words: Vec<&str> = clean.split_whitespace().collect();
        let n: Vec<u64> = words.iter().map_while(|w| w.parse().ok()).collect();
        // Leaves of depth 0 print two levels, two counts, four blocks and a length.
        if let [level, depth, _, _, l0, l1, p0, p1, len] = n[..]
            && level == depth
        {
            found.push((l0, l1, p0, p1, len, words.contains(&"Uninit")));
        }
    }
    found
}

#[test]
fn debugfs_hashes() {
    let names: Vec<String> = (1..=60)
        .map(|n| "n\u{e9}-_.x".chars().cycle().take(n).collect())
        .chain(["a", "lost+found", "\u{ff}\u{ff}\u{ff}"].map(String::from))
        .collect();
    let Some(_) = oracle::run("debugfs", &["-V"]) else {
        return;
    };
    let seeds = [
        ("", [0; 4]),
        (
            "-s 11111111-2222-3333-4444-5555555555f5 ",
            [0x1111_1111, 0x3333_2222, 0x5555_4444, 0xf555_5555],
        ),
    ];
    let script = tempfile::NamedTempFile::new().unwrap();
    for n in 0..6u8 {
        let algorithm = HashAlgorithm::from_raw(n % 3).unwrap();
        let version = HashVersion {
            algorithm,
            unsigned: n >= 3,
        };
        for (option, seed) in seeds {
            let line = |name| format!("dx_hash -h {n} {option}\"{name}\"\n");
            let lines: String = names.iter().map(line).collect();
            std::fs::write(script.path(), lines).unwrap();
            let path = script.path().to_str().unwrap();
            let text = oracle::text("debugfs", &["-f", path]).unwrap();
            let hashes = text.lines().filter_map(|l| l.strip_prefix("Hash of "));
            let hashes: Vec<&str> = hashes.collect();
            assert_eq!(hashes.len(), names.len(), "{text}");
            for (name, printed) in names.iter().zip(hashes) {
                let hash = version.hash(name.as_bytes(), seed);
                let ours = format!("{name} is {:#x} (minor {:#x})", hash.major, hash.minor);
                assert_eq!(ours, printed, "{version:?} {option}");
            }
        }
    }
}

#[test]
fn names_of_all_features() {
    let config = Config {
        name: "all",
        block_size: 1024,
        features: "",
        inode_size: 256,
    };
    let Some(mut image) = fresh(config) else {
        return;
    };
    // Every bit but journal_dev, which dumpe2fs would take for another kind of image.
    let words = [
        CompatFeatures::from_bits(!0).to_string(),
        IncompatFeatures::from_bits(!8).to_string(),
        RoCompatFeatures::from_bits(!0).to_string(),
    ];
    for (at, word) in [(0x5C, !0u32), (0x60, !8), (0x64, !0)] {
        image.bytes[1024 + at..1024 + at + 4].copy_from_slice(&word.to_le_bytes());
    }
    let sum = csum::crc32c(csum::CRC32C_INIT, &image.bytes[1024..2044]);
    image.bytes[2044..2048].copy_from_slice(&sum.to_le_bytes());
    image.save();
    let path = image.path.to_str().unwrap();
    let Some(out) = oracle::run("dumpe2fs", &["-h", "-f", path]) else {
        return;
    };
    let text = String::from_utf8_lossy(&out.stdout);
    let printed = text
        .lines()
        .find_map(|l| l.strip_prefix("Filesystem features:"))
        .unwrap();
    assert_eq!(printed.trim(), words.join(" "));
    for name in printed
        .split_whitespace()
        .filter(|n| !n.starts_with("FEATURE_"))
    {
        let words = (
            CompatFeatures::from_name(name).map(|f| f.to_string()),
            IncompatFeatures::from_name(name).map(|f| f.to_string()),
            RoCompatFeatures::from_name(name).map(|f| f.to_string()),
        );
        let (a, b, c) = words;
        assert_eq!(a.or(b).or(c).as_deref(), Some(name));
    }
}
