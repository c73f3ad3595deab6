//! Verdicts against those of `e2fsck -fn` on damaged images: single fields changed with their checksums
//! put right, and random bytes changed without.
//!
//! Prints how often the two agree; `E4_MUTATIONS=n` sets how many images are tried (default 300), `E4_SEED`
//! which. A disagreement has to be one of those [`explained`] here; others may be one in a hundred.

mod support;

use e4_check::{Report, Severity, Verdict};
use e4_format::FileType;
use std::collections::BTreeMap;
use std::path::Path;
use support::edit::{Block, Image, Survey, put32};
use support::{Mounted, check, fill, have, list, must_run, run, scratch, sparse_file};

/// A small random number generator (splitmix64): the same images in every run.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n as u64).unwrap()
    }
}

/// Changes something at `at`: one bit, one byte, or a little-endian word by a little.
fn damage(random: &mut Random, bytes: &mut [u8], at: usize) {
    match random.below(4) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = bytes[at].wrapping_add(1),
        2 => {
            let new = u8::try_from(random.below(256)).unwrap();
            bytes[at] = if new == bytes[at] { !new } else { new };
        }
        _ => {
            let at = at & !3;
            let old = u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
            let new = if old == 0 { 1 } else { 0 };
            put32(bytes, at, new);
        }
    }
}

/// An inode in use; half of the time not one of the many plain files.
fn pick_inode(random: &mut Random, survey: &Survey) -> (u32, Option<FileType>) {
    let any = survey.inodes[random.below(survey.inodes.len())];
    if random.below(2) == 0 {
        return any;
    }
    let rare: Vec<_> = survey
        .inodes
        .iter()
        .filter(|(n, kind)| *n < 16 || *kind != Some(FileType::Regular))
        .collect();
    *rare[random.below(rare.len())]
}

/// A block, each kind as often as the others.
fn pick_block(random: &mut Random, survey: &Survey) -> Block {
    let mut kinds: BTreeMap<u8, Vec<Block>> = BTreeMap::new();
    for block in &survey.blocks {
        let kind = match block {
            Block::Dir { kind: None, .. } => 0,
            Block::Dir { kind: Some(_), .. } => 1,
            Block::Extent { .. } => 2,
            Block::Indirect { .. } => 3,
            Block::Xattr { .. } => 4,
            Block::Orphan { .. } => 5,
            Block::Journal { .. } => 6,
        };
        kinds.entry(kind).or_default().push(*block);
    }
    let of_kind = kinds.values().nth(random.below(kinds.len())).unwrap();
    of_kind[random.below(of_kind.len())]
}

/// One mutation; what it was, for the listing.
fn mutate(random: &mut Random, image: &mut Image, survey: &Survey) -> (String, String) {
    let fixed = random.below(4) != 0;
    let group = u32::try_from(random.below(image.sb.groups() as usize)).unwrap();
    let class = random.below(8);
    if !fixed {
        // A byte of any metadata block, checksum left alone.
        let (what, block) = match class {
            0 => ("superblock", u64::from(image.sb.first_data_block())),
            1 => ("descriptors", image.sb.gdt_block(0).unwrap().get()),
            2 => ("block bitmap", image.desc(group).block_bitmap.get()),
            3 => ("inode bitmap", image.desc(group).inode_bitmap.get()),
            4 | 5 => {
                let (ino, _) = pick_inode(random, survey);
                let place = image.sb.inode_location(support::edit::ino(ino)).unwrap();
                let table = image.desc(place.group.get()).inode_table.get();
                ("inode table", table + u64::from(place.table_block))
            }
            _ => match pick_block(random, survey) {
                Block::Dir { block, .. } => ("directory", block),
                Block::Extent { block, .. } => ("extents", block),
                Block::Indirect { block } => ("indirect", block),
                Block::Xattr { block } => ("attributes", block),
                Block::Orphan { block, .. } => ("orphan file", block),
                Block::Journal { block } => ("journal", block),
            },
        };
        let len = image.block(block).len();
        let at = random.below(len);
        let bytes = image.block_mut(block);
        let before = bytes.to_vec();
        damage(random, bytes, at);
        let at = before
            .iter()
            .zip(bytes.iter())
            .position(|(a, b)| a != b)
            .unwrap_or(at);
        return (format!("raw {what}"), format!("block {block} byte {at:#x}"));
    }
    match class {
        0 => {
            let at = random.below(1020);
            image.superblock(|b| damage(random, b, at));
            ("superblock".into(), format!("byte {at:#x}"))
        }
        1 => {
            let at = random.below(image.sb.desc_size());
            image.descriptor(group, |b| damage(random, b, at));
            ("descriptor".into(), format!("group {group} byte {at:#x}"))
        }
        2 => {
            let at = random.below(image.sb.block_size().len());
            image.block_bitmap(group, |b| damage(random, b, at));
            ("block bitmap".into(), format!("group {group} byte {at:#x}"))
        }
        3 => {
            let at = random.below(image.sb.block_size().len());
            image.inode_bitmap(group, |b| damage(random, b, at));
            ("inode bitmap".into(), format!("group {group} byte {at:#x}"))
        }
        4 | 5 => {
            let (n, kind) = pick_inode(random, survey);
            let at = random.below(160.min(image.sb.inode_size()));
            image.inode(n, |b| damage(random, b, at));
            ("inode".into(), format!("{n} ({kind:?}) byte {at:#x}"))
        }
        _ => mutate_block(random, image, survey),
    }
}

