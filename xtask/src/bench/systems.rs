//! Each system doing a job once.
//!
//! Decision: all share one image, one after the other: raw writes into its middle, e4 and the peers after formatting
//! it afresh. So all write the same pages of memory, and the image is touched before any of them.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use e4::device::{BackendChoice, DirectChoice};
use e4::{FallocateMode, File, Filesystem, MountOptions, OpenFlags, Stats};

use super::drive::{self, Target};
use super::fio;
use super::job::{Job, Plan};
use super::kernel::{Mounted, Peer};
use super::report::Counts;

/// A system under measurement; e4 and the peers give two rows each, unwritten and written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum System {
    RawUring,
    RawFio,
    RawAuto,
    E4,
    E4Uring,
    Kernel,
    KernelFio,
    Fuse,
}

pub(crate) const ALL: [System; 8] = [
    System::RawUring,
    System::RawFio,
    System::RawAuto,
    System::E4,
    System::E4Uring,
    System::Kernel,
    System::KernelFio,
    System::Fuse,
];

impl System {
    /// The names of its rows.
    pub(crate) fn rows(self) -> &'static [&'static str] {
        match self {
            Self::RawUring => &["raw io_uring"],
            Self::RawFio => &["raw io_uring (fio)"],
            Self::RawAuto => &["raw, e4's backend"],
            Self::E4 => &["e4 unwritten", "e4 written"],
            Self::E4Uring => &["e4 unwritten, io_uring", "e4 written, io_uring"],
            Self::Kernel => &["kernel unwritten", "kernel written"],
            Self::KernelFio => &["kernel unwritten (fio)", "kernel written (fio)"],
            Self::Fuse => &["fuse2fs unwritten", "fuse2fs written"],
        }
    }

    /// Does it take part in this job? Second opinions and the slowest do where they say something.
    pub(crate) fn joins(self, job: &Job) -> bool {
        let plain = !job.dsync && !job.gaps && job.seconds == 0.0;
        match self {
            // A file in RAM has nothing to sync, write by write.
            Self::RawUring | Self::RawAuto => !job.dsync,
            Self::RawFio => plain,
            Self::E4 => true,
            Self::E4Uring => job.name == "4k",
            Self::Kernel => !job.dsync,
            Self::KernelFio => job.dsync || job.name == "4k",
            Self::Fuse => plain && job.threads == 1,
        }
    }
}

/// One measured pass.
pub(crate) struct Sample {
    pub(crate) row: &'static str,
    /// Writes per second.
    pub(crate) rate: f64,
    pub(crate) counts: Option<Counts>,
}

/// What all systems need.
pub(crate) struct Bench {
    pub(crate) image: PathBuf,
    pub(crate) mount_point: PathBuf,
    /// Bytes of the image.
    pub(crate) size: u64,
    /// What serves io_uring on the backing file better here.
    pub(crate) raw_direct: DirectChoice,
    /// Writes of a fuse2fs pass.
    pub(crate) fuse_writes: usize,
}

impl Bench {
    /// Does the job once on one system.
    pub(crate) fn measure(&self, system: System, job: &Job, plan: &Plan) -> Result<Vec<Sample>> {
        let rows = system.rows();
        let one = |rate| {
            vec![Sample {
                row: rows[0],
                rate,
                counts: None,
            }]
        };
        Ok(match system {
            System::RawUring => {
                one(self.raw(job, plan, BackendChoice::IoUring, self.raw_direct)?)
            }
            System::RawAuto => one(self.raw(job, plan, BackendChoice::Auto, DirectChoice::Auto)?),
            System::RawFio => {
                let direct = self.raw_direct == DirectChoice::Always;
                let base = Some(self.size / 2);
                one(fio::run(
                    job,
                    &fio::Run {
                        path: &self.image,
                        base,
                        direct,
                    },
                )?)
            }
            System::E4 => self.e4(job, plan, BackendChoice::Auto, rows)?,
            System::E4Uring => self.e4(job, plan, BackendChoice::IoUring, rows)?,
            System::Kernel => self.mounted(Peer::Kernel, job, plan, false, rows)?,
            System::KernelFio => self.mounted(Peer::Kernel, job, plan, true, rows)?,
            System::Fuse => {
                let plan = plan.cut(
                    self.fuse_writes
                        .min(self.fuse_writes * 8192 / job.bs)
                        .max(64),
                );
                self.mounted(Peer::Fuse, job, &plan, false, rows)?
            }
        })
    }

    /// Formats the image.
    pub(crate) fn format(&self) -> Result<()> {
        let device = drive::open(&self.image, BackendChoice::Auto, DirectChoice::Auto)?;
        e4_mkfs::format(&*device, &e4_mkfs::Params::default(), &mut |_| {}).context("mkfs")?;
        Ok(())
    }

    /// Decides how io_uring reaches the backing file best: the yardstick must not be weak.
    pub(crate) fn choose_raw(&mut self, job: &Job, plan: &Plan) {
        let mut best = 0.0;
        for direct in [DirectChoice::Never, DirectChoice::Always] {
            let rate = (0..3)
                .filter_map(|_| self.raw(job, plan, BackendChoice::IoUring, direct).ok())
                .fold(0.0, f64::max);
            if rate > best {
                (best, self.raw_direct) = (rate, direct);
            }
        }
    }

