//! One file per verb: its arguments (with the help text) and its `run`.

pub mod aio_stress;
pub mod build;
mod build_output;
pub mod cat;
pub mod check;

pub mod demo;
pub mod extents;
pub mod fallocate;
pub mod get;
pub mod info;
pub mod ls;
pub mod mkfs;
mod mkfs_blank;
mod mode;
pub mod mount;
pub mod put;
pub mod stat;
pub mod stress;
mod time;
pub mod truncate;
pub mod umount;
