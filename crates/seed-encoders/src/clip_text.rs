//! CLIP's text tower: the space that Stable Diffusion is conditioned on, and stage II's target.
//!
//! - paper: <https://arxiv.org/abs/2103.00020>
//! - published weights: `openai/clip-vit-large-patch14` (used by Stable Diffusion 1.x)
//! - original code: `CLIPTextModel` of transformers

use burn::{
    module::{Initializer, Module},
    nn::{Embedding, EmbeddingConfig},
    tensor::{DType, Device, Int, Tensor},
};
use seed_nn::{
    Activation, ConfigError, LayerNorm, LayerNormConfig, causal_bias, limits, padding_bias,
};
use seed_weights::KeyMap;
use serde::{Deserialize, Serialize};

use crate::{
    clip_layer::{ClipLayer, ClipLayerConfig},
    config_json::{ConfigJson, EncoderConfigError},
};

/// Where the pooled state of a text is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndOfText {
    /// At the first position of the largest token id (the historic rule of the published L/14 config).
    LargestId,
    /// At the first position of this token.
    Token(usize),
}

/// Sizes of a [`ClipText`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClipTextConfig {
    /// Size of the vocabulary.
    pub vocab_size: usize,
    /// Number of positions.
    pub max_length: usize,
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
    /// Where the pooled state is taken.
    pub end_of_text: EndOfText,
}

impl ClipTextConfig {
    /// The text tower of OpenAI's CLIP L/14, which conditions Stable Diffusion 1.x.
    pub fn clip_l() -> Self {
        Self {
            vocab_size: 49_408,
            max_length: 77,
            width: 768,
            depth: 12,
            heads: 12,
            mlp_hidden: 3072,
            activation: Activation::QuickGelu,
            end_of_text: EndOfText::LargestId,
        }
    }

    /// Reads the text of a `config.json` of transformers: of `CLIPTextModel`, or of the whole `CLIPModel` with a `text_config`
    /// in it. Fields that are absent have transformers' defaults.
    ///
    /// # Errors
    ///
    /// [`EncoderConfigError`] if it is of another model, or a field is of another type or says what is not computed here;
    /// or if sizes do not fit together.
    pub fn from_transformers(text: &str) -> Result<Self, EncoderConfigError> {
        /// What the published configs say for an end of text, and do not mean.
        const HISTORIC_END: usize = 2;
        let fields = ConfigJson::parse(text, "clip_text_model", "text_config")?;
        let config = Self {
            vocab_size: fields.size("vocab_size", 49_408)?,
            max_length: fields.size("max_position_embeddings", 77)?,
            width: fields.size("hidden_size", 512)?,
            depth: fields.size("num_hidden_layers", 12)?,
            heads: fields.size("num_attention_heads", 8)?,
            mlp_hidden: fields.size("intermediate_size", 2048)?,
            activation: fields.activation()?,
            end_of_text: match fields.size("eos_token_id", 49_407)? {
                HISTORIC_END => EndOfText::LargestId,
                end => EndOfText::Token(end),
            },
        };
        config.validate()?;
        Ok(config)
    }

    /// Checks that the sizes fit together and are within their limits.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "text tower";
        ConfigError::check_heads(part, self.width, self.heads)?;
        for (name, size, most) in [
            ("vocab_size", self.vocab_size, limits::ROWS),
            ("max_length", self.max_length, limits::POSITIONS),
            ("depth", self.depth, limits::DEPTH),
            ("mlp_hidden", self.mlp_hidden, limits::WIDTH),
        ] {
            ConfigError::check_size(part, name, size, most)?;
        }
        if let EndOfText::Token(token) = self.end_of_text {
            let known = token < self.vocab_size;
            let rule = "an id of the vocabulary";
            ConfigError::check(known, part, "end_of_text.token", token, rule)?;
        }
        Ok(())
    }

    /// Initialises the tower on `device`.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<ClipText, ConfigError> {
        self.validate()?;
        let normal = Initializer::Normal {
            mean: 0.0,
            std: 0.02,
        };
        let embedding = |rows| {
            EmbeddingConfig::new(rows, self.width)
                .with_initializer(normal.clone())
                .init(device)
        };
        let layer = ClipLayerConfig {
            width: self.width,
            heads: self.heads,
            mlp_hidden: self.mlp_hidden,
            activation: self.activation,
        };
        Ok(ClipText {
            embeddings: ClipTextEmbeddings {
                token_embedding: embedding(self.vocab_size),
                position_embedding: embedding(self.max_length),
            },
            layers: (0..self.depth).map(|_| layer.init(device)).collect(),
            final_layer_norm: LayerNormConfig::new(self.width).init(device),
            config: self.clone(),
        })
    }
}

