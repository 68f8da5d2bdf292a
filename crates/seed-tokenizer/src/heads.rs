//! The branches behind the codes: a stack of blocks each, and the two generations of heads.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor, activation::relu},
};
use seed_nn::{ConfigError, Linear, LinearConfig, QkvBias, VitBlock, VitBlockConfig, limits};
use serde::{Deserialize, Serialize};

use crate::{QFormer, QFormerConfig, QueryAttention, q_former::bert_normal};

/// Sizes of a [`BlockStack`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockStackConfig {
    /// Number of blocks (4 in SEED).
    pub depth: usize,
    /// Number of attention heads; divides the width.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_hidden: usize,
}

impl BlockStackConfig {
    /// Checks the sizes of a stack for tokens of `width`. No block at all is a stack, too: it adds the positions.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        let part = "decoder blocks";
        ConfigError::check_heads(part, width, self.heads)?;
        let rule = format!("at most {}", limits::DEPTH);
        ConfigError::check(self.depth <= limits::DEPTH, part, "depth", self.depth, rule)?;
        ConfigError::check_size(part, "mlp_hidden", self.mlp_hidden, limits::WIDTH)
    }

    /// Initialises a stack for `positions` tokens of `width` on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the width does not split into heads, or a size is beyond its limit.
    pub fn init(
        &self,
        width: usize,
        positions: usize,
        device: &Device,
    ) -> Result<BlockStack, ConfigError> {
        self.validate(width)?;
        ConfigError::check_size("decoder blocks", "positions", positions, limits::POSITIONS)?;
        let block = VitBlockConfig {
            width,
            heads: self.heads,
            mlp_hidden: self.mlp_hidden,
            qkv_bias: QkvBias::Packed,
            norm_eps: 1e-6,
        };
        Ok(BlockStack {
            pos_embed: Initializer::Zeros.init([1, positions, width], device),
            blocks: (0..self.depth).map(|_| block.init(device)).collect(),
        })
    }
}

/// Positions added, then bidirectional pre-norm blocks, no final norm.
#[derive(Module, Debug)]
pub struct BlockStack {
    /// `[1, positions, width]`, zero at the start.
    pub pos_embed: Param<Tensor<3>>,
    /// Transformer blocks.
    pub blocks: Vec<VitBlock>,
}

impl BlockStack {
    /// Fewer tokens than there are positions stand at the first ones.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, at most positions, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let positions = self.pos_embed.val().cast(x.dtype());
        let positions = positions.narrow(1, 0, x.dims()[1]);
        self.blocks
            .iter()
            .fold(x + positions, |x, block| block.forward(x))
    }
}

/// Sizes of a reverse Q-Former: queries that read the decoded codes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReverseQFormerConfig {
    /// Number of queries: 77 for the text target of v1, 1 for the trained image head of v2.
    pub queries: usize,
    /// Number of layers (4 in SEED).
    pub depth: usize,
    /// Number of attention heads; divides the width.
    pub heads: usize,
    /// Hidden width of the MLPs.
    pub mlp_hidden: usize,
    /// Layers 0, n, 2n, … have cross-attention (2 in SEED).
    #[serde(default = "every_other")]
    pub cross_attention_every: usize,
    /// Dropout while training.
    pub dropout: f64,
}

fn every_other() -> usize {
    2
}

/// Bidirectional queries that read the decoded codes (SEED §2.2.2).
#[derive(Module, Debug)]
pub struct ReverseQFormer {
    /// `[1, queries, width]`
    pub tokens: Param<Tensor<3>>,
    /// The transformer.
    pub q_former: QFormer,
}

/// How errors name it.
const REVERSE: &str = "reverse Q-Former";

impl ReverseQFormerConfig {
    /// The transformer, for memory of `width`.
    pub(crate) fn q_former(&self, width: usize) -> QFormerConfig {
        QFormerConfig {
            width,
            heads: self.heads,
            depth: self.depth,
            mlp_hidden: self.mlp_hidden,
            context_width: width,
            cross_attention_every: self.cross_attention_every,
            dropout: self.dropout,
            text: None,
        }
    }

    fn validate(&self, width: usize) -> Result<(), ConfigError> {
        ConfigError::check_size(REVERSE, "queries", self.queries, limits::POSITIONS)?;
        ConfigError::check(
            self.cross_attention_every > 0,
            REVERSE,
            "cross_attention_every",
            0,
            "positive, since queries without cross-attention see no codes",
        )?;
        self.q_former(width).validate(REVERSE)
    }

    fn init(&self, width: usize, device: &Device) -> Result<ReverseQFormer, ConfigError> {
        self.validate(width)?;
        Ok(ReverseQFormer {
            tokens: bert_normal(width).init([1, self.queries, width], device),
            q_former: self.q_former(width).init(REVERSE, device)?,
        })
    }
}

impl ReverseQFormer {
    /// # Shapes
    ///
    /// - memory: `[batch, positions, width]`
    /// - output: `[batch, queries, width]`
    pub fn forward(&self, memory: Tensor<3>) -> Tensor<3> {
        let batch = memory.dims()[0];
        let [_, queries, width] = self.tokens.dims();
        let tokens = self.tokens.val().expand([batch, queries, width]);
        self.q_former
            .forward_queries(tokens, memory, QueryAttention::Bidirectional)
    }
}

/// Sizes of a [`TextHead`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextHeadConfig {
    /// The reverse Q-Former; its queries are the positions of the text target.
    pub reverse: ReverseQFormerConfig,
    /// Width of the text target (768 for Stable Diffusion 1.x).
    pub target_width: usize,
}

