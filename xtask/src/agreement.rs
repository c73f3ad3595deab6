//! `cargo xtask agreement`: e4-check's verdict beside that of `e2fsck -fn`, on as many damaged images as wanted.

use anyhow::{Context, Result, ensure};
use e4_hostile::{agreement, bases, layout::Layout, mutate::mutate, random::Random};
use std::path::PathBuf;

/// Options of `cargo xtask agreement`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Damaged images to judge
    #[arg(long, default_value_t = 1000)]
    images: u64,
    /// Which ones
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Begin with this image
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Write image FROM of this seed to a file instead of judging
    #[arg(long)]
    save: Option<PathBuf>,
    /// Keep the sound images here, and use those that are here already
    #[arg(long)]
    bases: Option<PathBuf>,
    /// The least agreement that is a success, in percent
    #[arg(long, default_value_t = 99.9)]
    least: f64,
}

/// Runs the comparison and prints its table.
pub(crate) fn run(args: &Args) -> Result<()> {
    let shm = std::path::Path::new("/dev/shm");
    let dir = if shm.is_dir() {
        tempfile::tempdir_in(shm)
    } else {
        tempfile::tempdir()
    }
    .context("a directory for images")?;
    let bases = match &args.bases {
        Some(kept) => bases::kept(kept, dir.path()),
        None => bases::all(dir.path()),
    }
    .context("making the sound images")?;
    if let Some(path) = &args.save {
        let at = usize::try_from(args.from)? % bases.len();
        let base = bases.get(at).context("no bases")?;
        let layout = Layout::of(&base.image).context("not understood")?;
        let mut image = base.image.clone();
        let mut random = Random::new(agreement::seed_of(args.seed, args.from));
        let done = mutate(&mut random, &layout, &mut image);
        println!("{} ({})", done.what, base.name);
        return std::fs::write(path, &image).context("writing the image");
    }
    let start = e4_sync::now();
    let range = args.from..args.from + args.images;
    let outcome = agreement::compare(dir.path(), &bases, range, args.seed, &mut |_| {})?;
    print!("{}", outcome.table());
    println!(
        "{} bases, seed {}, {:.0?}",
        bases.len(),
        args.seed,
        start.elapsed()
    );
    let (agree, all) = outcome.agreements();
    let percent = f64::from(agree) * 100.0 / f64::from(all.max(1));
    ensure!(
        percent >= args.least,
        "agreement is {percent:.2} %, wanted {} %",
        args.least
    );
    ensure!(
        outcome.unexplained.is_empty(),
        "{} disagreements are not explained",
        outcome.unexplained.len()
    );
    Ok(())
}
