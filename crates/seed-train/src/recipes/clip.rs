//! Contrastive training of the two towers that SEED keeps frozen, at nano size.

use burn::tensor::{Device, Distribution, Int, Tensor};
use seed_data::TokenBatch;
use seed_encoders::{Clip, ClipConfig};
use seed_tokenizer::{concept_targets, contrast};
use serde_json::{Value, json};

use super::tensors::{stack, tokens};
use crate::{Losses, Recipe};

/// CLIP's own bound on the factor of the cosines.
const MAX_LOGIT_SCALE: f64 = 100.0;

/// Pictures with captions.
#[derive(Debug)]
pub struct ClipBatch {
    /// Normalised pictures, each `[3, size, size]`.
    pub images: Vec<Vec<f32>>,
    /// Captions.
    pub captions: TokenBatch,
    /// What each pair shows: pairs of one concept are no negatives of each other.
    pub concepts: Vec<usize>,
}

/// Image-text contrast over both towers.
#[derive(Debug, Clone)]
pub struct ClipRecipe {
    /// Sizes of the towers.
    pub clip: ClipConfig,
    /// Patches of each picture that enter the image tower while training, drawn anew at each step
    /// (FLIP, <https://arxiv.org/abs/2212.00794>); all of them if none is given.
    pub kept_patches: Option<usize>,
    /// Where tensors are made.
    pub device: Device,
    /// Label smoothing of the contrast.
    pub label_smoothing: f64,
}

impl ClipRecipe {
    /// Positions of the tokens that enter the tower: the class token and a random part of the patches.
    fn kept_tokens(&self) -> Option<Tensor<1, Int>> {
        let kept = self.kept_patches?;
        let patches = self.clip.image.tokens() - 1;
        let noise = Tensor::<1>::random([patches], Distribution::Default, &self.device);
        let chosen = noise.argsort(0).narrow(0, 0, kept) + 1;
        Some(Tensor::cat(
            vec![Tensor::zeros([1], &self.device), chosen],
            0,
        ))
    }
}

impl Recipe for ClipRecipe {
    type Model = Clip;
    type Batch = ClipBatch;

    fn name(&self) -> &'static str {
        "clip"
    }

    fn config(&self) -> Value {
        json!({
            "clip": self.clip,
            "kept_patches": self.kept_patches,
            "label_smoothing": self.label_smoothing,
        })
    }

    fn loss(&self, model: &Clip, batch: ClipBatch) -> Losses {
        let count = batch.images.len();
        let size = self.clip.image.image_size;
        let images = stack(batch.images, [count, 3, size, size], &self.device);
        let (ids, _) = tokens(batch.captions, &self.device);
        let image_features = model.image_features_of(images, self.kept_tokens());
        let scale = model
            .logit_scale
            .val()
            .clamp_max(MAX_LOGIT_SCALE.ln())
            .exp();
        let contrast = contrast(
            image_features,
            model.text_features(ids),
            scale.recip(),
            concept_targets(&batch.concepts, &self.device),
            self.label_smoothing,
        );
        Losses::new(contrast.loss.clone())
            .with("contrast", contrast.loss)
            .with("accuracy", contrast.accuracy)
    }
}
