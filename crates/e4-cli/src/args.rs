//! The command line: the verbs and what `--help` says about the whole. What a verb takes stands in
//! the verb's own file; this is the list.

use clap::{Parser, Subcommand};

use crate::exit;
use crate::output::Common;
use crate::verbs;

const LONG_ABOUT: &str = "\
e4 reads and writes ext4 images: no root, no mount, no kernel module. Changes are journaled; the
kernel and e2fsprogs can continue where e4 stopped, and the other way round.

A file inside an image is written IMAGE:/PATH, as scp writes a file on a host. Each verb takes the
flags of the well-known tool of its name. Without a verb, e4 runs its demonstration (e4 demo).";

const AFTER_LONG_HELP: &str = "\
Examples:
  e4 mkfs disk.img 2G                       make a 2 GiB image, as mke2fs -t ext4 would
  e4 build -o root.img rootfs/              an image of a tree, the same bytes every time
  e4 export root.img tree.tar               and back; e4 diff compares two images
  e4 put notes.txt disk.img:/notes.txt      copy a file into it
  e4 cp -a rootfs/. disk.img:/              whole trees, in and out, everything kept
  e4 batch disk.img script.e4               many changes at once
  e4 ls -l disk.img:/                       look at it; also tree, find, du
  e4 map disk.img --svg disk.svg            a picture of where everything is
  e4 cat disk.img:/notes.txt
  e4 mkdir -p disk.img:/srv/data            directories, rm, mv, ln, chmod ... as usual
  e4 fallocate -l 1G disk.img:/big          reserve blocks without writing them
  e4 extents disk.img:/big                  see that they are unwritten
  e4 stress disk.img --seconds 10           race writers, truncate, punch and fsync; verify
  e4 grow disk.img 4G                       a larger filesystem; also label, uuid, trim
  e4 check disk.img                         a read-only fsck

";

/// ext4 images from the command line, without mounting them
#[derive(Parser, Debug)]
#[command(
    name = "e4",
    version,
    long_about = LONG_ABOUT,
    after_long_help = format!("{AFTER_LONG_HELP}{}", exit::HELP),
    max_term_width = 100,
)]
pub struct Cli {
    /// Options in front of the verb.
    #[command(flatten)]
    pub common: Common,
    /// What to do; the demonstration if missing.
    #[command(subcommand)]
    pub verb: Option<Verb>,
}

