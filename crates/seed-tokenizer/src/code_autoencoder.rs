//! Stage II's model: a token encoder's embeddings to codes, and from codes to everything that is rebuilt.
//!
//! - paper: SEED §2.2.2; SEED-LLaMA, <https://arxiv.org/abs/2310.01218>, for the image head
//! - original code: `blip2_qformer_codebook_all_image.py` and `qformer_quantizer.py` of the SEED
//!   repository
//!
//! ```text
//! embeddings → encode_task_layer → quantize → codes
//! codes → decode_task_layer → u ┬→ reconstruction → embeddings
//!                               ├→ text head      → generation embeddings [batch, length, width]  (v1)
//!                               └→ image head     → generation embedding  [batch, width]          (v2)
//! ```
//!
//! The three branches are independent and read the same `u`.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor},
};
use seed_nn::{ConfigError, Linear, LinearConfig, limits};
use serde::{Deserialize, Serialize};

use crate::{
    BlockStack, BlockStackConfig, ImageHead, ImageHeadConfig, Quantized, QuantizerConfig, TextHead,
    TextHeadConfig, VectorQuantizer,
};

/// Deviation of fresh position offsets. Embeddings leave a norm, so their elements have size 1: offsets well above it
/// saturate most of a position's tanh units, others at each position, and what is left open reads the
/// embedding in a way of its own.
const POSITION_OFFSET_STD: f64 = 4.0;

/// Sizes and options of a [`CodeAutoencoder`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CodeAutoencoderConfig {
    /// Width of the embeddings.
    pub width: usize,
    /// Number of codes of an image.
    pub positions: usize,
    /// Learned offsets of the positions, added before the quantiser. The reference has none: its embeddings
    /// differ by position anyway. Where they are much alike, offsets let every position read another part
    /// of them, so that the codes together say more than one.
    #[serde(default)]
    pub position_offsets: bool,
    /// The quantiser.
    pub quantizer: QuantizerConfig,
    /// Blocks of each branch.
    pub blocks: BlockStackConfig,
    /// The v1 branch, where there is one.
    pub text_head: Option<TextHeadConfig>,
    /// The v2 branch, where there is one.
    pub image_head: Option<ImageHeadConfig>,
}

impl CodeAutoencoderConfig {
    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "code autoencoder";
        ConfigError::check_size(part, "positions", self.positions, limits::POSITIONS)?;
        self.quantizer.validate()?;
        self.blocks.validate(self.width)?;
        if let Some(head) = &self.text_head {
            head.validate(self.width)?;
        }
        if let Some(head) = &self.image_head {
            head.validate(self.width)?;
        }
        Ok(())
    }

    /// Initialises the module on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<CodeAutoencoder, ConfigError> {
        self.validate()?;
        let (width, dim) = (self.width, self.quantizer.dim);
        let stack = || self.blocks.init(width, self.positions, device);
        Ok(CodeAutoencoder {
            pos_embed_code: self.position_offsets.then(|| {
                let normal = Initializer::Normal {
                    mean: 0.0,
                    std: POSITION_OFFSET_STD,
                };
                normal.init([1, self.positions, width], device)
            }),
            encode_task_layer: TaskLayer::new(width, width, dim, device),
            quantize: self.quantizer.init(device)?,
            decode_task_layer: TaskLayer::new(dim, dim, width, device),
            reconstruction: stack()?,
            text_head: match &self.text_head {
                Some(head) => Some(head.init(width, stack()?, device)?),
                None => None,
            },
            image_head: match &self.image_head {
                Some(head) => Some(head.init(width, self.positions, stack()?, device)?),
                None => None,
            },
        })
    }
}

/// Linear, tanh, linear.
#[derive(Module, Debug)]
pub struct TaskLayer {
    /// Into the hidden width.
    pub first: Linear,
    /// Out of it.
    pub second: Linear,
}

impl TaskLayer {
    fn new(input: usize, hidden: usize, output: usize, device: &Device) -> Self {
        Self {
            first: LinearConfig::new(input, hidden).init(device),
            second: LinearConfig::new(hidden, output).init(device),
        }
    }

    /// # Shapes
    ///
    /// - input: `[batch, positions, input width]`
    /// - output: `[batch, positions, output width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.second.forward(self.first.forward(x).tanh())
    }
}

/// Quantiser and de-tokenizers.
#[derive(Module, Debug)]
pub struct CodeAutoencoder {
    /// Offsets of the positions `[1, positions, width]`, with [`CodeAutoencoderConfig::position_offsets`].
    pub pos_embed_code: Option<Param<Tensor<3>>>,
    /// `[width → dim]`, before the quantiser.
    pub encode_task_layer: TaskLayer,
    /// The codebook.
    pub quantize: VectorQuantizer,
    /// `[dim → width]`, after the quantiser.
    pub decode_task_layer: TaskLayer,
    /// Rebuilds the embeddings; an objective of training, and retrieval with codes.
    pub reconstruction: BlockStack,
    /// Rebuilds the caption's text states: SEED v1.
    pub text_head: Option<TextHead>,
    /// Rebuilds the image embedding: SEED v2.
    pub image_head: Option<ImageHead>,
}

impl CodeAutoencoder {
    /// What is quantised.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, positions, width]`
    /// - output: `[batch, positions, dim]`
    pub fn code_vectors(&self, embeddings: Tensor<3>) -> Tensor<3> {
        let embeddings = match &self.pos_embed_code {
            Some(offsets) => embeddings + offsets.val(),
            None => embeddings,
        };
        self.encode_task_layer.forward(embeddings)
    }

    /// Quantises embeddings.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, positions, width]`
    pub fn quantize(&self, embeddings: Tensor<3>) -> Quantized {
        self.quantize.forward(self.code_vectors(embeddings))
    }

    /// Codes of embeddings, `[batch, positions]`.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, positions, width]`
    pub fn encode(&self, embeddings: Tensor<3>) -> Tensor<2, Int> {
        self.quantize.nearest(self.code_vectors(embeddings))
    }

    /// Decodes codebook vectors to `u`, which all branches read.
    ///
    /// # Shapes
    ///
    /// - vectors: `[batch, positions, dim]`
    /// - output: `[batch, positions, width]`
    pub fn decode_vectors(&self, vectors: Tensor<3>) -> Tensor<3> {
        self.decode_task_layer.forward(vectors)
    }

    /// Decodes codes to `u`.
    ///
    /// # Shapes
    ///
    /// - codes: `[batch, positions]`
    /// - output: `[batch, positions, width]`
    pub fn decode(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        self.decode_vectors(self.quantize.lookup(codes))
    }

    /// Embeddings rebuilt from codes, for retrieval with codes.
    ///
    /// # Shapes
    ///
    /// - codes: `[batch, positions]`
    /// - output: `[batch, positions, width]`
    pub fn reconstruct(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        self.reconstruction.forward(self.decode(codes))
    }
}
