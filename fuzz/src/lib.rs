//! The bodies of the fuzz targets. They need no fuzzer: `tests/corpora.rs` runs
//! them over the corpora with the stable compiler. Each takes any bytes and
//! panics if a promise does not hold; README.md says which.

pub mod commands;
pub mod framing;
pub mod grammar;
pub mod journal;

mod disk;
mod reply;
mod server;
