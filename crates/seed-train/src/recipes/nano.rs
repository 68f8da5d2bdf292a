//! The nano tokenizer's training as the example runs it: ten minutes on two CPU cores.

use std::sync::Arc;

use burn::tensor::Device;
use seed_data::{Style, TextTokenizer, TrainTransform};
use seed_device::Precision;
use seed_encoders::nano::{self, NanoClip};
use seed_lm::{CodeVectors, LoraConfig, Templates, VisualHead};
use seed_tokenizer::{SeedConfig, StageTwoWeights};

use super::{
    ClipPretrainingConfig, FrozenParts, LmPhase, LmTrainingConfig, Mixture, Positives, RecipeError,
    Similarity, StageOneStart, TokenizerTrainingConfig, VisualInput,
};
use crate::{LrSchedule, TrainConfig};

impl TokenizerTrainingConfig {
    /// The default run: both stages at nano size.
    pub fn nano() -> Self {
        let train = |steps, batch_size, peak| TrainConfig {
            steps,
            batch_size,
            schedule: LrSchedule::Cosine {
                peak,
                warmup_steps: steps / 20,
                floor: peak / 100.0,
            },
            clip_norm: Some(1.0),
            checkpoint_every: 200,
            log_every: 5,
            ..TrainConfig::default()
        };
        Self {
            model: SeedConfig::nano(),
            render_size: 80,
            styles: vec![
                Style::Outlined { width: 0.03 },
                Style::LineArt { width: 0.025 },
            ],
            views: 6,
            transform: view_transform(),
            text_length: 24,
            vary_captions: false,
            positives: Positives::Concept,
            similarity: Similarity::LastQuery,
            captioning: 0.0,
            start: StageOneStart::QFormer,
            stage_one: train(400, 128, 1e-3),
            stage_two: train(800, 128, 6e-3),
            // The reference's weight of 5 keeps so small a model from rebuilding well.
            weights: StageTwoWeights {
                quantization: 1.0,
                ..StageTwoWeights::default()
            },
        }
    }

    /// The same run in a minute: enough to see that everything works, not to learn much.
    pub fn smoke(mut self) -> Self {
        self.views = 1;
        for stage in [&mut self.stage_one, &mut self.stage_two] {
            stage.steps = 20;
            stage.batch_size = 32;
            stage.checkpoint_every = 10;
            stage.log_every = 1;
            if let LrSchedule::Cosine { warmup_steps, .. } = &mut stage.schedule {
                *warmup_steps = 2;
            }
        }
        self
    }
}

impl ClipPretrainingConfig {
    /// The nano CLIP's training: `experiments/nano-clip`.
    ///
    /// # Panics
    ///
    /// If that config is not valid: a test reads it.
    pub fn nano() -> Self {
        toml::from_str(include_str!(
            "../../../../experiments/nano-clip/config.toml"
        ))
        .expect("experiments/nano-clip/config.toml is valid")
    }
}

impl LmTrainingConfig {
    /// The default run of `train_lm`: both phases at nano size.
    pub fn nano() -> Self {
        let phase = |steps, peak, [caption, image, question]: [f64; 3]| LmPhase {
            mixture: Mixture {
                caption,
                image,
                question,
            },
            train: TrainConfig {
                steps,
                batch_size: 64,
                schedule: LrSchedule::Cosine {
                    peak,
                    warmup_steps: steps / 20,
                    floor: peak / 20.0,
                },
                clip_norm: Some(1.0),
                checkpoint_every: 200,
                log_every: 5,
                ..TrainConfig::default()
            },
        };
        Self {
            // A narrow model needs a larger share of its width, and a short training no dropout.
            lora: LoraConfig {
                rank: 64,
                alpha: 128.0,
                dropout: 0.0,
                ..LoraConfig::default()
            },
            vectors: CodeVectors::Decoded,
            head: VisualHead::Tied,
            visual_input: VisualInput::Codes,
            templates: Templates::default(),
            packing: false,
            activations: Precision::F32,
            base_weights: Precision::F32,
            render_size: 80,
            views: 6,
            transform: view_transform(),
            image_to_text: phase(650, 3e-3, [0.9, 0.0, 0.1]),
            joint: phase(600, 1.5e-3, [0.35, 0.5, 0.15]),
        }
    }

    /// The same run in a minute: enough to see that everything works, not to learn much.
    pub fn smoke(mut self) -> Self {
        self.views = 1;
        for phase in [&mut self.image_to_text, &mut self.joint] {
            let train = &mut phase.train;
            train.steps = 10;
            train.batch_size = 16;
            train.checkpoint_every = 5;
            train.log_every = 1;
            if let LrSchedule::Cosine { warmup_steps, .. } = &mut train.schedule {
                *warmup_steps = 2;
            }
        }
        self
    }
}

/// The views of a picture: what the nano CLIP was trained on, without erasing.
fn view_transform() -> TrainTransform {
    let mut transform = ClipPretrainingConfig::nano().transform;
    transform.augment.erase = 0.0;
    transform
}

impl FrozenParts {
    /// The frozen parts shipped with the library, on a device without autodiff.
    pub fn nano(device: &Device) -> Result<Self, RecipeError> {
        let parts = Self::of_nano_clip(nano::clip(device)?, nano::tokenizer_json())?;
        Ok(Self {
            q_former: Some(seed_tokenizer::nano::q_former()?),
            ..parts
        })
    }

    /// The frozen parts from a nano CLIP and the `tokenizer.json` it was trained with, without a Q-Former.
    pub fn of_nano_clip(nano: NanoClip, tokenizer_json: &str) -> Result<Self, RecipeError> {
        Ok(Self {
            image: nano.clip.image,
            text: nano.clip.text,
            text_config: nano.config.text,
            tokenizer: Arc::new(TextTokenizer::from_json(tokenizer_json)?),
            q_former: None,
            identity: nano.identity,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_fit_the_tower_they_enter() {
        let config = TokenizerTrainingConfig::nano();
        assert_eq!(
            config.transform.size as usize,
            config.model.image.image_size
        );
        assert_eq!(ClipPretrainingConfig::nano().clip.image, config.model.image);
    }
}
