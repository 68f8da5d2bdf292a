//! Results that are computed once and kept on disk: rendered pictures, features of frozen encoders.
//!
//! An entry is one file of rows of one size, named by the hash of all that its content depends on:
//!
//! ```text
//! rows | footer, JSON | length of the footer, u32 little-endian | blake3 of all before
//! ```
//!
//! It is written beside its final name and renamed, so an entry is there whole or not at all; the
//! checksum is verified whenever an entry is opened, and a damaged one is made anew.

mod folder;
mod key;
mod partial;
mod rows;
mod size;

pub use folder::Cache;
pub use key::CacheKey;
pub use partial::remove_partial_files;
pub use rows::{RowWriter, Rows};
pub use size::parse_size;
