//! `cargo xtask book`: the documentation as a site, by mdBook. That its links lead somewhere and its commands do what it
//! says is a test of the command (`cargo test -p e4-cli --test docs`).

use std::process::Command;

use anyhow::{Context, Result, ensure};

/// Options of the task.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Where to
    #[arg(long, default_value = "target/book")]
    to: std::path::PathBuf,
}

/// Runs the task.
pub(crate) fn run(args: &Args) -> Result<()> {
    let to = std::path::absolute(&args.to)?;
    let status = Command::new("mdbook")
        .args(["build", "--dest-dir"])
        .arg(&to)
        .status()
        .context("mdbook is missing; install it with: cargo install mdbook")?;
    ensure!(status.success(), "mdbook failed");
    println!("{}", to.join("index.html").display());
    Ok(())
}
