//! Checkpoint files in and out, in the key names of the reference implementations.
//!
//! [`Checkpoint::open`] reads safetensors, PyTorch's files and either in shards. A model's field
//! names are ours, a checkpoint's keys are theirs; a [`KeyMap`] beside each model translates, both
//! ways. [`load`] checks every key and shape before it touches a parameter, then reads one tensor at
//! a time; [`save`] and [`convert`] write safetensors.

mod archive;
mod checkpoint;
mod convert;
mod elements;
mod error;
mod format;
mod header;
#[cfg(feature = "hub")]
pub mod hub;
mod keys;
mod layout;
mod load;
mod open;
mod parameters;
mod pickle;
mod save;
mod shards;
mod source;
mod torch;
mod write;

pub use checkpoint::Checkpoint;
pub use convert::{ConvertReport, convert};
pub use error::{HeaderError, IndexError, WeightsError};
pub use format::Format;
pub use keys::{KeyMap, KeyRule};
pub use load::{Cast, LoadReport, load, load_as};
pub use parameters::{ParameterInfo, gradients, parameter_count, parameters, values};
pub use save::save;
pub use write::{About, write_file};

// The files are little-endian, and their bytes are taken as they are.
const _: () = assert!(cfg!(target_endian = "little"));
