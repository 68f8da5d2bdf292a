//! From pictures to what the moments of the latents are made of.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor},
};

use super::{
    config::{AutoencoderKlConfig, NORM_EPS},
    mid_block::MidBlock,
};
use crate::{
    convolution::{Border, convolution, convolved, halving},
    group_norm::{GroupNorm, GroupNormConfig},
    resnet_block::ResnetBlock,
};

/// Levels that halve the resolution, and the block behind them (`Encoder` of diffusers).
#[derive(Module, Debug)]
pub(super) struct Encoder {
    conv_in: Conv2d,
    down_blocks: Vec<DownBlock>,
    mid_block: MidBlock,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// Residual blocks, and the way to half the resolution, which the last level has not (`DownEncoderBlock2D`).
#[derive(Module, Debug)]
struct DownBlock {
    resnets: Vec<ResnetBlock>,
    downsample: Option<Conv2d>,
}

impl Encoder {
    /// The encoder of a config with this finest and this coarsest level.
    pub(super) fn init(
        config: &AutoencoderKlConfig,
        [finest, coarsest]: [usize; 2],
        device: &Device,
    ) -> Self {
        let before = std::iter::once(finest).chain(config.channels.iter().copied());
        let levels = config.channels.iter().zip(before).enumerate();
        let down_blocks = levels.map(|(index, (&channels, before))| {
            let resnets = (0..config.layers).map(|layer| {
                let input = if layer == 0 { before } else { channels };
                config.resnet(input, channels).init(device)
            });
            let last = index + 1 == config.channels.len();
            DownBlock {
                resnets: resnets.collect(),
                downsample: (!last).then(|| halving(channels, Border::RightAndBelow, device)),
            }
        });
        let norm = GroupNormConfig {
            groups: config.groups,
            channels: coarsest,
            epsilon: NORM_EPS,
        };
        Self {
            conv_in: convolution(config.image_channels, finest, device),
            down_blocks: down_blocks.collect(),
            mid_block: MidBlock::init(config, coarsest, device),
            conv_norm_out: norm.init(device),
            conv_out: convolution(coarsest, 2 * config.latent_channels, device),
        }
    }

    /// # Shapes
    ///
    /// - images: `[batch, image_channels, height, width]`
    /// - output: `[batch, 2 · latent_channels, height / factor, width / factor]`
    pub(super) fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let mut x = convolved(&self.conv_in, images);
        for block in &self.down_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(x, None);
            }
            if let Some(downsample) = &block.downsample {
                x = convolved(downsample, x);
            }
        }
        let x = self.conv_norm_out.forward_silu(self.mid_block.forward(x));
        convolved(&self.conv_out, x)
    }
}
