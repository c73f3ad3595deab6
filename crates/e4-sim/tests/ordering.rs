//! Rule 1 of the engine, commit-all: whoever acts after an acknowledgement never becomes durable before it.
//!
//! Every write goes into blocks that were never written, one block each, and is submitted after the one before
//! it was acknowledged. So after any power cut those that are there are the first ones, whatever file they are in.

use e4::{AlignedBuf, FallocateMode, File, Filesystem, OpenFlags};
use e4_device::Device;
use e4_sim::explore::{Params, formatted, mount_options};
use e4_sim::{Bound, Log, Rng, SimDisk, Tag};
use std::sync::Arc;

const BLOCK: u64 = 1024;
const BLOCKS: u64 = 24;

fn tagged(file: u64, block: u64) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed(BLOCK as usize);
    Tag {
        file,
        block,
        generation: 1,
    }
    .stamp(&mut buf);
    buf
}

fn mounted() -> (Arc<SimDisk>, Filesystem, Vec<File>) {
    let disk = formatted(&Params::small(3));
    let fs = Filesystem::open(Arc::clone(&disk) as Arc<dyn Device>, &mount_options()).unwrap();
    let files: Vec<File> = ["/a", "/b"]
        .iter()
        .map(|path| {
            let file = fs.open_file(path, OpenFlags::create()).unwrap();
            file.fallocate(FallocateMode::Allocate, 0, BLOCKS * BLOCK)
                .unwrap();
            file
        })
        .collect();
    fs.sync().unwrap();
    (disk, fs, files)
}

/// Which of the writes (file, block) are there.
fn present(image: Arc<dyn Device>, writes: &[(usize, u64)]) -> Vec<bool> {
    let fs = Filesystem::open(image, &mount_options()).expect("every state can be mounted");
    let files: Vec<File> = ["/a", "/b"]
        .iter()
        .map(|p| fs.open_file(p, OpenFlags::read()).unwrap())
        .collect();
    let is_there = |&(file, block): &(usize, u64)| {
        let mut content = vec![0; BLOCK as usize];
        files[file].read_at(block * BLOCK, &mut content).unwrap();
        let there = content[..] == tagged(file as u64 + 1, block)[..];
        assert!(
            there || content.iter().all(|&b| b == 0),
            "file {file} block {block} is torn or stale"
        );
        there
    };
    writes.iter().map(is_there).collect()
}

fn states(log: &Log) -> impl Iterator<Item = e4_sim::CrashImage> + '_ {
    // No torn writes: the superblock's are not to be mounted, the others are `explore`'s.
    let bound = Bound {
        exhaustive: 3,
        reorderings: 4,
        torn: 0,
        seed: 5,
    };
    log.crash_points()
        .flat_map(move |point| log.states_at(point, bound))
}

#[test]
fn no_later_write_is_durable_without_the_earlier() {
    let (disk, fs, files) = mounted();
    disk.settle();
    let mut rng = Rng::new(9);
    let mut writes = Vec::new();
    let mut order: Vec<(usize, u64)> = (0..2)
        .flat_map(|f| (0..BLOCKS).map(move |b| (f, b)))
        .collect();
    rng.shuffle(&mut order);
    for (file, block) in order {
        let at = block * BLOCK;
        files[file]
            .write(at, tagged(file as u64 + 1, block))
            .wait()
            .0
            .unwrap();
        writes.push((file, block));
        if rng.chance(1, 4) {
            // Of either file: what makes one durable must not overtake the other.
            files[rng.index(2)].fdatasync().unwrap();
        }
    }
    fs.sync().unwrap();
    let (mut judged, mut partial) = (0, 0);
    for image in states(&disk.log()) {
        let name = image.describe();
        let there = present(Arc::new(image), &writes);
        let first_missing = there.iter().position(|t| !t).unwrap_or(there.len());
        let later = there[first_missing..].iter().any(|&t| t);
        assert!(
            !later,
            "{name}: a later write without an earlier one: {there:?}"
        );
        judged += 1;
        partial += usize::from(first_missing > 0 && first_missing < there.len());
    }
    eprintln!("{judged} states, {partial} with some of the writes");
    assert!(
        partial > 50,
        "{judged} states, {partial} with some of the writes: too few to tell"
    );
}

/// A direct write to A is acknowledged; then B is written and synced; the power fails: A is there too.
#[test]
fn fsync_of_one_file_takes_acknowledged_writes_of_others_along() {
    for block in [0, 5, BLOCKS - 1] {
        let (disk, _fs, files) = mounted();
        disk.settle();
        files[0]
            .write(block * BLOCK, tagged(1, block))
            .wait()
            .0
            .unwrap();
        files[1].write(0, tagged(2, 0)).wait().0.unwrap();
        files[1].fsync().unwrap();
        let log = disk.log();
        for all in [false, true] {
            let image = log.state(log.end(), all);
            assert_eq!(
                present(Arc::new(image), &[(0, block), (1, 0)]),
                [true, true]
            );
        }
    }
}

/// Acknowledged without any sync, then the filesystem is dropped: a power cut for everything.
#[test]
fn dropping_writes_nothing_more() {
    let (disk, fs, files) = mounted();
    disk.settle();
    files[0].write(0, tagged(1, 0)).wait().0.unwrap();
    let before = disk.log().events().len();
    drop((fs, files));
    assert_eq!(disk.log().events().len(), before);
}
