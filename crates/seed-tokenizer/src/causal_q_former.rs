//! The Causal Q-Former: image tokens in, embeddings out, and the heads of the trainings with captions.
//!
//! Causal queries, SEED's, give the paper's causal embeddings; bidirectional ones are the other side of an ablation.
//!
//! - paper: SEED §2.2.1, <https://arxiv.org/abs/2307.08041>
//! - original code: `blip2_qformer_casual.py` of the SEED repository

use burn::{
    module::{Module, Param},
    tensor::{Device, Int, Tensor},
};
use seed_nn::{ConfigError, LayerNorm, LayerNormConfig, l2_normalize, limits};
use serde::{Deserialize, Serialize};

use crate::{
    ContrastiveHeads, LanguageHead, QFormer, QFormerConfig, QueryAttention, q_former::bert_normal,
};

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
    /// Whether there is BERT's language-modelling head, for BLIP-2's captioning loss. SEED's stage I has none.
    #[serde(default)]
    pub language_head: bool,
}

impl CausalQFormerConfig {
    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "causal Q-Former";
        self.q_former.validate(part)?;
        ConfigError::check_size(part, "queries", self.queries, limits::POSITIONS)?;
        let embed_dim = self.embed_dim.unwrap_or(1);
        ConfigError::check_size(part, "embed_dim", embed_dim, limits::WIDTH)?;
        ConfigError::check(
            !self.language_head || self.q_former.text.is_some(),
            part,
            "language_head",
            self.language_head,
            "false without a text side",
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
        let text = self.q_former.text.as_ref();
        Ok(CausalQFormer {
            ln_vision: LayerNormConfig::new(self.q_former.context_width).init(device),
            query_tokens: bert_normal(width).init([1, self.queries, width], device),
            q_former: self.q_former.init("causal Q-Former", device)?,
            heads: self
                .embed_dim
                .map(|embed_dim| ContrastiveHeads::new(width, embed_dim, device)),
            language_head: text
                .filter(|_| self.language_head)
                .map(|text| LanguageHead::new(width, text.vocab_size, device)),
            attention: self.attention,
        })
    }
}

/// Learned queries that read image tokens; with causal attention, one after the other.
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
    /// What captions are produced with, where that is trained.
    pub language_head: Option<LanguageHead>,
    #[module(skip)]
    attention: QueryAttention,
}

impl CausalQFormer {
    /// Embeddings of images, one a query.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, tokens, context_width]`, the image tower's output, in the type to compute in
    /// - output: `[batch, queries, width]`
    pub fn forward(&self, image_tokens: Tensor<3>) -> Tensor<3> {
        let queries = self.queries(image_tokens.dims()[0]);
        let queries = queries.cast(image_tokens.dtype());
        let context = self.ln_vision.forward(image_tokens);
        self.q_former
            .forward_queries(queries, context, self.attention)
    }

    /// Embeddings of images, and how their captions go on, in one pass.
    ///
    /// # Shapes
    ///
    /// - image_tokens: `[batch, tokens, context_width]`
    /// - ids: `[batch, length]`, captions that begin with the decode token
    /// - positions: `[words]`, which places of the flat `[batch · length]` captions are continued
    /// - output: embeddings `[batch, queries, width]` as [`Self::forward`] gives them, and scores of the word
    ///   after each place `[words, vocab_size]`
    ///
    /// # Panics
    ///
    /// Panics if the model has no language head.
    pub fn caption(
        &self,
        image_tokens: Tensor<3>,
        ids: Tensor<2, Int>,
        positions: Tensor<1, Int>,
    ) -> (Tensor<3>, Tensor<2>) {
        let embeddings = &self.q_former.embeddings;
        let (Some(head), Some(words)) = (&self.language_head, &embeddings.word_embeddings) else {
            panic!("this Causal Q-Former was built without `language_head`");
        };
        let [batch, length] = ids.dims();
        let queries = self.queries(batch);
        let [_, count, width] = queries.dims();
        let context = self.ln_vision.forward(image_tokens);
        let states = self
            .q_former
            .forward_generation(queries, ids, context, self.attention);
        let text = states.clone().narrow(1, count, length);
        let text = text.reshape([batch * length, width]).select(0, positions);
        let scores = head.forward(text, words.weight.val());
        (states.narrow(1, 0, count), scores)
    }

    fn queries(&self, batch: usize) -> Tensor<3> {
        let [_, queries, width] = self.query_tokens.dims();
        self.query_tokens.val().expand([batch, queries, width])
    }

    /// Unit-length image feature: the projection of the last embedding alone.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, queries, width]`, of images or rebuilt from codes
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
