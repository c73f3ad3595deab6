//! dumpe2fs says the same about our image and about that of mke2fs for the same size and features, but
//! for the differences the crate's documentation lists.

mod support;

use e4_mkfs::{Features, Medium, Params};
use std::collections::BTreeMap;
use std::path::Path;
use support::{have, run, scratch, sparse_file};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const UUID: &str = "00112233-4455-6677-8899-aabbccddeeff";
const SEED: &str = "ffeeddcc-bbaa-9988-7766-554433221100";

/// Header fields of `dumpe2fs -h` that may differ.
const MAY_DIFFER: [&str; 5] = [
    "Checksum",
    "Lifetime writes",
    "Filesystem created",
    "Last write time",
    "Last checked",
];

fn uuid_bytes(text: &str) -> [u8; 16] {
    let hex: String = text.chars().filter(|c| *c != '-').collect();
    let mut bytes = [0; 16];
    for (n, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap();
    }
    bytes
}

/// The fields of the header, and per group flags, free counts and copies.
#[derive(Debug, PartialEq, Default)]
struct Dump {
    header: BTreeMap<String, String>,
    groups: Vec<Vec<String>>,
}

fn dump(image: &Path) -> Dump {
    let out = run("dumpe2fs", &[], image);
    assert!(
        out.status.success(),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let text = String::from_utf8_lossy(&out.stdout);
    let mut dump = Dump::default();
    for line in text.lines() {
        let t = line.trim();
        if line.starts_with("Group ") && line.contains("(Blocks ") {
            let range = t.split(')').next().unwrap_or(t).to_owned();
            dump.groups.push(vec![range]);
        } else if let Some(group) = dump.groups.last_mut() {
            let copy =
                t.starts_with("Primary") || t.starts_with("Backup") || t.starts_with("Reserved");
            if copy || t.ends_with(" unused inodes") || t.ends_with(" directories") {
                group.push(t.to_owned());
            }
        } else if let Some((key, value)) = t.split_once(':') {
            dump.header.insert(key.to_owned(), value.trim().to_owned());
        }
    }
    dump
}

struct Case {
    size: u64,
    list: &'static str,
    args: &'static [&'static str],
    edit: fn(&mut Params),
}

fn compare(dir: &Path, case: &Case) {
    let Case {
        size,
        list,
        args,
        edit,
    } = case;
    let what = format!("{size} bytes, -O {list}, {args:?}");
    let theirs = sparse_file(dir, "theirs", *size);
    // 1.47.0 has orphan_file and metadata_csum_seed, but its configuration does not switch them on.
    let options = format!("orphan_file,metadata_csum_seed,{list}");
    let seed = format!("hash_seed={SEED}");
    let mut all = vec![
        "-q", "-F", "-t", "ext4", "-O", &options, "-U", UUID, "-E", &seed,
    ];
    all.extend(*args);
    let out = run("mke2fs", &all, &theirs);
    assert!(
        out.status.success(),
        "{what}: {}",
        String::from_utf8_lossy(&out.stderr)
    );

    let ours = sparse_file(dir, "ours", *size);
    let mut params = Params {
        medium: Medium::Zeroed,
        uuid: Some(uuid_bytes(UUID)),
        hash_seed: Some(uuid_bytes(SEED)),
        features: Features::ext4(),
        ..Params::default()
    };
    params.features.apply(list).unwrap();
    edit(&mut params);
    let device = e4_device::open(&ours, &e4_device::OpenOptions::default()).unwrap();
    e4_mkfs::format(&*device, &params, &mut |_| {}).unwrap_or_else(|e| panic!("{what}: {e}"));
    drop(device);

    let (mut a, mut b) = (dump(&theirs), dump(&ours));
    for key in MAY_DIFFER {
        a.header.remove(key);
        b.header.remove(key);
    }
    for (key, value) in &a.header {
        assert_eq!(b.header.get(key), Some(value), "{what}: {key}");
    }
    assert_eq!(a.header.len(), b.header.len(), "{what}: {:?}", b.header);
    assert_eq!(a.groups.len(), b.groups.len(), "{what}");
    compare_groups(&what, &a, &b);
}

