//! Operations on names under power cuts. One thread, so the rule is simple and strict: what is there after recovery is
//! exactly the tree as it was after some operation, none of those that a sync had made durable missing. And nothing
//! else is left: no orphan, no block, no count.

use std::collections::BTreeMap;
use std::process::Command;

use e4::format::FileType;
use e4::{Filesystem, NewInode, Node, OpenFlags, RenameFlags, Result, SetAttr, XattrSet};
use e4_device::Device;
use e4_sim::explore::{self, Params, mount_options};
use e4_sim::{Bound, CrashImage, Rng, SimDisk};
use e4_sync::Arc;

type Tree = BTreeMap<String, String>;

fn tree(fs: &Filesystem) -> Result<Tree> {
    let mut out = Tree::new();
    let mut todo = vec![String::new()];
    while let Some(dir) = todo.pop() {
        for entry in fs.read_dir(&dir)? {
            let name = String::from_utf8_lossy(&entry.name).into_owned();
            if name == "." || name == ".." {
                continue;
            }
            let path = format!("{dir}/{name}");
            let node = fs.lookup(&path, false)?;
            let stat = node.stat()?;
            let mut what = format!(
                "{:?} {} {:o} {} {}",
                stat.file_type, stat.ino, stat.mode, stat.links, stat.generation
            );
            match stat.file_type {
                Some(FileType::Symlink) => {
                    what += &String::from_utf8_lossy(&node.read_link()?);
                }
                Some(FileType::Directory) => todo.push(path.clone()),
                Some(FileType::Regular) => what += &format!(" {} bytes", stat.size),
                _ => {}
            }
            let mut names = node.list_xattr()?;
            names.sort();
            for name in names {
                let value = node.get_xattr(&name)?.unwrap_or_default();
                let first = value.first().copied();
                what += &format!(" {name:?}={}x{first:?}", value.len());
            }
            out.insert(path, what);
        }
    }
    Ok(out)
}

fn path(rng: &mut Rng) -> String {
    let dir = ["", "/a", "/b", "/a/b"][rng.index(4)];
    match rng.below(3) {
        // Long, so that directories grow and get an index.
        0 => format!("{dir}/{:n>1$}", rng.below(60), 90 + rng.index(60)),
        _ => format!("{dir}/{}", ["a", "b", "c", "d"][rng.index(4)]),
    }
}

/// A path that exists, unless there is none.
fn known(fs: &Filesystem, rng: &mut Rng) -> Result<String> {
    let mut tree = tree(fs)?;
    // e2fsck wants to have it.
    tree.remove("/lost+found");
    let chosen = tree.keys().nth(rng.index(tree.len().max(1)));
    Ok(chosen.cloned().unwrap_or_default())
}

/// Any error is as good as none: it must leave nothing behind.
fn step(fs: &Filesystem, rng: &mut Rng, open: &mut Vec<Node>) -> Result<()> {
    let op = rng.below(20);
    let at = match op {
        6..=8 | 12..=18 => known(fs, rng)?,
        _ => path(rng),
    };
    let made = |kind| NewInode::new(kind, 0o644);
    match op {
        0..=2 => fs.mknod(&at, &made(FileType::Regular)).map(drop),
        3 | 4 => fs.mknod(&at, &made(FileType::Directory)).map(drop),
        5 => fs.symlink(&vec![b's'; 1 + rng.index(200)], &at).map(drop),
        6 | 7 => fs.unlink(&at),
        8 => fs.rmdir(&at),
        9..=11 => fs.link(&known(fs, rng)?, &at),
        12..=14 => {
            let how = match rng.below(6) {
                0 => RenameFlags::Exchange,
                1 => RenameFlags::Whiteout,
                _ => RenameFlags::Replace,
            };
            fs.rename(&at, &path(rng), how)
        }
        15 | 16 => {
            let name = format!("user.{}", rng.below(3));
            let value = vec![rng.below(2) as u8; rng.index(300)];
            fs.set_xattr(&at, false, name.as_bytes(), &value, XattrSet::Any)
        }
        17 => {
            let change = SetAttr {
                mode: Some(rng.below(0o1000) as u16),
                ..SetAttr::default()
            };
            fs.set_attr(&at, false, &change).map(drop)
        }
        18 => {
            // Deleted files and directories that stay open across a cut, and files that never had a name.
            let node = match rng.below(3) {
                0 => fs.root()?.tmpfile(&made(FileType::Regular))?,
                _ => fs.lookup(&at, false)?,
            };
            open.push(node);
            Ok(())
        }
        _ => {
            if !open.is_empty() {
                open.swap_remove(rng.index(open.len()));
            }
            Ok(())
        }
    }
}

/// What each position of the log may leave.
struct Story {
    /// The tree after each operation, and the position at which it was over.
    trees: Vec<(u64, Tree)>,
    /// Position, and the operation that is durable from there on.
    synced: Vec<(u64, usize)>,
}

