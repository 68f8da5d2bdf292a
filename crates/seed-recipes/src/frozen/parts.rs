//! The models that a tokenizer's training starts from and never changes.

use std::sync::Arc;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use seed_data::TextTokenizer;
use seed_encoders::{
    CODE_VERSION, ClipText, ClipTextConfig, EvaVit, EvaVitConfig,
    nano::{self, NanoClip},
};
use seed_nn::{LayerNorm, Linear};
use seed_weights::Checkpoint;

use super::identity::module_identity;
use crate::error::RecipeError;

/// An image tower, without autodiff, with what identifies it.
#[derive(Clone)]
pub struct FrozenTower {
    /// The tower.
    pub model: EvaVit,
    /// Its sizes.
    pub config: EvaVitConfig,
    /// Hash of all that decides its outputs.
    pub identity: String,
}

impl FrozenTower {
    /// A tower and its sizes.
    pub fn new(model: EvaVit, config: EvaVitConfig) -> Self {
        let identity = module_identity(&model, &config, CODE_VERSION);
        Self {
            model,
            config,
            identity,
        }
    }
}

/// A text tower whose states stage II rebuilds (SEED v1), with the tokenizer of its captions.
#[derive(Clone)]
pub struct FrozenText {
    /// The tower, without autodiff.
    pub model: ClipText,
    /// Its sizes.
    pub config: ClipTextConfig,
    /// Text tokenizer of both stages.
    pub tokenizer: Arc<TextTokenizer>,
    /// Hash of all that decides its outputs, the tokenizer as well.
    pub identity: String,
}

impl FrozenText {
    /// A tower, its sizes, and the tokenizer it was trained with.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if the tokenizer cannot be written down.
    pub fn new(
        model: ClipText,
        config: ClipTextConfig,
        tokenizer: Arc<TextTokenizer>,
    ) -> Result<Self, RecipeError> {
        let reads = (&config, tokenizer.to_json()?);
        let identity = module_identity(&model, &reads, CODE_VERSION);
        Ok(Self {
            model,
            config,
            tokenizer,
            identity,
        })
    }
}

/// From the image tower's tokens to the image embedding that stage II rebuilds (SEED v2): the nano CLIP's.
#[derive(Module, Debug)]
pub struct ImageEmbedding {
    /// Norm of the tokens.
    pub norm: LayerNorm,
    /// Projection of their mean.
    pub projection: Linear,
}

impl ImageEmbedding {
    /// Image embeddings, not normalised, as unCLIP's are.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, 1 + patches, width]`
    /// - output: `[batch, embedding width]`
    pub fn forward(&self, image_tokens: Tensor<3>) -> Tensor<2> {
        let mean = self.norm.forward(image_tokens).mean_dim(1).squeeze_dim(1);
        self.projection.forward(mean)
    }

    /// Hash of all that decides the embeddings of image tokens.
    pub fn identity(&self) -> String {
        module_identity(self, &"mean of the normed tokens, projected", 1)
    }

    /// Width of an embedding.
    pub fn width(&self) -> usize {
        self.projection.weight.lazy_shape().dims::<2>()[1]
    }
}

/// The frozen parts that a tokenizer's training starts from, without autodiff.
pub struct FrozenParts {
    /// Image tower.
    pub image: FrozenTower,
    /// Where the image tower's tokens lead to an image embedding: the target of an image head (SEED v2).
    pub image_embedding: Option<ImageEmbedding>,
    /// Text tower, and the text tokenizer of both stages.
    pub text: FrozenText,
    /// A Q-Former trained on this image tower's tokens, which stage I may start from.
    pub q_former: Option<Arc<Checkpoint>>,
}

impl FrozenParts {
    /// The frozen parts shipped with the library, on a device without autodiff.
    ///
    /// # Errors
    ///
    /// [`RecipeError`] if a shipped file is damaged.
    pub fn nano(device: &Device) -> Result<Self, RecipeError> {
        let parts = Self::of_nano_clip(nano::clip(device)?, nano::tokenizer_json())?;
        Ok(Self {
            q_former: Some(Arc::new(seed_tokenizer::nano::q_former()?)),
            ..parts
        })
    }

    /// The frozen parts from a nano CLIP and the `tokenizer.json` it was trained with, without a Q-Former.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`] if the tokenizer is none.
    pub fn of_nano_clip(nano: NanoClip, tokenizer_json: &str) -> Result<Self, RecipeError> {
        let NanoClip { clip, config, .. } = nano;
        let tokenizer = Arc::new(TextTokenizer::from_json(tokenizer_json)?);
        Ok(Self {
            image: FrozenTower::new(clip.image, config.image),
            image_embedding: Some(ImageEmbedding {
                norm: clip.image_norm,
                projection: clip.image_projection,
            }),
            text: FrozenText::new(clip.text, config.text, tokenizer)?,
            q_former: None,
        })
    }
}
