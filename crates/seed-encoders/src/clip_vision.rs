//! CLIP's image tower with its projection: the judge of drawn pictures (L/14), and what unCLIP draws from (H/14).
//!
//! - paper: <https://arxiv.org/abs/2103.00020>
//! - published weights: `openai/clip-vit-large-patch14`; `image_encoder` of `stabilityai/stable-diffusion-2-1-unclip`
//!   (OpenCLIP's H/14)
//! - original code: `CLIPVisionModelWithProjection` of transformers
//!
//! Tokens are the class token first and then the patches, row by row.

use burn::{
    module::{Initializer, Module, Param},
    nn::{
        Embedding, EmbeddingConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor},
};
use seed_nn::{Activation, ConfigError, LayerNorm, LayerNormConfig, Linear, LinearConfig, limits};
use seed_weights::KeyMap;
use serde::{Deserialize, Serialize};

use crate::{
    clip_layer::{ClipLayer, ClipLayerConfig},
    config_json::{ConfigJson, EncoderConfigError},
};

/// Sizes of a [`ClipVision`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipVisionConfig {
    /// Side of the square image in pixels.
    pub image_size: usize,
    /// Side of a patch in pixels; divides `image_size`.
    pub patch_size: usize,
    /// Width of the tokens.
    pub width: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_hidden: usize,
    /// Non-linearity of the MLPs.
    pub activation: Activation,
    /// Width of the space shared with the text tower.
    pub embed_dim: usize,
}

impl ClipVisionConfig {
    /// OpenAI's CLIP L/14 at 224 pixels: 304 M parameters.
    pub fn clip_l() -> Self {
        Self {
            image_size: 224,
            patch_size: 14,
            width: 1024,
            depth: 24,
            heads: 16,
            mlp_hidden: 4096,
            activation: Activation::QuickGelu,
            embed_dim: 768,
        }
    }

    /// OpenCLIP's H/14 at 224 pixels, the image encoder of Stable unCLIP 2.1: 632 M parameters.
    pub fn clip_h() -> Self {
        Self {
            image_size: 224,
            patch_size: 14,
            width: 1280,
            depth: 32,
            heads: 16,
            mlp_hidden: 5120,
            activation: Activation::Gelu,
            embed_dim: 1024,
        }
    }

    /// Reads the text of a `config.json` of transformers: of `CLIPVisionModelWithProjection`, or of the whole `CLIPModel` with
    /// a `vision_config` in it. Fields that are absent have transformers' defaults.
    ///
    /// # Errors
    ///
    /// [`EncoderConfigError`] if it is of another model, or a field is of another type or says what is not computed here;
    /// or if sizes do not fit together.
    pub fn from_transformers(text: &str) -> Result<Self, EncoderConfigError> {
        let fields = ConfigJson::parse(text, "clip_vision_model", "vision_config")?;
        fields.expect("num_channels", 3)?;
        let config = Self {
            image_size: fields.size("image_size", 224)?,
            patch_size: fields.size("patch_size", 32)?,
            width: fields.size("hidden_size", 768)?,
            depth: fields.size("num_hidden_layers", 12)?,
            heads: fields.size("num_attention_heads", 12)?,
            mlp_hidden: fields.size("intermediate_size", 3072)?,
            activation: fields.activation()?,
            embed_dim: fields.shared_size("projection_dim", 512)?,
        };
        config.validate()?;
        Ok(config)
    }

    /// Patches along one side of the image.
    pub fn grid(&self) -> usize {
        self.image_size / self.patch_size
    }

