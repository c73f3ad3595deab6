//! Collapse, insert and zero range under power cuts. One thread, whole blocks, every block filled with one letter, so that a
//! file is a string. After recovery it is the string after some operation, none of those that a sync had made durable
//! missing; a shift that takes several transactions may be found with its hole anywhere on the way, nothing else.

use e4::{AlignedBuf, FallocateMode as Mode, File, Filesystem, OpenFlags};
use e4_device::Device;
use e4_sim::explore::{self, Params, mount_options};
use e4_sim::{Bound, CrashImage, Rng, SimDisk};
use e4_sync::Arc;

const BLOCK: u64 = 1024;

/// One letter per block; `.` is zeros.
type Text = Vec<u8>;

/// What a file may hold.
#[derive(Clone, Debug)]
enum Possible {
    /// Exactly this, after an operation.
    After(Text),
    /// Exactly this, in the middle of a shift.
    OnTheWay(Text),
    /// Some blocks as before a write, some as after it, some of its new blocks zeros; any size between.
    Writing(Text, Text),
}

impl Possible {
    fn is(&self, found: &Text) -> bool {
        match self {
            Self::After(text) | Self::OnTheWay(text) => text == found,
            Self::Writing(before, after) => {
                let at = |text: &Text, i: usize| text.get(i).copied().unwrap_or(b'.');
                (before.len()..=after.len()).contains(&found.len())
                    && found
                        .iter()
                        .enumerate()
                        .all(|(i, &b)| b == at(before, i) || b == at(after, i))
            }
        }
    }
}

/// What each position of the log may leave.
struct Story {
    /// What the file may hold from that position on, in order.
    texts: Vec<(u64, Possible)>,
    /// Position, and the text that is durable from there on.
    synced: Vec<(u64, usize)>,
}

/// What a shift in several transactions may leave: the hole anywhere on its way.
fn on_the_way(before: &Text, mode: Mode, at: usize, len: usize) -> Vec<Text> {
    let mut all = Vec::new();
    match mode {
        Mode::CollapseRange => {
            let mut text = before.clone();
            text[at..at + len].fill(b'.');
            all.push(text.clone());
            for to in at..before.len() - len {
                text[to] = before[to + len];
                text[to + 1..=to + len].fill(b'.');
                all.push(text.clone());
            }
        }
        _ => {
            for hole in (at..=before.len()).rev() {
                let mut text = before.clone();
                text.splice(hole..hole, std::iter::repeat_n(b'.', len));
                all.push(text);
            }
        }
    }
    all
}

fn read(fs: &Filesystem) -> e4::Result<Text> {
    let file = fs.open_file("/f", OpenFlags::read())?;
    let mut bytes = vec![0; usize::try_from(file.size()).unwrap_or(0)];
    file.read_at(0, &mut bytes)?;
    let letter = |block: &[u8]| match block {
        [0, rest @ ..] if rest.iter().all(|&b| b == 0) => b'.',
        [first, rest @ ..] if rest.iter().all(|b| b == first) => *first,
        _ => b'?',
    };
    Ok(bytes.chunks(BLOCK as usize).map(letter).collect())
}

struct Writer {
    disk: Arc<SimDisk>,
    fs: Filesystem,
    file: File,
    rng: Rng,
    text: Text,
    story: Story,
    /// Shifts may be found half done.
    in_parts: bool,
}

impl Writer {
    fn possible(&mut self) {
        let now = self.disk.clock().position();
        let text = Possible::After(self.text.clone());
        self.story.texts.push((now, text));
    }

    fn sync(&mut self) {
        self.file.fsync().unwrap();
        let now = self.disk.clock().position();
        self.story.synced.push((now, self.story.texts.len() - 1));
    }

    /// A few blocks, durable at once: what a cut does to writes is another test's business.
    fn write(&mut self, blocks: impl Iterator<Item = u64>) {
        let before = self.text.clone();
        let letter = b'a' + u8::try_from(self.rng.below(26)).unwrap();
        let acks: Vec<_> = blocks
            .map(|block| {
                let end = usize::try_from(block).unwrap() + 1;
                let len = self.text.len().max(end);
                self.text.resize(len, b'.');
                self.text[end - 1] = letter;
                let mut buf = AlignedBuf::zeroed(BLOCK as usize);
                buf.fill(letter);
                self.file.write(block * BLOCK, buf)
            })
            .collect();
        for ack in acks {
            ack.wait().0.unwrap();
        }
        self.file.fsync().unwrap();
        let now = self.disk.clock().position();
        let writing = Possible::Writing(before, self.text.clone());
        self.story.texts.push((now, writing));
        self.possible();
        self.story.synced.push((now, self.story.texts.len() - 1));
    }

