//! The Causal Q-Former: image tokens in, causal embeddings out, and the two heads of stage I.
//!
//! - paper: SEED §2.2.1, <https://arxiv.org/abs/2307.08041>
//! - original code: `blip2_qformer_casual.py` of the SEED repository

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use seed_nn::{ConfigError, LayerNorm, LayerNormConfig, l2_normalize};
use serde::{Deserialize, Serialize};

use crate::{ContrastiveHeads, QFormer, QFormerConfig, QueryAttention, q_former::bert_normal};

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
    /// Width of the contrastive space of stage I; none for a model that only makes codes.
    pub embed_dim: Option<usize>,
}

impl CausalQFormerConfig {
    /// Checks that the sizes fit together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "causal Q-Former";
        self.q_former.validate(part)?;
        ConfigError::check(self.queries > 0, part, "queries", self.queries, "positive")?;
        let embed_dim = self.embed_dim.unwrap_or(1);
        ConfigError::check(embed_dim > 0, part, "embed_dim", embed_dim, "positive")?;
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
        Ok(CausalQFormer {
            ln_vision: LayerNormConfig::new(self.q_former.context_width).init(device),
            query_tokens: bert_normal(width).init([1, self.queries, width], device),
            q_former: self.q_former.init("causal Q-Former", device)?,
            heads: self
                .embed_dim
                .map(|embed_dim| ContrastiveHeads::new(width, embed_dim, device)),
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
    /// What stage I compares pictures and captions with.
    pub heads: Option<ContrastiveHeads>,
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
    ///
    /// # Panics
    ///
    /// Panics if the model has no contrastive heads.
    pub fn image_feature(&self, embeddings: Tensor<3>) -> Tensor<2> {
        let last = embeddings.dims()[1] - 1;
        let last = embeddings.narrow(1, last, 1).squeeze_dim::<2>(1);
        self.contrastive_heads().image_feature(last)
    }

    /// Unit-length features of every query, for BLIP-2's contrast.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, queries, width]`
    /// - output: `[batch, queries, embed_dim]`
    ///
    /// # Panics
    ///
    /// Panics if the model has no contrastive heads.
    pub fn query_features(&self, embeddings: Tensor<3>) -> Tensor<3> {
        l2_normalize(self.contrastive_heads().vision_proj.forward(embeddings))
    }

    /// Unit-length text feature: the projection of the first (`[CLS]`) state.
    ///
    /// # Shapes
    ///
    /// - ids, mask: `[batch, length]`
    /// - output: `[batch, embed_dim]`
    ///
    /// # Panics
    ///
    /// Panics if the model has no contrastive heads or no text side.
    pub fn text_feature(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<2> {
        self.contrastive_heads()
            .text_feature(self.q_former.forward_text(ids, mask))
    }

    /// The heads of stage I.
    ///
    /// # Panics
    ///
    /// Panics if the model was made for codes alone, without `embed_dim`.
    pub fn contrastive_heads(&self) -> &ContrastiveHeads {
        match &self.heads {
            Some(heads) => heads,
            None => panic!("this Causal Q-Former was built without `embed_dim`"),
        }
    }
}