    /// Number of tokens, the class token included.
    pub fn tokens(&self) -> usize {
        1 + self.grid() * self.grid()
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "CLIP image tower";
        ConfigError::check_heads(part, self.width, self.heads)?;
        if self.patch_size == 0 || !self.image_size.is_multiple_of(self.patch_size) {
            return Err(ConfigError::Patches {
                part,
                image: self.image_size,
                patch: self.patch_size,
            });
        }
        for (name, size, most) in [
            ("image_size", self.image_size, limits::PIXELS),
            ("depth", self.depth, limits::DEPTH),
            ("mlp_hidden", self.mlp_hidden, limits::WIDTH),
            ("embed_dim", self.embed_dim, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        Ok(())
    }

    /// Initialises the tower on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<ClipVision, ConfigError> {
        self.validate()?;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let norm = || LayerNormConfig::new(self.width).init(device);
        let layer = ClipLayerConfig {
            width: self.width,
            heads: self.heads,
            mlp_hidden: self.mlp_hidden,
            activation: self.activation,
        };
        let patch = [self.patch_size, self.patch_size];
        Ok(ClipVision {
            embeddings: ClipVisionEmbeddings {
                class_token: normal.init([self.width], device),
                patches: Conv2dConfig::new([3, self.width], patch)
                    .with_stride(patch)
                    .with_padding(PaddingConfig2d::Valid)
                    .with_bias(false)
                    .init(device),
                positions: EmbeddingConfig::new(self.tokens(), self.width)
                    .with_initializer(normal)
                    .init(device),
            },
            pre_norm: norm(),
            layers: (0..self.depth).map(|_| layer.init(device)).collect(),
            post_layernorm: norm(),
            visual_projection: LinearConfig::new(self.width, self.embed_dim)
                .with_bias(false)
                .init(device),
        })
    }
}

/// Keys of [`ClipVision`] in a checkpoint of the transformers library, which spells one of them so.
pub fn clip_vision_keys() -> KeyMap {
    KeyMap::new(&[
        ("visual_projection", "visual_projection"),
        (
            "embeddings.class_token",
            "vision_model.embeddings.class_embedding",
        ),
        (
            "embeddings.patches",
            "vision_model.embeddings.patch_embedding",
        ),
        (
            "embeddings.positions",
            "vision_model.embeddings.position_embedding",
        ),
        ("pre_norm", "vision_model.pre_layrnorm"),
        ("layers", "vision_model.encoder.layers"),
        ("", "vision_model"),
    ])
}

/// Patches, class token and positions.
#[derive(Module, Debug)]
pub struct ClipVisionEmbeddings {
    /// Class token `[width]`.
    pub class_token: Param<Tensor<1>>,
    /// Convolution whose kernel and stride are one patch, without bias.
    pub patches: Conv2d,
    /// `[1 + patches, width]`, the class token's first.
    pub positions: Embedding,
}

/// CLIP's image tower and the projection behind it.
#[derive(Module, Debug)]
pub struct ClipVision {
    /// Patches, class token and positions.
    pub embeddings: ClipVisionEmbeddings,
    /// Norm before the first block.
    pub pre_norm: LayerNorm,
    /// Transformer blocks.
    pub layers: Vec<ClipLayer>,
    /// Norm of the class token behind the last block.
    pub post_layernorm: LayerNorm,
    /// `[width → embed_dim]`, without bias.
    pub visual_projection: Linear,
}

/// What the image tower gives.
#[derive(Debug, Clone)]
pub struct ClipVisionOutput {
    /// States of all tokens behind the last block, without a norm: `[batch, 1 + patches, width]`.
    pub last_hidden_state: Tensor<3>,
    /// The class token's state behind its norm, `[batch, width]`.
    pub pooled: Tensor<2>,
    /// The image embedding, `[batch, embed_dim]`, not of unit length: unCLIP takes it as it is.
    pub projected: Tensor<2>,
}

impl ClipVision {
    /// # Shapes
    ///
    /// - images: `[batch, 3, image_size, image_size]`, normalised with CLIP's mean and deviation
    pub fn forward(&self, images: Tensor<4>) -> ClipVisionOutput {
        let embedded = self.embed(images);
        let last_hidden_state = self
            .layers
            .iter()
            .fold(embedded, |x, layer| layer.forward(x, None));
        let class_token = last_hidden_state.clone().narrow(1, 0, 1).squeeze_dim(1);
        let pooled = self.post_layernorm.forward::<2>(class_token);
        ClipVisionOutput {
            last_hidden_state,
            projected: self.visual_projection.forward(pooled.clone()),
            pooled,
        }
    }

    /// What enters the first block: patches projected, class token prepended, positions added, and normalised.
    pub fn embed(&self, images: Tensor<4>) -> Tensor<3> {
        let embeddings = &self.embeddings;
        let patches = embeddings.patches.forward(images);
        let patches = patches.flatten::<3>(2, 3).swap_dims(1, 2);
        let [batch, _, width] = patches.dims();
        let class_token = embeddings.class_token.val().reshape([1, 1, width]);
        let class_token = class_token.expand([batch, 1, width]);
        let positions = embeddings.positions.weight.val().unsqueeze::<3>();
        let tokens = Tensor::cat(vec![class_token, patches], 1) + positions;
        self.pre_norm.forward(tokens)
    }
}
