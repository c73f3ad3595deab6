//! Two judges over one image: e4-check, and `e2fsck -fn`.
//!
//! How `e2fsck -fn` says what it thinks: exit code 0 and nothing refused ("? no") means clean; it also ends with
//! 0 after some complaints it was not allowed to mend, and after offers to optimise, which are no complaints.

use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use e4_check::{Options, Report};
use e4_device::MemoryDevice;

/// Pages in which an image is compared with the base, bytes.
const PAGE: usize = 4096;

/// Seconds e2fsck may take; longer than that it has no verdict.
const PATIENCE: &str = "20";

/// What e2fsck says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Theirs {
    /// Nothing is wrong.
    Clean,
    /// Something is.
    Damaged,
    /// It crashed or did not end.
    None,
}

/// Both verdicts.
#[derive(Clone, Debug)]
pub struct Verdicts {
    /// e4-check's.
    pub report: Report,
    /// e2fsck's.
    pub theirs: Theirs,
    /// What e2fsck printed, without its headings.
    pub said: String,
    /// What `e2fsck -fy` says on a copy, asked only where `-fn` is clean and e4 is not: without writing, e2fsck
    /// looks neither into the log nor at the list of orphans.
    pub second: Option<Theirs>,
}

impl Verdicts {
    /// True if both say the same.
    #[must_use]
    pub fn agree(&self) -> bool {
        match self.second.unwrap_or(self.theirs) {
            Theirs::Clean => self.report.is_clean(),
            Theirs::Damaged => !self.report.is_clean(),
            Theirs::None => true,
        }
    }
}

/// A file in which mutants of one base are shown to e2fsck: only what differs is written.
pub struct Bench {
    path: PathBuf,
    file: std::fs::File,
    base: Vec<u8>,
    /// Pages that differ from the base now.
    dirty: Vec<usize>,
}

impl Bench {
    /// A file `name` in `dir` with this content.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn new(dir: &Path, name: &str, base: &[u8]) -> std::io::Result<Self> {
        let path = dir.join(name);
        let mut file = std::fs::File::create(&path)?;
        file.write_all(base)?;
        Ok(Self {
            path,
            file,
            base: base.to_vec(),
            dirty: Vec::new(),
        })
    }

    /// The file, for a command line.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the file hold `image`, which is as long as the base.
    fn show(&mut self, image: &[u8]) -> std::io::Result<()> {
        let differs = |n: &usize| {
            let at = n * PAGE..((n + 1) * PAGE).min(image.len());
            image.get(at.clone()) != self.base.get(at)
        };
        let pages: Vec<usize> = (0..image.len().div_ceil(PAGE)).filter(differs).collect();
        for (content, pages) in [(&self.base[..], &self.dirty), (image, &pages)] {
            for n in pages {
                let at = n * PAGE..((n + 1) * PAGE).min(content.len());
                self.file.seek(SeekFrom::Start(at.start as u64))?;
                self.file.write_all(content.get(at).unwrap_or_default())?;
            }
        }
        self.dirty = pages;
        Ok(())
    }

    /// Has both judge an image.
    ///
    /// # Errors
    /// The file cannot be written, or e2fsck not be run.
    pub fn judge(&mut self, image: &[u8]) -> std::io::Result<Verdicts> {
        self.show(image)?;
        let (theirs, said) = e2fsck(&self.path, "-fn")?;
        let device = MemoryDevice::from_bytes(image);
        let report = e4_check::check(&device, &Options::default(), &mut |_| {});
        let second = if theirs == Theirs::Clean && !report.is_clean() {
            let copy = self.path.with_extension("copy");
            std::fs::write(&copy, image)?;
            Some(e2fsck(&copy, "-fy")?.0)
        } else {
            None
        };
        Ok(Verdicts {
            report,
            theirs,
            said,
            second,
        })
    }
}

/// Offers of e2fsck that are no complaints: a tree that could be smaller.
fn only_optimises(line: &str) -> bool {
    line.contains("could be shorter")
        || line.contains("could be narrower")
        || line.starts_with("Optimize")
}

fn e2fsck(path: &Path, how: &str) -> std::io::Result<(Theirs, String)> {
    let mut child = Command::new("timeout")
        .args([PATIENCE, "e2fsck", how])
        .arg(path)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut out = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        // A damaged image can make it say very much; a few pages are enough.
        stdout.take(1 << 20).read_to_end(&mut out)?;
    }
    let status = child.wait()?;
    let text = String::from_utf8_lossy(&out);
    let said: Vec<&str> = text
        .lines()
        .filter(|l| !l.is_empty() && !l.starts_with("Pass ") && !l.starts_with("WARNING"))
        .collect();
    let refused = said
        .iter()
        .any(|l| l.contains("? no") && !only_optimises(l));
    let theirs = match status.code() {
        Some(0) if !refused => Theirs::Clean,
        Some(0..=15) => Theirs::Damaged,
        _ => Theirs::None,
    };
    Ok((theirs, said.join("\n")))
}
