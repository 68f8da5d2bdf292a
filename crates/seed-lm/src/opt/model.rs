//! OPT as a module: the language model that SEED teaches to read and write codes.
//!
//! - paper: <https://arxiv.org/abs/2205.01068>
//! - published weights: `facebook/opt-125m` … `facebook/opt-66b`
//! - original code: `OPTForCausalLM` of transformers

use burn::{
    module::Module,
    nn::Embedding,
    tensor::{DType, Device, Int, Tensor},
};
use seed_nn::{
    ConfigError, LayerNorm, LayerNormConfig, Linear, LinearConfig, keeps_eight_bit, product,
};
use seed_weights::{Checkpoint, KeyMap, LoadReport, WeightsError};

use super::{
    cache::KvCache,
    config::{OptConfig, POSITION_OFFSET},
    layer::{OptLayer, normal},
    layout::Layout,
};
use crate::error::LmError;

/// A decoder-only transformer; field names are the checkpoint's, below `model.decoder`.
///
/// The output head is the table of word embeddings.
#[derive(Module, Debug)]
pub struct Opt {
    /// `[vocab_size, embed_width]`
    pub embed_tokens: Embedding,
    /// `[2 + max_length, width]`
    pub embed_positions: Embedding,
    /// `[embed_width → width]`, where they differ.
    pub project_in: Option<Linear>,
    /// Transformer layers.
    pub layers: Vec<OptLayer>,
    /// Norm after the last layer, in models with norms first.
    pub final_layer_norm: Option<LayerNorm>,
    /// `[width → embed_width]`, where they differ.
    pub project_out: Option<Linear>,
    #[module(skip)]
    pub(crate) config: OptConfig,
}

impl OptConfig {
    /// Initialises the model on `device` as OPT's own training did: normal with deviation 0.02, in narrower
    /// models with the deviation that gives a layer the gain of the 2.7B model's.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the sizes do not fit together.
    pub fn init(&self, device: &Device) -> Result<Opt, ConfigError> {
        self.validate()?;
        let table = |rows, width| {
            burn::nn::EmbeddingConfig::new(rows, width)
                .with_initializer(normal(self.width))
                .init(device)
        };
        let projected = self.embed_width != self.width;
        let project = |input, output| {
            projected.then(|| {
                LinearConfig::new(input, output)
                    .with_bias(false)
                    .with_initializer(normal(self.width))
                    .init(device)
            })
        };
        Ok(Opt {
            embed_tokens: table(self.vocab_size, self.embed_width),
            embed_positions: table(self.max_length + POSITION_OFFSET, self.width),
            project_in: project(self.embed_width, self.width),
            layers: (0..self.depth)
                .map(|_| OptLayer::new(self, device))
                .collect(),
            final_layer_norm: self
                .norm_first
                .then(|| LayerNormConfig::new(self.width).init(device)),
            project_out: project(self.width, self.embed_width),
            config: self.clone(),
        })
    }
}

/// Keys of [`Opt`] in a checkpoint of transformers, whatever prefix the decoder has there: `model.`, none, or
/// that of a model around it.
///
/// # Errors
///
/// [`WeightsError::Missing`] if there is no table of word embeddings.
pub fn opt_keys(checkpoint: &Checkpoint) -> Result<KeyMap, WeightsError> {
    const TABLE: &str = "embed_tokens.weight";
    let found = checkpoint.keys().find_map(|key| {
        let prefix = key.strip_suffix(TABLE)?;
        (prefix.is_empty() || prefix.ends_with("decoder."))
            .then(|| prefix.trim_end_matches('.').to_owned())
    });
    match found {
        Some(prefix) => Ok(KeyMap::identity().nest("", &prefix, &[("", "")])),
        None => Err(WeightsError::Missing {
            name: checkpoint.name().to_owned(),
            keys: vec![format!("model.decoder.{TABLE}")],
        }),
    }
}

impl Opt {
    /// Fills the model from a checkpoint of transformers: safetensors or `.bin`, in one file or in shards.
    /// The weights of linear layers are kept as `dtype` (f32, f16, bf16).
    ///
    /// # Errors
    ///
    /// Those of [`seed_weights::load_as`].
    pub fn load(
        self,
        checkpoint: &Checkpoint,
        dtype: DType,
    ) -> Result<(Self, LoadReport), WeightsError> {
        let keys = opt_keys(checkpoint)?;
        seed_weights::load_as(self, checkpoint, &keys, dtype)
    }

    /// The model, frozen, with the weights of its linear layers in 8 bits ([`Linear::keep_in_eight_bit`]); word
    /// embeddings, norms and biases stay as they are.
    ///
    /// # Errors
    ///
    /// [`LmError::NoEightBit`] on a device that keeps none.
    pub fn in_eight_bit(self) -> Result<Self, LmError> {
        let device = self.device();
        if !keeps_eight_bit(&device) {
            return Err(LmError::NoEightBit {
                device: format!("{device:?}"),
            });
        }
        let mut model = self.no_grad();
        for (_, linear) in model.linears_mut() {
            linear.keep_in_eight_bit();
        }
        Ok(model)
    }

