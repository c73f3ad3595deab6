//! The whole filesystem under power cuts: every write, every state within the bound, every promise.

use e4_sim::Bound;
use e4_sim::explore::{self, ExploreReport, Params, Planted};

fn quick() -> Bound {
    Bound {
        exhaustive: 2,
        reorderings: 2,
        torn: 1,
        seed: 7,
    }
}

fn explored(params: &Params, bound: Bound) -> ExploreReport {
    let report = explore::run(params, bound, &mut |_| {});
    eprintln!("seed {}: {report}", params.seed);
    report
}

fn must_be_clean(params: &Params, bound: Bound) {
    let report = explored(params, bound);
    assert!(report.is_clean(), "{params:?}\n{report}");
    assert!(report.states > 300, "only {} states", report.states);
}

#[test]
fn small_workloads_survive_every_cut() {
    for seed in 1..=6 {
        // States that repeat earlier ones are passed over and not counted: longer than the others.
        let params = Params {
            operations: 90,
            ..Params::small(seed)
        };
        must_be_clean(&params, quick());
    }
}

/// Through the page cache as well: what was not synced may be lost, what was fsynced may not, and no stale byte shows.
#[test]
fn buffered_workloads_survive_every_cut() {
    for seed in 40..=47 {
        let params = Params {
            buffered: true,
            names: seed % 2 == 0,
            block_size: [1024, 2048][seed as usize % 3 % 2],
            // Fewer of them reach the disk than of direct writes.
            operations: 140,
            ..Params::small(seed)
        };
        must_be_clean(&params, quick());
    }
}

/// `E4_SEEDS=100-200 cargo test --release -p e4-sim --test explore many_seeds -- --ignored --nocapture`
#[test]
#[ignore = "long; for soak runs"]
fn many_seeds() {
    let range = std::env::var("E4_SEEDS").unwrap_or_else(|_| "100-110".into());
    let (first, last) = range.split_once('-').expect("E4_SEEDS=first-last");
    let (first, last): (u64, u64) = (first.parse().unwrap(), last.parse().unwrap());
    for seed in first..=last {
        must_be_clean(&varied(seed), quick());
    }
}

/// Other block sizes, features and depths, by the seed.
fn varied(seed: u64) -> Params {
    let features = [
        "",
        "^orphan_file",
        "^metadata_csum",
        "^64bit",
        "^metadata_csum,^64bit,uninit_bg",
    ];
    Params {
        block_size: [1024, 2048, 4096][seed as usize % 3],
        size: [8 << 20, 8 << 20, 16 << 20][seed as usize % 3],
        features: features[seed as usize / 3 % features.len()],
        depth: [1, 4, 12][seed as usize / 7 % 3],
        file_blocks: [8, 32, 64][seed as usize / 5 % 3],
        operations: 100,
        cut_recovery_every: 97,
        buffered: seed % 4 == 1,
        ..Params::small(seed)
    }
}

#[test]
fn block_sizes_and_features() {
    for seed in 20..=34 {
        must_be_clean(&varied(seed), quick());
    }
}

/// Files and directories mapped by pointers: nothing is ever unwritten, so data comes before its mapping.
#[test]
fn without_extents() {
    let kinds = [
        "^extent,^64bit",
        "^extent,^64bit,^metadata_csum,^orphan_file,^flex_bg,^huge_file",
    ];
    for seed in 40..=45 {
        let params = Params {
            block_size: [1024, 2048, 1024][seed as usize % 3],
            features: kinds[seed as usize % 2],
            file_blocks: [16, 400, 32][seed as usize % 3],
            names: seed % 2 == 0,
            operations: 120,
            fsck_every: 61,
            ..Params::small(seed)
        };
        must_be_clean(&params, quick());
    }
}

/// What the demonstration explores.
#[test]
fn the_demo() {
    must_be_clean(&Params::demo(), Params::demo_bound());
}

/// Each bug must be seen, whatever the seed of the workload.
#[test]
fn planted_bugs_are_caught() {
    for planted in Planted::ALL {
        for seed in 1..=3 {
            let params = Params {
                planted,
                stop_at_first: true,
                ..Params::small(seed)
            };
            let report = explored(&params, quick());
            eprintln!("{planted:?}: {report}");
            assert_eq!(report.failed_operations, 0, "{planted:?}: {report}");
            assert!(
                !report.is_clean(),
                "{planted:?} was not noticed with seed {seed}"
            );
        }
    }
}

#[test]
fn flip_before_data_shows_stale_blocks() {
    let report = explore::flip_before_data(&Params::demo());
    assert!(report.stale_blocks > 0, "{report}");
    assert_eq!(report.failed_operations, 0, "{report}");
}

/// Our recovery before e2fsck, and e2fsck's own recovery of what we left.
#[test]
fn e2fsck_agrees() {
    let params = Params {
        fsck_every: 11,
        ..Params::small(5)
    };
    let report = explored(&params, quick());
    assert!(report.is_clean(), "{report}");
    assert!(
        report.fscked > 20 || report.fsck_skipped.is_some(),
        "{report}"
    );
}
