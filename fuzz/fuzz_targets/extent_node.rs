//! Target `extent_node` of `e4_hostile::target`, driven by libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| e4_fuzz::run("extent_node", data));
