//! The page cache: buffered reads and writes against a model, against direct access, under threads, over remounts.

mod image;
mod model;
mod promises;
mod threads;
