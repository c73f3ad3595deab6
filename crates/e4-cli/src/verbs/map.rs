//! `e4 map`: where things are, as a picture: on a whole image, or of one file.
//!
//! ```text
//!   survey.rs  what every block is used for, counted per cell of the picture
//!   svg.rs     the pieces both pictures are made of     image.rs, file.rs  the two pictures
//!   text.rs    the same for a terminal
//! ```
//!
//! Decision: a picture is a function of the image alone, and drawn without any library: its elements are few.

mod file;
mod image;
mod survey;
mod svg;
mod text;

use std::path::PathBuf;

use anyhow::Context;
use clap::{Args, ValueEnum};
use e4_format::FileType;
use serde::Serialize;

use crate::Outcome;
use crate::exit::Status;
use crate::location::Location;
use crate::output::{self, Common, Ui};
use crate::session;
use survey::{Survey, Use};

/// Colours of the picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Theme {
    /// As the viewer prefers
    Auto,
    Light,
    Dark,
}

/// Show where things are: what an image's blocks are used for, or where the parts of a file lie.
///
/// In the terminal, or with --svg as a picture for a browser. Of an image: file data, space reserved but unwritten, the
/// filesystem's own tables, free space and how it is cut up, and how fragmented files are. Of a file: its extents, in
/// the order of the file and on the image.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 map disk.img
  e4 map disk.img --svg disk.svg
  e4 map disk.img:/var/lib/db --svg db.svg
  e4 map --json disk.img | jq .free.runs")]
pub struct MapArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image, or a file in it
    #[arg(value_name = "IMAGE[:/PATH]", value_parser = Location::parse_or_root)]
    location: Location,
    /// Write a picture
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    svg: Option<PathBuf>,
    /// Colours of the picture
    #[arg(long, value_enum, default_value = "auto", requires = "svg")]
    theme: Theme,
    /// As JSON: blocks by use, free runs, extents of files
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Json {
    block_size: u64,
    blocks: u64,
    groups: u32,
    by_use: Vec<JsonUse>,
    free: JsonFree,
    files: JsonFiles,
}

#[derive(Serialize)]
struct JsonUse {
    r#use: &'static str,
    blocks: u64,
}

#[derive(Serialize)]
struct JsonFree {
    runs: u64,
    longest_blocks: u64,
}

#[derive(Serialize)]
struct JsonFiles {
    regular: u64,
    fragmented: u64,
    extents: u64,
}

/// Runs the verb.
///
/// # Errors
/// No such file, or the image's.
pub fn run(args: &MapArgs, ui: &Ui) -> Outcome {
    let (fs, device) = session::look_at(&args.location.image, ui)?;
    let node = fs.lookup(&args.location.path, true)?;
    let name = args.location.image.file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    if node.kind() == Some(FileType::Regular) {
        let shape = file::Shape::of(&fs, &node, &args.location.path, &name)?;
        anyhow::ensure!(
            !args.json,
            "the extents of a file as JSON: e4 extents --json {}",
            args.location
        );
        return match &args.svg {
            Some(to) => write(to, &file::draw(&shape, args.theme)),
            None => Ok(text::file(&shape)?).map(|()| Status::SUCCESS),
        };
    }
    anyhow::ensure!(
        args.location.path == "/",
        "{}: give an image, or a regular file in one",
        args.location
    );
    let cells = if args.svg.is_some() {
        image::CELLS
    } else {
        text::CELLS
    };
    let bar = ui.steps_bar("surveying", 0);
    let survey = Survey::of(&fs, &*device, name, cells, &mut |n| bar.set_position(n))?;
    bar.finish_and_clear();
    if let Some(to) = &args.svg {
        return write(to, &image::draw(&survey, args.theme));
    }
    if args.json {
        output::json(&json(&survey))?;
    } else {
        text::image(&survey)?;
    }
    Ok(Status::SUCCESS)
}

fn write(to: &std::path::Path, picture: &str) -> Outcome {
    std::fs::write(to, picture).with_context(|| format!("writing {}", to.display()))?;
    Ok(Status::SUCCESS)
}

fn json(survey: &Survey) -> Json {
    let one = |r#use: Use| JsonUse {
        r#use: r#use.key(),
        blocks: survey.total(r#use),
    };
    Json {
        block_size: survey.block_size,
        blocks: survey.blocks,
        groups: survey.groups,
        by_use: Use::ALL.into_iter().map(one).collect(),
        free: JsonFree {
            runs: survey.free_runs.iter().map(|r| r.runs).sum(),
            longest_blocks: survey.longest_free,
        },
        files: JsonFiles {
            regular: survey.files,
            fragmented: survey.files_by_extents.iter().skip(1).map(|b| b.1).sum(),
            extents: survey.extents,
        },
    }
}
