//! The rules, one test each.

use std::collections::HashSet;

use e4_format::FsBlock;

use super::image::{Fs, SHAPES, Usage, assert_clean, make};
use crate::alloc::{Account, Run};
use crate::error::Error;

fn no_space<T: std::fmt::Debug>(result: crate::error::Result<T>) -> bool {
    matches!(result, Err(Error::NoSpace { .. }))
}

/// Takes everything there is.
fn exhaust(fs: &Fs) -> Vec<Run> {
    let mut runs = Vec::new();
    loop {
        match fs.take(0, 30_000) {
            Ok(run) => runs.push(run),
            Err(error) => {
                assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                return runs;
            }
        }
    }
}

#[test]
fn every_free_block_is_found_once_and_metadata_never() {
    for (name, args, mib) in SHAPES {
        let Some(bytes) = make(args, *mib) else {
            return;
        };
        let fs = Fs::open(&bytes);
        let free = fs.fresh.free_blocks();
        assert_eq!(fs.alloc().free_blocks(), free, "{name}");
        let mut seen = HashSet::new();
        let runs = exhaust(&fs);
        for run in &runs {
            for block in run.start.get()..run.start.get() + u64::from(run.len) {
                assert!(
                    !fs.fresh.blocks[usize::try_from(block).unwrap()],
                    "{name}: {block} was in use"
                );
                assert!(seen.insert(block), "{name}: {block} handed out twice");
            }
        }
        assert_eq!(
            (seen.len() as u64, fs.alloc().free_blocks()),
            (free, 0),
            "{name}"
        );
        for run in runs {
            fs.give(run).unwrap();
        }
        let image = fs.close();
        assert_eq!(
            Usage::read(&image).blocks.len(),
            seen.len() + used(&bytes),
            "{name}"
        );
        assert_eq!(Usage::read(&image).free_blocks(), free, "{name}");
        assert_clean(&image);
    }
}

fn used(bytes: &[u8]) -> usize {
    Usage::read(bytes)
        .blocks
        .iter()
        .filter(|used| **used)
        .count()
}

#[test]
fn freed_blocks_wait_for_their_commit() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let runs = exhaust(&fs);
    fs.commit();
    let victim = runs[3];
    fs.give(victim).unwrap();
    assert!(fs.alloc().has_pending());
    assert_eq!(fs.alloc().free_blocks(), 0);
    assert_eq!(fs.alloc().free_blocks_on_disk(), u64::from(victim.len));
    assert!(
        no_space(fs.take(victim.start.get(), 1)),
        "reused before the commit"
    );
    fs.commit();
    assert!(!fs.alloc().has_pending());
    let again = fs.take(victim.start.get(), victim.len).unwrap();
    assert_eq!(again, victim);
    for run in runs {
        fs.give(run).unwrap();
    }
    assert_clean(&fs.close());
}

/// What one transaction freed is not released by the commit of an older one.
#[test]
fn an_older_commit_releases_nothing() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let (a, b) = (fs.take(9000, 10).unwrap(), fs.take(17_000, 10).unwrap());
    fs.commit();
    let mut handle = fs.handle();
    let older = e4_format::Tid::new(handle.tid().get().wrapping_sub(1));
    let now = handle.tid();
    fs.alloc().free(&mut handle, a.start, 10).unwrap();
    fs.alloc().free(&mut handle, b.start, 10).unwrap();
    fs.alloc().committed(older);
    assert!(fs.alloc().has_pending());
    fs.alloc().committed(now);
    assert!(!fs.alloc().has_pending());
    drop(handle);
    assert_clean(&fs.close());
}

#[test]
fn promised_blocks_are_kept_for_metadata() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    assert!(fs.alloc().promise(5));
    let mut runs = exhaust(&fs);
    assert_eq!(fs.alloc().free_blocks_on_disk(), 5);
    assert!(!fs.alloc().promise(1));
    for _ in 0..4 {
        runs.push(fs.take_from(0, 1, Account::Promised).unwrap());
    }
    assert!(no_space(fs.take(0, 1)));
    fs.alloc().release_promise(1);
    runs.push(fs.take(0, 7).unwrap());
    assert_eq!(runs.last().unwrap().len, 1);
    assert!(no_space(fs.take_from(0, 1, Account::Promised)));
    for run in runs {
        fs.give(run).unwrap();
    }
    assert_clean(&fs.close());
}

