//! What the error tests share: a mounted lab image, tagged blocks, a watchdog.

use e4::{AlignedBuf, FallocateMode, File, Filesystem, OpenFlags};
use e4_device::Device;
use e4_sim::explore::{Params, formatted, mount_options, unsettled};
use e4_sim::{Effect, Fault, OpKind, SimDisk, Tag, TagVerdict, Times, When};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub(crate) const BLOCK: u64 = 1024;

/// A mounted image.
pub(crate) struct World {
    pub(crate) disk: Arc<SimDisk>,
    pub(crate) fs: Filesystem,
}

impl World {
    pub(crate) fn new() -> World {
        let disk = formatted(&Params::small(1));
        let fs = open(&disk).unwrap();
        World { disk, fs }
    }

    /// A file of preallocated blocks, durable.
    pub(crate) fn preallocated(&self, path: &str, blocks: u64) -> File {
        let file = self.fs.open_file(path, OpenFlags::create()).unwrap();
        file.fallocate(FallocateMode::Allocate, 0, blocks * BLOCK)
            .unwrap();
        self.fs.sync().unwrap();
        file
    }

    /// Cuts the power (after which everything written is on the medium) and mounts again.
    pub(crate) fn cut(self) -> World {
        drop(self.fs);
        self.disk.clear_faults();
        let fs = open(&self.disk).unwrap();
        World {
            disk: self.disk,
            fs,
        }
    }

    /// Unmounts and has the image checked.
    pub(crate) fn must_be_sound(self) {
        assert_eq!(unsettled(&self.fs).unwrap(), None);
        self.fs.unmount().unwrap();
        check(&self.disk);
    }
}

pub(crate) fn open(disk: &Arc<SimDisk>) -> e4::Result<Filesystem> {
    Filesystem::open(Arc::clone(disk) as Arc<dyn Device>, &mount_options())
}

pub(crate) fn check(disk: &SimDisk) {
    let report = e4_check::check(disk, &e4_check::Options::default(), &mut |_| {});
    let problems: Vec<String> = report.problems.iter().map(ToString::to_string).collect();
    assert!(report.is_clean(), "{problems:#?}");
}

/// Blocks of file 1, stamped.
pub(crate) fn tagged(block: u64, count: u64, generation: u64) -> AlignedBuf {
    let mut buf = AlignedBuf::zeroed((count * BLOCK) as usize);
    for (n, bytes) in buf.chunks_exact_mut(BLOCK as usize).enumerate() {
        Tag {
            file: 1,
            block: block + n as u64,
            generation,
        }
        .stamp(bytes);
    }
    buf
}

pub(crate) fn write(file: &File, block: u64, count: u64, generation: u64) -> e4::Result<usize> {
    file.write(block * BLOCK, tagged(block, count, generation))
        .wait()
        .0
}

/// The generation a block holds; 0 for zeros.
pub(crate) fn generation(file: &File, block: u64) -> u64 {
    let mut bytes = vec![0; BLOCK as usize];
    // Short behind the end of file, where there are zeros.
    file.read_at(block * BLOCK, &mut bytes).unwrap();
    match Tag::verify(&bytes) {
        TagVerdict::Zeros => 0,
        TagVerdict::Tag(tag) => {
            assert_eq!((tag.file, tag.block), (1, block), "another block's data");
            tag.generation
        }
        other => panic!("block {block}: {other:?}"),
    }
}

/// Where a block of a file lies on the device, bytes.
pub(crate) fn place(file: &File, block: u64) -> Range<u64> {
    let holds = |e: &e4::format::Extent| {
        let first = u64::from(e.block.get());
        (first..first + u64::from(e.len)).contains(&block)
    };
    let extent = file.extents().unwrap().into_iter().find(holds).unwrap();
    let at = (extent.start.get() + block - u64::from(extent.block.get())) * BLOCK;
    at..at + BLOCK
}

/// Writes (or reads) that touch the range fail once.
pub(crate) fn fail_once(disk: &SimDisk, op: OpKind, range: Range<u64>) {
    disk.inject(Fault {
        op,
        when: When::Touching(range),
        effect: Effect::Fail { errno: 5 },
        times: Times::Once,
    });
}

/// Runs a test that must not hang.
pub(crate) fn watched(test: impl FnOnce() + Send + 'static) {
    let (done, finished) = std::sync::mpsc::channel();
    let thread = std::thread::spawn(move || {
        test();
        // The watchdog may have given up already.
        let _ = done.send(());
    });
    match finished.recv_timeout(Duration::from_secs(120)) {
        Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it hangs"),
        // Done, or the thread panicked: join tells.
        _ => thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
    }
}
