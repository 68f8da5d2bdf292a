//! The pre-norm ViT block: of the EVA image tower, and of the tokenizer's reconstruction decoders.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::{
    Activation, LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig, merge_heads,
    scaled_dot_product, split_heads,
};

/// How the packed query-key-value projection is biased.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QkvBias {
    /// One bias over all three parts (`vit.py` of the reference).
    Packed,
    /// Separate query and value biases; keys have none (`eva_vit.py` of the reference: a bias on the
    /// keys cancels in the softmax).
    QueryValue,
}

/// Sizes of a [`VitBlock`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VitBlockConfig {
    /// Width of the tokens.
    pub width: usize,
    /// Number of attention heads; divides `width`.
    pub heads: usize,
    /// Hidden width of the MLP.
    pub mlp_hidden: usize,
    /// Form of the projection's bias.
    pub qkv_bias: QkvBias,
    /// Epsilon of both norms (1e-6 in all models of the reference).
    pub norm_eps: f64,
}

/// Self-attention with a packed projection.
#[derive(Module, Debug)]
pub struct VitAttention {
    /// `[width → 3·width]`, queries, keys, values in this order.
    pub qkv: Linear,
    /// Query bias `[width]`, with [`QkvBias::QueryValue`].
    pub q_bias: Option<Param<Tensor<1>>>,
    /// Value bias `[width]`, with [`QkvBias::QueryValue`].
    pub v_bias: Option<Param<Tensor<1>>>,
    /// `[width → width]`
    pub proj: Linear,
    heads: usize,
}

/// `x + attention(norm1(x))`, then `x + mlp(norm2(x))`; bidirectional, without dropout.
#[derive(Module, Debug)]
pub struct VitBlock {
    /// Norm before the attention.
    pub norm1: LayerNorm,
    /// Self-attention.
    pub attn: VitAttention,
    /// Norm before the MLP.
    pub norm2: LayerNorm,
    /// Per-token MLP with exact GELU.
    pub mlp: Mlp,
}

impl VitBlockConfig {
    /// Initialises the block on `device`.
    pub fn init(&self, device: &Device) -> VitBlock {
        let norm = LayerNormConfig::new(self.width).with_epsilon(self.norm_eps);
        let packed = self.qkv_bias == QkvBias::Packed;
        let bias = || (!packed).then(|| Initializer::Zeros.init([self.width], device));
        VitBlock {
            norm1: norm.init(device),
            attn: VitAttention {
                qkv: LinearConfig::new(self.width, 3 * self.width)
                    .with_bias(packed)
                    .init(device),
                q_bias: bias(),
                v_bias: bias(),
                proj: LinearConfig::new(self.width, self.width).init(device),
                heads: self.heads,
            },
            norm2: norm.init(device),
            mlp: MlpConfig {
                width: self.width,
                hidden: self.mlp_hidden,
                activation: Activation::Gelu,
            }
            .init(device),
        }
    }
}

impl VitAttention {
    /// # Shapes
    ///
    /// - input, output: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [query, key, value] = self.project(x);
        let context = scaled_dot_product(
            split_heads(query, self.heads),
            split_heads(key, self.heads),
            split_heads(value, self.heads),
            None,
            None,
        );
        self.proj.forward(merge_heads(context))
    }

    fn project(&self, x: Tensor<3>) -> [Tensor<3>; 3] {
        let packed = match (&self.q_bias, &self.v_bias) {
            (Some(q_bias), Some(v_bias)) => {
                let no_key_bias = Tensor::zeros_like(&q_bias.val());
                let bias = Tensor::cat(vec![q_bias.val(), no_key_bias, v_bias.val()], 0);
                self.qkv.forward_biased(x, bias)
            }
            _ => self.qkv.forward(x),
        };
        packed
            .chunk(3, 2)
            .try_into()
            .expect("a packed projection has three parts")
    }
}

impl VitBlock {
    /// # Shapes
    ///
    /// - input, output: `[batch, tokens, width]`
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let x = x.clone() + self.attn.forward(self.norm1.forward(x));
        x.clone() + self.mlp.forward(self.norm2.forward(x))
    }
}
