//! The autoencoder between pixels and latents.
//!
//! - paper: <https://arxiv.org/abs/2112.10752>, appendix G
//! - published weights: `vae/` of `CompVis/stable-diffusion-v1-4` and its successors
//! - original code: `AutoencoderKL` of diffusers

mod config;
mod decoder;
mod encoder;
mod mid_block;
mod model;
mod moments;
mod standardize;

pub use config::AutoencoderKlConfig;
pub use model::AutoencoderKl;
pub use moments::Moments;
