//! Settings of the UNet's training.

use seed_data::TrainTransform;
use seed_diffusion::{NoiseScheduleConfig, Prediction, UnetConfig};
use seed_train::{ConfigError, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    error::RecipeError,
    settings::{OfPictures, overlay, preset, without},
};

/// How often each kind of condition is drawn; together 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConditionShares {
    /// Text states, with class labels of zeros: Stable Diffusion, and SEED v1.
    pub text: f64,
    /// An image embedding, with the states of an empty text: unCLIP, and SEED v2.
    pub image: f64,
    /// Both.
    pub both: f64,
    /// Neither: what guidance leads away from.
    pub neither: f64,
}

impl ConditionShares {
    /// The shares with their names.
    pub(crate) fn named(&self) -> [(&'static str, f64); 4] {
        [
            ("shares.text", self.text),
            ("shares.image", self.image),
            ("shares.both", self.both),
            ("shares.neither", self.neither),
        ]
    }
}

/// Settings of the UNet's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiffusionTrainingConfig {
    /// Sizes of the UNet.
    pub unet: UnetConfig,
    /// How noisy each time step is.
    pub noise: NoiseScheduleConfig,
    /// What the UNet predicts.
    pub prediction_type: Prediction,
    /// Bound on the signal-to-noise ratio in a time step's weight (min-SNR, <https://arxiv.org/abs/2303.09556>); none weighs
    /// all time steps alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snr_gamma: Option<f64>,
    /// What pictures are drawn from.
    pub shares: ConditionShares,
    /// Tokens of a text.
    pub text_length: usize,
    /// Wordings of each caption: the captions as they are, then the label with some of its keywords.
    pub wordings: usize,
    /// Highest level of the noise on image embeddings; each picture's is drawn evenly from 0 on.
    pub image_noise_level: usize,
    /// Deviation of the normal noise on text states, in units of their own deviation; at use they come out of codes, and are
    /// not exact.
    pub context_noise: f64,
    /// Side in pixels at which the corpus' drawings are rendered before the crop.
    pub render_size: u32,
    /// Views of each picture.
    pub views: usize,
    /// Which of a user's own pictures are held out; it has nothing to do with the seeds of training.
    #[serde(default)]
    pub split_seed: u64,
    /// Random crop and augmentation of each view.
    pub transform: TrainTransform,
    /// Decay of the weights' moving average, which is what is kept.
    pub average_decay: f64,
    /// Steps between two validations.
    pub evaluate_every: u64,
    /// The step loop.
    pub train: TrainConfig,
}

impl DiffusionTrainingConfig {
    /// The nano UNet's training: `experiments/nano-ldm`.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads it.
    pub fn nano() -> Result<Self, ConfigError> {
        let text = include_str!("../../../../experiments/nano-ldm/config.toml");
        preset("experiments/nano-ldm/config.toml", text)
    }

    /// A minute's training: shows that everything works, learns little (`presets/smoke-diffusion.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn smoke(&self) -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/smoke-diffusion.toml");
        overlay(self, "presets/smoke-diffusion.toml", text)
    }

    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.unet.validate()?;
        self.noise.validate()?;
        self.train.validate()?;
        let shares = self.shares.named();
        for (key, share) in shares {
            let sound = (0.0..=1.0).contains(&share);
            ConfigError::require(sound, key, share, "0 to 1")?;
        }
        let total: f64 = shares.iter().map(|(_, share)| share).sum();
        let images = self.shares.image + self.shares.both;
        let labelled = self.unet.class_width().is_some();
        let gamma = self.snr_gamma;
        let checks = [
            (
                (total - 1.0).abs() < 1e-6,
                "shares.text",
                self.shares.text.to_string(),
                "such that `text`, `image`, `both` and `neither` together are 1".to_owned(),
            ),
            (
                labelled || images <= 0.0,
                "shares.image",
                self.shares.image.to_string(),
                "0, as `shares.both`, for a UNet without `class_embedding`".to_owned(),
            ),
            (
                self.unet.input_channels == self.unet.output_channels,
                "unet.output_channels",
                self.unet.output_channels.to_string(),
                format!("{}, its `input_channels`", self.unet.input_channels),
            ),
            (
                gamma.is_none_or(|gamma| gamma.is_finite() && gamma > 0.0),
                "snr_gamma",
                format!("{gamma:?}"),
                "above 0 and finite".to_owned(),
            ),
            (
                !self.noise.rescale_betas_zero_snr,
                "noise.rescale_betas_zero_snr",
                true.to_string(),
                "false: PNDM divides by what is left at the last time step".to_owned(),
            ),
            (
                (1..=512).contains(&self.text_length),
                "text_length",
                self.text_length.to_string(),
                "1 to 512".to_owned(),
            ),
            (
                (1..=1024).contains(&self.wordings),
                "wordings",
                self.wordings.to_string(),
                "1 to 1024".to_owned(),
            ),
            (
                self.image_noise_level < 1000,
                "image_noise_level",
                self.image_noise_level.to_string(),
                "below unCLIP's 1000 levels".to_owned(),
            ),
            (
                self.context_noise.is_finite() && self.context_noise >= 0.0,
                "context_noise",
                self.context_noise.to_string(),
                "finite and not negative".to_owned(),
            ),
            (
                (1..=4096).contains(&self.render_size),
                "render_size",
                self.render_size.to_string(),
                "1 to 4096 pixels".to_owned(),
            ),
            (
                (1..=1024).contains(&self.views),
                "views",
                self.views.to_string(),
                "1 to 1024".to_owned(),
            ),
            (
                (0.0..1.0).contains(&self.average_decay),
                "average_decay",
                self.average_decay.to_string(),
                "at least 0 and below 1".to_owned(),
            ),
        ];
        for (holds, key, value, expected) in checks {
            ConfigError::require(holds, key, value, &expected)?;
        }
        Ok(())
    }

    /// What is for one kind of pictures.
    pub(crate) fn of_pictures(&self) -> OfPictures<'_> {
        OfPictures {
            render_size: self.render_size,
            styles: &[],
            split_seed: self.split_seed,
        }
    }

    /// Settings that decide what is computed, but for the step loop's; `evaluate_every` only looks.
    pub fn identity(&self) -> Value {
        without(self, &["train", "evaluate_every"])
    }
}
