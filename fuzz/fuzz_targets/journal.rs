#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reservad_fuzz::journal::run(data));
