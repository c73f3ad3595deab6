//! Building what the lab runs, and showing that the product cannot carry a bug.

use anyhow::{Context, Result, bail};
use std::path::PathBuf;
use std::process::Command;

/// What was built.
pub(crate) struct Programs {
    /// `e4-lab`.
    pub(crate) lab: PathBuf,
    /// Test programs: package, target, path.
    tests: Vec<(String, String, PathBuf)>,
}

const TESTED: [&str; 5] = ["e4", "e4-sim", "e4-journal", "e4-extent", "e4-completion"];

impl Programs {
    /// Builds e4-lab, and the test programs too if asked.
    pub(crate) fn build(with_tests: bool) -> Result<Programs> {
        let lab = cargo(&["build", "--package", "e4-lab", "--features", "e4-lab/lab"])?;
        let lab = lab.into_iter().find(|(_, target, _)| target == "e4-lab");
        let lab = lab.context("cargo built no e4-lab")?.2;
        let mut tests = Vec::new();
        if with_tests {
            let mut args = vec!["test", "--no-run", "--features", "e4-planted/lab"];
            for package in TESTED.iter().chain(&["e4-planted"]) {
                args.extend(["--package", package]);
            }
            tests = cargo(&args)?;
        }
        Ok(Programs { lab, tests })
    }

    /// The test program of a package's target.
    pub(crate) fn test(&self, package: &str, target: &str) -> Result<&PathBuf> {
        let mut tests = self.tests.iter();
        let found = tests.find(|(p, t, _)| p == package && t == target);
        let (_, _, path) = found.with_context(|| format!("no test program {package}:{target}"))?;
        Ok(path)
    }
}

/// Runs cargo with the lab's profile; the executables it made.
fn cargo(args: &[&str]) -> Result<Vec<(String, String, PathBuf)>> {
    let out = Command::new(env!("CARGO"))
        .args(args)
        .args([
            "--profile",
            "lab",
            "--message-format",
            "json-render-diagnostics",
            "--quiet",
        ])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo")?;
    if !out.status.success() {
        bail!("cargo {} failed", args.join(" "));
    }
    let mut made = Vec::new();
    for line in String::from_utf8_lossy(&out.stdout).lines() {
        let message: serde_json::Value = serde_json::from_str(line).context("cargo's messages")?;
        let Some(path) = message["executable"].as_str() else {
            continue;
        };
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        // "path+file:///x/crates/e4-sim#0.1.0", or "...#name@0.1.0" where they differ.
        let id = text(&message["package_id"]);
        let (at, version) = id.split_once('#').unwrap_or((&id, ""));
        let name = match version.split_once('@') {
            Some((name, _)) => name,
            None => at.rsplit('/').next().unwrap_or_default(),
        };
        made.push((
            name.to_owned(),
            text(&message["target"]["name"]),
            path.into(),
        ));
    }
    Ok(made)
}

/// Asks cargo which features the command's own build gives to the crate of planted bugs: none. (That crate's constant
/// also keeps the command from compiling with any.)
pub(crate) fn product_has_no_bugs() -> Result<()> {
    let out = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--package",
            "e4-cli",
            "--edges",
            "normal",
            "--prefix",
            "none",
        ])
        .args(["--format", "{p} [{f}]"])
        .output()
        .context("cargo tree")?;
    let text = String::from_utf8_lossy(&out.stdout);
    let line = text.lines().find(|line| line.starts_with("e4-planted "));
    let line = line.context("the command does not depend on e4-planted any more")?;
    if !out.status.success() || !line.trim_end_matches(" (*)").ends_with("[]") {
        bail!("the command is built with planted bugs: {line}");
    }
    println!("the command is built without planted bugs: {line}");
    Ok(())
}

/// Runs every fuzz target for so many seconds; how many inputs that were.
pub(crate) fn fuzz(seconds: u64, seed: u64) -> Result<String> {
    let out = Command::new(std::env::current_exe()?)
        .args(["fuzz", "--seconds", &seconds.to_string()])
        .args(["--seed", &seed.to_string()])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("cargo xtask fuzz")?;
    let text = String::from_utf8_lossy(&out.stdout);
    if !out.status.success() {
        bail!("fuzzing:\n{text}");
    }
    let counts = text.lines().skip(1).filter_map(|line| {
        let count = line.split_whitespace().nth(1)?;
        count.parse::<u64>().ok()
    });
    let (targets, inputs) = counts.fold((0, 0), |(n, sum), count| (n + 1, sum + count));
    Ok(format!("{inputs} inputs on {targets} targets"))
}
