//! Project tasks: `cargo xtask <name>`.
//!
//! Decision: one small program instead of scripts, so that a task needs nothing but the toolchain and fails with
//! a sentence. Tools that only sharpen a task (fio, fuse2fs, losetup) are looked for and listed when absent.

mod agreement;
mod bench;
mod book;
mod conformance;
mod dist;
mod fuzz;
mod lab;
mod unwritten;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Tasks of the e4 project")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Compare e4-check's verdict with e2fsck's on damaged images (see docs/check-agreement.md)
    Agreement(agreement::Args),
    /// Run every fuzz target over its corpus and seeded variations (see fuzz/README.md)
    Fuzz(fuzz::Args),
    /// Have a reader read files with unwritten extents (see docs/unwritten-conformance.md)
    Unwritten(unwritten::Args),
    /// Measure e4 beside the raw backing file, the kernel's ext4 and fuse2fs (see benches/README.md)
    Bench(bench::Args),
    /// Run public test suites against an image mounted by e4 (see docs/conformance.md)
    Conformance(conformance::Args),
    /// Static binary, manual pages, completions, checksums, in dist/
    Dist(dist::Args),
    /// The documentation as a site, by mdBook
    Book(book::Args),
    /// Crash states, planted bugs, soak (see docs/lab.md)
    Lab(lab::Args),
    /// Clean up after a bench that went away; started by it
    #[command(hide = true)]
    BenchJanitor {
        /// Its scratch directory
        scratch: std::path::PathBuf,
    },
    /// Serve an image through FUSE; started by the bench
    #[command(hide = true)]
    BenchServe {
        /// The image
        image: std::path::PathBuf,
        /// Where
        dir: std::path::PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    match Cli::parse().task {
        Task::Agreement(args) => agreement::run(&args),
        Task::Fuzz(args) => fuzz::run(&args),
        Task::Unwritten(args) => unwritten::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::Conformance(args) => conformance::run(&args),
        Task::Dist(args) => dist::run(&args),
        Task::Book(args) => book::run(&args),
        Task::Lab(args) => lab::run(&args),
        Task::BenchServe { image, dir } => bench::serve(&image, &dir),
        Task::BenchJanitor { scratch } => bench::janitor(&scratch),
    }
}
