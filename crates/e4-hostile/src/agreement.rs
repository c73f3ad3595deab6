//! Thousands of mutants before both judges: how often they agree, and why they do not.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use e4_check::{Report, Severity};

use crate::bases::Base;
use crate::judge::{Bench, Theirs, Verdicts};
use crate::layout::Layout;
use crate::mutate::mutate;
use crate::random::Random;

/// A class of disagreements that is as it should be. The list is explained in `docs/check-agreement.md`.
struct Reason {
    /// What e4 reports (a kind, or words of the message), or e2fsck prints if e4 finds nothing.
    sign: &'static str,
    why: &'static str,
}

/// Only e4 complains.
const OURS: &[Reason] = &[
    Reason {
        sign: "extent node: depth",
        why: "e2fsck does not compare a node's depth with its parent's; the kernel refuses such a file",
    },
    Reason {
        sign: "JournalSuperblock",
        why: "e2fsck does not check the bounds of an empty log; no mount accepts them",
    },
    Reason {
        sign: "ResizeInode",
        why: "e2fsck compares the first quarter of the resize inode's list only",
    },
    Reason {
        sign: "0 entries, room for",
        why: "e2fsck accepts an empty extent tree of some depth; the kernel refuses it",
    },
    Reason {
        sign: "InodeExtraSize",
        why: "e2fsck does not check the extra fields of the journal and the orphan file; the kernel refuses such inodes",
    },
    Reason {
        sign: "JournalAborted",
        why: "e2fsck -n does not look at the journal's error number if there is a log to replay",
    },
    Reason {
        sign: "UnsupportedFeatures",
        why: "e2fsck knows features that e4 does not, and e4 does not judge what it does not know",
    },
    Reason {
        sign: "HtreeRange",
        why: "e2fsck compares the hashes of an index within a node, not across its levels",
    },
    Reason {
        sign: "XattrInInode",
        why: "e2fsck ends the list of attributes in an inode when their values have used up the space",
    },
];

/// Only e2fsck complains, about what is stale while an image is mounted, and there is a log to replay.
fn only_stale(said: &str) -> bool {
    let mut complaints = said
        .lines()
        .filter(|l| !l.contains("? no") && !l.contains(" files ("));
    let of_counts = |l: &str| {
        l.contains("count wrong (")
            || l.contains("orphan_present is set but orphan file is clean")
            || l.contains("skipping journal recovery")
            || l.contains("WARNING")
    };
    said.contains("skipping journal recovery") && complaints.all(of_counts)
}

/// Why the judges disagree, if that is as it should be.
#[must_use]
pub fn explained(v: &Verdicts) -> Option<&'static str> {
    if v.theirs == Theirs::Clean {
        if v.second == Some(Theirs::Damaged) {
            return Some(
                "e2fsck -n looks neither into the log nor at the list of orphans; e2fsck -y on a copy finds it",
            );
        }
        let errors: Vec<String> = errors(&v.report);
        let of = |e: &String| OURS.iter().find(|r| e.contains(r.sign)).map(|r| r.why);
        errors.iter().find_map(of)
    } else {
        only_stale(&v.said).then_some(
            "the superblock's free counts and marks are stale after every crash; the next mount settles them",
        )
    }
}

fn errors(report: &Report) -> Vec<String> {
    let errors = report
        .problems
        .iter()
        .filter(|p| p.severity() >= Severity::Error);
    errors.map(|p| format!("{}: {p}", p.kind())).collect()
}

/// How verdicts went, of one class of mutants.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// Both find nothing.
    pub both_clean: u32,
    /// Both complain.
    pub both_damaged: u32,
    /// Only e4 complains.
    pub only_ours: u32,
    /// Only e2fsck complains.
    pub only_theirs: u32,
    /// e2fsck crashed or did not end.
    pub no_verdict: u32,
}

impl Tally {
    fn count(&mut self, v: &Verdicts) {
        *match (v.theirs, v.report.is_clean()) {
            (Theirs::None, _) => &mut self.no_verdict,
            (Theirs::Clean, true) => &mut self.both_clean,
            (Theirs::Clean, false) => &mut self.only_ours,
            (Theirs::Damaged, true) => &mut self.only_theirs,
            (Theirs::Damaged, false) => &mut self.both_damaged,
        } += 1;
    }

    fn add(&mut self, other: Self) {
        self.both_clean += other.both_clean;
        self.both_damaged += other.both_damaged;
        self.only_ours += other.only_ours;
        self.only_theirs += other.only_theirs;
        self.no_verdict += other.no_verdict;
    }

    fn cells(self) -> [u32; 5] {
        let Self {
            both_clean,
            both_damaged,
            only_ours,
            only_theirs,
            no_verdict,
        } = self;
        [both_clean, both_damaged, only_ours, only_theirs, no_verdict]
    }
}

