//! Sizes of an OPT, ours and as the published `config.json` has them.

use seed_nn::{ConfigError, limits};
use serde::{Deserialize, Serialize};

use crate::error::LmError;

/// Rows of the position table that no position uses: OPT's offset (`OPTLearnedPositionalEmbedding`).
pub(super) const POSITION_OFFSET: usize = 2;

/// Sizes of an [`Opt`](crate::Opt).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OptConfig {
    /// Size of the text vocabulary.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_length: usize,
    /// Width of the hidden states.
    pub width: usize,
    /// Width of the word embeddings: another than `width` in the 350M model alone.
    pub embed_width: usize,
    /// Number of layers.
    pub depth: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Hidden width of the feed-forward layers.
    pub mlp_hidden: usize,
    /// Whether norms stand before each sublayer, with one more at the end; after it in the 350M model alone.
    pub norm_first: bool,
    /// Dropout of the sublayers' outputs, while training.
    pub dropout: f64,
    /// Starts a text, and in OPT ends it too: `</s>`.
    pub start: u32,
    /// Ends a text.
    pub end: u32,
    /// Fills a row up.
    pub pad: u32,
}

/// The fields of the published `config.json` that decide what is computed.
#[derive(Deserialize)]
struct Published {
    model_type: Option<String>,
    vocab_size: usize,
    max_position_embeddings: usize,
    hidden_size: usize,
    word_embed_proj_dim: Option<usize>,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    ffn_dim: usize,
    #[serde(default = "yes")]
    do_layer_norm_before: bool,
    #[serde(default = "relu")]
    activation_function: String,
    #[serde(default = "yes")]
    enable_bias: bool,
    #[serde(default = "yes")]
    layer_norm_elementwise_affine: bool,
    #[serde(default, rename = "_remove_final_layer_norm")]
    without_final_norm: bool,
    #[serde(default)]
    dropout: f64,
    #[serde(default = "two")]
    bos_token_id: u32,
    #[serde(default = "two")]
    eos_token_id: u32,
    #[serde(default = "one")]
    pad_token_id: u32,
}

fn yes() -> bool {
    true
}

fn relu() -> String {
    "relu".to_owned()
}

fn one() -> u32 {
    1
}

fn two() -> u32 {
    2
}

impl OptConfig {
    /// A model that trains in minutes on two cores, of the very code of the large ones.
    pub fn nano() -> Self {
        Self::pre_norm(2048, 192, 4, 6).with_max_length(128)
    }

    /// `facebook/opt-125m`.
    pub fn opt_125m() -> Self {
        Self::pre_norm(50_272, 768, 12, 12)
    }

    /// `facebook/opt-2.7b`, SEED's language model.
    pub fn opt_2_7b() -> Self {
        Self::pre_norm(50_272, 2560, 32, 32)
    }

    /// A member of the family with norms first.
    pub fn pre_norm(vocab_size: usize, width: usize, depth: usize, heads: usize) -> Self {
        Self {
            vocab_size,
            max_length: 2048,
            width,
            embed_width: width,
            depth,
            heads,
            mlp_hidden: 4 * width,
            norm_first: true,
            dropout: 0.0,
            start: two(),
            end: two(),
            pad: one(),
        }
    }

    /// Another longest sequence.
    pub fn with_max_length(self, max_length: usize) -> Self {
        Self { max_length, ..self }
    }

    /// Reads the text of a published `config.json`.
    ///
    /// Dropout is left at 0: the published 0.1 is what the model was pretrained with.
    ///
    /// # Errors
    ///
    /// [`LmError::Published`] if a field is missing or of another type, or says what this code does not do
    /// (another activation, layers without bias, norms without scale); [`LmError::Config`] if sizes do
    /// not fit together.
    pub fn from_published(text: &str) -> Result<Self, LmError> {
        let published: Published =
            serde_json::from_str(text).map_err(|error| LmError::Published {
                reason: error.to_string(),
            })?;
        let refuse = |reason: String| Err(LmError::Published { reason });
        if let Some(kind) = published.model_type.filter(|kind| kind != "opt") {
            return refuse(format!("`model_type` is `{kind}`, not `opt`"));
        }
        if published.activation_function != "relu" {
            let found = published.activation_function;
            return refuse(format!(
                "`activation_function` is `{found}`, OPT's is `relu`"
            ));
        }
        if !published.enable_bias || !published.layer_norm_elementwise_affine {
            return refuse(
                "layers without bias or norms without scale are not supported".to_owned(),
            );
        }
        if published.without_final_norm {
            return refuse("`_remove_final_layer_norm` is not supported".to_owned());
        }
        let config = Self {
            vocab_size: published.vocab_size,
            max_length: published.max_position_embeddings,
            width: published.hidden_size,
            embed_width: published
                .word_embed_proj_dim
                .unwrap_or(published.hidden_size),
            depth: published.num_hidden_layers,
            heads: published.num_attention_heads,
            mlp_hidden: published.ffn_dim,
            norm_first: published.do_layer_norm_before,
            dropout: 0.0,
            start: published.bos_token_id,
            end: published.eos_token_id,
            pad: published.pad_token_id,
        };
        // Read, so that a file without it or with nonsense in it is refused.
        if !(0.0..1.0).contains(&published.dropout) {
            return refuse(format!("`dropout` is {}", published.dropout));
        }
        config.validate()?;
        Ok(config)
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "OPT";
        ConfigError::check_heads(part, self.width, self.heads)?;
        for (name, size, most) in [
            ("vocab_size", self.vocab_size, limits::ROWS),
            ("max_length", self.max_length, limits::POSITIONS),
            ("embed_width", self.embed_width, limits::WIDTH),
            ("depth", self.depth, limits::DEPTH),
            ("mlp_hidden", self.mlp_hidden, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        for (name, id) in [("start", self.start), ("end", self.end), ("pad", self.pad)] {
            let known = (id as usize) < self.vocab_size;
            ConfigError::check(known, part, name, id, "an id of the vocabulary")?;
        }
        ConfigError::check_share(part, "dropout", self.dropout)
    }
}
