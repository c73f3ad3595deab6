//! Hostile images: sound ones to begin with, ways to damage them that put checksums right again, and judges
//! that compare what e4 says about the result with what others say.
//!
//! ```text
//!   layout.rs   a sound image as a list of pieces: every block and record of metadata, and where it lies
//!   seal.rs     the checksum of a piece, computed anew whatever the piece holds
//!   mutate.rs   damage: blind, or aimed at fields, sealed or not; reproducible from a seed
//!   bases.rs    sound images of many shapes, made by mke2fs, debugfs and the kernel
//!   judge.rs    e4-check's verdict against that of `e2fsck -fn`
//!   seeds.rs    sound images made by e4 itself, the same bytes everywhere: what fuzzing starts from
//!   script.rs   a fuzzer's bytes as structure-aware damage to one of them
//!   corpus.rs   inputs to begin with, and those that once found a bug
//!   unwritten.rs  the unwritten-extent corpus, and what readers have to find in it
//!   vary.rs     seeded variations of inputs, for runs without a coverage-guided fuzzer
//!   target/     what is fuzzed: every parser, and opening, walking, reading, writing, recovering, checking
//! ```
//!
//! Invariant: nothing here panics on what a mutation made of an image: places are those of the sound image, and
//! every access is checked. No library depends on this crate.

pub mod agreement;
mod attributes;
pub mod bases;
pub mod bytes;
pub mod corpus;
pub mod judge;
pub mod layout;
pub mod mutate;
pub mod random;
pub mod script;
pub mod seal;
pub mod seeds;
pub mod target;
pub mod unwritten;
pub mod vary;

pub use layout::{Class, Layout, Piece};
pub use random::Random;
