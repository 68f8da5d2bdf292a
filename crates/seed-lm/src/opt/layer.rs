//! One layer of OPT: causal self-attention with a cache, and a feed-forward network.

use burn::{
    module::{Initializer, Module},
    tensor::{Device, Tensor, activation::relu},
};
use seed_nn::{
    AttentionBias, Dropout, LayerNorm, LayerNormConfig, Linear, LinearConfig, merge_heads,
    scaled_dot_product, split_heads,
};

use super::{cache::LayerCache, config::OptConfig};

/// OPT's initialisation, `init_std` 0.02 at the 2.7B model's width of 2560, with the gain of its layers at others.
pub(super) fn normal(width: usize) -> Initializer {
    Initializer::Normal {
        mean: 0.0,
        std: 0.02 * (2560.0 / width as f64).sqrt(),
    }
}

/// Self-attention with separate projections.
#[derive(Module, Debug)]
pub struct OptAttention {
    /// Query projection.
    pub q_proj: Linear,
    /// Key projection.
    pub k_proj: Linear,
    /// Value projection.
    pub v_proj: Linear,
    /// Output projection.
    pub out_proj: Linear,
    heads: usize,
}

/// A layer; field names are the checkpoint's.
#[derive(Module, Debug)]
pub struct OptLayer {
    /// Self-attention.
    pub self_attn: OptAttention,
    /// Norm of the attention's input, or of its sum with it.
    pub self_attn_layer_norm: LayerNorm,
    /// `[width → mlp_hidden]`
    pub fc1: Linear,
    /// `[mlp_hidden → width]`
    pub fc2: Linear,
    /// Norm of the feed-forward network's input, or of its sum with it.
    pub final_layer_norm: LayerNorm,
    /// Dropout of both sublayers' outputs, while training.
    pub dropout: Dropout,
    norm_first: bool,
}

impl OptLayer {
    pub(super) fn new(config: &OptConfig, device: &Device) -> Self {
        let linear = |input, output| {
            let mut layer = LinearConfig::new(input, output)
                .with_initializer(normal(config.width))
                .init(device);
            layer.bias = Some(burn::module::Initializer::Zeros.init([output], device));
            layer
        };
        let square = || linear(config.width, config.width);
        let norm = || LayerNormConfig::new(config.width).init(device);
        Self {
            self_attn: OptAttention {
                q_proj: square(),
                k_proj: square(),
                v_proj: square(),
                out_proj: square(),
                heads: config.heads,
            },
            self_attn_layer_norm: norm(),
            fc1: linear(config.width, config.mlp_hidden),
            fc2: linear(config.mlp_hidden, config.width),
            final_layer_norm: norm(),
            dropout: Dropout::new(config.dropout),
            norm_first: config.norm_first,
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[batch, tokens, width]`
    /// - bias: broadcastable to `[batch, heads, tokens, past + tokens]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        bias: Option<AttentionBias>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let attend = |x| self.dropout.forward(self.self_attn.forward(x, bias, cache));
        let feed = |x| {
            let hidden = relu(self.fc1.forward(x));
            self.dropout.forward(self.fc2.forward(hidden))
        };
        if self.norm_first {
            let x = x.clone() + attend(self.self_attn_layer_norm.forward(x));
            x.clone() + feed(self.final_layer_norm.forward(x))
        } else {
            let x = self.self_attn_layer_norm.forward(x.clone() + attend(x));
            self.final_layer_norm.forward(x.clone() + feed(x))
        }
    }
}

impl OptAttention {
    fn forward(
        &self,
        x: Tensor<3>,
        bias: Option<AttentionBias>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let project = |linear: &Linear| split_heads(linear.forward(x.clone()), self.heads);
        let query = project(&self.q_proj);
        let (mut key, mut value) = (project(&self.k_proj), project(&self.v_proj));
        if let Some(cache) = cache {
            (key, value) = cache.extend(key, value);
        }
        let context = scaled_dot_product(query, key, value, bias, None);
        self.out_proj.forward(merge_heads(context))
    }
}