fn mutate_block(random: &mut Random, image: &mut Image, survey: &Survey) -> (String, String) {
    let chosen = pick_block(random, survey);
    let len = image.sb.block_size().len();
    // Most of what matters is at the start of a block.
    let at = if random.below(2) == 0 {
        random.below(64)
    } else {
        random.below(len - 12)
    };
    let place = format!("{chosen:?} byte {at:#x}");
    let what = match chosen {
        Block::Dir { ino, block, kind } => {
            image.dir_block(ino, block, kind, |b| damage(random, b, at));
            if kind.is_some() { "htree" } else { "directory" }
        }
        Block::Extent { ino, block } => {
            image.extent_block(ino, block, |b| damage(random, b, at));
            "extents"
        }
        Block::Indirect { block } => {
            damage(random, image.block_mut(block), at);
            "indirect"
        }
        Block::Xattr { block } => {
            image.xattr_block(block, |b| damage(random, b, at));
            "attributes"
        }
        Block::Orphan { ino, block } => {
            image.orphan_block(ino, block, |b| damage(random, b, at));
            "orphan file"
        }
        Block::Journal { block } => {
            damage(random, image.block_mut(block), at);
            "journal"
        }
    };
    (what.into(), place)
}

/// A filled image; `None` if this machine cannot make one.
fn base(dir: &Path, args: &str) -> Option<Image> {
    let path = sparse_file(dir, "base", 24 << 20);
    let mut all = vec!["-q", "-F", "-N", "3000"];
    all.extend(args.split(' '));
    must_run("mke2fs", &all, &path);
    let mounted = Mounted::new(&path, &dir.join("mnt"))?;
    fill(&mounted.at, 1200);
    drop(mounted);
    must_run("e2fsck", &["-fn"], &path);
    Some(Image::new(std::fs::read(&path).unwrap()))
}

/// Why the two disagree, if that is as it should be.
fn explained(report: &Report, said: &str) -> Option<&'static str> {
    let reasons: &[(&str, &str)] = if report.is_clean() {
        &[
            (
                "unsupported feature",
                "e2fsck refuses unknown compatible features, which may be ignored",
            ),
            (
                "Can't find external journal",
                "e2fsck looks for an external journal",
            ),
            (
                "critical metadata",
                "e2fsck reads inodes as the creator's operating system laid them out",
            ),
        ]
    } else {
        &[
            (
                "OrphanList",
                "e2fsck -n does not follow the list of orphans",
            ),
            (
                "OrphanLoop",
                "e2fsck -n does not follow the list of orphans",
            ),
            ("OrphanEntry", "e2fsck -n does not follow the orphan file"),
            (
                "extent node: depth",
                "e2fsck does not compare a node's depth with its parent's; the kernel does",
            ),
            (
                "InodeField",
                "e2fsck looks at these fields only in inodes that a directory names",
            ),
            (
                "JournalSuperblock",
                "e2fsck does not check the bounds of an empty log; a mount does",
            ),
            (
                "XattrOutside",
                "e2fsck does not look for attributes of system inodes",
            ),
            (
                "SectorCount",
                "e2fsck does not count the sectors of the orphan file",
            ),
        ]
    };
    let of_ours = |kind: &str| {
        let errors = report
            .problems
            .iter()
            .filter(|p| p.severity() >= Severity::Error);
        errors
            .into_iter()
            .any(|p| p.kind() == kind || p.to_string().contains(kind))
    };
    let hit = |text: &str| {
        if report.is_clean() {
            said.contains(text)
        } else {
            of_ours(text)
        }
    };
    reasons
        .iter()
        .find(|(text, _)| hit(text))
        .map(|(_, why)| *why)
}

