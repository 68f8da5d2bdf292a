//! The Q-Former: a BERT whose learned queries read another model's tokens through cross-attention.
//!
//! - paper: <https://arxiv.org/abs/2301.12597> (BLIP-2); SEED makes its queries causal
//! - original code: `Qformer_casual.py` of the SEED repository
//!
//! Queries and text share self-attention; each has its own MLP. One code path runs queries alone,
//! text alone, or both in one sequence.

mod language_head;
mod layer;

use burn::{
    module::{Initializer, Module},
    nn::{Embedding, EmbeddingConfig},
    tensor::{Device, Int, Tensor},
};
pub use language_head::LanguageHead;
pub use layer::{BertAttention, BertMlp, QFormerLayer};
use seed_nn::{
    AttentionBias, ConfigError, Dropout, LayerNorm, LayerNormConfig, causal_bias, limits,
    padding_bias,
};
use serde::{Deserialize, Serialize};

/// BERT's initialisation: at its own width of 768 the `initializer_range` of `bert-base-uncased`, 0.02; at
/// others the deviation that gives a layer the same gain. A narrow Q-Former that starts at 0.02 passes on
/// next to nothing of what its queries read, and stage I idles.
pub(crate) fn bert_normal(width: usize) -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 0.02 * (768.0 / width as f64).sqrt(),
    }
}
/// BERT's epsilon.
pub(crate) const BERT_NORM_EPS: f64 = 1e-12;

/// Which other queries a query sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueryAttention {
    /// Query `i` sees `0..=i`: SEED. (The reference switches this on by the literal count 32.)
    #[default]
    Causal,
    /// Every query sees every other: BLIP-2, the reverse Q-Former, and the bilateral ablation.
    Bidirectional,
}

/// The text side of a Q-Former.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextSideConfig {
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Number of positions.
    pub max_length: usize,
}

/// Sizes of a [`QFormer`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QFormerConfig {
    /// Width of queries and text.
    pub width: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Number of layers.
    pub depth: usize,
    /// Hidden width of the MLPs.
    pub mlp_hidden: usize,
    /// Width of the tokens that cross-attention reads.
    pub context_width: usize,
    /// Layers 0, n, 2n, … have cross-attention; 0 for none at all.
    pub cross_attention_every: usize,
    /// Dropout on embeddings, attention weights and sublayer outputs, while training.
    pub dropout: f64,
    /// The text side, where there is one.
    pub text: Option<TextSideConfig>,
}

impl QFormerConfig {
    /// Checks that the sizes fit together and are within their limits; `part` names the Q-Former in errors.
    pub fn validate(&self, part: &'static str) -> Result<(), ConfigError> {
        ConfigError::check_heads(part, self.width, self.heads)?;
        for (name, size, most) in [
            ("depth", self.depth, limits::DEPTH),
            ("mlp_hidden", self.mlp_hidden, limits::WIDTH),
            ("context_width", self.context_width, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        ConfigError::check_share(part, "dropout", self.dropout)?;
        if let Some(text) = &self.text {
            ConfigError::check_size(part, "vocab_size", text.vocab_size, limits::ROWS)?;
            ConfigError::check_size(part, "max_length", text.max_length, limits::POSITIONS)?;
        }
        Ok(())
    }

    /// Initialises the Q-Former on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, part: &'static str, device: &Device) -> Result<QFormer, ConfigError> {
        self.validate(part)?;
        let embedding = |rows| {
            EmbeddingConfig::new(rows, self.width)
                .with_initializer(bert_normal(self.width))
                .init(device)
        };
        Ok(QFormer {
            embeddings: QFormerEmbeddings {
                word_embeddings: self.text.as_ref().map(|text| embedding(text.vocab_size)),
                position_embeddings: self.text.as_ref().map(|text| embedding(text.max_length)),
                norm: LayerNormConfig::new(self.width)
                    .with_epsilon(BERT_NORM_EPS)
                    .init(device),
                dropout: Dropout::new(self.dropout),
            },
            layers: (0..self.depth)
                .map(|index| {
                    let crosses = self.cross_attention_every > 0
                        && index.is_multiple_of(self.cross_attention_every);
                    QFormerLayer::new(self, crosses, device)
                })
                .collect(),
        })
    }
}

/// Tables of the text side, and the norm that queries pass too.
#[derive(Module, Debug)]
pub struct QFormerEmbeddings {
    /// `[vocab_size, width]`, with a text side.
    pub word_embeddings: Option<Embedding>,
    /// `[max_length, width]`, with a text side. Queries have no positions.
    pub position_embeddings: Option<Embedding>,
    /// Norm of whatever enters the first layer.
    pub norm: LayerNorm,
    /// Dropout of whatever enters the first layer.
    pub dropout: Dropout,
}

/// A Q-Former.
#[derive(Module, Debug)]
pub struct QFormer {
    /// What enters the first layer.
    pub embeddings: QFormerEmbeddings,
    /// Transformer layers.
    pub layers: Vec<QFormerLayer>,
}

impl QFormer {
    /// Queries read a context.
    ///
    /// # Shapes
    ///
    /// - queries: `[batch, queries, width]`
    /// - context: `[batch, tokens, context_width]`
    /// - output: `[batch, queries, width]`
    pub fn forward_queries(
        &self,
        queries: Tensor<3>,
        context: Tensor<3>,
        attention: QueryAttention,
    ) -> Tensor<3> {
        let count = queries.dims()[1];
        let bias = match attention {
            QueryAttention::Causal => Some(causal_bias(count, &queries.device())),
            QueryAttention::Bidirectional => None,
        };
        self.run(
            self.embed_queries(queries),
            count,
            Some(&context),
            bias.as_ref(),
        )
    }

