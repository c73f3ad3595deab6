//! Names with equal hashes. The legacy hash is weak enough to compute them: its last step adds a
//! multiple of the last byte, so that for any state before it one byte can be solved for, and one
//! state in 2^24 has a solution that is a letter.

/// What follows 244 common bytes.
const SUFFIXES: [&str; 40] = [
    "xxxxxx", "0T|BFO", "10M~C<", "10iTc@", "2tK8ZU", "31pjz0", "4WnuwB", "7~uw~V", "9ACp]?",
    ":@6sTD", ":rjlfk", "=F:b@|", "=e6\\h:", ">yOQl{", "@8PpuJ", "A7N42A", "Af=]7?", "Aho`~f",
    "BJIUy;", "C>;G]g", "Db;sHq", "EB{hOW", "ER}c?T", "EdA1q7", "HE2t=P", "HYs2TD", "INfL0P",
    "J^D2;z", "J^z5dL", "LEW<t8", "LSQMAQ", "Mi4pi|", "MiTt7b", "O8BN\\g", "Oo}Ikw", "P53W38",
    "PYfLAN", "Ql_W6=", "R~XJYE", "SOZ_<3",
];

/// The legacy hash of all of them, with either signedness and any seed.
pub const COLLISION: u32 = 0x6EF5_9342;

/// Forty names of 250 bytes with one legacy hash.
pub fn colliding_names() -> Vec<Vec<u8>> {
    SUFFIXES
        .iter()
        .map(|s| format!("{:x<244}{s}", "collides ").into_bytes())
        .collect()
}
