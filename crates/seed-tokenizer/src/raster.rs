//! The 2D alternative to the Q-Former: the patch grid itself, pooled to as many tokens, in raster
//! order. It is the other side of the ablation "causal 1D tokens against 2D ones".

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor, module::adaptive_avg_pool2d},
};
use seed_nn::{ConfigError, LayerNorm, LayerNormConfig, Linear, LinearConfig, limits};
use serde::{Deserialize, Serialize};

use crate::{BlockStack, BlockStackConfig, ContrastiveHeads, QFormer, QFormerConfig};

/// Sizes of a [`RasterEncoder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RasterConfig {
    /// Rows and columns of the pooled grid; their product is the number of codes.
    pub grid: [usize; 2],
    /// Bidirectional blocks over the pooled tokens.
    pub blocks: BlockStackConfig,
    /// The text side of stage I: a Q-Former without cross-attention, so that captions meet the same
    /// network in both layouts. Its `context_width` is the image tower's width.
    pub text: QFormerConfig,
    /// Width of the contrastive space of stage I.
    pub embed_dim: usize,
}

/// How errors name it.
const PART: &str = "raster tokens";

impl RasterConfig {
    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let [rows, columns] = self.grid;
        for side in self.grid {
            ConfigError::check_size(PART, "grid", side, limits::POSITIONS)?;
        }
        ConfigError::check_size(PART, "grid", rows * columns, limits::POSITIONS)?;
        ConfigError::check(self.text.text.is_some(), PART, "text.text", "none", "set")?;
        let every = self.text.cross_attention_every;
        ConfigError::check(every == 0, PART, "text.cross_attention_every", every, "0")?;
        self.text.validate(PART)?;
        self.blocks.validate(self.text.width)?;
        ConfigError::check_size(PART, "embed_dim", self.embed_dim, limits::WIDTH)
    }

    /// Initialises the module on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<RasterEncoder, ConfigError> {
        self.validate()?;
        let [rows, columns] = self.grid;
        let width = self.text.width;
        Ok(RasterEncoder {
            ln_vision: LayerNormConfig::new(self.text.context_width).init(device),
            input_proj: LinearConfig::new(self.text.context_width, width).init(device),
            stack: self.blocks.init(width, rows * columns, device)?,
            text: self.text.init(PART, device)?,
            heads: ContrastiveHeads::new(width, self.embed_dim, device),
            grid: self.grid,
        })
    }
}

/// The patch grid pooled to a smaller grid, then bidirectional blocks.
#[derive(Module, Debug)]
pub struct RasterEncoder {
    /// Norm of the image tokens.
    pub ln_vision: LayerNorm,
    /// From the image tower's width to ours.
    pub input_proj: Linear,
    /// Positions and blocks of the pooled tokens.
    pub stack: BlockStack,
    /// Text side of stage I.
    pub text: QFormer,
    /// What stage I compares pictures and captions with.
    pub heads: ContrastiveHeads,
    grid: [usize; 2],
}

impl RasterEncoder {
    /// Tokens in raster order: left to right, then top to bottom.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, 1 + patches, image width]`, class token first (it is left out)
    /// - output: `[batch, rows · columns, width]`
    pub fn forward(&self, image_tokens: Tensor<3>) -> Tensor<3> {
        let tokens = self.ln_vision.forward(image_tokens);
        let [batch, count, width] = tokens.dims();
        let side = (count - 1).isqrt();
        let patches = tokens
            .narrow(1, 1, count - 1)
            .swap_dims(1, 2)
            .reshape([batch, width, side, side]);
        let pooled = adaptive_avg_pool2d(patches, self.grid)
            .flatten::<3>(2, 3)
            .swap_dims(1, 2);
        self.stack.forward(self.input_proj.forward(pooled))
    }

    /// Unit-length image feature, from the mean of the tokens, since no token is the last to see all.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, tokens, width]`
    /// - output: `[batch, embed_dim]`
    pub fn image_feature(&self, embeddings: Tensor<3>) -> Tensor<2> {
        self.heads
            .image_feature(embeddings.mean_dim(1).squeeze_dim::<2>(1))
    }

    /// Unit-length text feature.
    ///
    /// # Shapes
    ///
    /// - ids, mask: `[batch, length]`
    /// - output: `[batch, embed_dim]`
    pub fn text_feature(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<2> {
        self.heads.text_feature(self.text.forward_text(ids, mask))
    }
}
