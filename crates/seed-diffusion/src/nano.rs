//! Stable Diffusion in small: what plays it for the nano tokenizer.
//!
//! `experiments/nano-vae` has the command, the time and the scores that made the autoencoder's weights. No UNet ships yet
//! (`experiments/nano-ldm`).

use std::borrow::Cow;

use burn::tensor::Device;
use seed_weights::{Checkpoint, load};

use crate::{
    autoencoder_kl::{AutoencoderKl, AutoencoderKlConfig},
    error::DiffusionError,
    keys::autoencoder_kl_keys,
    scheduler::{Prediction, Sampler, SchedulerConfig},
};

const AUTOENCODER_CONFIG: &str = include_str!("../weights/nano/vae/config.json");
const AUTOENCODER: &[u8] =
    include_bytes!("../weights/nano/vae/diffusion_pytorch_model.safetensors");

/// Steps in which pictures are drawn.
pub const STEPS: usize = 20;
/// How strongly pictures follow their condition.
pub const GUIDANCE: f64 = 3.0;

/// How pictures are drawn: Stable Diffusion's noise schedule, predicted velocity, DPM-Solver++ of second order.
pub fn scheduler() -> SchedulerConfig {
    SchedulerConfig::stable_diffusion()
        .with_prediction(Prediction::Velocity)
        .with_sampler(Sampler::DpmSolverPlusPlus)
}

/// The shipped autoencoder: pictures of 64 pixels to latents `[4, 16, 16]`, and back.
///
/// # Errors
///
/// [`DiffusionError`] if a shipped file is damaged.
pub fn autoencoder(device: &Device) -> Result<AutoencoderKl, DiffusionError> {
    let name = "the shipped nano autoencoder";
    let weights = Checkpoint::from_bytes(name, Cow::Borrowed(AUTOENCODER))?;
    let config = AutoencoderKlConfig::from_diffusers(AUTOENCODER_CONFIG)?;
    let (model, _) = load(
        config.init(device)?,
        &weights,
        &autoencoder_kl_keys(&weights),
    )?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Tensor;
    use seed_device::test_device;

    use super::*;

    /// Paper, a black square and a red one: what went in comes out.
    #[test]
    fn the_shipped_autoencoder_gives_pictures_back() {
        let device = test_device();
        let model = autoencoder(&device).unwrap();
        let mut picture = Tensor::<4>::ones([1, 3, 64, 64], &device);
        let square = Tensor::<4>::ones([1, 3, 16, 16], &device).neg();
        picture = picture.slice_assign([0..1, 0..3, 8..24, 8..24], square.clone());
        let red = Tensor::cat(
            vec![square.clone().narrow(1, 0, 1).neg(), square.narrow(1, 1, 2)],
            1,
        );
        picture = picture.slice_assign([0..1, 0..3, 36..52, 30..46], red);
        let moments = model.encode(picture.clone());
        let mean = moments.mean.clone().mean().into_scalar::<f32>();
        assert!(mean.abs() < 1.0, "latents are standardised: {mean}");
        let error = (model.decode(moments.mean) - picture).abs().mean();
        let error = error.into_scalar::<f32>();
        assert!(error < 0.05, "{error}");
    }
}
