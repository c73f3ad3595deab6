//! `e4 features`: what becomes of an image with which feature, from the lists the code itself asks.
//!
//! Decision: the table is Markdown, and `docs/features.md` is this verb's output; a test compares the two.

use std::fmt::Write;

use clap::Args;
use e4::format::features::{CompatFeatures, IncompatFeatures, RoCompatFeatures, Support};

use crate::Outcome;
use crate::exit::Status;
use crate::output::{Common, Ui};

/// Print which features of ext2, ext3 and ext4 images are supported, and how
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 features
  e4 features > docs/features.md     what the project keeps")]
pub struct FeaturesArgs {
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Runs the verb.
///
/// # Errors
/// None.
pub fn run(_: &FeaturesArgs, ui: &Ui) -> Outcome {
    ui.say(table().trim_end());
    Ok(Status::SUCCESS)
}

/// The table, with a heading.
#[must_use]
pub fn table() -> String {
    let mut out = String::from(
        "# Features\n\nWhat `e4` does with an image that has a feature; the names are those of mke2fs and dumpe2fs. \
         Made by `e4 features`.\n\nA feature without a name is refused if it is incompatible, makes the image \
         read-only if it is read-only-compatible, and is ignored if it is compatible.\n\n\
         | feature | kind | image is | what it is |\n|---|---|---|---|\n",
    );
    let mut row = |name: &str, kind: &str, support: Support, what: &str| {
        let support = match support {
            Support::ReadWrite => "read and written",
            Support::ReadOnly => "read only",
            Support::Refused => "refused",
        };
        let what = what.trim().trim_end_matches('.');
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| `{name}` | {kind} | {support} | {what} |");
    };
    for (feature, name, what) in IncompatFeatures::KNOWN {
        row(name, "incompatible", feature.support(), what);
    }
    for (feature, name, what) in RoCompatFeatures::KNOWN {
        row(name, "read-only-compatible", feature.support(), what);
    }
    for (feature, name, what) in CompatFeatures::KNOWN {
        row(name, "compatible", feature.support(), what);
    }
    out
}