    fn raw(
        &self,
        job: &Job,
        plan: &Plan,
        backend: BackendChoice,
        direct: DirectChoice,
    ) -> Result<f64> {
        let device = drive::open(&self.image, backend, direct)?;
        // A file each becomes a region each.
        let room = (self.size - job.size) / 2;
        let targets: Vec<Target> = (0..job.files() as u64)
            .map(|n| Target {
                device: device.clone(),
                base: room + n * job.file_size(),
            })
            .collect();
        let mut rate = Rate::default();
        while rate.wants_more(job) {
            rate.add(plan, drive::devices(&targets, plan, job.bs, job.depth)?);
        }
        Ok(rate.get())
    }

    fn e4(
        &self,
        job: &Job,
        plan: &Plan,
        backend: BackendChoice,
        rows: &'static [&'static str],
    ) -> Result<Vec<Sample>> {
        self.format()?;
        let device = drive::open(&self.image, backend, DirectChoice::Auto)?;
        let fs = Filesystem::open(device, &MountOptions::default())?;
        let flags = OpenFlags {
            dsync: job.dsync,
            ..OpenFlags::create()
        };
        let files = (0..job.files())
            .map(|n| fs.open_file(&format!("/f{n}"), flags))
            .collect::<e4::Result<Vec<File>>>()?;
        let mut samples = Vec::new();
        for (&row, fresh) in rows.iter().zip([true, false]) {
            let mut rate = Rate::default();
            let mut counts = Counts::default();
            while rate.wants_more(job) {
                if fresh {
                    for file in &files {
                        file.truncate(0)?;
                        file.fallocate(FallocateMode::Allocate, 0, job.file_size())?;
                        file.fsync()?;
                    }
                }
                let before = (fs.stats(), extents(&files)?);
                rate.add(plan, drive::e4_files(&fs, &files, plan, job.bs, job.depth)?);
                counts.add(
                    &before.0,
                    before.1,
                    &fs.stats(),
                    extents(&files)?,
                    plan.writes(),
                );
            }
            drive::verify(&files, plan)?;
            samples.push(Sample {
                row,
                rate: rate.get(),
                counts: Some(counts),
            });
        }
        drop(files);
        fs.unmount()?;
        Ok(samples)
    }

    fn mounted(
        &self,
        peer: Peer,
        job: &Job,
        plan: &Plan,
        with_fio: bool,
        rows: &'static [&'static str],
    ) -> Result<Vec<Sample>> {
        self.format()?;
        let mounted = Mounted::new(peer, &self.image, &self.mount_point)?;
        let names: Vec<String> = (0..job.files()).map(|n| format!("f{n}")).collect();
        let paths: Vec<PathBuf> = names.iter().map(|n| self.mount_point.join(n)).collect();
        let mut samples = Vec::new();
        for (&row, fresh) in rows.iter().zip([true, false]) {
            let mut rate = Rate::default();
            while rate.wants_more(job) {
                if fresh {
                    for name in &names {
                        mounted.preallocate(name, job.file_size())?;
                    }
                }
                if with_fio {
                    let path = &self.mount_point;
                    let writes = fio::run(
                        job,
                        &fio::Run {
                            path,
                            base: None,
                            direct: true,
                        },
                    )?;
                    rate.add(plan, plan.writes() as f64 / writes);
                } else {
                    rate.add(plan, self.write_files(&paths, job, plan)?);
                }
            }
            samples.push(Sample {
                row,
                rate: rate.get(),
                counts: None,
            });
        }
        Ok(samples)
    }

    fn write_files(&self, paths: &[PathBuf], job: &Job, plan: &Plan) -> Result<f64> {
        let open = |path: &PathBuf| {
            let device = drive::open(path, BackendChoice::IoUring, DirectChoice::Always)?;
            if device.info().size < job.file_size() {
                bail!("{} is not as long as it was made", path.display());
            }
            Ok(Target { device, base: 0 })
        };
        let targets = paths.iter().map(open).collect::<Result<Vec<Target>>>()?;
        drive::devices(&targets, plan, job.bs, job.depth)
    }
}

fn extents(files: &[File]) -> e4::Result<u64> {
    files
        .iter()
        .map(|f| f.extents().map(|e| e.len() as u64))
        .sum()
}

/// Writes per second over the passes of a job.
#[derive(Default)]
struct Rate {
    writes: u64,
    seconds: f64,
}

impl Rate {
    fn wants_more(&self, job: &Job) -> bool {
        self.writes == 0 || self.seconds < job.seconds
    }

    fn add(&mut self, plan: &Plan, seconds: f64) {
        self.writes += plan.writes();
        self.seconds += seconds;
    }

    fn get(&self) -> f64 {
        self.writes as f64 / self.seconds
    }
}

impl Counts {
    /// Adds what happened between two snapshots.
    pub(crate) fn add(
        &mut self,
        before: &Stats,
        extents: u64,
        after: &Stats,
        extents_after: u64,
        writes: u64,
    ) {
        self.passes += 1;
        self.writes += writes;
        self.conversions += after.conversions - before.conversions;
        self.recorded_ranges += after.recorded_ranges - before.recorded_ranges;
        self.records += after.records - before.records;
        self.commits += after.commits - before.commits;
        self.tree_rebuilds += after.tree_rebuilds - before.tree_rebuilds;
        (self.extents_before, self.extents_after) = (extents, extents_after);
    }
}
