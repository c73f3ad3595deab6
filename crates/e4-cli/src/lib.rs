//! e4-cli: the command `e4`, as a library so that tests and benchmarks run the same code.
//!
//! Map: [`args`] is the command line; [`verbs`] has one file per verb, with its arguments and its
//! `run`; [`workload`] holds the generators, the tags and the oracle that `aio-stress`, `stress`,
//! `demo`, the tests and the benchmarks share; [`session`] opens images; [`location`], [`size`],
//! [`output`], [`exit`] and [`advice`] are the edges towards people and scripts.
//!
//! Decision: `anyhow` is used here and nowhere below; the libraries' typed errors are turned into a
//! message and, where one is known, the next thing to try ([`advice`]).

pub mod advice;
pub mod args;
pub mod copy;
pub mod exit;
pub mod location;
pub mod output;
pub mod session;
pub mod size;
pub mod transfer;
pub mod verbs;
pub mod workload;

use std::io::Write;
use std::process::ExitCode;

use clap::Parser;

use crate::args::{Cli, Verb};
use crate::exit::Status;
use crate::output::{BAD, DIM, Ui};

/// What a verb's `run` returns.
pub type Outcome = anyhow::Result<Status>;

/// Runs the command with the process's arguments.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let common = match &cli.verb {
        Some(verb) => cli.common.and(&verb.common()),
        None => cli.common.clone(),
    };
    let ui = Ui::new(&common);
    match dispatch(cli.verb, &ui) {
        Ok(status) => status.into(),
        Err((failed, error)) => {
            if is_broken_pipe(&error) {
                return Status::SUCCESS.into();
            }
            report(&error);
            failed.into()
        }
    }
}

fn dispatch(verb: Option<Verb>, ui: &Ui) -> Result<Status, (Status, anyhow::Error)> {
    let failed = match &verb {
        Some(Verb::Check(_)) => Status::FSCK_OPERATIONAL,
        Some(Verb::Diff(_)) => Status::DIFF_TROUBLE,
        _ => Status::FAILED,
    };
    let outcome = match verb {
        None => verbs::demo::run(&verbs::demo::DemoArgs::default(), ui),
        Some(Verb::Mkfs(args)) => verbs::mkfs::run(&args, ui),
        Some(Verb::Build(args)) => verbs::build::run(&args, ui),
        Some(Verb::Info(args)) => verbs::info::run(&args, ui),
        Some(Verb::Ls(args)) => verbs::ls::run(&args, ui),
        Some(Verb::Cat(args)) => verbs::cat::run(&args, ui),
        Some(Verb::Stat(args)) => verbs::stat::run(&args, ui),
        Some(Verb::Put(args)) => verbs::put::run(&args, ui),
        Some(Verb::Get(args)) => verbs::get::run(&args, ui),
        Some(Verb::Cp(args)) => verbs::cp::run(&args, ui),
        Some(Verb::Edit(args)) => verbs::edit::run(&args, ui),
        Some(Verb::Batch(args)) => verbs::batch::run(&args, ui),
        Some(Verb::Extents(args)) => verbs::extents::run(&args, ui),
        Some(Verb::Fallocate(args)) => verbs::fallocate::run(&args, ui),
        Some(Verb::Truncate(args)) => verbs::truncate::run(&args, ui),
        Some(Verb::Rm(args)) => verbs::rm::run(&args, ui),
        Some(Verb::Mkdir(args)) => verbs::mkdir::run(&args, ui),
        Some(Verb::Rmdir(args)) => verbs::rmdir::run(&args, ui),
        Some(Verb::Mv(args)) => verbs::mv::run(&args, ui),
        Some(Verb::Ln(args)) => verbs::ln::run(&args, ui),
        Some(Verb::Chmod(args)) => verbs::chmod::run(&args, ui),
        Some(Verb::Chown(args)) => verbs::chown::run(&args, ui),
        Some(Verb::Touch(args)) => verbs::touch::run(&args, ui),
        Some(Verb::Setfattr(args)) => verbs::fattr::set(&args, ui),
        Some(Verb::Getfattr(args)) => verbs::fattr::get(&args, ui),
        Some(Verb::Export(args)) => verbs::export::run(&args, ui),
        Some(Verb::Diff(args)) => verbs::diff::run(&args, ui),
        Some(Verb::Map(args)) => verbs::map::run(&args, ui),
        Some(Verb::Du(args)) => verbs::du::run(&args, ui),
        Some(Verb::Find(args)) => verbs::find::run(&args, ui),
        Some(Verb::Tree(args)) => verbs::outline::run(&args, ui),
        Some(Verb::Completions(args)) => verbs::completions::run(&args, ui),
        Some(Verb::Manual(args)) => verbs::manual::run(&args, ui),
        Some(Verb::Features(args)) => verbs::features::run(&args, ui),
        Some(Verb::Grow(args)) => verbs::grow::run(&args, ui),
        Some(Verb::Label(args)) => verbs::label::label(&args, ui),
        Some(Verb::Uuid(args)) => verbs::label::uuid(&args, ui),
        Some(Verb::Trim(args)) => verbs::trim::run(&args, ui),
        Some(Verb::Check(args)) => verbs::check::run(&args, ui),
        Some(Verb::AioStress(args)) => verbs::aio_stress::run(&args, ui),
        Some(Verb::Crashlab(args)) => verbs::crashlab::run(&args, ui),
        Some(Verb::Demo(args)) => verbs::demo::run(&args, ui),
        Some(Verb::Stress(args)) => verbs::stress::run(&args, ui),
        Some(Verb::Mount(args)) => verbs::mount::run(&args, ui),
        Some(Verb::Umount(args)) => verbs::umount::run(&args, ui),
    };
    outcome.map_err(|error| (failed, error))
}

/// Help, version and mistakes on the command line, with the status fsck would give for `check`.
fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if !error.use_stderr() {
        return Status::SUCCESS.into();
    }
    let check = std::env::args().skip(1).any(|arg| arg == "check");
    let status = if check {
        Status::FSCK_USAGE
    } else {
        Status::USAGE
    };
    status.into()
}

/// The reader of our output went away (`e4 ls ... | head`): nothing to report.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|io| io.kind() == std::io::ErrorKind::BrokenPipe)
}

fn report(error: &anyhow::Error) {
    let mut err = anstream::stderr();
    let message = output::printable(&advice::message(error));
    let _ = writeln!(err, "{BAD}e4:{BAD:#} {message}");
    if let Some(next) = advice::next_step(error) {
        let _ = writeln!(err, "{DIM}    {}{DIM:#}", output::printable(&next));
    }
}
