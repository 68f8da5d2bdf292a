//! Stable Diffusion, frozen: a UNet that removes noise from latents under a context, an autoencoder that turns latents into
//! pixels, schedulers that walk from noise to a picture, and guidance. SEED drives it with generation embeddings in the
//! place of a text encoder's states (v1), or with an image embedding as unCLIP's class label (v2).

mod autoencoder_kl;
mod config_json;
mod convolution;
mod diffusers_folder;
mod diffusers_parts;
mod error;
mod group_norm;
mod guidance;
mod image_normalizer;
mod keys;
pub mod nano;
mod noise;
mod published;
mod resnet_block;
mod scheduler;
mod single_file;
mod stable_diffusion;
mod tokens;
mod unet;

pub use autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig, Moments};
pub use diffusers_folder::DiffusersFolder;
pub use diffusers_parts::{
    load_autoencoder, save_autoencoder, save_image_normalizer, save_scheduler, save_unet,
};
pub use error::DiffusionError;
pub use group_norm::{GroupNorm, GroupNormConfig};
pub use guidance::Guidance;
pub use image_normalizer::ImageNormalizer;
pub use keys::{
    autoencoder_kl_keys, compvis_autoencoder_kl_keys, compvis_averaged_unet_keys,
    compvis_unet_keys, unet_keys,
};
pub use noise::{Noise, NoiseUse};
pub use published::{Choices, PublishedDiffusion};
pub use scheduler::{
    BetaSchedule, FinalNoise, NoiseSchedule, NoiseScheduleConfig, Prediction, Sampler, Scheduler,
    SchedulerConfig, Spacing, Step,
};
pub use single_file::{SingleFile, Weights};
pub use stable_diffusion::{Condition, Drawing, StableDiffusion};
pub use unet::{ClassEmbedding, Unet, UnetConfig, UnetLevel, UnetStates};

/// Version of what UNet and autoencoder compute. Raise it when the same weights give other outputs: what was kept of the old
/// ones is then computed anew.
pub const CODE_VERSION: u32 = 1;
