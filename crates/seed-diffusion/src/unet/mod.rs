//! The UNet that says what noise is in latents, under a context.
//!
//! - paper: <https://arxiv.org/abs/2112.10752>
//! - published weights: `unet/` of `CompVis/stable-diffusion-v1-4` and `stabilityai/stable-diffusion-2-1-unclip`
//! - original code: `UNet2DConditionModel` of diffusers

mod blocks;
mod config;
mod model;
mod states;
mod time_embedding;
mod transformer;

pub use config::{ClassEmbedding, UnetConfig, UnetLevel};
pub use model::Unet;
pub use states::UnetStates;