    fn allocate(&mut self, mode: Mode, at: usize, len: usize) {
        let before = self.text.clone();
        let done = self
            .file
            .fallocate(mode, at as u64 * BLOCK, len as u64 * BLOCK);
        match mode {
            Mode::CollapseRange if at + len < before.len() => drop(self.text.drain(at..at + len)),
            Mode::InsertRange if at < before.len() => {
                let hole = std::iter::repeat_n(b'.', len);
                self.text.splice(at..at, hole);
            }
            Mode::ZeroRangeKeepSize => {
                let to = (at + len).min(before.len());
                self.text[at.min(to)..to].fill(b'.');
            }
            _ => return assert_eq!(done.unwrap_err().errno(), 22),
        }
        done.unwrap();
        if self.in_parts && mode != Mode::ZeroRangeKeepSize {
            // They came before the operation was over: noted late, they are possible until the next sync all the same.
            let now = self.disk.clock().position();
            let parts = on_the_way(&before, mode, at, len).into_iter();
            self.story
                .texts
                .extend(parts.map(|text| (now, Possible::OnTheWay(text))));
        }
        self.possible();
        if mode == Mode::ZeroRangeKeepSize {
            // Else a write may survive that the zeros before it did not.
            self.file.fsync().unwrap();
        }
        // Shifts are durable when they return.
        let now = self.disk.clock().position();
        self.story.synced.push((now, self.story.texts.len() - 1));
    }

    fn step(&mut self) {
        let span = self.text.len() as u64 + 4;
        let at = self.rng.below(span);
        let len = 1 + self.rng.index(9);
        match self.rng.below(9) {
            0..3 => {
                let last = (at + 12).min(100);
                let every = 1 + self.rng.index(2);
                self.write((at.min(last)..=last).step_by(every));
            }
            3 | 4 => self.allocate(Mode::CollapseRange, at as usize, len),
            5 | 6 => self.allocate(Mode::InsertRange, at as usize, len),
            7 => self.allocate(Mode::ZeroRangeKeepSize, at as usize, len),
            _ => self.sync(),
        }
    }
}

impl Story {
    /// The operation under way at the cut, or the next one if its position is noted late, may be there or not. True: found in the middle of a
    /// shift.
    fn judge(&self, position: u64, found: &Text) -> Result<bool, String> {
        let durable = self.synced.iter().rev().find(|(at, _)| *at <= position);
        let first = durable.map_or(0, |(_, n)| *n);
        let begun = self.texts.iter().take_while(|(at, _)| *at < position);
        let last = begun.count().min(self.texts.len() - 1);
        // All texts noted at one position belong to one operation.
        let under_way = self.texts[last].0;
        let possible = self.texts[first..]
            .iter()
            .take_while(|(at, _)| *at <= under_way);
        let mut matching = possible.clone().filter(|(_, p)| p.is(found));
        match matching.next() {
            Some((_, p)) => Ok(matches!(p, Possible::OnTheWay(_))),
            None => Err(format!(
                "{} is none of the {} texts from {first} to {last}, such as {:?}",
                String::from_utf8_lossy(found),
                possible.count(),
                self.texts[last].1
            )),
        }
    }
}

fn recovered(image: CrashImage, story: &Story) -> Result<bool, String> {
    let position = image.position();
    let device = Arc::new(image) as Arc<dyn Device>;
    let fs = Filesystem::open(Arc::clone(&device), &mount_options())
        .map_err(|e| format!("cannot be mounted: {e}"))?;
    let found = read(&fs).map_err(|e| format!("cannot be read: {e}"))?;
    let half = story.judge(position, &found)?;
    fs.unmount().map_err(|e| format!("unmount: {e}"))?;
    let report = e4_check::check(&*device, &e4_check::Options::default(), &mut |_| {});
    let mut problems = report.problems.iter();
    match problems.find(|p| p.severity() >= e4_check::Severity::Error) {
        Some(problem) => Err(format!("check: {problem}")),
        None => Ok(half),
    }
}