    /// Its sizes.
    pub fn config(&self) -> &OptConfig {
        &self.config
    }

    /// Where it computes.
    pub fn device(&self) -> Device {
        self.embed_tokens.weight.lazy_device()
    }

    /// Word embeddings.
    ///
    /// # Shapes
    ///
    /// - ids: `[batch, length]`, each below `vocab_size`
    /// - output: `[batch, length, embed_width]`
    pub fn embed(&self, ids: Tensor<2, Int>) -> Tensor<3> {
        self.embed_tokens.forward(ids)
    }

    /// Hidden states, ready for the head, in the type of the embeddings; no longer than `max_length` tokens a sequence.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, length, embed_width]`; positions are added here
    /// - output: `[batch, length, embed_width]`
    pub fn forward(&self, embeddings: Tensor<3>, layout: &Layout) -> Tensor<3> {
        let x = self.enter(embeddings, layout.positions.clone());
        let x = self.layers.iter().fold(x, |x, layer| {
            layer.forward(x, Some(layout.bias.clone()), None)
        });
        self.leave(x)
    }

    /// The states before the first layer, after each layer, and after the final norm or projection in the
    /// place of the last: what `output_hidden_states` of transformers gives.
    pub fn hidden_states(&self, embeddings: Tensor<3>, layout: &Layout) -> Vec<Tensor<3>> {
        let mut states = vec![self.enter(embeddings, layout.positions.clone())];
        for layer in &self.layers {
            let x = states[states.len() - 1].clone();
            states.push(layer.forward(x, Some(layout.bias.clone()), None));
        }
        if let Some(last) = states.pop() {
            states.push(self.leave(last));
        }
        states
    }

    /// Hidden states of tokens that follow those in the cache, which takes them in.
    ///
    /// # Shapes
    ///
    /// - embeddings: `[batch, new, embed_width]`
    /// - mask: `[batch, new]`, 1 for a real token, where some are padding
    /// - output: `[batch, new, embed_width]`
    ///
    /// # Panics
    ///
    /// If the cache has no room for them.
    pub fn forward_cached(
        &self,
        embeddings: Tensor<3>,
        mask: Option<Tensor<2, Int>>,
        cache: &mut KvCache,
    ) -> Tensor<3> {
        let [batch, new, _] = embeddings.dims();
        assert!(
            cache.length() + new <= cache.capacity(),
            "the cache takes {} tokens and has {} already",
            cache.capacity(),
            cache.length(),
        );
        let (positions, bias) = cache.advance(batch, new, mask, &embeddings.device());
        let mut x = self.enter(embeddings, positions);
        for (layer, cache) in self.layers.iter().zip(&mut cache.layers) {
            x = layer.forward(x, bias.clone(), Some(cache));
        }
        self.leave(x)
    }

    /// Scores of the text vocabulary.
    ///
    /// # Shapes
    ///
    /// - hidden: `[rows, embed_width]`
    /// - output: `[rows, vocab_size]`
    pub fn logits(&self, hidden: Tensor<2>) -> Tensor<2> {
        product(hidden, self.embed_tokens.weight.val().transpose())
    }

    fn enter(&self, embeddings: Tensor<3>, positions: Tensor<2, Int>) -> Tensor<3> {
        let x = match &self.project_in {
            Some(project) => project.forward(embeddings),
            None => embeddings,
        };
        let positions = positions + POSITION_OFFSET as i64;
        let positions = self.embed_positions.forward(positions).cast(x.dtype());
        x + positions
    }

    fn leave(&self, x: Tensor<3>) -> Tensor<3> {
        let x = match &self.final_layer_norm {
            Some(norm) => norm.forward(x),
            None => x,
        };
        match &self.project_out {
            Some(project) => project.forward(x),
            None => x,
        }
    }

    /// Its linear layers below the decoder by the names that checkpoints give them, without `.weight`:
    /// where adapters attach.
    pub fn linears_mut(&mut self) -> Vec<(String, &mut Linear)> {
        let mut found = Vec::new();
        for (index, layer) in self.layers.iter_mut().enumerate() {
            let attention = &mut layer.self_attn;
            for (name, linear) in [
                ("self_attn.k_proj", &mut attention.k_proj),
                ("self_attn.v_proj", &mut attention.v_proj),
                ("self_attn.q_proj", &mut attention.q_proj),
                ("self_attn.out_proj", &mut attention.out_proj),
                ("fc1", &mut layer.fc1),
                ("fc2", &mut layer.fc2),
            ] {
                found.push((format!("model.decoder.layers.{index}.{name}"), linear));
            }
        }
        for (name, project) in [
            ("project_in", &mut self.project_in),
            ("project_out", &mut self.project_out),
        ] {
            if let Some(linear) = project {
                found.push((format!("model.decoder.{name}"), linear));
            }
        }
        found
    }
}
