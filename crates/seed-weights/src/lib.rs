//! Checkpoint files in and out, in the key names of the reference implementations.
//!
//! A model's field names are ours, a checkpoint's keys are theirs; a [`KeyMap`] beside each model
//! translates, both ways. [`load`] checks every key and shape before it touches a parameter.

mod checkpoint;
mod error;
mod keys;
mod load;
mod parameters;
mod save;

pub use checkpoint::Checkpoint;
pub use error::WeightsError;
pub use keys::{KeyMap, KeyRule};
pub use load::{LoadReport, load};
pub use parameters::{ParameterInfo, gradients, parameter_count, parameters, values};
pub use save::save;
