//! What can go wrong on the way from noise to a picture.

use std::path::PathBuf;

use seed_nn::ConfigError;
use seed_weights::WeightsError;

/// The forms of a model.
const LOOKED_FOR: &str = "`model_index.json` and the folders of diffusers, `autoencoder.safetensors` beside `unet.safetensors`, \
    and a file with a UNet below `model.diffusion_model` or `model_ema` and an autoencoder below `first_stage_model`";

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
    /// A folder or a file that holds no Stable Diffusion.
    #[error("{}: no Stable Diffusion: {found}; looked for were {LOOKED_FOR}", path.display())]
    NotStableDiffusion {
        /// The folder or the file.
        path: PathBuf,
        /// What is there.
        found: String,
    },
    /// A file that holds all models in one lacks one of them.
    #[error("{name}: {part} is not in it: no key is below `{prefix}`")]
    MissingPart {
        /// The file.
        name: String,
        /// The model.
        part: &'static str,
        /// Where it would be.
        prefix: &'static str,
    },
    /// A file does not say something that it must be read by.
    #[error("{name} does not say {what}: say {choices}")]
    Unsaid {
        /// The file.
        name: String,
        /// What is not said.
        what: &'static str,
        /// What may be said, and when.
        choices: &'static str,
    },
    /// A repository of the Hugging Face Hub cannot be fetched.
    #[cfg(feature = "hub")]
    #[error(transparent)]
    Hub(Box<seed_weights::hub::HubError>),
    /// A repository of the Hugging Face Hub, and a program that fetches none.
    #[error(
        "{reference} is on the Hugging Face Hub, and this program was built without the feature `hub`: fetch it, and name its folder"
    )]
    NoHub {
        /// The repository.
        reference: String,
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

#[cfg(feature = "hub")]
impl From<seed_weights::hub::HubError> for DiffusionError {
    fn from(error: seed_weights::hub::HubError) -> Self {
        Self::Hub(Box::new(error))
    }
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
