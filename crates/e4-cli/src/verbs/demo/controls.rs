//! Part (c): what must break, so that the judges above are known to see.
//!
//! The historical algorithms live in the lab; nothing in the library or a mount can select them.

use std::collections::BTreeSet;

use e4_sim::explore::{self, Params};
use e4_sim::race::{self, RaceReport, Strategy};

use super::Claim;
use crate::output::{BAD, DIM, HEADING, Ui};

/// Runs part (c).
pub(super) fn run(seed: u64, ui: &Ui) -> Vec<Claim> {
    ui.say(&format!(
        "\n{HEADING}(c) The same judges on algorithms known to be wrong{HEADING:#}"
    ));
    let mut claims = races(seed, ui);
    claims.push(flip_before_data(ui));
    claims
}

/// The named schedules: found in the algorithm that had the bug, absent in ours.
fn races(seed: u64, ui: &Ui) -> Vec<Claim> {
    let reports = race::demonstrate(seed);
    let historical = |r: &&RaceReport| !matches!(r.strategy, Strategy::Ours | Strategy::Engine);
    let broken: Vec<&RaceReport> = reports
        .iter()
        .filter(historical)
        .filter(|r| r.violated.is_some())
        .collect();
    ui.say("  the completed-IO algorithm of September 2012 (V4), on the schedules that break it:");
    for report in broken.iter().filter(|r| r.strategy == Strategy::V4) {
        ui.say(&format!(
            "    {BAD}{:<32}{BAD:#} {}",
            report.schedule, report.user_sees
        ));
    }
    if let Some(report) = broken
        .iter()
        .find(|r| r.strategy == Strategy::V4 && r.schedule.starts_with("S02"))
    {
        show_steps(report, ui);
    }
    let schedules: BTreeSet<&str> = broken.iter().map(|r| r.schedule).collect();
    let as_claimed = reports.iter().filter(historical).all(|r| r.as_claimed);
    let ours: Vec<&RaceReport> = reports
        .iter()
        .filter(|r| r.strategy == Strategy::Engine)
        .collect();
    let ours_broken = ours.iter().filter(|r| r.violated.is_some()).count();
    let rules_hold = reports
        .iter()
        .filter(|r| r.strategy == Strategy::Ours)
        .all(|r| r.as_claimed);
    for report in ours.iter().filter(|r| r.violated.is_some()) {
        let what = report.violated.as_deref().unwrap_or_default();
        ui.say(&format!("    e4 BREAKS in {}: {what}", report.schedule));
    }
    vec![
        Claim::new(
            as_claimed && !schedules.is_empty(),
            format!(
                "control: {} breaks of historical algorithms found, in {} named schedules, as history says",
                broken.len(),
                schedules.len(),
            ),
        ),
        Claim::new(
            ours_broken == 0 && rules_hold && !ours.is_empty(),
            format!(
                "e4's engine on {} named schedules: {ours_broken} violations",
                ours.len()
            ),
        ),
    ]
}

/// The interleaving that breaks V4's flush, one line per actor's turn.
fn show_steps(report: &RaceReport, ui: &Ui) {
    let mut turns: Vec<(String, Vec<String>)> = Vec::new();
    for step in &report.steps {
        let (actor, action) = step.split_once(": ").unwrap_or(("", step));
        match turns.last_mut() {
            Some((last, actions)) if last == actor => actions.push(action.to_owned()),
            _ => turns.push((actor.to_owned(), vec![action.to_owned()])),
        }
    }
    let text: Vec<String> = turns
        .iter()
        .map(|(actor, actions)| format!("{actor} {}", actions.join(" ")))
        .collect();
    ui.say(&format!(
        "  {DIM}{} (seed {}): {}{DIM:#}",
        report.schedule,
        report.seed,
        text.join(" | ")
    ));
    if let Some(violated) = &report.violated {
        ui.say(&format!("  {DIM}  => {violated}{DIM:#}"));
    }
}

/// The order of libext2fs and others: mark the block written, then write the data.
fn flip_before_data(ui: &Ui) -> Claim {
    let params = Params::demo();
    let report = explore::flip_before_data(&params);
    let caught = report.stale_blocks > 0;
    if let Some(first) = &report.first_failure {
        ui.say("  flip before data (mark a block written, then write it), power cut in between:");
        ui.say(&format!(
            "    {BAD}old data leaked{BAD:#}  {} {DIM}(seed {}){DIM:#}",
            first.description, first.seed
        ));
    }
    Claim::new(
        caught,
        "control: marking blocks written before their data leaks old data, and is caught",
    )
}
