//! Target `jbd2_descriptor` of `e4_hostile::target`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| e4_fuzz::run("jbd2_descriptor", data));
