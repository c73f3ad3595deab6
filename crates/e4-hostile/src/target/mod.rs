//! What is fuzzed. A target takes any bytes and must return: no panic, within a second, within
//! [`MEMORY_LIMIT`] of memory.

mod parse;
mod planted;
mod whole;

/// Memory a target may use for one input, bytes; the seed images and the program itself come on top.
pub const MEMORY_LIMIT: u64 = 256 << 20;

/// Processor time a target may take for one input, milliseconds (in a release build).
pub const TIME_LIMIT_MS: u64 = 1000;

/// One target.
#[derive(Clone, Copy)]
pub struct Target {
    /// Its name, also that of its binary and of its corpus.
    pub name: &'static str,
    /// Bytes an input has at most.
    pub max_len: usize,
    /// Runs it on an input.
    pub run: fn(&[u8]),
    /// The input is a [script](crate::script).
    pub is_script: bool,
}

const fn bytes(name: &'static str, max_len: usize, run: fn(&[u8])) -> Target {
    Target {
        name,
        max_len,
        run,
        is_script: false,
    }
}

const fn script(name: &'static str, run: fn(&[u8])) -> Target {
    Target {
        name,
        max_len: 1 + 8 * 24,
        run,
        is_script: true,
    }
}

/// All of them.
pub const ALL: [Target; 17] = [
    bytes("superblock", 1024, parse::superblock),
    bytes("group_desc", 65, parse::group_desc),
    bytes("inode", 257, parse::inode),
    bytes("extent_node", 1025, parse::extent_node),
    bytes("dir_block", 1025, parse::dir_block),
    bytes("htree", 1025, parse::htree),
    bytes("xattr", 1025, parse::xattr),
    bytes("orphan_block", 1025, parse::orphan_block),
    bytes("jbd2_superblock", 1024, parse::jbd2_superblock),
    bytes("jbd2_descriptor", 1026, parse::jbd2_descriptor),
    bytes("jbd2_revoke", 1026, parse::jbd2_revoke),
    bytes("jbd2_commit", 1026, parse::jbd2_commit),
    bytes("recovery", 16 << 10, whole::recovery),
    script("image_check", whole::check),
    script("image_read", whole::read),
    script("image_write", whole::write),
    bytes("image_raw", 8 << 10, whole::raw),
];

/// Targets that misbehave, to show that a runner notices.
pub const PLANTED: [Target; 3] = [
    bytes("planted_panic", 16, planted::panic),
    bytes("planted_memory", 16, planted::memory),
    bytes("planted_time", 16, planted::time),
];

/// The target of that name, planted ones included.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static Target> {
    ALL.iter().chain(&PLANTED).find(|t| t.name == name)
}
