//! Checkpoints of every format, in and out, sound and damaged.

mod bad_input;
mod files;
mod formats;
mod loading;
mod properties;
mod writing;