/// What the command can do.
#[derive(Subcommand, Debug)]
pub enum Verb {
    /// Make an ext4 filesystem in an image
    Mkfs(Box<verbs::mkfs::MkfsArgs>),
    /// Build an image from directories, tar archives or OCI images
    Build(Box<verbs::build::BuildArgs>),
    /// Show what an image's superblock says
    Info(verbs::info::InfoArgs),
    /// List a directory
    Ls(verbs::ls::LsArgs),
    /// Write a file's contents to standard output
    Cat(verbs::cat::CatArgs),
    /// Show a file's inode
    Stat(verbs::stat::StatArgs),
    /// Copy a file of the host into an image
    Put(verbs::put::PutArgs),
    /// Copy a file of an image to the host
    Get(verbs::get::GetArgs),
    /// Copy files and trees between the host and images
    Cp(Box<verbs::cp::CpArgs>),
    /// Change a file of an image in an editor
    Edit(verbs::edit::EditArgs),
    /// Run a script of changes to an image, as one
    Batch(verbs::batch::BatchArgs),
    /// Show which blocks a file has, and whether they are written
    Extents(verbs::extents::ExtentsArgs),
    /// Reserve blocks for a file, or punch a hole into it
    Fallocate(verbs::fallocate::FallocateArgs),
    /// Set a file's size
    Truncate(verbs::truncate::TruncateArgs),
    /// Remove files or, with -r, whole trees
    Rm(verbs::rm::RmArgs),
    /// Make directories
    Mkdir(verbs::mkdir::MkdirArgs),
    /// Remove empty directories
    Rmdir(verbs::rmdir::RmdirArgs),
    /// Rename files, or move them into a directory
    Mv(verbs::mv::MvArgs),
    /// Give a file one more name, or make a symbolic link
    Ln(verbs::ln::LnArgs),
    /// Change permissions
    Chmod(verbs::chmod::ChmodArgs),
    /// Change owner and group, by number
    Chown(verbs::chown::ChownArgs),
    /// Set times, creating files that do not exist
    Touch(verbs::touch::TouchArgs),
    /// Set or remove an extended attribute
    Setfattr(verbs::fattr::SetfattrArgs),
    /// Show extended attributes
    Getfattr(verbs::fattr::GetfattrArgs),
    /// Copy an image's tree into a tar archive or a directory
    Export(verbs::export::ExportArgs),
    /// Show what differs between two images, or write it as a layer
    Diff(verbs::diff::DiffArgs),
    /// Show where things are: on an image, or of a file; also as a picture
    Map(verbs::map::MapArgs),
    /// Show how much space the files of a tree occupy
    Du(verbs::du::DuArgs),
    /// Find files by name, type, size, age, owner ...
    Find(verbs::find::FindArgs),
    /// Draw a directory and everything below it
    Tree(verbs::outline::OutlineArgs),
    /// Print which features of images are supported, and how
    Features(verbs::features::FeaturesArgs),
    /// Make the filesystem in an image larger
    Grow(verbs::grow::GrowArgs),
    /// Show an image's label, or give it one
    Label(verbs::label::LabelArgs),
    /// Show an image's UUID, or give it another
    Uuid(verbs::label::UuidArgs),
    /// Tell the host which blocks of an image are free
    Trim(verbs::trim::TrimArgs),
    /// Check an image for errors, changing nothing
    Check(verbs::check::CheckArgs),
    /// Run the classic aio-stress on files of an image, verified
    AioStress(Box<verbs::aio_stress::AioStressArgs>),
    /// Cut the power everywhere under a script of operations; check every outcome with a program
    Crashlab(verbs::crashlab::CrashlabArgs),
    /// Show within a minute what e4 does and how it is judged
    Demo(verbs::demo::DemoArgs),
    /// Race writers, truncate, punch and fsync; verify everything
    Stress(Box<verbs::stress::StressArgs>),
    /// Mount an image at a directory, through FUSE
    Mount(verbs::mount::MountArgs),
    /// Unmount it; returns when the image is clean and closed
    Umount(verbs::umount::UmountArgs),
    /// Write completions for a shell
    Completions(verbs::completions::CompletionsArgs),
    /// Write the manual pages
    Manual(verbs::manual::ManualArgs),
}

impl Verb {
    /// Options behind the verb.
    #[must_use]
    pub fn common(&self) -> Common {
        match self {
            Self::Mkfs(a) => a.common.clone(),
            Self::Build(a) => a.common.clone(),
            Self::Info(a) => a.common.clone(),
            Self::Ls(a) => a.common.clone(),
            Self::Cat(a) => a.common.clone(),
            Self::Stat(a) => a.common.clone(),
            Self::Put(a) => a.common.clone(),
            Self::Get(a) => a.common.clone(),
            Self::Cp(a) => a.common.clone(),
            Self::Edit(a) => a.common.clone(),
            Self::Batch(a) => a.common.clone(),
            Self::Extents(a) => a.common.clone(),
            Self::Fallocate(a) => a.common.clone(),
            Self::Truncate(a) => a.common.clone(),
            Self::Rm(a) => a.common.clone(),
            Self::Mkdir(a) => a.common.clone(),
            Self::Rmdir(a) => a.common.clone(),
            Self::Mv(a) => a.common.clone(),
            Self::Ln(a) => a.common.clone(),
            Self::Chmod(a) => a.common.clone(),
            Self::Chown(a) => a.common.clone(),
            Self::Touch(a) => a.common.clone(),
            Self::Setfattr(a) => a.common(),
            Self::Getfattr(a) => a.common.clone(),
            Self::Export(a) => a.common.clone(),
            Self::Diff(a) => a.common.clone(),
            Self::Map(a) => a.common.clone(),
            Self::Du(a) => a.common.clone(),
            Self::Find(a) => a.common.clone(),
            Self::Tree(a) => a.common.clone(),
            Self::Completions(a) => a.common.clone(),
            Self::Manual(a) => a.common.clone(),
            Self::Features(a) => a.common.clone(),
            Self::Grow(a) => a.common.clone(),
            Self::Label(a) => a.common.clone(),
            Self::Uuid(a) => a.common.clone(),
            Self::Trim(a) => a.common.clone(),
            Self::Check(a) => a.common.clone(),
            Self::AioStress(a) => a.common(),
            Self::Crashlab(a) => a.common.clone(),
            Self::Demo(a) => a.common.clone(),
            Self::Stress(a) => a.common.clone(),
            Self::Mount(a) => a.common.clone(),
            Self::Umount(a) => a.common.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
