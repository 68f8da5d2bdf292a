//! The two layouts of image tokens behind one face.

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use seed_nn::ConfigError;
use serde::{Deserialize, Serialize};

use crate::{CausalQFormer, CausalQFormerConfig, RasterConfig, RasterEncoder};

/// How image tokens are laid out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenEncoderConfig {
    /// One-dimensional tokens of a Q-Former, causal or bidirectional.
    QFormer(CausalQFormerConfig),
    /// Two-dimensional tokens: the pooled patch grid in raster order.
    Raster(RasterConfig),
}

impl TokenEncoderConfig {
    /// Whether images can be compared with captions: the released v2 file leaves the contrastive heads and the text
    /// side out.
    pub fn reads_text(&self) -> bool {
        match self {
            Self::QFormer(config) => config.embed_dim.is_some() && config.q_former.text.is_some(),
            Self::Raster(_) => true,
        }
    }

    /// Number of tokens of an image.
    pub fn tokens(&self) -> usize {
        match self {
            Self::QFormer(config) => config.queries,
            Self::Raster(config) => config.grid[0] * config.grid[1],
        }
    }

    /// Width of a token.
    pub fn width(&self) -> usize {
        match self {
            Self::QFormer(config) => config.q_former.width,
            Self::Raster(config) => config.text.width,
        }
    }

    /// Width of the image tower's tokens that are read.
    pub fn image_width(&self) -> usize {
        match self {
            Self::QFormer(config) => config.q_former.context_width,
            Self::Raster(config) => config.text.context_width,
        }
    }

    /// Longest text that stage I can read, in tokens.
    pub fn max_text_length(&self) -> usize {
        let q_former = match self {
            Self::QFormer(config) => &config.q_former,
            Self::Raster(config) => &config.text,
        };
        q_former.text.as_ref().map_or(0, |text| text.max_length)
    }

    /// Whether the encoder can be trained to caption.
    pub fn captions(&self) -> bool {
        matches!(self, Self::QFormer(config) if config.language_head)
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        match self {
            Self::QFormer(config) => config.validate(),
            Self::Raster(config) => config.validate(),
        }
    }

    /// Initialises the encoder on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<TokenEncoder, ConfigError> {
        Ok(match self {
            Self::QFormer(config) => TokenEncoder::QFormer(config.init(device)?),
            Self::Raster(config) => TokenEncoder::Raster(config.init(device)?),
        })
    }
}

/// Image tokens in, embeddings to be quantised out; trained in stage I.
#[derive(Module, Debug)]
#[allow(clippy::large_enum_variant)] // There is one of these per model.
pub enum TokenEncoder {
    /// The Causal Q-Former.
    QFormer(CausalQFormer),
    /// The pooled patch grid.
    Raster(RasterEncoder),
}

impl TokenEncoder {
    /// Embeddings of images: with a Q-Former of causal queries, SEED's causal embeddings.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, 1 + patches, image width]`
    /// - output: `[batch, tokens, width]`
    pub fn forward(&self, image_tokens: Tensor<3>) -> Tensor<3> {
        match self {
            Self::QFormer(encoder) => encoder.forward(image_tokens),
            Self::Raster(encoder) => encoder.forward(image_tokens),
        }
    }

    /// As [`CausalQFormer::caption`].
    ///
    /// # Panics
    ///
    /// Panics if the encoder is not one that [`TokenEncoderConfig::captions`].
    pub fn caption(
        &self,
        image_tokens: Tensor<3>,
        ids: Tensor<2, Int>,
        positions: Tensor<1, Int>,
    ) -> (Tensor<3>, Tensor<2>) {
        match self {
            Self::QFormer(encoder) => encoder.caption(image_tokens, ids, positions),
            Self::Raster(_) => panic!("a raster encoder has no language head"),
        }
    }

    /// Unit-length image feature of embeddings, `[batch, embed_dim]`.
    pub fn image_feature(&self, embeddings: Tensor<3>) -> Tensor<2> {
        match self {
            Self::QFormer(encoder) => encoder.image_feature(embeddings),
            Self::Raster(encoder) => encoder.image_feature(embeddings),
        }
    }

    /// Unit-length features of every query, `[batch, queries, embed_dim]`; a raster has one for all.
    pub fn query_features(&self, embeddings: Tensor<3>) -> Tensor<3> {
        match self {
            Self::QFormer(encoder) => encoder.query_features(embeddings),
            Self::Raster(encoder) => encoder.image_feature(embeddings).unsqueeze_dim(1),
        }
    }

    /// Unit-length text feature of captions, `[batch, embed_dim]`.
    pub fn text_feature(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<2> {
        match self {
            Self::QFormer(encoder) => encoder.text_feature(ids, mask),
            Self::Raster(encoder) => encoder.text_feature(ids, mask),
        }
    }

    /// The temperature of stage I, `[1]`.
    pub fn temperature(&self) -> Tensor<1> {
        match self {
            Self::QFormer(encoder) => encoder.contrastive_heads().temp.val(),
            Self::Raster(encoder) => encoder.heads.temp.val(),
        }
    }
}
