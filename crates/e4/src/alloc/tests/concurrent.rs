//! Several threads on one allocator.

use e4_sync::atomic::{AtomicBool, AtomicU32, Ordering};
use e4_sync::{Arc, thread};

use super::image::{Fs, Rng, Usage, assert_clean, make};
use crate::alloc::Run;
use crate::error::Error;

/// Four threads take and give blocks, a fifth commits. No block is ever owned twice.
#[test]
fn threads_never_share_a_block() {
    let Some(bytes) = make(&["-b", "1024", "-g", "1024", "-N", "2048"], 24) else {
        return;
    };
    let fs = Arc::new(Fs::open(&bytes));
    let owners: Arc<Vec<AtomicU32>> = Arc::new(
        (0..fs.fresh.blocks.len())
            .map(|_| AtomicU32::new(0))
            .collect(),
    );
    let done = Arc::new(AtomicBool::new(false));
    let committer = {
        let (fs, done) = (Arc::clone(&fs), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Acquire) {
                fs.commit();
            }
        })
    };
    let worker = |id: u32| {
        let (fs, owners) = (Arc::clone(&fs), Arc::clone(&owners));
        thread::spawn(move || work(&fs, &owners, id))
    };
    let workers: Vec<_> = (1..=4).map(worker).collect();
    let taken: u64 = workers.into_iter().map(|w| w.join().unwrap()).sum();
    done.store(true, Ordering::Release);
    committer.join().unwrap();
    let fs = Arc::into_inner(fs).unwrap();
    let fresh = fs.fresh.clone();
    let image = fs.close();
    assert_eq!(Usage::read(&image), fresh);
    assert_clean(&image);
    eprintln!("four threads: {taken} runs taken and given back");
}

fn work(fs: &Fs, owners: &[AtomicU32], id: u32) -> u64 {
    let mut rng = Rng(id.into());
    let mut mine: Vec<Run> = Vec::new();
    let mut taken = 0;
    let blocks = |run: Run| {
        let from = usize::try_from(run.start.get()).unwrap();
        &owners[from..from + run.len as usize]
    };
    for _ in 0..1500 {
        if rng.below(2) == 0 {
            let want = u32::try_from(1 + rng.below(200)).unwrap();
            match fs.take(rng.below(owners.len() as u64), want) {
                Ok(run) => {
                    for owner in blocks(run) {
                        assert_eq!(owner.swap(id, Ordering::AcqRel), 0, "owned twice");
                    }
                    mine.push(run);
                    taken += 1;
                }
                Err(error) => {
                    assert!(matches!(error, Error::NoSpace { .. }), "{error}");
                    fs.commit();
                }
            }
        } else if !mine.is_empty() {
            let at = usize::try_from(rng.below(mine.len() as u64)).unwrap();
            give(fs, blocks(mine[at]), mine.swap_remove(at), id);
        }
    }
    for run in mine {
        give(fs, blocks(run), run, id);
    }
    taken
}

fn give(fs: &Fs, owners: &[AtomicU32], run: Run, id: u32) {
    for owner in owners {
        assert_eq!(owner.swap(0, Ordering::AcqRel), id);
    }
    fs.give(run).unwrap();
}