    /// Text alone, bidirectional.
    ///
    /// # Shapes
    ///
    /// - ids, mask: `[batch, length]`; the mask is 1 for real tokens
    /// - output: `[batch, length, width]`
    ///
    /// # Panics
    ///
    /// Panics if the Q-Former has no text side.
    pub fn forward_text(&self, ids: Tensor<2, Int>, mask: Tensor<2, Int>) -> Tensor<3> {
        self.run(self.embed_text(ids), 0, None, Some(&padding_bias(mask)))
    }

    /// Queries and text in one sequence: queries see each other by `attention`, everything else sees
    /// everything but padding.
    ///
    /// # Shapes
    ///
    /// - as for the two parts; output: `[batch, queries + length, width]`
    ///
    /// # Panics
    ///
    /// Panics if the Q-Former has no text side.
    pub fn forward_joint(
        &self,
        queries: Tensor<3>,
        ids: Tensor<2, Int>,
        mask: Tensor<2, Int>,
        context: Tensor<3>,
        attention: QueryAttention,
    ) -> Tensor<3> {
        let [batch, count, _] = queries.dims();
        let total = count + ids.dims()[1];
        let device = queries.device();
        let seen = Tensor::cat(vec![Tensor::ones([batch, count], &mask.device()), mask], 1);
        let mut bias = padding_bias(seen);
        if attention == QueryAttention::Causal {
            let structure = Tensor::<4>::zeros([1, 1, total, total], &device).slice_assign(
                [0..1, 0..1, 0..count, 0..count],
                causal_bias(count, &device),
            );
            bias = bias + structure;
        }
        let tokens = Tensor::cat(vec![self.embed_queries(queries), self.embed_text(ids)], 1);
        self.run(tokens, count, Some(&context), Some(&bias))
    }

    /// Queries, and a text to be produced from them, in one sequence: queries see each other by `attention`
    /// and never text; a text token sees all queries and the text up to itself (BLIP-2's multimodal causal
    /// mask). So the first `queries` states are those of [`Self::forward_queries`]. Padding comes last, where
    /// no word sees it.
    ///
    /// # Shapes
    ///
    /// - queries: `[batch, queries, width]`
    /// - ids: `[batch, length]`
    /// - context: `[batch, tokens, context_width]`
    /// - output: `[batch, queries + length, width]`
    ///
    /// # Panics
    ///
    /// Panics if the Q-Former has no text side.
    pub fn forward_generation(
        &self,
        queries: Tensor<3>,
        ids: Tensor<2, Int>,
        context: Tensor<3>,
        attention: QueryAttention,
    ) -> Tensor<3> {
        let (count, device) = (queries.dims()[1], queries.device());
        let mut bias = causal_bias(count + ids.dims()[1], &device);
        if attention == QueryAttention::Bidirectional {
            let range = [0..1, 0..1, 0..count, 0..count];
            bias = bias.slice_assign(range, Tensor::zeros([1, 1, count, count], &device));
        }
        let tokens = Tensor::cat(vec![self.embed_queries(queries), self.embed_text(ids)], 1);
        self.run(tokens, count, Some(&context), Some(&bias))
    }

    /// Norm and dropout of queries: what enters the first layer.
    pub fn embed_queries(&self, queries: Tensor<3>) -> Tensor<3> {
        self.embeddings
            .dropout
            .forward(self.embeddings.norm.forward(queries))
    }

    /// Words and positions, norm and dropout: what enters the first layer.
    ///
    /// # Panics
    ///
    /// Panics if the Q-Former has no text side.
    pub fn embed_text(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let (Some(words), Some(positions)) = (
            &self.embeddings.word_embeddings,
            &self.embeddings.position_embeddings,
        ) else {
            panic!("this Q-Former was built without a text side");
        };
        let length = ids.dims()[1] as i64;
        let index = Tensor::arange(0..length, &ids.device()).unsqueeze::<2>();
        let tokens = words.forward(ids) + positions.forward(index);
        self.embeddings
            .dropout
            .forward(self.embeddings.norm.forward(tokens))
    }

    fn run(
        &self,
        tokens: Tensor<3>,
        queries: usize,
        context: Option<&Tensor<3>>,
        bias: Option<&AttentionBias>,
    ) -> Tensor<3> {
        self.layers.iter().fold(tokens, |x, layer| {
            layer.forward(x, queries, context, bias.cloned())
        })
    }
}
