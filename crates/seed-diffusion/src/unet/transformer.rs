//! Attention over the places of a map and to a context (`Transformer2DModel` and `BasicTransformerBlock` of diffusers).

use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};
use seed_nn::{
    Activation, LayerNorm, LayerNormConfig, Linear, LinearConfig, merge_heads, scaled_dot_product,
    split_heads,
};

use crate::{
    group_norm::{GroupNorm, GroupNormConfig},
    tokens::{map, tokens},
};

/// Epsilon of the group norm, whatever the config says of the residual blocks'.
const NORM_EPS: f64 = 1e-6;
/// Hidden width of the feed-forward layer over that of the tokens.
const EXPANSION: usize = 4;

/// Sizes of a [`Transformer2d`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Transformer2dConfig {
    /// Channels of the map.
    pub(super) channels: usize,
    /// Number of attention heads; divides `channels`.
    pub(super) heads: usize,
    /// Width of the context's tokens.
    pub(super) context_width: usize,
    /// Groups of the norm.
    pub(super) groups: usize,
    /// Whether attention is computed in f32.
    pub(super) upcast: bool,
}

/// `x + proj_out(block(proj_in(norm(x))))`, over the places of the map as tokens. Stable Diffusion 1 stores the projections as
/// 1×1 convolutions, Stable Diffusion 2 as the linear layers that these are.
#[derive(Module, Debug)]
pub(super) struct Transformer2d {
    norm: GroupNorm,
    proj_in: Linear,
    block: TransformerBlock,
    proj_out: Linear,
}

/// Self-attention, attention to the context, and a feed-forward layer, each behind its norm and around itself.
#[derive(Module, Debug)]
struct TransformerBlock {
    norm1: LayerNorm,
    attn1: Attention,
    norm2: LayerNorm,
    attn2: Attention,
    norm3: LayerNorm,
    feed_forward: FeedForward,
}

/// Attention with separate projections, of which the output's alone has a bias.
#[derive(Module, Debug)]
struct Attention {
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
    heads: usize,
    upcast: bool,
}

/// `output(value · gelu(gate))`, where one product gives value and gate, in this order (GEGLU,
/// <https://arxiv.org/abs/2002.05202>); GELU is that of the error function.
#[derive(Module, Debug)]
struct FeedForward {
    value_and_gate: Linear,
    output: Linear,
}

impl Transformer2dConfig {
    /// Initialises the transformer on `device`.
    pub(super) fn init(&self, device: &Device) -> Transformer2d {
        let channels = self.channels;
        let norm = || LayerNormConfig::new(channels).init(device);
        let projection = || LinearConfig::new(channels, channels).init(device);
        let norm_of_groups = GroupNormConfig {
            groups: self.groups,
            channels,
            epsilon: NORM_EPS,
        };
        Transformer2d {
            norm: norm_of_groups.init(device),
            proj_in: projection(),
            block: TransformerBlock {
                norm1: norm(),
                attn1: self.init_attention(channels, device),
                norm2: norm(),
                attn2: self.init_attention(self.context_width, device),
                norm3: norm(),
                feed_forward: FeedForward {
                    value_and_gate: LinearConfig::new(channels, 2 * EXPANSION * channels)
                        .init(device),
                    output: LinearConfig::new(EXPANSION * channels, channels).init(device),
                },
            },
            proj_out: projection(),
        }
    }

    fn init_attention(&self, context_width: usize, device: &Device) -> Attention {
        let from = |width| {
            LinearConfig::new(width, self.channels)
                .with_bias(false)
                .init(device)
        };
        Attention {
            to_q: from(self.channels),
            to_k: from(context_width),
            to_v: from(context_width),
            to_out: LinearConfig::new(self.channels, self.channels).init(device),
            heads: self.heads,
            upcast: self.upcast,
        }
    }
}

impl Transformer2d {
    /// # Shapes
    ///
    /// - x, output: `[batch, channels, height, width]`
    /// - context: `[batch, tokens, context_width]`
    pub(super) fn forward(&self, x: Tensor<4>, context: Tensor<3>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let hidden = self.proj_in.forward(tokens(self.norm.forward(x.clone())));
        let hidden = self.proj_out.forward(self.block.forward(hidden, context));
        x + map(hidden, [height, width])
    }
}

impl TransformerBlock {
    fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let normal = self.norm1.forward(x.clone());
        let x = x + self.attn1.forward(normal.clone(), normal);
        let x = x.clone() + self.attn2.forward(self.norm2.forward(x), context);
        x.clone() + self.feed_forward.forward(self.norm3.forward(x))
    }
}

impl Attention {
    /// # Shapes
    ///
    /// - x, output: `[batch, places, channels]`
    /// - context: `[batch, tokens, context_width]`
    fn forward(&self, x: Tensor<3>, context: Tensor<3>) -> Tensor<3> {
        let computed = x.dtype();
        let heads = |x: Tensor<3>| {
            let heads = split_heads(x, self.heads);
            // Scores of Stable Diffusion 2 leave the range of f16.
            if self.upcast {
                heads.cast(DType::F32)
            } else {
                heads
            }
        };
        let attended = scaled_dot_product(
            heads(self.to_q.forward(x)),
            heads(self.to_k.forward(context.clone())),
            heads(self.to_v.forward(context)),
            None,
            None,
        );
        self.to_out.forward(merge_heads(attended.cast(computed)))
    }
}

impl FeedForward {
    fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let both = self.value_and_gate.forward(x);
        let hidden = both.dims()[2] / 2;
        let value = both.clone().narrow(2, 0, hidden);
        let gate = both.narrow(2, hidden, hidden);
        self.output.forward(value * Activation::Gelu.forward(gate))
    }
}
