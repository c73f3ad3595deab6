//! The operations: parsed, and run on a simulated disk that records every write.

use anyhow::{Context, Result, bail};
use e4::{FallocateMode, File, Filesystem, OpenFlags, RenameFlags};
use e4_device::Device;
use e4_sim::SimDisk;
use e4_sim::explore::{Params, formatted, mount_options};
use e4_sync::Arc;

use super::history::{Event, History};

/// One line of the script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Its line, from 1.
    line: usize,
    /// As written.
    text: String,
    words: Vec<String>,
}

pub(super) fn parse(text: &str) -> Result<Vec<Step>> {
    let mut steps = Vec::new();
    for (n, line) in text.lines().enumerate() {
        let words = words(line).with_context(|| format!("line {}: {line}", n + 1))?;
        let wanted = match words.first().map(String::as_str) {
            None => continue,
            Some("sync") => 0,
            Some("create" | "mkdir" | "fsync" | "fdatasync" | "unlink" | "say") => 1,
            Some("append" | "truncate" | "rename" | "link") => 2,
            Some("write" | "allocate") => 3,
            Some(other) => bail!("line {}: there is no operation {other}", n + 1),
        };
        if words.len() != wanted + 1 {
            bail!("line {}: {} takes {wanted} words: {line}", n + 1, words[0]);
        }
        steps.push(Step {
            line: n + 1,
            text: line.trim().to_owned(),
            words,
        });
    }
    Ok(steps)
}

/// Words, separated by blanks or in double quotes; nothing behind a `#` outside of quotes.
fn words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() && !rest.starts_with('#') {
        let mut word = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut chars = quoted.char_indices();
            let end = loop {
                match chars.next() {
                    Some((at, '"')) => break at + 1,
                    Some((_, '\\')) => word.push(match chars.next().map(|(_, c)| c) {
                        Some('n') => '\n',
                        Some('t') => '\t',
                        Some(c @ ('\\' | '"')) => c,
                        _ => bail!("what does the backslash stand for?"),
                    }),
                    Some((_, c)) => word.push(c),
                    None => bail!("a quote is not closed"),
                }
            };
            rest = &quoted[end..];
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            word.push_str(&rest[..end]);
            rest = &rest[end..];
        }
        words.push(word);
        rest = rest.trim_start();
    }
    Ok(words)
}

/// Runs the steps; the filesystem is then dropped as a power cut drops it.
pub(super) fn run(steps: &[Step], size: u64, seed: u64) -> Result<History> {
    let disk = formatted(&Params {
        size,
        ..Params::small(seed)
    });
    let fs = Filesystem::open(Arc::clone(&disk) as Arc<dyn Device>, &mount_options())?;
    let mut done = Vec::new();
    for step in steps {
        let begin = position(&disk);
        step.run(&fs)
            .with_context(|| format!("line {}: {}", step.line, step.text))?;
        done.push(Event {
            what: format!("at line {} ({})", step.line, step.text),
            said: (step.word(0) == "say").then(|| step.word(1).to_owned()),
            begin,
            end: position(&disk),
        });
    }
    Ok(History {
        log: disk.log(),
        events: done,
    })
}

fn position(disk: &SimDisk) -> u64 {
    disk.clock().position()
}

impl Step {
    fn word(&self, n: usize) -> &str {
        self.words.get(n).map_or("", String::as_str)
    }

    fn path(&self, n: usize) -> String {
        format!("/{}", self.word(n).trim_start_matches('/'))
    }

    fn number(&self, n: usize) -> Result<u64> {
        let word = self.word(n);
        word.parse().with_context(|| format!("{word} is no number"))
    }

    fn run(&self, fs: &Filesystem) -> Result<()> {
        let open = || -> Result<File> { Ok(fs.open_file(&self.path(1), OpenFlags::read_write())?) };
        match self.word(0) {
            "create" => drop(fs.open_file(&self.path(1), OpenFlags::create())?),
            "mkdir" => fs.mkdir(&self.path(1), 0o755)?,
            "write" => {
                open()?.write_at(self.number(2)?, self.word(3).as_bytes())?;
            }
            "append" => {
                let file = open()?;
                file.write_at(file.size(), self.word(2).as_bytes())?;
            }
            "truncate" => open()?.truncate(self.number(2)?)?,
            "allocate" => {
                open()?.fallocate(FallocateMode::Allocate, self.number(2)?, self.number(3)?)?;
            }
            "fsync" => open()?.fsync()?,
            "fdatasync" => open()?.fdatasync()?,
            "sync" => fs.sync()?,
            "rename" => fs.rename(&self.path(1), &self.path(2), RenameFlags::Replace)?,
            "link" => fs.link(&self.path(1), &self.path(2))?,
            "unlink" => fs.unlink(&self.path(1))?,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_words() {
        let script = "# a comment\n\n write log 0 \"a \\\"b\\\"\\n\" # behind it\nsync\n";
        let steps = parse(script).expect("it makes sense");
        assert_eq!(steps.len(), 2);
        assert_eq!(steps[0].words, ["write", "log", "0", "a \"b\"\n"]);
        assert_eq!((steps[1].line, steps[1].word(0)), (4, "sync"));
        for wrong in [
            "fly",
            "write log 0",
            "sync now",
            "say \"open",
            "say \"\\x\"",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
