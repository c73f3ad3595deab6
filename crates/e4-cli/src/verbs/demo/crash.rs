//! Part (b): the power cut at every write boundary of a smaller workload, on the simulated disk.

use e4_sim::explore::{self, Params, Progress};

use super::Claim;
use crate::output::{DIM, HEADING, Ui};
use crate::size;

/// Runs part (b).
pub(super) fn run(ui: &Ui) -> Vec<Claim> {
    ui.say(&format!(
        "\n{HEADING}(b) The power cut at every write boundary{HEADING:#}"
    ));
    let params = Params::demo();
    let bar = ui.steps_bar("cutting the power", 0);
    let report = explore::run(&params, Params::demo_bound(), &mut |p: Progress| {
        bar.set_length(p.of);
        bar.set_position(p.points);
    });
    bar.finish_and_clear();
    ui.say(&format!(
        "  {} operations on a simulated disk whose every block holds old data; {} states recovered and judged",
        size::grouped(report.operations),
        size::grouped(report.states),
    ));
    if report.torn_superblocks > 0 {
        ui.say(&format!(
            "  {DIM}not judged: {} states with the superblock itself torn (ext4 writes it in place){DIM:#}",
            report.torn_superblocks
        ));
    }
    if let Some(first) = &report.first_failure {
        ui.say(&format!(
            "  first failure: seed {} at {}: {}",
            first.seed, first.point, first.description
        ));
    }
    let line = format!(
        "crash points {} \u{b7} stale blocks {} \u{b7} durable writes lost {} \u{b7} structural errors {}",
        report.crash_points,
        report.stale_blocks,
        report.durable_writes_lost,
        report.structural_errors
    );
    vec![Claim::new(
        report.is_clean() && report.crash_points > 0,
        line,
    )]
}
