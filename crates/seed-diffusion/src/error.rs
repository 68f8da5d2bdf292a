//! What can go wrong on the way from noise to a picture.

use seed_nn::ConfigError;
use seed_weights::WeightsError;

/// An input, a setting or a file that Stable Diffusion's pieces cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum DiffusionError {
    /// Sizes that do not fit together.
    #[error(transparent)]
    Sizes(#[from] ConfigError),
    /// A checkpoint that does not fit or is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A published config that cannot be read, or that asks for what this code does not do.
    #[error("{part}: {reason}")]
    Config {
        /// The file, or the part of the model that it describes.
        part: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting outside its range.
    #[error("{setting} is {value}: it must be {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        expected: String,
    },
    /// A time step that the model was not trained at.
    #[error("time step {timestep} is beyond the {count} that the noise schedule has")]
    Timestep {
        /// The time step.
        timestep: usize,
        /// Number of time steps.
        count: usize,
    },
    /// A tensor of another shape than is needed.
    #[error("{part} has shape {found:?}, and {expected:?} is needed")]
    Shape {
        /// What the tensor is.
        part: &'static str,
        /// Its shape.
        found: Vec<usize>,
        /// The shape that is needed.
        expected: Vec<usize>,
    },
}

impl DiffusionError {
    /// Refuses a setting unless it holds.
    pub(crate) fn require(
        holds: bool,
        setting: &'static str,
        value: impl ToString,
        expected: impl Into<String>,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self::Setting {
            setting,
            value: value.to_string(),
            expected: expected.into(),
        })
    }

    /// Refuses a tensor of another shape.
    pub(crate) fn check_shape(
        part: &'static str,
        found: &[usize],
        expected: &[usize],
    ) -> Result<(), Self> {
        if found == expected {
            return Ok(());
        }
        Err(Self::Shape {
            part,
            found: found.to_vec(),
            expected: expected.to_vec(),
        })
    }
}
