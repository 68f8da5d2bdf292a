//! Settings of the autoencoder's training.

use seed_data::{Style, TrainTransform};
use seed_diffusion::AutoencoderKlConfig;
use seed_train::{ConfigError, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::objective::ObjectiveWeights;
use crate::{
    error::RecipeError,
    settings::{OfPictures, overlay, preset, without},
};

/// Settings of the autoencoder's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AutoencoderTrainingConfig {
    /// Sizes of the autoencoder; its `sample_size` is the side of the pictures.
    pub model: AutoencoderKlConfig,
    /// Side in pixels at which the corpus' drawings are rendered before the crop.
    pub render_size: u32,
    /// Styles of the corpus' renderings that join the plain ones.
    pub styles: Vec<Style>,
    /// Probability of a rendering in one of these styles.
    pub restyled_share: f32,
    /// Which of a user's own pictures are held out; it has nothing to do with the seeds of training.
    #[serde(default)]
    pub split_seed: u64,
    /// Random crop and augmentation.
    pub transform: TrainTransform,
    /// Weights of the objective's terms.
    pub objective: ObjectiveWeights,
    /// Most noise that latents get before they are decoded, in deviations of their channel.
    pub latent_noise: f64,
    /// Decay of the weights' moving average, which is what is kept.
    pub average_decay: f64,
    /// Steps between two validations.
    pub evaluate_every: u64,
    /// The step loop.
    pub train: TrainConfig,
}

impl AutoencoderTrainingConfig {
    /// The nano autoencoder's training: `experiments/nano-vae`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads it.
    pub fn nano() -> Result<Self, ConfigError> {
        let text = include_str!("../../../../experiments/nano-vae/config.toml");
        preset("experiments/nano-vae/config.toml", text)
    }

    /// A minute's training: shows that everything works, learns little (`presets/smoke-autoencoder.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn smoke(&self) -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/smoke-autoencoder.toml");
        overlay(self, "presets/smoke-autoencoder.toml", text)
    }

    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.model.validate()?;
        self.train.validate()?;
        let side = self.model.sample_size;
        // Of pictures that come back at their size, and of squares of four pixels whose colours are compared.
        let multiple = self.model.factor().max(4);
        let weights = &self.objective;
        let sound = |value: f64| value.is_finite() && value >= 0.0;
        let share = f64::from(self.restyled_share);
        let checks = [
            (
                self.model.image_channels == 3,
                "model.image_channels",
                self.model.image_channels.to_string(),
                "3: red, green, blue".to_owned(),
            ),
            (
                side.is_multiple_of(multiple),
                "model.sample_size",
                side.to_string(),
                format!("a multiple of {multiple}"),
            ),
            (
                self.model.scaling_factor.to_bits() == 1f64.to_bits(),
                "model.scaling_factor",
                self.model.scaling_factor.to_string(),
                "1: what is trained here gives latents of deviation 1".to_owned(),
            ),
            (
                self.transform.size as usize == side,
                "transform.size",
                self.transform.size.to_string(),
                format!("{side}, the autoencoder's `model.sample_size`"),
            ),
            (
                (1..=4096).contains(&self.render_size),
                "render_size",
                self.render_size.to_string(),
                "1 to 4096 pixels".to_owned(),
            ),
            (
                (0.0..=1.0).contains(&share),
                "restyled_share",
                share.to_string(),
                "0 to 1".to_owned(),
            ),
            (
                (0.0..1.0).contains(&self.average_decay),
                "average_decay",
                self.average_decay.to_string(),
                "at least 0 and below 1".to_owned(),
            ),
        ];
        let weights = [
            ("objective.gradients", weights.gradients),
            ("objective.opponent", weights.opponent),
            ("objective.pooled_opponent", weights.pooled_opponent),
            ("objective.divergence", weights.divergence),
            ("latent_noise", self.latent_noise),
        ];
        let weights = weights.map(|(key, value)| {
            let expected = "finite and not negative".to_owned();
            (sound(value), key, value.to_string(), expected)
        });
        for (holds, key, value, expected) in checks.into_iter().chain(weights) {
            ConfigError::require(holds, key, value, &expected)?;
        }
        Ok(())
    }

    /// What is for one kind of pictures.
    pub(crate) fn of_pictures(&self) -> OfPictures<'_> {
        OfPictures {
            render_size: self.render_size,
            styles: &self.styles,
            split_seed: self.split_seed,
        }
    }

    /// Settings that decide what is computed, but for the step loop's; `evaluate_every` only looks.
    pub fn identity(&self) -> Value {
        without(self, &["train", "evaluate_every"])
    }
}
