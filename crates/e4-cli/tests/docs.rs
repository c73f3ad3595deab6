//! The documentation does not rot: every page is in the book, every link leads somewhere, and every command shown in a
//! `console` block does what the page says.
//!
//! In a block, a line that begins with `$ ` is a command; the lines behind it are its output, and `...` stands for any
//! lines. The commands of a page run one after the other in one directory of its own.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

/// Every page, by its path below `docs`.
fn pages() -> BTreeMap<String, String> {
    let mut pages = BTreeMap::new();
    let mut left = vec![docs()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|e| e == "md") {
                let name = path.strip_prefix(docs()).unwrap();
                let text = std::fs::read_to_string(&path).unwrap();
                pages.insert(name.to_str().unwrap().to_owned(), text);
            }
        }
    }
    pages
}

/// Targets of the links of a page that are files.
fn links(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("](") {
        let target = text[at + 2..].split(')').next().unwrap_or("");
        let target = target.split('#').next().unwrap_or("");
        if !target.is_empty() && !target.contains("://") {
            found.push(target.to_owned());
        }
    }
    found
}

/// What is wrong with the links between pages; `exists` says whether a path below `docs` does.
fn wrong_links(pages: &BTreeMap<String, String>, exists: &dyn Fn(&Path) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    let summary = links(pages.get("SUMMARY.md").map_or("", String::as_str));
    for name in pages.keys().filter(|n| *n != "SUMMARY.md") {
        if !summary.contains(name) {
            wrong.push(format!("{name} is not in SUMMARY.md"));
        }
    }
    for (name, text) in pages {
        let dir = Path::new(name).parent().unwrap();
        for target in links(text) {
            if !exists(&dir.join(&target)) {
                wrong.push(format!("{name} links to {target}, which does not exist"));
            }
        }
    }
    wrong
}

#[test]
fn every_page_is_in_the_book_and_every_link_leads_somewhere() {
    let mut pages = pages();
    let exists = |path: &Path| docs().join(path).exists();
    assert_eq!(wrong_links(&pages, &exists), Vec::<String>::new());
    // The test can fail.
    pages.insert("lost.md".into(), "[x](nowhere.md)".into());
    assert_eq!(wrong_links(&pages, &exists).len(), 2);
}

/// A command and what it is to print.
struct Step {
    command: String,
    expected: Vec<String>,
}

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        if line.starts_with("```") {
            inside = line == "```console";
        } else if let Some(command) = line.strip_prefix("$ ").filter(|_| inside) {
            steps.push(Step {
                command: command.to_owned(),
                expected: Vec::new(),
            });
        } else if inside && let Some(step) = steps.last_mut() {
            step.expected.push(line.to_owned());
        }
    }
    steps
}

/// True if the lines are the expected ones, `...` standing for any.
fn matches(expected: &[String], lines: &[&str]) -> bool {
    match expected.split_first() {
        None => lines.is_empty(),
        Some((first, rest)) if first == "..." => {
            (0..=lines.len()).any(|n| matches(rest, &lines[n..]))
        }
        Some((first, rest)) => {
            lines
                .first()
                .is_some_and(|l| l.trim_end() == first.trim_end())
                && matches(rest, &lines[1..])
        }
    }
}

/// Runs the commands of a page in a shell; what differs from what it says.
fn differences(page: &str) -> Vec<String> {
    let steps = steps(page);
    let dir = tempfile::tempdir().unwrap();
    // One shell, so that variables last; a mark behind each command tells the outputs apart.
    let mut script = String::from("exec 2>&1\n");
    for step in &steps {
        script += &format!("{}\nprintf '\\n@@%d@@\\n' $?\n", step.command);
    }
    let bin = Path::new(env!("CARGO_BIN_EXE_e4")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh")
        .current_dir(dir.path())
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env_remove("SOURCE_DATE_EPOCH")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    shell
        .stdin
        .take()
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let out = shell.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&out.stdout);
    let mut wrong = Vec::new();
    let mut rest = &*text;
    for step in &steps {
        let Some((said, after)) = rest.split_once("\n@@") else {
            wrong.push(format!("{}: did not run", step.command));
            continue;
        };
        let (status, after) = after.split_once("@@\n").unwrap_or((after, ""));
        rest = after;
        let lines: Vec<&str> = said.strip_suffix('\n').unwrap_or(said).lines().collect();
        if status != "0" || !matches(&step.expected, &lines) {
            let expected = step.expected.join("\n");
            wrong.push(format!(
                "$ {}\nstatus {status}, said:\n{said}\nthe page says:\n{expected}",
                step.command
            ));
        }
    }
    wrong
}

#[test]
fn every_command_shown_does_what_the_page_says() {
    let mut commands = 0;
    let mut all = Vec::new();
    for (name, text) in pages() {
        // Pages about the project's own tasks show commands of the source tree.
        if name != "index.md" && !name.starts_with("guide/") {
            continue;
        }
        commands += steps(&text).len();
        let wrong = differences(&text);
        all.extend(wrong.iter().map(|w| format!("{name}: {w}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n\n"));
    assert!(commands > 30, "only {commands} commands were found");
    // The test can fail: wrong output, wrong status, a command that does not exist.
    for page in [
        "```console\n$ echo a\nb\n```\n",
        "```console\n$ false\n```\n",
        "```console\n$ e4 no-such-verb\n...\n```\n",
        "```console\n$ echo a; echo b\na\n```\n",
    ] {
        assert_eq!(differences(page).len(), 1, "{page}");
    }
    let page = "```console\n$ echo a; echo b; echo c\na\n...\nc\n```\n";
    assert_eq!(differences(page), Vec::<String>::new());
}
