//! The settings of a tokenizer's training, and when they are refused.

use std::path::PathBuf;

use seed_data::{Style, TrainTransform};
use seed_encoders::EvaVitConfig;
use seed_eval::Target;
use seed_tokenizer::{SeedConfig, StageTwoWeights, TokenEncoderConfig};
use seed_train::{ConfigError, TrainConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::stage_one::{Positives, Similarity};
use crate::{
    error::RecipeError,
    frozen::{FrozenParts, ImageEmbedding},
    settings::{OfPictures, overlay, preset, without},
};

/// Settings of a tokenizer's training, from nothing to codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenizerTrainingConfig {
    /// Sizes and options of the model.
    pub model: SeedConfig,
    /// Side in pixels at which the corpus' drawings are rendered before the crop.
    pub render_size: u32,
    /// Styles of the renderings that join the corpus' plain ones in training.
    pub styles: Vec<Style>,
    /// Views of each training picture whose image tokens are kept.
    pub views: usize,
    /// Random crop and augmentation of a view.
    pub transform: TrainTransform,
    /// Which of a user's own pictures are held out; it has nothing to do with the seeds of training.
    #[serde(default)]
    pub split_seed: u64,
    /// Longest caption in stage I, in tokens.
    pub text_length: usize,
    /// Whether stage I reads the label and some of its keywords in random order instead of whole captions, so that
    /// its text side learns words. For captions of that form, the corpus'.
    #[serde(default)]
    pub vary_captions: bool,
    /// Which captions of a batch count as right in stage I.
    pub positives: Positives,
    /// How near a picture is to a caption in stage I.
    #[serde(default)]
    pub similarity: Similarity,
    /// Weight of BLIP-2's captioning loss beside the contrast of stage I; 0, SEED's, is without it. Else the model
    /// has a language head.
    #[serde(default)]
    pub captioning: f64,
    /// What stage I starts from.
    #[serde(default)]
    pub start: StageOneStart,
    /// The step loop of stage I.
    pub stage_one: TrainConfig,
    /// The step loop of stage II.
    pub stage_two: TrainConfig,
    /// Weights of stage II's terms; those of heads that the model has not are not used.
    pub weights: StageTwoWeights,
    /// What the experiment asks of its scores; it changes nothing that is computed.
    #[serde(default)]
    pub targets: Vec<Target>,
}

/// What stage I starts from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StageOneStart {
    /// Random weights.
    #[default]
    Random,
    /// The Q-Former that comes with the frozen parts, as SEED starts from BLIP-2's.
    QFormer,
    /// Another training's: its run's folder, or a file in the layout of `causal_qformer.pth`.
    From(PathBuf),
}