fn tell(disk: &Arc<SimDisk>, seed: u64, steps: u64) -> Story {
    let clock = disk.clock();
    let fs = Filesystem::open(Arc::clone(disk) as Arc<dyn Device>, &mount_options()).unwrap();
    let mut rng = Rng::new(seed);
    let mut story = Story {
        trees: vec![(0, tree(&fs).unwrap())],
        synced: vec![(0, 0)],
    };
    for dir in ["/a", "/b", "/a/b"] {
        fs.mkdir(dir, 0o755).unwrap();
        story.trees.push((clock.position(), tree(&fs).unwrap()));
    }
    let mut open = Vec::new();
    let mut done = 0;
    for _ in 0..steps {
        done += u64::from(step(&fs, &mut rng, &mut open).is_ok());
        story.trees.push((clock.position(), tree(&fs).unwrap()));
        if rng.chance(1, 9) {
            fs.sync().unwrap();
            story.synced.push((clock.position(), story.trees.len() - 1));
        }
        if rng.chance(1, 30) {
            // By now another operation may have made a directory of it.
            drop(fs.open_file("/written", OpenFlags::create()));
            story.trees.push((clock.position(), tree(&fs).unwrap()));
        }
    }
    assert!(
        done * 4 > steps,
        "only {done} of {steps} operations succeed"
    );
    story
}

impl Story {
    fn judge(&self, position: u64, found: &Tree) -> Result<(), String> {
        let durable = self.synced.iter().rev().find(|(at, _)| *at <= position);
        let first = durable.map_or(0, |(_, n)| *n);
        // The operation under way at the cut may be there or not.
        let begun = self
            .trees
            .iter()
            .take_while(|(at, _)| *at < position)
            .count();
        let last = begun.min(self.trees.len() - 1);
        if self.trees[first..=last].iter().any(|(_, t)| t == found) {
            return Ok(());
        }
        let near = &self.trees[last].1;
        let differ: Vec<_> = near
            .iter()
            .filter(|(path, what)| found.get(*path) != Some(what))
            .collect();
        let extra: Vec<_> = found.keys().filter(|p| !near.contains_key(*p)).collect();
        Err(format!(
            "not the tree after any operation from {first} to {last}; missing {differ:?}, extra {extra:?}"
        ))
    }
}

fn recovered(image: CrashImage, story: &Story) -> Result<Arc<CrashImage>, String> {
    let position = image.position();
    let image = Arc::new(image);
    let device = Arc::clone(&image) as Arc<dyn Device>;
    let fs = Filesystem::open(Arc::clone(&device), &mount_options())
        .map_err(|e| format!("cannot be mounted: {e}"))?;
    let found = tree(&fs).map_err(|e| format!("cannot be read: {e}"))?;
    story.judge(position, &found)?;
    fs.unmount().map_err(|e| format!("unmount: {e}"))?;
    let report = e4_check::check(&*device, &e4_check::Options::default(), &mut |_| {});
    let worst = report
        .problems
        .iter()
        .find(|p| p.severity() >= e4_check::Severity::Error);
    match worst {
        Some(problem) => Err(format!("check: {problem}")),
        None => Ok(image),
    }
}

fn e2fsck(image: &CrashImage, options: &str) -> Result<(), String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    image.save(file.path()).unwrap();
    match Command::new("e2fsck")
        .arg(options)
        .arg(file.path())
        .output()
    {
        Ok(out)
            if out
                .status
                .code()
                .is_some_and(|code| code <= i32::from(options != "-fn")) =>
        {
            Ok(())
        }
        Ok(out) => Err(format!("e2fsck: {}", String::from_utf8_lossy(&out.stdout))),
        Err(error) => {
            e4_judges::skipped("e2fsck", error);
            Ok(())
        }
    }
}

fn explore(features: &'static str, block_size: u32, seed: u64, steps: u64) -> u64 {
    let params = Params {
        features,
        block_size,
        ..Params::small(seed)
    };
    let disk = explore::formatted(&params);
    let story = tell(&disk, seed, steps);
    let bound = Bound {
        exhaustive: 1,
        reorderings: 1,
        torn: 0,
        seed,
    };
    let log = disk.log();
    let mut states = 0;
    for point in log.crash_points().collect::<Vec<_>>() {
        for image in log.states_at(point, bound) {
            let name = image.describe();
            let asked = states % 40 == 0;
            states += 1;
            let before = if asked { e2fsck(&image, "-fp") } else { Ok(()) };
            let judged = before
                .and_then(|()| recovered(image, &story))
                .and_then(|after| if asked { e2fsck(&after, "-fn") } else { Ok(()) });
            if let Err(what) = judged {
                panic!("{features:?}, {block_size}, seed {seed}, {name}: {what}");
            }
        }
    }
    states
}

#[test]
fn names_survive_every_cut() {
    let seeds = std::env::var("E4_NAME_SEEDS").ok();
    let seeds: u64 = seeds.and_then(|n| n.parse().ok()).unwrap_or(2);
    let mut states = 0;
    for seed in 1..=seeds {
        states += explore("", 1024, seed, 150);
        states += explore("^orphan_file", 1024, seed + 1000, 150);
    }
    eprintln!("{states} states");
    assert!(states > 100, "only {states} states");
}

/// The judge sees a tree that is half of an operation, and one that is too old.
#[test]
fn the_judge_notices() {
    let one = |name: &str| Tree::from([(name.to_owned(), String::new())]);
    let story = Story {
        trees: vec![(0, Tree::new()), (10, one("/a")), (20, one("/b"))],
        synced: vec![(0, 0), (15, 1)],
    };
    assert!(story.judge(12, &one("/a")).is_ok());
    assert!(story.judge(12, &Tree::new()).is_ok());
    assert!(story.judge(16, &Tree::new()).is_err(), "too old");
    assert!(story.judge(30, &one("/b")).is_ok());
    let both: Tree = one("/a").into_iter().chain(one("/b")).collect();
    assert!(story.judge(30, &both).is_err(), "half of a rename");
}