/// Keys of [`ClipText`] in a checkpoint of the transformers library.
pub fn clip_text_keys() -> KeyMap {
    KeyMap::new(&[("layers", "text_model.encoder.layers"), ("", "text_model")])
}

/// Token and position tables.
#[derive(Module, Debug)]
pub struct ClipTextEmbeddings {
    /// `[vocab_size, width]`
    pub token_embedding: Embedding,
    /// `[max_length, width]`
    pub position_embedding: Embedding,
}

/// CLIP's text tower; field names are the checkpoint's, below `text_model` (and `encoder` for layers).
#[derive(Module, Debug)]
pub struct ClipText {
    /// Token and position tables.
    pub embeddings: ClipTextEmbeddings,
    /// Transformer blocks.
    pub layers: Vec<ClipLayer>,
    /// Norm after the last block.
    pub final_layer_norm: LayerNorm,
    #[module(skip)]
    config: ClipTextConfig,
}

/// What the text tower gives.
#[derive(Debug, Clone)]
pub struct ClipTextOutput {
    /// States after the final norm, `[batch, length, width]`.
    pub last_hidden_state: Tensor<3>,
    /// The final state at the end of text, `[batch, width]`.
    pub pooled: Tensor<2>,
}

impl ClipText {
    /// Runs the tower with causal attention.
    ///
    /// Stable Diffusion passes no padding mask, so that padded positions carry meaning; `mask` is
    /// for other uses.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`, length at most `max_length`
    /// - mask: `[batch, length]`, 1 for a real token
    pub fn forward(&self, ids: Tensor<2, Int>, mask: Option<Tensor<2, Int>>) -> ClipTextOutput {
        self.forward_embedded(self.embed(ids.clone()), ids, mask)
    }

    /// [`forward`](Self::forward) from the embeddings of `ids`, whose type is that of the blocks' activations.
    /// The output is f32.
    ///
    /// # Shapes
    ///
    /// - embedded: `[batch, length, width]`
    /// - ids, mask: as in `forward`
    pub fn forward_embedded(
        &self,
        embedded: Tensor<3>,
        ids: Tensor<2, Int>,
        mask: Option<Tensor<2, Int>>,
    ) -> ClipTextOutput {
        let length = ids.dims()[1];
        let mut bias = causal_bias(length, &ids.device());
        if let Some(mask) = mask {
            bias = bias + padding_bias(mask);
        }
        let hidden = self
            .layers
            .iter()
            .fold(embedded, |x, layer| layer.forward(x, Some(bias.clone())));
        let last_hidden_state = self.final_layer_norm.forward(hidden.cast(DType::F32));
        let pooled = self.pool(last_hidden_state.clone(), ids);
        ClipTextOutput {
            last_hidden_state,
            pooled,
        }
    }

    /// Token and position embeddings, `[batch, length, width]`.
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        let length = ids.dims()[1];
        let positions = Tensor::arange(0..length as i64, &ids.device()).unsqueeze::<2>();
        self.embeddings.token_embedding.forward(ids)
            + self.embeddings.position_embedding.forward(positions)
    }

    fn pool(&self, states: Tensor<3>, ids: Tensor<2, Int>) -> Tensor<2> {
        let [batch, _, width] = states.dims();
        let ends = match self.config.end_of_text {
            EndOfText::LargestId => ids,
            EndOfText::Token(token) => ids.equal_elem(token as i64).int(),
        };
        // The first position of the largest value.
        let position = ends
            .argmax(1)
            .reshape([batch, 1, 1])
            .expand([batch, 1, width]);
        states.gather(1, position).squeeze_dim(1)
    }
}