#[test]
fn requests_are_met_in_one_run_and_continue_at_the_goal() {
    let Some(bytes) = make(&["-b", "4096"], 256) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let big = fs.take(0, 20_000).unwrap();
    assert_eq!(big.len, 20_000, "a fresh image has runs that long");
    let mut runs = vec![big];
    let mut goal = big.start.get() + u64::from(big.len);
    for _ in 0..50 {
        let run = fs.take(goal, 16).unwrap();
        assert_eq!(
            (run.start.get(), run.len),
            (goal, 16),
            "a file grows in place"
        );
        goal += 16;
        runs.push(run);
    }
    // A goal in a group that was never used.
    let bpg = u64::from(fs.sb().blocks_per_group());
    let run = fs.take(bpg + 5000, 100).unwrap();
    assert_eq!((run.start.get(), run.len), (bpg + 5000, 100));
    runs.push(run);
    // A goal in use: near it, behind it.
    let near = fs.take(bpg + 5050, 10).unwrap();
    assert_eq!(near.start.get(), bpg + 5100);
    runs.push(near);
    for run in runs {
        fs.give(run).unwrap();
    }
    assert_clean(&fs.close());
}

/// A large request on a large image of groups that were never used does not look at all of them, and
/// takes a whole group rather than pieces.
#[test]
fn large_requests_prefer_whole_groups() {
    let Some(bytes) = make(&["-b", "1024", "-g", "1024", "-N", "2048"], 40) else {
        return;
    };
    let fs = Fs::open(&bytes);
    // Fragment the first groups: every second block of what is free there.
    let mut singles = Vec::new();
    for block in (1025..6000).step_by(2) {
        let run = fs.take(block, 1).unwrap();
        singles.push(run);
    }
    let run = fs.take(1025, 900).unwrap();
    assert_eq!(run.len, 900);
    fs.give(run).unwrap();
    for run in singles {
        fs.give(run).unwrap();
    }
    assert_clean(&fs.close());
}

#[test]
fn blocks_that_are_not_the_files_cannot_be_freed() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let run = fs.take(9000, 10).unwrap();
    let refused = |start: u64, len: u64| {
        let freed = fs.alloc().free(&mut fs.handle(), FsBlock::new(start), len);
        assert!(
            matches!(freed, Err(Error::Group { .. })),
            "{start}+{len}: {freed:?}"
        );
    };
    refused(0, 1); // boot block
    refused(1, 1); // superblock
    refused(2, 1); // descriptors
    refused(32 * 1024, 1); // behind the end
    refused(32 * 1024 - 1, 2);
    refused(u64::MAX - 3, 2);
    refused(8193, 1); // backup superblock of group 1
    assert!(fs.alloc().is_protected(FsBlock::new(8193), 1));
    fs.give(run).unwrap();
    refused(run.start.get(), 1); // twice
    fs.commit();
    // The group of the double free is out of use, the others are not.
    let group = |block: u64| fs.sb().group_of_block(FsBlock::new(block)).unwrap().0;
    let other = fs.take(run.start.get(), 1).unwrap();
    assert_ne!(group(other.start.get()), group(run.start.get()));
    fs.give(other).unwrap();
    assert_clean(&fs.close());
}

/// A handle without credits: an error, and nothing has changed.
#[test]
fn no_credits_no_change() {
    let Some(bytes) = make(&["-b", "1024", "-N", "512"], 32) else {
        return;
    };
    let fs = Fs::open(&bytes);
    let before = fs.alloc().free_blocks();
    for credits in [0, 1] {
        let mut handle = fs.mounted_start(credits);
        let got = fs
            .alloc()
            .alloc(&mut handle, FsBlock::new(9000), 4, Account::Free);
        assert!(matches!(got, Err(Error::Journal(_))), "{got:?}");
    }
    assert_eq!(fs.alloc().free_blocks(), before);
    assert_eq!(Usage::read(&fs.image()), fs.fresh);
    let run = fs.take(9000, 4).unwrap();
    for credits in [0, 1] {
        fs.commit();
        let mut handle = fs.mounted_start(credits);
        assert!(fs.alloc().free(&mut handle, run.start, 4).is_err());
    }
    assert!(!fs.alloc().has_pending());
    fs.give(run).unwrap();
    assert_clean(&fs.close());
}
