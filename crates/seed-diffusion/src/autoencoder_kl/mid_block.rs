//! The coarsest resolution of encoder and decoder, where each place sees all others (`UNetMidBlock2D` of diffusers).

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use seed_nn::{Linear, LinearConfig, scaled_dot_product};

use super::config::{AutoencoderKlConfig, NORM_EPS};
use crate::{
    group_norm::{GroupNorm, GroupNormConfig},
    resnet_block::ResnetBlock,
    tokens::{map, tokens},
};

/// A residual block, attention, another residual block.
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    before: ResnetBlock,
    attention: MidAttention,
    after: ResnetBlock,
}

/// Self-attention of one head around itself. Unlike the UNet's, all projections have a bias. CompVis stores them as 1×1
/// convolutions, diffusers as the linear layers that these are.
#[derive(Module, Debug)]
struct MidAttention {
    group_norm: GroupNorm,
    to_q: Linear,
    to_k: Linear,
    to_v: Linear,
    to_out: Linear,
}

impl MidBlock {
    /// The block of a config's coarsest level.
    pub(super) fn init(config: &AutoencoderKlConfig, channels: usize, device: &Device) -> Self {
        let resnet = || config.resnet(channels, channels).init(device);
        let projection = || LinearConfig::new(channels, channels).init(device);
        let norm = GroupNormConfig {
            groups: config.groups,
            channels,
            epsilon: NORM_EPS,
        };
        Self {
            before: resnet(),
            attention: MidAttention {
                group_norm: norm.init(device),
                to_q: projection(),
                to_k: projection(),
                to_v: projection(),
                to_out: projection(),
            },
            after: resnet(),
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[batch, channels, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.attention.forward(self.before.forward(x, None));
        self.after.forward(x, None)
    }
}

impl MidAttention {
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [_, _, height, width] = x.dims();
        let normal = tokens(self.group_norm.forward(x.clone()));
        let one_head = |x: Tensor<3>| x.unsqueeze_dim::<4>(1);
        let attended = scaled_dot_product(
            one_head(self.to_q.forward(normal.clone())),
            one_head(self.to_k.forward(normal.clone())),
            one_head(self.to_v.forward(normal)),
            None,
            None,
        );
        x + map(
            self.to_out.forward(attended.squeeze_dim::<3>(1)),
            [height, width],
        )
    }
}