impl TextHeadConfig {
    /// Checks the sizes of a head on tokens of `width`.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        self.reverse.validate(width)?;
        ConfigError::check_size(
            "text head",
            "target_width",
            self.target_width,
            limits::WIDTH,
        )
    }

    pub(crate) fn init(
        &self,
        width: usize,
        stack: BlockStack,
        device: &Device,
    ) -> Result<TextHead, ConfigError> {
        self.validate(width)?;
        Ok(TextHead {
            stack,
            reverse: self.reverse.init(width, device)?,
            distill_text_proj: LinearConfig::new(width, self.target_width).init(device),
        })
    }
}

/// SEED v1: codes to the text states that Stable Diffusion is conditioned on.
#[derive(Module, Debug)]
pub struct TextHead {
    /// `pos_embed_text` and `blocks_text`.
    pub stack: BlockStack,
    /// Reverse Q-Former.
    pub reverse: ReverseQFormer,
    /// `[width → target width]`
    pub distill_text_proj: Linear,
}

impl TextHead {
    /// Generation embeddings; of the first codes alone, where `u` has fewer than all positions.
    ///
    /// # Shapes
    ///
    /// - u: `[batch, at most positions, width]`
    /// - output: `[batch, length, target width]`, `[batch, 77, 768]` at full size
    pub fn forward(&self, u: Tensor<3>) -> Tensor<3> {
        self.distill_text_proj
            .forward(self.reverse.forward(self.stack.forward(u)))
    }
}

/// Sizes of an [`ImageHead`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageHeadConfig {
    /// Width of the image embedding (1024 for unCLIP).
    pub target_width: usize,
    /// Which of the two heads of the reference.
    pub form: ImageHeadForm,
}

/// The reference has two image heads that do not load each other's weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageHeadForm {
    /// The released checkpoint: each position is narrowed by three bias-free layers to these widths
    /// (256, 128, 32), all positions are concatenated and projected.
    Mlp {
        /// Output widths of the three layers.
        widths: [usize; 3],
    },
    /// The training code of February 2024: a reverse Q-Former with one query.
    Query {
        /// The reverse Q-Former; one query.
        reverse: ReverseQFormerConfig,
    },
}

impl ImageHeadConfig {
    /// Checks the sizes of a head on tokens of `width`.
    pub fn validate(&self, width: usize) -> Result<(), ConfigError> {
        let part = "image head";
        ConfigError::check_size(part, "target_width", self.target_width, limits::WIDTH)?;
        match &self.form {
            ImageHeadForm::Mlp { widths } => widths.iter().try_for_each(|width| {
                ConfigError::check_size(part, "widths", *width, limits::WIDTH)
            }),
            ImageHeadForm::Query { reverse } => {
                let one = reverse.queries == 1;
                ConfigError::check(one, part, "queries", reverse.queries, "1")?;
                reverse.validate(width)
            }
        }
    }

    pub(crate) fn init(
        &self,
        width: usize,
        positions: usize,
        stack: BlockStack,
        device: &Device,
    ) -> Result<ImageHead, ConfigError> {
        self.validate(width)?;
        let linear = |input, output| {
            LinearConfig::new(input, output)
                .with_bias(false)
                .init(device)
        };
        let (image_down, reverse, flat) = match &self.form {
            ImageHeadForm::Mlp {
                widths: [first, second, third],
            } => {
                let layers = [(width, *first), (*first, *second), (*second, *third)];
                let layers = layers.map(|(input, output)| linear(input, output)).to_vec();
                (Some(layers), None, positions * third)
            }
            ImageHeadForm::Query { reverse } => (None, Some(reverse.init(width, device)?), width),
        };
        Ok(ImageHead {
            stack,
            image_down,
            reverse,
            distill_image_proj: LinearConfig::new(flat, self.target_width).init(device),
        })
    }
}

/// SEED v2: codes to one image embedding.
#[derive(Module, Debug)]
pub struct ImageHead {
    /// `pos_embed_image` and `blocks_image`.
    pub stack: BlockStack,
    /// The narrowing layers, in the MLP form.
    pub image_down: Option<Vec<Linear>>,
    /// The one-query reverse Q-Former, in the query form.
    pub reverse: Option<ReverseQFormer>,
    /// Into the target's width.
    pub distill_image_proj: Linear,
}

impl ImageHead {
    /// The generation embedding, not normalised; of the first codes alone, where `u` has fewer than all positions. The MLP form
    /// then has zeros in the places of the others, which add nothing.
    ///
    /// # Shapes
    ///
    /// - u: `[batch, at most positions, width]`
    /// - output: `[batch, target width]`
    pub fn forward(&self, u: Tensor<3>) -> Tensor<2> {
        let memory = self.stack.forward(u);
        let flat = match &self.reverse {
            Some(reverse) => reverse.forward(memory).squeeze_dim::<2>(1),
            None => self.every_position(self.narrow(memory)).flatten::<2>(1, 2),
        };
        self.distill_image_proj.forward(flat)
    }

    /// Zeros at the positions that `narrowed` lacks.
    fn every_position(&self, narrowed: Tensor<3>) -> Tensor<3> {
        let [batch, found, width] = narrowed.dims();
        let [_, positions, _] = self.stack.pos_embed.dims();
        if found == positions {
            return narrowed;
        }
        let like = (&narrowed.device(), narrowed.dtype());
        let zeros = Tensor::zeros([batch, positions - found, width], like);
        Tensor::cat(vec![narrowed, zeros], 1)
    }

    /// The narrowing layers with ReLU between them: `[batch, positions, width]` →
    /// `[batch, positions, last width]`.
    pub fn narrow(&self, memory: Tensor<3>) -> Tensor<3> {
        let layers = self.image_down.as_deref().unwrap_or_default();
        layers.iter().enumerate().fold(memory, |x, (index, layer)| {
            layer.forward(if index == 0 { x } else { relu(x) })
        })
    }
}
