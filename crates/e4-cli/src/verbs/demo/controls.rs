//! Part (c): what must break, so that the judges above are known to see.
//!
//! The historical algorithms live in the lab; nothing in the library or a mount can select them.

use e4_sim::explore::{self, Params};

use super::Claim;
use crate::output::{DIM, HEADING, Ui};

/// Runs part (c).
pub(super) fn run(ui: &Ui) -> Vec<Claim> {
    ui.say(&format!(
        "\n{HEADING}(c) The same judges on algorithms known to be wrong{HEADING:#}"
    ));
    vec![flip_before_data(ui)]
}

/// The order of libext2fs and others: mark the block written, then write the data.
fn flip_before_data(ui: &Ui) -> Claim {
    let params = Params::demo();
    let report = explore::flip_before_data(&params);
    let caught = report.stale_blocks > 0;
    if let Some(first) = &report.first_failure {
        ui.say(&format!("  flip before data: {}", first.description));
        ui.say(&format!(
            "  {DIM}(seed {}, power cut at event {} of the log){DIM:#}",
            first.seed, first.point
        ));
    }
    Claim::new(
        caught,
        "control: marking blocks written before their data leaks old data, and is caught",
    )
}
