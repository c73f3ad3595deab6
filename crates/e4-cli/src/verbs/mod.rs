//! One file per verb: its arguments (with the help text) and its `run`.

pub mod aio_stress;
pub mod build;
mod build_output;
pub mod cat;
pub mod check;
pub mod chmod;
pub mod chown;

pub mod demo;
pub mod extents;
pub mod fallocate;
pub mod fattr;
pub mod get;
pub mod info;
pub mod ln;
pub mod ls;
pub mod mkdir;
pub mod mkfs;
mod mkfs_blank;
pub mod mode;
pub mod mount;
pub mod mv;
pub mod put;
pub mod rm;
pub mod rmdir;
pub mod stat;
pub mod stress;
mod time;
pub mod touch;
mod tree;
pub mod truncate;
pub mod umount;
