//! From latents to pictures.

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
    convolution::{convolution, convolved, doubled},
    group_norm::{GroupNorm, GroupNormConfig},
    resnet_block::ResnetBlock,
};

/// A block at the latents' resolution, and levels that double it (`Decoder` of diffusers).
#[derive(Module, Debug)]
pub(super) struct Decoder {
    conv_in: Conv2d,
    mid_block: MidBlock,
    up_blocks: Vec<UpBlock>,
    conv_norm_out: GroupNorm,
    conv_out: Conv2d,
}

/// Residual blocks, and the way to twice the resolution, which the finest level has not (`UpDecoderBlock2D`).
#[derive(Module, Debug)]
struct UpBlock {
    resnets: Vec<ResnetBlock>,
    upsample: Option<Conv2d>,
}

impl Decoder {
    /// The decoder of a config with this finest and this coarsest level.
    pub(super) fn init(
        config: &AutoencoderKlConfig,
        [finest, coarsest]: [usize; 2],
        device: &Device,
    ) -> Self {
        let before = std::iter::once(coarsest).chain(config.channels.iter().rev().copied());
        let levels = config.channels.iter().enumerate().rev().zip(before);
        let up_blocks = levels.map(|((index, &channels), before)| {
            let resnets = (0..=config.layers).map(|layer| {
                let input = if layer == 0 { before } else { channels };
                config.resnet(input, channels).init(device)
            });
            UpBlock {
                resnets: resnets.collect(),
                upsample: (index > 0).then(|| convolution(channels, channels, device)),
            }
        });
        let norm = GroupNormConfig {
            groups: config.groups,
            channels: finest,
            epsilon: NORM_EPS,
        };
        Self {
            conv_in: convolution(config.latent_channels, coarsest, device),
            mid_block: MidBlock::init(config, coarsest, device),
            up_blocks: up_blocks.collect(),
            conv_norm_out: norm.init(device),
            conv_out: convolution(finest, config.image_channels, device),
        }
    }

    /// # Shapes
    ///
    /// - latents: `[batch, latent_channels, height, width]`
    /// - output: `[batch, image_channels, factor · height, factor · width]`
    pub(super) fn forward(&self, latents: Tensor<4>) -> Tensor<4> {
        let mut x = self.mid_block.forward(convolved(&self.conv_in, latents));
        for block in &self.up_blocks {
            for resnet in &block.resnets {
                x = resnet.forward(x, None);
            }
            if let Some(upsample) = &block.upsample {
                x = convolved(upsample, doubled(x));
            }
        }
        convolved(&self.conv_out, self.conv_norm_out.forward_silu(x))
    }
}
