//! `e4 batch`: a script of changes to one image, in one session.
//!
//! Decision: a line is a command line of `e4` itself, so that there is one grammar; a path that begins with `:/` is in the
//! batch's image. The image is opened once and closed once, and nothing is committed in between as long as everything fits
//! one transaction.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args, Parser};

use crate::Outcome;
use crate::args::{Cli, Verb};
use crate::exit::Status;
use crate::output::{self, BAD, Common, Ui};
use crate::session::{Access, Session};
use crate::verbs;

/// Run a script of changes to an image, as one.
///
/// Each line is a command as e4 takes it, with :/PATH for a file in this image. The image is opened
/// once, and what fits one journal transaction (thousands of changes) is there wholly or not at all
/// after a crash; more comes in order. Empty lines and what follows # are ignored; quotes and
/// backslashes as in a shell. The first error ends it, with its line; what was done before stays.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 batch disk.img setup.e4
  printf 'mkdir -p :/srv/www\\nput index.html :/srv/www/\\nchown 33:33 :/srv/www\\n' | e4 batch disk.img

A script:
  # what the machine needs before its first start
  put --if-absent 'my key.pub' :/root/.ssh/authorized_keys
  ln -sf /usr/share/zoneinfo/UTC :/etc/localtime
  rm -rf :/var/cache/apt
  cp -a overlay/. :/

Verbs: put get cp rm rmdir mkdir mv ln chmod chown touch setfattr truncate.
Exit status: 0 all done, 1 a line failed (with --keep-going: some did), 2 a line makes no sense.")]
pub struct BatchArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// The script; - or nothing for standard input
    #[arg(default_value = "-")]
    script: PathBuf,
    /// Go on after an error; each is told, and the exit status says so in the end
    #[arg(short, long)]
    keep_going: bool,
}

/// A line of a script.
struct Line {
    number: usize,
    words: Vec<String>,
}

/// Runs the verb.
///
/// # Errors
/// The script cannot be read, a line makes no sense, or fails.
pub fn run(args: &BatchArgs, ui: &Ui) -> Outcome {
    let lines = read(args)?;
    // All of it makes sense before any of it is done.
    let mut verbs = Vec::with_capacity(lines.len());
    for line in &lines {
        match parse(&args.image, line) {
            Ok(verb) => verbs.push(verb),
            Err(error) => {
                report(args, line, &error);
                return Ok(Status::USAGE);
            }
        }
    }
    Session::run(ui, |session| {
        session.fs(&args.image, Access::Write)?;
        let mut failed = false;
        for (line, verb) in lines.iter().zip(&verbs) {
            match apply(verb, session) {
                Ok(_) => {}
                Err(error) if args.keep_going => {
                    failed = true;
                    report(args, line, &error);
                }
                Err(error) => return Err(error.context(place(args, line))),
            }
        }
        Ok(if failed {
            Status::FAILED
        } else {
            Status::SUCCESS
        })
    })
}

fn place(args: &BatchArgs, line: &Line) -> String {
    let script = match args.script == Path::new("-") {
        true => "standard input".to_owned(),
        false => args.script.display().to_string(),
    };
    format!("{script}, line {}", line.number)
}

fn report(args: &BatchArgs, line: &Line, error: &anyhow::Error) {
    use std::io::Write;
    let text = output::printable(&crate::advice::message(error));
    let at = place(args, line);
    let _ = writeln!(anstream::stderr(), "{BAD}e4:{BAD:#} {at}: {text}");
}

fn read(args: &BatchArgs) -> Result<Vec<Line>> {
    let source: Box<dyn BufRead> = match args.script == Path::new("-") {
        true => Box::new(std::io::stdin().lock()),
        false => {
            let file = std::fs::File::open(&args.script);
            Box::new(BufReader::new(
                file.with_context(|| args.script.display().to_string())?,
            ))
        }
    };
    let mut lines = Vec::new();
    for (number, text) in (1..).zip(source.lines()) {
        let text = text.with_context(|| args.script.display().to_string())?;
        let line = Line {
            number,
            words: Vec::new(),
        };
        match words(&text) {
            Ok(words) if words.is_empty() => {}
            Ok(words) => lines.push(Line { words, ..line }),
            Err(what) => bail!("{}: {what}", place(args, &line)),
        }
    }
    Ok(lines)
}

