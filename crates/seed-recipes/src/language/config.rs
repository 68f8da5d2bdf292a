//! The settings of a language model's training, and when they are refused.

use rand::RngExt;
use seed_data::{Style, TrainTransform};
use seed_device::Precision;
use seed_eval::Target;
use seed_lm::{CodeVectors, LoraConfig, Templates, VisualHead};
use seed_train::{ConfigError, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::recipe::Task;
use crate::{
    error::RecipeError,
    settings::{OfPictures, overlay, preset, without},
};

/// What the language model reads in the place of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VisualInput {
    /// Codes: SEED.
    #[default]
    Codes,
    /// The tokenizer's embeddings, not quantised: a baseline that reads as BLIP-2 does, and cannot write.
    Embeddings,
}

/// How often each task is drawn; the numbers need not add up to one.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mixture {
    /// Image to text.
    pub caption: f64,
    /// Text to image.
    pub image: f64,
    /// Questions; of pictures about which there is none the caption is learnt instead.
    pub question: f64,
}

impl Mixture {
    fn weights(&self) -> [(Task, f64); 3] {
        [
            (Task::Caption, self.caption),
            (Task::Image, self.image),
            (Task::Question, self.question),
        ]
    }

    fn validate(&self, key: &str) -> Result<(), ConfigError> {
        for (task, weight) in self.weights() {
            let sound = weight.is_finite() && weight >= 0.0;
            let key = format!("{key}.{}", task.name());
            ConfigError::require(sound, &key, weight, "finite and not negative")?;
        }
        let sum = self.caption + self.image + self.question;
        ConfigError::require(sum > 0.0, key, sum, "above 0 in one of its tasks")
    }

    /// Draws a task; the caption where a question is drawn and there is none.
    pub(super) fn draw(&self, asked: bool, rng: &mut impl RngExt) -> Task {
        let weights = self.weights();
        let total: f64 = weights.iter().map(|(_, weight)| weight).sum();
        let mut left = rng.random_range(0.0..total);
        for (task, weight) in weights {
            left -= weight;
            if left < 0.0 && (asked || task != Task::Question) {
                return task;
            }
        }
        Task::Caption
    }
}

/// One phase; one of 0 steps is left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmPhase {
    /// How often each task is drawn.
    pub mixture: Mixture,
    /// The step loop.
    pub train: TrainConfig,
}

/// Settings of a language model's training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmTrainingConfig {
    /// The adapter.
    pub lora: LoraConfig,
    /// What stands for a code in the vocabulary.
    pub vectors: CodeVectors,
    /// How the scores of codes are made.
    pub head: VisualHead,
    /// What the language model reads in the place of an image.
    pub visual_input: VisualInput,
    /// How sequences are put together.
    pub templates: Templates,
    /// Several sequences a row.
    pub packing: bool,
    /// Type of the activations in the language model: bf16 is faster where the processor multiplies it (AMX, a GPU).
    #[serde(default)]
    pub activations: Precision,
    /// Type that the frozen language model's weights are kept in: f16 or bf16 halve its memory.
    #[serde(default)]
    pub base_weights: Precision,
    /// Side in pixels at which the corpus' drawings are rendered before the crop.
    pub render_size: u32,
    /// Styles of the renderings that join the corpus' plain ones in training.
    pub styles: Vec<Style>,
    /// Random views of each training picture whose codes are kept, besides the picture as it is.
    pub views: usize,
    /// Random crop and augmentation of a view.
    pub transform: TrainTransform,
    /// Which of a user's own pictures are held out; it has nothing to do with the seeds of training.
    #[serde(default)]
    pub split_seed: u64,
    /// First phase: image to text.
    pub image_to_text: LmPhase,
    /// Second phase: both directions.
    pub joint: LmPhase,
    /// What the experiment asks of its scores; it changes nothing that is computed.
    #[serde(default)]
    pub targets: Vec<Target>,
}

