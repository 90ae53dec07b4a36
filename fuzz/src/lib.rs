//! The bodies of the fuzz targets. They need no fuzzer: `tests/corpora.rs` runs them over the
//! corpora with the stable compiler. Each takes arbitrary bytes and panics if a property does not
//! hold. README.md lists the properties.

pub mod commands;
pub mod framing;
pub mod grammar;
pub mod journal;

mod disk;
mod reply;
mod server;
