//! The unwritten-extent corpus: e4 reads it right, the judges find it sound, and a reader that takes unwritten blocks for
//! contents is found out.

use e4::device::{Device, MemoryDevice};
use e4::{Filesystem, MountOptions, OpenFlags};
use e4_hostile::unwritten::{self, Case, Image, Verdict, judge};
use e4_sync::Arc;
use std::collections::BTreeMap;

fn open(image: &Image) -> Filesystem {
    let device: Arc<dyn Device> = Arc::new(MemoryDevice::from_bytes(&image.bytes));
    let options = MountOptions {
        read_only: true,
        ..MountOptions::default()
    };
    Filesystem::open(device, &options).unwrap()
}

fn read(fs: &Filesystem, case: &Case) -> Vec<u8> {
    let file = fs.open_file(&case.path, OpenFlags::read()).unwrap();
    let mut found = vec![0; usize::try_from(file.size()).unwrap()];
    let len = file.read_at(0, &mut found).unwrap();
    found.truncate(len);
    found
}

#[test]
fn e4_reads_all_of_it() {
    for image in unwritten::all().unwrap() {
        let device = MemoryDevice::from_bytes(&image.bytes);
        let report = e4_check::check(&device, &e4_check::Options::default(), &mut |_| {});
        assert!(report.is_clean(), "{}: {:?}", image.name, report.problems);
        assert!(report.stats.unwritten_blocks > 100);
        let fs = open(&image);
        for case in &image.cases {
            let found = read(&fs, case);
            assert_eq!(
                judge(case, &found, true),
                Verdict::Right,
                "{} {}",
                image.name,
                case.path
            );
        }
    }
}

/// A reader that knows extents but not that they can be unwritten.
#[test]
fn a_careless_reader_is_found_out() {
    let mut verdicts: BTreeMap<Verdict, u32> = BTreeMap::new();
    for image in unwritten::all().unwrap() {
        let fs = open(&image);
        let block = usize::try_from(fs.superblock().block_size().bytes()).unwrap();
        for case in &image.cases {
            let file = fs.open_file(&case.path, OpenFlags::read()).unwrap();
            let mut found = vec![0; case.contents.len().next_multiple_of(block)];
            for e in file.extents().unwrap() {
                for n in 0..e.len {
                    let from = usize::try_from(e.start.get() + u64::from(n)).unwrap() * block;
                    let to = (e.block.get() + n) as usize * block;
                    if let Some(to) = found.get_mut(to..to + block) {
                        to.copy_from_slice(&image.bytes[from..from + block]);
                    }
                }
            }
            found.truncate(case.contents.len());
            *verdicts.entry(judge(case, &found, true)).or_default() += 1;
        }
    }
    assert_eq!(verdicts.get(&Verdict::Right), Some(&6), "{verdicts:?}");
    assert_eq!(verdicts.get(&Verdict::Stale), Some(&30), "{verdicts:?}");
}

#[test]
fn verdicts() {
    let case = Case {
        path: "/x".into(),
        about: "",
        contents: vec![1, 0, 0, 2],
    };
    let p = unwritten::POISON;
    for (found, ok, verdict) in [
        (vec![1, 0, 0, 2], true, Verdict::Right),
        (vec![1, p, 0, 2], true, Verdict::Stale),
        (vec![1, 0], true, Verdict::Length),
        (vec![1, 7, 0, 2], true, Verdict::Wrong),
        (vec![], false, Verdict::Refused),
    ] {
        assert_eq!(judge(&case, &found, ok), verdict, "{found:?}");
    }
}