impl LmTrainingConfig {
    /// Those that are for one kind of pictures.
    pub(crate) fn of_pictures(&self) -> OfPictures<'_> {
        OfPictures {
            render_size: self.render_size,
            styles: &self.styles,
            split_seed: self.split_seed,
        }
    }

    /// The default run of `train_lm`: both phases at nano size (`presets/nano-lm.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn nano() -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/nano-lm.toml");
        preset("presets/nano-lm.toml", text)
    }

    /// The same run in a minute: enough to see that everything works, not to learn much (`presets/smoke-lm.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn smoke(&self) -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/smoke-lm.toml");
        overlay(self, "presets/smoke-lm.toml", text)
    }

    /// The baseline without codes: embeddings are read, and since nothing can be written with them, the share of images
    /// goes to captions.
    #[must_use]
    pub fn continuous(mut self) -> Self {
        self.visual_input = VisualInput::Embeddings;
        for phase in [&mut self.image_to_text, &mut self.joint] {
            phase.mixture.caption += phase.mixture.image;
            phase.mixture.image = 0.0;
        }
        self
    }

    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`], [`RecipeError::Language`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.lora.validate()?;
        self.templates.validate()?;
        for (name, phase) in self.phases() {
            let key = format!("{}.mixture", name.replace('-', "_"));
            phase.mixture.validate(&key)?;
            phase.train.validate()?;
            ConfigError::require(
                self.visual_input == VisualInput::Codes || phase.mixture.image == 0.0,
                &format!("{key}.image"),
                phase.mixture.image,
                "0 where `visual_input` is \"embeddings\", which cannot be written",
            )?;
        }
        let steps = "image_to_text.train.steps and joint.train.steps";
        let trains = self.phases().next().is_some();
        ConfigError::require(trains, steps, 0, "above 0 in one of them")?;
        ConfigError::require(self.views > 0, "views", self.views, "at least 1")?;
        ConfigError::require(
            (1..=4096).contains(&self.render_size),
            "render_size",
            self.render_size,
            "1 to 4096 pixels",
        )?;
        Ok(())
    }

    /// The phases that run, in their order, with the names of their folders: one of 0 steps is left out.
    pub fn phases(&self) -> impl Iterator<Item = (&'static str, &LmPhase)> {
        [
            ("image-to-text", &self.image_to_text),
            ("joint", &self.joint),
        ]
        .into_iter()
        .filter(|(_, phase)| phase.train.steps > 0)
    }

    /// Whether images are learnt: codes are read, and some phase draws.
    pub fn draws(&self) -> bool {
        self.visual_input == VisualInput::Codes
            && self.phases().any(|(_, phase)| phase.mixture.image > 0.0)
    }

    /// Settings that decide a phase, but for its own step loop: the second stands on the first.
    pub(super) fn of_phase(&self, name: &str) -> Value {
        if name == "image-to-text" {
            return without(self, &["image_to_text.train", "joint", "targets"]);
        }
        let mut settings = without(self, &["joint.train", "targets"]);
        settings["image_to_text"]["train"] = self.image_to_text.train.identity();
        settings
    }

    /// All settings that decide what is computed: two trainings that differ in none of them give the same model.
    pub fn identity(&self) -> Value {
        json!({ "settings": self.of_phase("joint"), "joint": self.joint.train.identity() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tokenizer::TokenizerTrainingConfig;

    #[test]
    fn presets_are_valid_and_of_the_nano_tokenizer() {
        let nano = LmTrainingConfig::nano().unwrap();
        nano.validate().unwrap();
        nano.clone().continuous().validate().unwrap();
        nano.smoke().unwrap().validate().unwrap();
        let tokenizer = TokenizerTrainingConfig::nano().unwrap();
        assert_eq!(nano.transform, tokenizer.transform);
        assert_eq!(nano.styles, tokenizer.styles);
    }

    #[test]
    fn embeddings_cannot_be_written() {
        let mut config = LmTrainingConfig::nano().unwrap();
        config.visual_input = VisualInput::Embeddings;
        let error = config.validate().unwrap_err().to_string();
        assert!(error.contains("joint.mixture.image"), "{error}");
    }
}