/// What came out of all comparisons.
#[derive(Default, Debug)]
pub struct Outcome {
    tallies: BTreeMap<String, Tally>,
    /// Disagreements with `-fn` that are none with `-fy`.
    pub allowed: u32,
    /// How often each known reason was met.
    pub explained: BTreeMap<&'static str, u32>,
    /// Disagreements nobody has explained: the mutation, both verdicts.
    pub unexplained: Vec<String>,
}

impl Outcome {
    /// All classes together.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut sum = Tally::default();
        self.tallies.values().for_each(|t| sum.add(*t));
        sum
    }

    /// Agreements, and mutants that both judged.
    #[must_use]
    pub fn agreements(&self) -> (u32, u32) {
        let t = self.total();
        let agree = t.both_clean + t.both_damaged;
        (agree, agree + t.only_ours + t.only_theirs)
    }

    fn note(&mut self, class: String, place: &str, v: &Verdicts) {
        self.tallies.entry(class).or_default().count(v);
        let at_once = match v.theirs {
            Theirs::Clean => v.report.is_clean(),
            Theirs::Damaged => !v.report.is_clean(),
            Theirs::None => true,
        };
        if at_once {
            return;
        }
        self.allowed += u32::from(v.agree());
        if let Some(why) = explained(v) {
            *self.explained.entry(why).or_default() += 1;
            return;
        }
        let said: Vec<_> = v.said.lines().take(4).collect();
        let ours: Vec<String> = errors(&v.report).into_iter().take(4).collect();
        self.unexplained
            .push(format!("{place}\n    e2fsck: {said:?}\n    e4: {ours:?}"));
    }

    /// Figures and explanations as text.
    #[must_use]
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:28} {:>10} {:>12} {:>8} {:>12} {:>10}\n",
            "class", "both clean", "both damaged", "only e4", "only e2fsck", "no verdict"
        );
        let mut line = |name: &str, t: Tally| {
            let [a, b, c, d, e] = t.cells();
            let _ = writeln!(text, "{name:28} {a:>10} {b:>12} {c:>8} {d:>12} {e:>10}");
        };
        for (class, tally) in &self.tallies {
            line(class, *tally);
        }
        line("all", self.total());
        let (agree, all) = self.agreements();
        let percent = f64::from(agree) * 100.0 / f64::from(all.max(1));
        let _ = writeln!(
            text,
            "agreement with e2fsck -fn: {agree} of {all} ({percent:.2} %)"
        );
        let both = agree + self.allowed;
        let percent = f64::from(both) * 100.0 / f64::from(all.max(1));
        let _ = writeln!(
            text,
            "agreement with e2fsck allowed to look at log and orphans: {both} of {all} ({percent:.2} %)"
        );
        for (why, count) in &self.explained {
            let _ = writeln!(text, "explained, {count}: {why}");
        }
        for place in &self.unexplained {
            let _ = writeln!(text, "UNEXPLAINED: {place}");
        }
        text
    }
}

/// The seed of mutant `n`.
#[must_use]
pub const fn seed_of(seed: u64, n: u64) -> u64 {
    seed.wrapping_mul(0x1_0000_0001).wrapping_add(n)
}

/// Has `images` mutants judged, the bases in turn; mutant `n` depends on `seed` and `n` alone.
///
/// # Errors
/// e2fsck cannot be run, files cannot be written, or a base is not understood.
pub fn compare(
    dir: &Path,
    bases: &[Base],
    images: std::ops::Range<u64>,
    seed: u64,
    progress: &mut dyn FnMut(u64),
) -> std::io::Result<Outcome> {
    let mut outcome = Outcome::default();
    let mut benches = Vec::new();
    for (n, base) in bases.iter().enumerate() {
        let layout = Layout::of(&base.image)
            .ok_or_else(|| std::io::Error::other(format!("{}: not understood", base.name)))?;
        let bench = Bench::new(dir, &format!("mutant{n}"), &base.image)?;
        benches.push((base, layout, bench));
    }
    let mut image = Vec::new();
    for n in images {
        let at = usize::try_from(n % benches.len().max(1) as u64).unwrap_or(0);
        let Some((base, layout, bench)) = benches.get_mut(at) else {
            break;
        };
        progress(n);
        image.clone_from(&base.image);
        let mut random = Random::new(seed_of(seed, n));
        let done = mutate(&mut random, layout, &mut image);
        let verdicts = bench.judge(&image)?;
        let sealed = if done.sealed { "" } else { " (blind)" };
        let place = format!("[{n}] {} ({}{sealed})", done.what, base.name);
        outcome.note(format!("{:?}{sealed}", done.class), &place, &verdicts);
    }
    Ok(outcome)
}
