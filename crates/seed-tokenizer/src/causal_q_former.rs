//! The Causal Q-Former: image tokens in, causal embeddings out, and the two heads of stage I.
//!
//! - paper: SEED §2.2.1, <https://arxiv.org/abs/2307.08041>
//! - original code: `blip2_qformer_casual.py` of the SEED repository

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Int, Tensor},
};
use seed_nn::{ConfigError, LayerNorm, LayerNormConfig, Linear, LinearConfig, l2_normalize};
use serde::{Deserialize, Serialize};

use crate::{QFormer, QFormerConfig, QueryAttention, q_former::bert_normal};

/// Sizes and options of a [`CausalQFormer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CausalQFormerConfig {
    /// The transformer; its `context_width` is the image tower's width.
    pub q_former: QFormerConfig,
    /// Number of queries, which is the number of codes of an image (32 in SEED).
    pub queries: usize,
    /// Which other queries a query sees.
    pub attention: QueryAttention,
    /// Width of the contrastive space of stage I.
    pub embed_dim: usize,
}

impl CausalQFormerConfig {
    /// Checks that the sizes fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "causal Q-Former";
        self.q_former.validate(part)?;
        ConfigError::check(self.queries > 0, part, "queries", self.queries, "positive")?;
        ConfigError::check(
            self.embed_dim > 0,
            part,
            "embed_dim",
            self.embed_dim,
            "positive",
        )?;
        ConfigError::check(
            self.q_former.cross_attention_every > 0,
            part,
            "cross_attention_every",
            0,
            "positive, since queries without cross-attention see no image",
        )
    }

    /// Initialises the module on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<CausalQFormer, ConfigError> {
        self.validate()?;
        let width = self.q_former.width;
        let head = || LinearConfig::new(width, self.embed_dim).init(device);
        Ok(CausalQFormer {
            ln_vision: LayerNormConfig::new(self.q_former.context_width).init(device),
            query_tokens: bert_normal(width).init([1, self.queries, width], device),
            q_former: self.q_former.init("causal Q-Former", device)?,
            vision_proj: head(),
            text_proj: head(),
            temp: Initializer::Constant { value: 0.07 }.init([1], device),
            attention: self.attention,
        })
    }
}

/// Learned queries that read image tokens, one after the other.
#[derive(Module, Debug)]
pub struct CausalQFormer {
    /// Norm of the image tokens (epsilon 1e-5).
    pub ln_vision: LayerNorm,
    /// `[1, queries, width]`
    pub query_tokens: Param<Tensor<3>>,
    /// Transformer of queries and of text.
    pub q_former: QFormer,
    /// `[width → embed_dim]`, from the last causal embedding.
    pub vision_proj: Linear,
    /// `[width → embed_dim]`, from the first text state.
    pub text_proj: Linear,
    /// Temperature of stage I, `[1]`; it divides.
    pub temp: Param<Tensor<1>>,
    #[module(skip)]
    attention: QueryAttention,
}

impl CausalQFormer {
    /// Causal embeddings of images.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, tokens, context_width]`, the image tower's output
    /// - output: `[batch, queries, width]`
    pub fn forward(&self, image_tokens: Tensor<3>) -> Tensor<3> {
        let batch = image_tokens.dims()[0];
        let [_, queries, width] = self.query_tokens.dims();
        let context = self.ln_vision.forward(image_tokens);
        let queries = self.query_tokens.val().expand([batch, queries, width]);
        self.q_former
            .forward_queries(queries, context, self.attention)
    }

    /// Unit-length image feature: the projection of the last embedding alone.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, queries, width]`, causal embeddings or their reconstruction from codes
    /// - output: `[batch, embed_dim]`
    pub fn image_feature(&self, embeddings: Tensor<3>) -> Tensor<2> {
        let last = embeddings.dims()[1] - 1;
        let last = embeddings.narrow(1, last, 1).squeeze_dim::<2>(1);
        l2_normalize(self.vision_proj.forward(last))
    }

    /// Unit-length text feature: the projection of the first (`[CLS]`) state.
    ///
    /// # Shapes
    ///
    /// - ids, mask: `[batch, length]`
    /// - output: `[batch, embed_dim]`
    pub fn text_feature(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<2> {
        let states = self.q_former.forward_text(ids, mask);
        let first = states.narrow(1, 0, 1).squeeze_dim::<2>(1);
        l2_normalize(self.text_proj.forward(first))
    }
}
