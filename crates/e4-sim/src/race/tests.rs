//! Each named schedule: found in the algorithm that had it, absent in ours.

use super::case::Verdict;
use super::{Strategy, cases, demonstrate, explore, ours};

/// Runs the cases of a schedule exhaustively and e4's engine through it.
fn schedule(number: &str) {
    let mut controls = 0;
    for case in cases::all()
        .iter()
        .filter(|c| c.schedule.starts_with(number))
    {
        let outcome = explore::every(case);
        match (case.verdict, outcome) {
            (Verdict::Violates(what), Err(found)) => {
                assert!(
                    found.what.starts_with(what),
                    "{} under {}: wanted {what}, found {}\n{:#?}",
                    case.schedule,
                    case.strategy,
                    found.what,
                    found.steps
                );
                println!(
                    "{} under {}: {} ({} states)\n  {}",
                    case.schedule,
                    case.strategy,
                    found.what,
                    found.effort,
                    found.steps.join("\n  ")
                );
                controls += 1;
            }
            (Verdict::Clean, Ok(states)) => {
                println!(
                    "{} under {}: clean, {states} states",
                    case.schedule, case.strategy
                );
            }
            (Verdict::Violates(what), Ok(states)) => panic!(
                "negative control {} under {} did not find {what} in {states} states",
                case.schedule, case.strategy
            ),
            (Verdict::Clean, Err(found)) => panic!(
                "{} under {}: {}\n{:#?}",
                case.schedule, case.strategy, found.what, found.steps
            ),
        }
    }
    assert!(controls > 0, "{number} has no negative control");
    for ours in ours::all().iter().filter(|s| s.name.starts_with(number)) {
        if let Err(what) = ours.run() {
            panic!("{} in e4's engine: {what}", ours.name);
        }
    }
}

macro_rules! schedules {
    ($($name:ident $number:literal;)*) => {
        $(#[test] fn $name() { schedule($number); })*

        #[test]
        fn every_case_has_a_test() {
            let tested = [$($number),*];
            for name in cases::all().iter().map(|c| c.schedule).chain(ours::all().iter().map(|s| s.name)) {
                assert!(tested.iter().any(|t| name.starts_with(t)), "{name} has no test");
            }
        }
    };
}

schedules! {
    s01_trylock_livelock "S01";
    s02_drained_list_flush "S02";
    s03_fsync_vs_drained_list "S03";
    s04_early_end_writeback "S04";
    s05_direct_read_in_window "S05";
    s06_buffered_read_after_reclaim "S06";
    s07_submitted_not_covered "S07";
    s08_count_dropped_early "S08";
    s09_endless_wait "S09";
    s10_cross_inode_head_of_line "S10";
    s11_aio_before_conversion "S11";
    s12_dioread_vs_truncate "S12";
    s13_nojournal_truncate_skips_wait "S13";
    s14_overwrite_vs_truncate "S14";
    s15_defrag_vs_unlocked_read "S15";
    s16_fallocate_grows_pending_extent "S16";
    s18_unaligned_overlap "S18";
    s19_convert_after_failed_write "S19";
    s20_aio_ok_conversion_failed "S20";
    s21_worker_swallows_error "S21";
    s22_queued_work_owns_io_end "S22";
    s23_work_outlives_inode "S23";
    s24_two_defer_predicates "S24";
    s25_clobbered_io_end_pointer "S25";
    s26_counter_without_flag "S26";
    s27_empty_io_end "S27";
    s28_narrow_offset "S28";
    s30_reserved_behind_unreserved "S30";
    s32_unbounded_drain "S32";
    s33_osync_append_size "S33";
    s34_size_after_invalidate "S34";
    s37_written_before_data "S37";
    s38_partial_buffer_not_new "S38";
    s44_flip_before_write "S44";
}

#[test]
fn random_walks_find_what_the_searches_find() {
    for seed in [1, 2012, 0xe4] {
        let reports = demonstrate(seed);
        for r in &reports {
            assert!(r.as_claimed, "seed {seed}: {r:#?}");
        }
        let found = reports.iter().filter(|r| r.violated.is_some()).count();
        let engine = reports
            .iter()
            .filter(|r| r.strategy == Strategy::Engine)
            .count();
        println!("seed {seed}: {found} violations in the controls, {engine} schedules of e4 clean");
    }
}

#[test]
fn a_seed_repeats() {
    let steps = |seed| -> Vec<_> {
        let controls = cases::all();
        let violated = controls.iter().filter(|c| c.verdict != Verdict::Clean);
        violated.map(|c| explore::walk(c, seed, 2_000)).collect()
    };
    assert_eq!(steps(7), steps(7));
}