fn begin(params: &Params, in_parts: bool) -> Writer {
    let disk = explore::formatted(params);
    let device = Arc::clone(&disk) as Arc<dyn Device>;
    let fs = Filesystem::open(device, &mount_options()).unwrap();
    let file = fs.open_file("/f", OpenFlags::create()).unwrap();
    fs.sync().unwrap();
    let now = disk.clock().position();
    Writer {
        disk,
        fs,
        file,
        rng: Rng::new(params.seed),
        text: Text::new(),
        story: Story {
            texts: vec![(now, Possible::After(Text::new()))],
            synced: vec![(now, 0)],
        },
        in_parts,
    }
}

/// Looks at the states a cut may leave after position `begun`, at most `points` moments of them; how many, and how many
/// show a shift half done.
fn explore_states(writer: Writer, begun: u64, points: usize, bound: Bound) -> (u64, u64) {
    let Writer {
        disk,
        fs,
        file,
        story,
        ..
    } = writer;
    drop(file);
    // As a power cut: nothing is written any more.
    drop(fs);
    let log = disk.log();
    let all: Vec<_> = log.crash_points().filter(|p| p.position >= begun).collect();
    let (mut states, mut half) = (0, 0);
    for point in all.iter().step_by(all.len().div_ceil(points).max(1)) {
        for image in log.states_at(*point, bound) {
            let name = image.describe();
            states += 1;
            match recovered(image, &story) {
                Ok(found_half) => half += u64::from(found_half),
                Err(what) => panic!("{name}: {what}"),
            }
        }
    }
    (states, half)
}

#[test]
fn small_files_shift_at_once_or_not_at_all() {
    let mut states = 0;
    for seed in 1..=3 {
        let params = Params::small(seed);
        let mut writer = begin(&params, false);
        for _ in 0..40 {
            writer.step();
        }
        let bound = Bound {
            exhaustive: 1,
            reorderings: 1,
            torn: 0,
            seed,
        };
        let begun = writer.story.synced[0].0;
        let (seen, half) = explore_states(writer, begun, 400, bound);
        assert_eq!(half, 0);
        states += seen;
    }
    eprintln!("{states} states");
    assert!(states > 100, "only {states} states");
}

/// More leaves than one transaction of a small journal takes: found half done, with the hole somewhere on its way.
#[test]
fn large_files_shift_in_parts() {
    let params = Params {
        size: 40 << 20,
        ..Params::small(7)
    };
    let mut writer = begin(&params, true);
    let n = 11_000;
    writer.write((0..n).step_by(2));
    let begun = writer.disk.clock().position();
    writer.allocate(Mode::InsertRange, 300, 5);
    writer.sync();
    writer.allocate(Mode::CollapseRange, 90, 11);
    writer.sync();
    let bound = Bound {
        exhaustive: 0,
        reorderings: 0,
        torn: 0,
        seed: 1,
    };
    let (states, half) = explore_states(writer, begun, 60, bound);
    eprintln!("{states} states, {half} of them half done");
    assert!(half > 0, "it was one transaction after all");
}

/// The judge sees a shift that lost a block, one that is half done where it must not be, and one too old.
#[test]
fn the_judge_notices() {
    let text = |s: &str| s.as_bytes().to_vec();
    let story = Story {
        texts: vec![
            (0, Possible::After(text("abcdef"))),
            (10, Possible::After(text("abef"))),
            (20, Possible::Writing(text("abef"), text("abxxx"))),
        ],
        synced: vec![(0, 0), (15, 1)],
    };
    assert!(story.judge(9, &text("abcdef")).is_ok());
    assert!(story.judge(9, &text("abef")).is_ok());
    assert!(story.judge(16, &text("abcdef")).is_err(), "too old");
    assert!(story.judge(9, &text("abef..")).is_err(), "half done");
    assert!(story.judge(9, &text("abeff")).is_err(), "twice");
    assert!(story.judge(18, &text("abxf")).is_ok(), "half written");
    assert!(story.judge(18, &text("abxfy")).is_err(), "never written");
    let parts = on_the_way(&text("abcdef"), Mode::CollapseRange, 2, 2);
    assert_eq!(parts, [text("ab..ef"), text("abe..f"), text("abef..")]);
    let parts = on_the_way(&text("abc"), Mode::InsertRange, 1, 2);
    assert_eq!(parts, [text("abc.."), text("ab..c"), text("a..bc")]);
}
