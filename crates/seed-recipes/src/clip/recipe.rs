//! Contrastive training of the two towers that SEED keeps frozen, at nano size.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Distribution, Int, Tensor, TensorData, activation::log_softmax},
};
use seed_data::TokenBatch;
use seed_device::Precision;
use seed_encoders::{Clip, ClipConfig};
use seed_nn::{ConfigError, l2_normalize};
use seed_tokenizer::{concept_targets, contrast};
use seed_train::{Losses, Recipe};
use serde_json::Value;

use crate::tensors::{stack, tokens};

/// CLIP's own bound on the factor of the cosines.
const MAX_LOGIT_SCALE: f64 = 100.0;

/// Pictures with captions.
#[derive(Debug)]
pub struct ClipBatch {
    /// Normalised pictures, each `[3, size, size]`.
    pub images: Vec<Vec<f32>>,
    /// Captions.
    pub captions: TokenBatch,
    /// What each pair shows, below [`ClipRecipe::concepts`]: pairs of one concept are no negatives of
    /// each other.
    pub concepts: Vec<usize>,
}

/// The towers while they are trained, with a prototype of each training concept.
///
/// A batch holds few concepts; against the prototypes each picture is told apart from all of them
/// (Proxy-NCA, <https://arxiv.org/abs/1703.07464>). Only the towers are kept.
#[derive(Module, Debug)]
pub struct ClipTrainee {
    /// The towers.
    pub clip: Clip,
    /// `[concepts, embed_dim]`, compared by cosine; none without that term of the loss.
    pub prototypes: Option<Param<Tensor<2>>>,
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
    /// Number of training concepts.
    pub concepts: usize,
    /// Weight of the cross-entropy over all concepts' prototypes; 0 for none.
    pub prototype_weight: f64,
    /// Type of the activations between the blocks of both towers; parameters, features and losses are f32.
    pub activations: Precision,
    /// Everything beside the step loop that decides what is computed: all settings, the data, the tokenizer.
    pub identity: Value,
}

impl ClipRecipe {
    /// Initialises the towers, and the prototypes if they have a weight.
    pub fn init(&self) -> Result<ClipTrainee, ConfigError> {
        let shape = [self.concepts, self.clip.embed_dim];
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 1.0,
        };
        Ok(ClipTrainee {
            clip: self.clip.init(&self.device)?,
            prototypes: (self.prototype_weight > 0.0).then(|| normal.init(shape, &self.device)),
        })
    }

    /// Cross-entropy of the pictures over all concepts, `[1]`.
    ///
    /// # Shapes
    ///
    /// - image_features: `[batch, embed_dim]`, unit length
    /// - prototypes: `[concepts, embed_dim]`
    /// - scale: `[1]`, multiplies the cosines
    fn prototype_loss(
        &self,
        image_features: Tensor<2>,
        prototypes: Tensor<2>,
        scale: Tensor<1>,
        concepts: &[usize],
    ) -> Tensor<1> {
        let cosines = image_features.matmul(l2_normalize(prototypes).transpose());
        let log_shares = log_softmax(cosines * scale.unsqueeze::<2>(), 1);
        let ids: Vec<i64> = concepts.iter().map(|&concept| concept as i64).collect();
        let ids =
            Tensor::<2, Int>::from_data(TensorData::new(ids, [concepts.len(), 1]), &self.device);
        let right = log_shares
            .clone()
            .gather(1, ids)
            .mean()
            .mul_scalar(1.0 - self.label_smoothing);
        (right + log_shares.mean().mul_scalar(self.label_smoothing)).neg()
    }

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
    type Model = ClipTrainee;
    type Batch = ClipBatch;

    fn name(&self) -> &'static str {
        "clip"
    }

    fn config(&self) -> Value {
        self.identity.clone()
    }

    fn loss(&self, model: &ClipTrainee, batch: ClipBatch) -> Losses {
        let ClipTrainee { clip, prototypes } = model;
        let count = batch.images.len();
        let size = self.clip.image.image_size;
        let images = stack(batch.images, [count, 3, size, size], &self.device);
        let (ids, _) = tokens(batch.captions, &self.device);
        let activations = self.activations.dtype();
        let image_features = clip.image_features_of(images, self.kept_tokens(), activations);
        let scale = clip.logit_scale.val().clamp_max(MAX_LOGIT_SCALE.ln()).exp();
        let contrast = contrast(
            image_features.clone(),
            clip.text_features_of(ids, activations),
            scale.clone().recip(),
            concept_targets(&batch.concepts, &self.device),
            self.label_smoothing,
        );
        let losses = Losses::new(contrast.loss.clone())
            .with("contrast", contrast.loss)
            .with("accuracy", contrast.accuracy);
        let Some(prototypes) = prototypes else {
            return losses;
        };
        let prototype =
            self.prototype_loss(image_features, prototypes.val(), scale, &batch.concepts);
        Losses {
            total: losses.total + prototype.clone().mul_scalar(self.prototype_weight),
            parts: losses.parts,
        }
        .with("prototype", prototype)
    }
}
