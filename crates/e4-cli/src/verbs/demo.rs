//! `e4 demo`: what the project is about, shown on this machine within a minute: no root, no FUSE, no
//! e2fsprogs.
//!
//! (a) [`heart`]: a real image, a preallocated file, random asynchronous direct writes with truncate, punch
//! and fsync racing, every block verified, beside the backing file's own speed. (b) [`crash`]: a smaller workload on
//! the simulated disk, the power cut at every write boundary, every state recovered and judged. (c) [`controls`]:
//! the historical algorithm and the flip-before-data order on the same schedules; they must break,
//! else the judges are blind.

mod controls;
mod crash;
mod heart;

use std::path::PathBuf;

use clap::Args;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{BAD, Common, DIM, GOOD, HEADING, Ui};
use crate::size;
use crate::workload::seed;

/// Show on this machine, within a minute, what e4 does and how it is judged.
///
/// No root, no FUSE, no e2fsprogs. Leaves an image to play with. Exit status 0 only if everything held.
#[derive(Args, Debug, Clone)]
#[command(after_long_help = "\
Examples:
  e4 demo
  e4 demo --image /dev/shm/demo.img      in RAM: shows the cost of e4 rather than of the disk
  e4 demo --seed 42                      the same operations again")]
pub struct DemoArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image to make; overwritten only if a demo made it
    #[arg(long, value_name = "FILE", default_value = "demo.img")]
    image: PathBuf,
    /// Bytes to preallocate and write to
    #[arg(long, value_name = "BYTES", default_value = "1G", value_parser = size::bytes)]
    size: u64,
    /// Seconds for the race
    #[arg(long, value_name = "N", default_value_t = 6)]
    seconds: u64,
    /// Repeats the operations; random if left out, and printed
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
}

impl Default for DemoArgs {
    fn default() -> Self {
        Self {
            common: Common::default(),
            image: PathBuf::from("demo.img"),
            size: 1 << 30,
            seconds: 6,
            seed: None,
        }
    }
}

/// One line that held or did not.
pub(crate) struct Claim {
    held: bool,
    text: String,
}

impl Claim {
    fn new(held: bool, text: impl Into<String>) -> Self {
        Self {
            held,
            text: text.into(),
        }
    }
}

/// Runs the demonstration.
///
/// # Errors
/// No room for the image, or it cannot be made.
pub fn run(args: &DemoArgs, ui: &Ui) -> Outcome {
    let start = e4_sync::now();
    let seed = args.seed.unwrap_or_else(seed::fresh);
    ui.say(&format!(
        "{HEADING}e4 demo{HEADING:#}  {DIM}seed {seed}{DIM:#}"
    ));
    let mut claims = heart::run(args, seed, ui)?;
    claims.extend(crash::run(ui));
    claims.extend(controls::run(seed, ui));
    ui.say("");
    let mut held = true;
    for claim in &claims {
        let (style, word) = if claim.held {
            (GOOD, "held  ")
        } else {
            (BAD, "BROKEN")
        };
        ui.say(&format!("  {style}{word}{style:#}  {}", claim.text));
        held &= claim.held;
    }
    ui.say(&format!(
        "{DIM}{:.0} s{DIM:#}",
        start.elapsed().as_secs_f64()
    ));
    if !held {
        ui.say(&format!(
            "{BAD}Not everything held.{BAD:#} Repeat it with: e4 demo --seed {seed}"
        ));
        return Ok(Status::WRONG_DATA);
    }
    try_next(args, ui);
    Ok(Status::SUCCESS)
}

fn try_next(args: &DemoArgs, ui: &Ui) {
    let image = args.image.display();
    ui.say(&format!("\n{HEADING}{image} is yours now. Try:{HEADING:#}"));
    for (command, what) in [
        (format!("e4 ls -l {image}:/"), "what is in it"),
        (
            format!("e4 extents {image}:/demo"),
            "where the file lies, written and unwritten",
        ),
        (format!("e4 put FILE {image}:/"), "copy something into it"),
        (
            format!("e4 stress {image} --seconds 10"),
            "race again, for longer",
        ),
        (format!("e4 check {image}"), "our fsck"),
        (
            format!("e2fsck -fn {image}"),
            "theirs, if e2fsprogs is installed",
        ),
        (
            format!("sudo mount -o loop {image} /mnt"),
            "and the kernel's own ext4",
        ),
    ] {
        ui.say(&format!("  {command:<36} {DIM}{what}{DIM:#}"));
    }
    if std::env::var_os("CARGO").is_some() {
        ui.say(&format!(
            "{DIM}(from the source tree, e4 is: cargo run --release --){DIM:#}"
        ));
    }
}