/// Splits a line as a shell does: blanks, both quotes, backslashes, `#` at the beginning of a word.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\r' => words.extend(word.take()),
            '#' if word.is_none() => break,
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('\'') => break,
                        Some(c) => word.push(c),
                        None => return Err("a quote (') is not closed"),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next() {
                        Some('"') => break,
                        Some('\\') => match chars.next() {
                            Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                            Some(c) => word.extend(['\\', c]),
                            None => return Err("a quote (\") is not closed"),
                        },
                        Some(c) => word.push(c),
                        None => return Err("a quote (\") is not closed"),
                    }
                }
            }
            '\\' => match chars.next() {
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err("a line does not continue on the next one"),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

fn parse(image: &Path, line: &Line) -> Result<Verb> {
    let here = image
        .to_str()
        .ok_or_else(|| anyhow!("{}: a name that is not UTF-8", image.display()))?;
    let words = line.words.iter().map(|word| match word.strip_prefix(":/") {
        Some(path) => format!("{here}:/{path}"),
        None => word.clone(),
    });
    let cli = Cli::try_parse_from(std::iter::once("e4".to_owned()).chain(words))
        .map_err(|error| anyhow!("{}", first_line(&error.to_string())))?;
    let allowed = matches!(
        cli.verb,
        Some(
            Verb::Put(_)
                | Verb::Get(_)
                | Verb::Cp(_)
                | Verb::Rm(_)
                | Verb::Rmdir(_)
                | Verb::Mkdir(_)
                | Verb::Mv(_)
                | Verb::Ln(_)
                | Verb::Chmod(_)
                | Verb::Chown(_)
                | Verb::Touch(_)
                | Verb::Setfattr(_)
                | Verb::Truncate(_)
        )
    );
    cli.verb
        .filter(|_| allowed)
        .ok_or_else(|| anyhow!("{}: not a verb that batch runs", line.words[0]))
}

fn first_line(text: &str) -> &str {
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line)
}

fn apply(verb: &Verb, session: &Session<'_>) -> Outcome {
    match verb {
        Verb::Put(args) => verbs::put::apply(args, session),
        Verb::Get(args) => verbs::get::apply(args, session),
        Verb::Cp(args) => verbs::cp::apply(args, session),
        Verb::Rm(args) => verbs::rm::apply(args, session),
        Verb::Rmdir(args) => verbs::rmdir::apply(args, session),
        Verb::Mkdir(args) => verbs::mkdir::apply(args, session),
        Verb::Mv(args) => verbs::mv::apply(args, session),
        Verb::Ln(args) => verbs::ln::apply(args, session),
        Verb::Chmod(args) => verbs::chmod::apply(args, session),
        Verb::Chown(args) => verbs::chown::apply(args, session),
        Verb::Touch(args) => verbs::touch::apply(args, session),
        Verb::Setfattr(args) => verbs::fattr::apply(args, session),
        Verb::Truncate(args) => verbs::truncate::apply(args, session),
        _ => bail!("not a verb that batch runs"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_like_a_shell() {
        let split = |text: &str| words(text).map(|w| w.join("|"));
        assert_eq!(split("put a :/b"), Ok("put|a|:/b".into()));
        assert_eq!(
            split("  a\t'b c' \"d \\\" e\\n\" "),
            Ok("a|b c|d \" e\\n".into())
        );
        assert_eq!(split("a#b # c"), Ok("a#b".into()));
        assert_eq!(split("a\\ b '' \"\""), Ok("a b||".into()));
        assert_eq!(split("# nothing"), Ok(String::new()));
        assert!(split("'open").is_err() && split("\"open").is_err() && split("a\\").is_err());
    }
}