/// Ranges and copies must be equal; what depends on where journal and tables went only in sum.
fn compare_groups(what: &str, a: &Dump, b: &Dump) {
    let copies = |d: &Dump| -> Vec<Vec<String>> {
        let fixed = |l: &&String| !l.contains(" free blocks");
        d.groups
            .iter()
            .map(|g| g.iter().filter(fixed).cloned().collect())
            .collect()
    };
    assert_eq!(copies(a), copies(b), "{what}");
    let sums = |d: &Dump| {
        let mut sums = [0u64; 4];
        for line in d
            .groups
            .iter()
            .flatten()
            .filter(|l| l.contains(" free blocks"))
        {
            for (sum, word) in sums.iter_mut().zip(line.split(", ")) {
                let n = word.split(' ').next().and_then(|n| n.parse::<u64>().ok());
                *sum += n.unwrap_or_default();
            }
        }
        sums
    };
    assert_eq!(
        sums(a),
        sums(b),
        "{what}: free blocks, free inodes, directories, unused inodes"
    );
}

#[test]
fn sizes() {
    if !have("mke2fs") || !have("dumpe2fs") {
        return;
    }
    let dir = scratch();
    for size in [
        200 << 10,
        MIB,
        2 * MIB,
        2049 << 10,
        3 * MIB,
        8500 << 10,
        8700 << 10,
        10 * MIB,
        33 * MIB,
        64 * MIB,
        100 * MIB,
        129 * MIB,
        255 * MIB,
        300 * MIB,
        511 * MIB,
        512 * MIB,
        1000 * MIB,
        GIB,
        4 * GIB,
        17 * GIB,
        33 * GIB,
        130 * GIB,
    ] {
        compare(
            dir.path(),
            &Case {
                size,
                list: "",
                args: &[],
                edit: |_| {},
            },
        );
    }
}

#[test]
fn features_and_options() {
    if !have("mke2fs") || !have("dumpe2fs") {
        return;
    }
    let dir = scratch();
    let cases = [
        Case {
            size: 70 * MIB,
            list: "^resize_inode",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^flex_bg",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^64bit",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^64bit,^extent",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^sparse_super,^resize_inode",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "sparse_super2",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^has_journal,^orphan_file",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^metadata_csum,^metadata_csum_seed",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "^metadata_csum,^metadata_csum_seed,uninit_bg",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "none",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 700 * MIB,
            list: "^large_file",
            args: &[],
            edit: |_| {},
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-b", "2048"],
            edit: |p| p.block_size = Some(2048),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-b", "4096"],
            edit: |p| p.block_size = Some(4096),
        },
        Case {
            size: 3 * GIB,
            list: "",
            args: &["-b", "1024"],
            edit: |p| p.block_size = Some(1024),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-I", "128"],
            edit: |p| p.inode_size = Some(128),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-I", "512"],
            edit: |p| p.inode_size = Some(512),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-N", "3000"],
            edit: |p| p.inodes = Some(3000),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-i", "65536"],
            edit: |p| p.bytes_per_inode = Some(65536),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-m", "1"],
            edit: |p| p.reserved_percent = 1.0,
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-G", "4"],
            edit: |p| p.flex_bg_size = Some(4),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-g", "4096"],
            edit: |p| p.blocks_per_group = Some(4096),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-J", "size=2"],
            edit: |p| p.journal_mib = Some(2),
        },
        Case {
            size: 70 * MIB,
            list: "",
            // The last -E counts, so the seed is repeated.
            args: &[
                "-E",
                "resize=10000000,hash_seed=ffeeddcc-bbaa-9988-7766-554433221100",
            ],
            edit: |p| p.resize_limit = Some(10_000_000),
        },
        Case {
            size: 70 * MIB,
            list: "",
            args: &["-L", "a label", "-M", "/somewhere"],
            edit: |p| (p.label, p.last_mounted) = ("a label".into(), "/somewhere".into()),
        },
        Case {
            size: 700 * MIB,
            list: "",
            args: &["-T", "largefile4"],
            edit: |p| p.usage = e4_mkfs::Usage::from_name("largefile4"),
        },
        Case {
            size: 700 * MIB,
            list: "",
            args: &["-T", "news"],
            edit: |p| p.usage = e4_mkfs::Usage::from_name("news"),
        },
    ];
    for case in &cases {
        compare(dir.path(), case);
    }
}
