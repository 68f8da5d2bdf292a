//! The transformer block of both of CLIP's towers (`CLIPEncoderLayer` of transformers).

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use seed_nn::{
    Activation, AttentionBias, LayerNorm, LayerNormConfig, Linear, LinearConfig, Mlp, MlpConfig,
    merge_heads, scaled_dot_product, split_heads,
};

/// Sizes of a [`ClipLayer`].
#[derive(Debug, Clone)]
pub(crate) struct ClipLayerConfig {
    /// Width of the tokens.
    pub(crate) width: usize,
    /// Number of attention heads; divides `width`.
    pub(crate) heads: usize,
    /// Hidden width of the MLP.
    pub(crate) mlp_hidden: usize,
    /// Non-linearity of the MLP.
    pub(crate) activation: Activation,
}

/// Self-attention with separate projections.
#[derive(Module, Debug)]
pub struct ClipAttention {
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

/// A pre-norm block; field names are the checkpoint's.
#[derive(Module, Debug)]
pub struct ClipLayer {
    /// Self-attention.
    pub self_attn: ClipAttention,
    /// Norm before the attention.
    pub layer_norm1: LayerNorm,
    /// Per-token MLP.
    pub mlp: Mlp,
    /// Norm before the MLP.
    pub layer_norm2: LayerNorm,
}

impl ClipLayerConfig {
    /// Initialises the block on `device`.
    pub(crate) fn init(&self, device: &Device) -> ClipLayer {
        let linear = || LinearConfig::new(self.width, self.width).init(device);
        let norm = || LayerNormConfig::new(self.width).init(device);
        ClipLayer {
            self_attn: ClipAttention {
                q_proj: linear(),
                k_proj: linear(),
                v_proj: linear(),
                out_proj: linear(),
                heads: self.heads,
            },
            layer_norm1: norm(),
            mlp: MlpConfig {
                width: self.width,
                hidden: self.mlp_hidden,
                activation: self.activation,
            }
            .init(device),
            layer_norm2: norm(),
        }
    }
}

impl ClipLayer {
    /// `bias` is causal in the text tower; the image tower has none.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, length, width]`
    pub fn forward(&self, x: Tensor<3>, bias: Option<AttentionBias>) -> Tensor<3> {
        let x = x.clone() + self.self_attn.forward(self.layer_norm1.forward(x), bias);
        x.clone() + self.mlp.forward(self.layer_norm2.forward(x))
    }
}

impl ClipAttention {
    fn forward(&self, x: Tensor<3>, bias: Option<AttentionBias>) -> Tensor<3> {
        let project = |linear: &Linear| split_heads(linear.forward(x.clone()), self.heads);
        let context = scaled_dot_product(
            project(&self.q_proj),
            project(&self.k_proj),
            project(&self.v_proj),
            bias,
            None,
        );
        self.out_proj.forward(merge_heads(context))
    }
}
