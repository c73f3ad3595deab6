//! `e4 label` and `e4 uuid`: what an image is called.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use uuid::Uuid;

use crate::Outcome;
use crate::exit::Status;
use crate::output::{self, Common, Ui};
use crate::session::{self, Access, Session};

/// Show an image's label, or give it one.
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 label disk.img                 show it
  e4 label disk.img rootfs          at most 16 bytes
  e4 label disk.img ''              none")]
pub struct LabelArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// The new label
    label: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Show an image's UUID, or give it another.
///
/// In images whose metadata checksums depend on the UUID, the feature metadata_csum_seed is turned on,
/// which keeps them valid (Linux 4.4 and later know it).
#[derive(Args, Debug)]
#[command(after_long_help = "\
Examples:
  e4 uuid disk.img                  show it
  e4 uuid disk.img random           for a copy that is used beside the original
  e4 uuid disk.img 01234567-89ab-cdef-0123-456789abcdef
  e4 uuid disk.img clear            all zeros")]
pub struct UuidArgs {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The image
    image: PathBuf,
    /// random, clear, or a UUID
    uuid: Option<NewUuid>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// What an image's UUID is to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewUuid(Uuid);

impl FromStr for NewUuid {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "random" => Ok(Self(Uuid::new_v4())),
            "clear" => Ok(Self(Uuid::nil())),
            _ => Uuid::parse_str(text)
                .map(Self)
                .map_err(|e| format!("{text} is neither random, clear nor a UUID: {e}")),
        }
    }
}

#[derive(Serialize)]
struct Shown {
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    uuid: Option<String>,
}

fn show(image: &Path, ui: &Ui) -> Result<(Vec<u8>, Uuid)> {
    let device = session::device(image, Access::Read, ui)?;
    let sb = session::superblock(&*device)?;
    Ok((sb.label().to_vec(), Uuid::from_bytes(sb.uuid())))
}

/// Runs `label`.
///
/// # Errors
/// Too long, or the image's.
pub fn label(args: &LabelArgs, ui: &Ui) -> Outcome {
    if let Some(label) = &args.label {
        return Session::run(ui, |session| {
            let fs = session.fs(&args.image, Access::Write)?;
            fs.set_label(label.as_bytes())?;
            Ok(Status::SUCCESS)
        });
    }
    let (label, _) = show(&args.image, ui)?;
    let label = output::name(&label).into_owned();
    if args.json {
        output::json(&Shown {
            label: Some(label),
            uuid: None,
        })?;
    } else {
        ui.say(&label);
    }
    Ok(Status::SUCCESS)
}

/// Runs `uuid`.
///
/// # Errors
/// Checksums depend on the UUID in a way that cannot be kept, or the image's.
pub fn uuid(args: &UuidArgs, ui: &Ui) -> Outcome {
    if let Some(NewUuid(uuid)) = args.uuid {
        Session::run(ui, |session| {
            let fs = session.fs(&args.image, Access::Write)?;
            if fs.set_uuid(uuid.into_bytes())?.seed_noted {
                ui.note("metadata_csum_seed was turned on, so that all checksums stay valid (Linux 4.4 and later)");
            }
            Ok(Status::SUCCESS)
        })?;
    }
    let (_, uuid) = show(&args.image, ui)?;
    if args.json {
        output::json(&Shown {
            label: None,
            uuid: Some(uuid.to_string()),
        })?;
    } else {
        ui.say(&uuid.to_string());
    }
    Ok(Status::SUCCESS)
}