#[derive(Default, Clone, Copy)]
struct Tally {
    both_clean: u32,
    both_damaged: u32,
    only_ours: u32,
    only_theirs: u32,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.both_clean += other.both_clean;
        self.both_damaged += other.both_damaged;
        self.only_ours += other.only_ours;
        self.only_theirs += other.only_theirs;
    }
}

/// What came out of all comparisons.
#[derive(Default)]
struct Outcome {
    tallies: BTreeMap<String, Tally>,
    explained: BTreeMap<&'static str, u32>,
    unexplained: Vec<String>,
}

impl Outcome {
    /// Has both judge one image.
    fn compare(&mut self, image: &Image, scratch: &Path, class: &str, place: &str) {
        let path = scratch.join("mutant");
        std::fs::write(&path, &image.bytes).unwrap();
        let out = run("e2fsck", &["-fn"], &path);
        let both = [out.stdout, out.stderr].concat();
        let said = String::from_utf8_lossy(&both);
        // It ends with 0 after some complaints that it was not allowed to mend.
        let theirs = out.status.code() == Some(0) && !said.contains("? no");
        let report = check(&image.device());
        let ours = report.is_clean();
        let one = Tally {
            both_clean: u32::from(ours && theirs),
            both_damaged: u32::from(!ours && !theirs),
            only_ours: u32::from(!ours && theirs),
            only_theirs: u32::from(ours && !theirs),
        };
        self.tallies.entry(class.to_owned()).or_default().add(one);
        let place = format!("{class} {place}");
        assert!(report.verdict != Verdict::Unusable || !theirs, "{place}");
        if ours == theirs {
            return;
        }
        if let Some(why) = explained(&report, &said) {
            *self.explained.entry(why).or_default() += 1;
            return;
        }
        let said: Vec<_> = said
            .lines()
            .filter(|l| !l.is_empty() && !l.starts_with("Pass ") && !l.contains("WARNING"))
            .take(4)
            .collect();
        let code = out.status.code();
        let ours = list(&report);
        self.unexplained.push(format!(
            "{place}\n    e2fsck {code:?}: {said:?}\n    e4: {ours}"
        ));
    }

    /// Prints the figures; (agreements, all).
    fn print(&self) -> (u32, u32) {
        let head = [
            "both clean",
            "both damaged",
            "only e4 complains",
            "only e2fsck complains",
        ];
        println!(
            "{:20} {:>12} {:>14} {:>18} {:>22}",
            "class", head[0], head[1], head[2], head[3]
        );
        let mut sum = Tally::default();
        let line = |name: &str, t: &Tally| {
            let Tally {
                both_clean,
                both_damaged,
                only_ours,
                only_theirs,
            } = t;
            println!("{name:20} {both_clean:12} {both_damaged:14} {only_ours:18} {only_theirs:22}");
        };
        for (class, tally) in &self.tallies {
            line(class, tally);
            sum.add(*tally);
        }
        line("all", &sum);
        let agree = sum.both_clean + sum.both_damaged;
        let all = agree + sum.only_ours + sum.only_theirs;
        let percent = f64::from(agree) * 100.0 / f64::from(all.max(1));
        println!("agreement: {agree} of {all} ({percent:.1} %)");
        for (why, count) in &self.explained {
            println!("explained, {count}: {why}");
        }
        for text in &self.unexplained {
            println!("UNEXPLAINED: {text}");
        }
        (agree, all)
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(default)
}

#[test]
fn verdicts_of_e2fsck() {
    if !have("mke2fs") || !have("e2fsck") {
        return;
    }
    let dir = scratch();
    let (count, seed) = (number("E4_MUTATIONS", 300), number("E4_SEED", 1));
    let shapes = [
        "-t ext4 -O orphan_file,metadata_csum_seed",
        "-t ext4 -b 4096",
        "-t ext4 -O ^metadata_csum,^64bit",
        "-t ext3",
    ];
    let mut outcome = Outcome::default();
    for shape in shapes {
        let Some(original) = base(dir.path(), shape) else {
            return;
        };
        let survey = Survey::of(&original);
        let mut random = Random(seed);
        for _ in 0..count / shapes.len() as u64 {
            let mut image = original.clone();
            let (class, place) = mutate(&mut random, &mut image, &survey);
            outcome.compare(&image, dir.path(), &class, &format!("{place} ({shape})"));
        }
    }
    let (agree, all) = outcome.print();
    let unexplained = u32::try_from(outcome.unexplained.len()).unwrap();
    assert!(
        agree * 100 >= all * 97,
        "agreement fell to {agree} of {all}"
    );
    assert!(
        unexplained * 100 <= all,
        "{unexplained} of {all} are not explained"
    );
}
