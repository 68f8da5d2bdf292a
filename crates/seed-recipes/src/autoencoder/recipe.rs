//! The step of the autoencoder's training.

use burn::tensor::{Device, Distribution, Tensor};
use seed_diffusion::{AutoencoderKl, AutoencoderKlConfig};
use seed_nn::ConfigError;
use seed_train::{Averaged, Losses, Recipe, Updated};
use serde_json::Value;

use super::objective::Objective;
use crate::tensors::stack;

/// Pictures are encoded, their latents sampled and noised, and decoded again.
#[derive(Debug, Clone)]
pub struct AutoencoderRecipe {
    /// Sizes.
    pub model: AutoencoderKlConfig,
    /// What rebuilt pictures are judged by.
    pub objective: Objective,
    /// Most noise that latents get before they are decoded, in deviations of their channel: how much is drawn evenly for
    /// each picture. What a diffusion model draws is not exact, and the decoder has to bear it.
    pub latent_noise: f64,
    /// Decay of the weights' moving average.
    pub average_decay: f64,
    /// Side of the pictures.
    pub size: usize,
    /// Where tensors are made.
    pub device: Device,
    /// Everything beside the step loop that decides what is computed.
    pub identity: Value,
}

impl AutoencoderRecipe {
    /// A model with random weights, and its average.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self) -> Result<Averaged<AutoencoderKl>, ConfigError> {
        Ok(Averaged::new(self.model.init(&self.device)?))
    }

    fn normal(&self, shape: [usize; 4]) -> Tensor<4> {
        Tensor::random(shape, Distribution::Normal(0.0, 1.0), &self.device)
    }

    /// Latents with noise of up to [`latent_noise`](Self::latent_noise) deviations of their channel.
    fn noised(&self, latents: Tensor<4>) -> Tensor<4> {
        if self.latent_noise <= 0.0 {
            return latents;
        }
        let shape = latents.dims();
        let [batch, channels, ..] = shape;
        let of_channels: Tensor<2> = latents.clone().detach().swap_dims(0, 1).flatten(1, 3);
        let deviation = of_channels.var(1).sqrt().reshape([1, channels, 1, 1]);
        let most = Distribution::Uniform(0.0, self.latent_noise);
        let level = Tensor::<4>::random([batch, 1, 1, 1], most, &self.device);
        latents + self.normal(shape) * deviation * level
    }
}

impl Recipe for AutoencoderRecipe {
    type Model = Averaged<AutoencoderKl>;
    /// Pictures, each `[3, size, size]` from −1 to 1.
    type Batch = Vec<Vec<f32>>;

    fn name(&self) -> &'static str {
        "autoencoder"
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    fn loss(&self, model: &Self::Model, batch: Self::Batch) -> Losses {
        let shape = [batch.len(), 3, self.size, self.size];
        let pictures = stack(batch, shape, &self.device);
        let moments = model.model.encode(pictures.clone());
        let latents = moments.sample(self.normal(moments.mean.dims()));
        let rebuilt = model.model.decode(self.noised(latents));
        let terms = self.objective.terms(pictures, rebuilt, &moments);
        Losses::new(terms.total)
            .with("pixels", terms.pixels)
            .with("divergence", terms.divergence)
    }

    fn after_update(&self, model: Self::Model, step: u64) -> Updated<Self::Model> {
        Updated::new(model.moved(self.average_decay, step))
    }
}
