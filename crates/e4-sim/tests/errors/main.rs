//! Failing disks, full disks and damaged images, through the whole filesystem: who hears of it, what is still
//! there, what was not touched.

#![allow(clippy::unwrap_used, reason = "a test ends with the first surprise")]

mod data;
mod full;
mod hostile;
mod journal;
mod pages;
mod reads;
mod world;
mod writeback;