impl TokenizerTrainingConfig {
    /// Those that are for one kind of pictures.
    pub(crate) fn of_pictures(&self) -> OfPictures<'_> {
        OfPictures {
            render_size: self.render_size,
            styles: &self.styles,
            split_seed: self.split_seed,
        }
    }

    /// The default run: both stages at nano size (`presets/nano-tokenizer.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn nano() -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/nano-tokenizer.toml");
        preset("presets/nano-tokenizer.toml", text)
    }

    /// The same run in a minute: enough to see that everything works, not to learn much
    /// (`presets/smoke-tokenizer.toml`).
    ///
    /// # Errors
    ///
    /// [`ConfigError::Parse`]; a test reads the preset.
    pub fn smoke(&self) -> Result<Self, ConfigError> {
        let text = include_str!("../../presets/smoke-tokenizer.toml");
        overlay(self, "presets/smoke-tokenizer.toml", text)
    }

    /// Refuses settings with which no training is possible.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Model`] and [`RecipeError::Config`], which name the key.
    pub fn validate(&self) -> Result<(), RecipeError> {
        self.model.validate()?;
        self.stage_one.validate()?;
        self.stage_two.validate()?;
        let image = &self.model.image;
        ConfigError::require(
            self.transform.size as usize == image.image_size,
            "transform.size",
            self.transform.size,
            &format!(
                "{}, the image tower's `model.image.image_size`",
                image.image_size
            ),
        )?;
        ConfigError::require(
            self.model.tokens.reads_text(),
            "model.tokens",
            "an encoder without contrastive heads or text side",
            "one with `embed_dim` and `text`, since stage I compares pictures with captions",
        )?;
        let longest = self.model.tokens.max_text_length();
        let allowed = format!("1 to the model's {longest} positions");
        ConfigError::require(
            (1..=longest).contains(&self.text_length),
            "text_length",
            self.text_length,
            &allowed,
        )?;
        ConfigError::require(self.views > 0, "views", self.views, "at least 1")?;
        ConfigError::require(
            (1..=4096).contains(&self.render_size),
            "render_size",
            self.render_size,
            "1 to 4096 pixels",
        )?;
        let usable = self.captioning >= 0.0 && self.captioning.is_finite();
        let possible = self.captioning == 0.0 || self.model.tokens.captions();
        ConfigError::require(
            usable && possible,
            "captioning",
            self.captioning,
            "0, or positive for a Q-Former with `language_head = true`",
        )?;
        let is_q_former = matches!(self.model.tokens, TokenEncoderConfig::QFormer(_));
        ConfigError::require(
            is_q_former || self.start != StageOneStart::QFormer,
            "start",
            "q_former",
            "\"random\" or { from = .. } for tokens that no Q-Former makes",
        )?;
        let StageTwoWeights {
            quantization,
            reconstruction,
            text,
            image,
        } = self.weights;
        for (key, weight) in [
            ("weights.quantization", quantization),
            ("weights.reconstruction", reconstruction),
            ("weights.text", text),
            ("weights.image", image),
        ] {
            let sound = weight.is_finite() && weight >= 0.0;
            ConfigError::require(sound, key, weight, "finite and not negative")?;
        }
        Ok(())
    }

    /// Refuses settings that the frozen parts cannot serve: each would be ignored, or rows would be cut in the wrong
    /// places.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Config`], which names the key; [`RecipeError::NoQFormer`].
    pub fn validate_for(&self, frozen: &FrozenParts) -> Result<(), RecipeError> {
        self.validate()?;
        same_tower(&self.model.image, &frozen.image.config)?;
        let text_side = match &self.model.tokens {
            TokenEncoderConfig::QFormer(config) => &config.q_former.text,
            TokenEncoderConfig::Raster(config) => &config.text.text,
        };
        let words = text_side.as_ref().map_or(0, |text| text.vocab_size);
        let known = frozen.text.tokenizer.vocab_size();
        ConfigError::require(
            words >= known,
            "model.tokens: text.vocab_size",
            words,
            &format!("at least {known}, the text tokenizer's"),
        )?;
        if let Some(head) = &self.model.codes.text_head {
            let text = &frozen.text.config;
            ConfigError::require(
                head.target_width == text.width,
                "model.codes.text_head.target_width",
                head.target_width,
                &format!("{}, the width of the text tower's states", text.width),
            )?;
            ConfigError::require(
                head.reverse.queries <= text.max_length,
                "model.codes.text_head.reverse.queries",
                head.reverse.queries,
                &format!("at most {}, the text tower's positions", text.max_length),
            )?;
        }
        if let Some(head) = &self.model.codes.image_head {
            let width = frozen.image_embedding.as_ref().map(ImageEmbedding::width);
            let expected = match width {
                Some(width) => format!("{width}, the width of the frozen parts' image embedding"),
                None => "absent: these frozen parts have no image embedding".to_owned(),
            };
            ConfigError::require(
                width == Some(head.target_width),
                "model.codes.image_head.target_width",
                head.target_width,
                &expected,
            )?;
        }
        if self.start == StageOneStart::QFormer && frozen.q_former.is_none() {
            return Err(RecipeError::NoQFormer);
        }
        Ok(())
    }

    /// Settings that decide stage I, but for its step loop.
    pub(crate) fn of_stage_one(&self) -> Value {
        without(
            self,
            &[
                "stage_one",
                "stage_two",
                "weights",
                "model.codes",
                "start",
                "targets",
            ],
        )
    }

    /// Settings that decide stage II, but for its step loop: all others, since it stands on stage I.
    pub(crate) fn of_stage_two(&self) -> Value {
        let mut settings = without(self, &["stage_two", "start", "targets"]);
        settings["stage_one"] = self.stage_one.identity();
        settings
    }

    /// All settings that decide what is computed: two trainings that differ in none of them give the same tokenizer.
    pub fn identity(&self) -> Value {
        json!({
            "settings": self.of_stage_two(),
            "start": self.start,
            "stage_two": self.stage_two.identity(),
        })
    }
}

/// Refuses an image tower of other sizes than the frozen one, naming the first that differs.
fn same_tower(asked: &EvaVitConfig, frozen: &EvaVitConfig) -> Result<(), ConfigError> {
    let (asked, frozen) = (json!(asked), json!(frozen));
    for (key, value) in asked.as_object().into_iter().flatten() {
        ConfigError::require(
            frozen[key] == *value,
            &format!("model.image.{key}"),
            value,
            &format!("{}, as in the frozen image tower", frozen[key]),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid_and_of_the_nano_model() {
        let nano = TokenizerTrainingConfig::nano().unwrap();
        nano.validate().unwrap();
        assert_eq!(nano.model, SeedConfig::nano());
        let smoke = nano.smoke().unwrap();
        smoke.validate().unwrap();
        assert!(smoke.stage_one.steps < nano.stage_one.steps);
        assert_eq!(smoke.model, nano.model);
    }
}
