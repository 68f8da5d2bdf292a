//! The levels of the UNet, on the way down, in the middle and on the way up.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor},
};

use super::{
    config::{UnetConfig, UnetLevel},
    states::Watch,
    transformer::{Transformer2d, Transformer2dConfig},
};
use crate::{
    convolution::{Border, convolution, convolved, cropped, doubled, halving},
    resnet_block::{ResnetBlock, ResnetBlockConfig},
};

/// What steers each block: the time, and the context.
#[derive(Debug, Clone)]
pub(super) struct Conditions {
    /// Time embedding behind its SiLU, `[batch or 1, time_width]`.
    pub(super) time: Tensor<2>,
    /// `[batch, tokens, context_width]`
    pub(super) context: Tensor<3>,
}

/// A level on the way down: residual blocks, transformers between them where the level attends, and the way to half the
/// resolution, which the last level has not (`CrossAttnDownBlock2D`, `DownBlock2D`).
#[derive(Module, Debug)]
pub(super) struct DownBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2d>,
    downsample: Option<Conv2d>,
}

/// Between the two ways (`UNetMidBlock2DCrossAttn`).
#[derive(Module, Debug)]
pub(super) struct MidBlock {
    before: ResnetBlock,
    attention: Transformer2d,
    after: ResnetBlock,
}

/// A level on the way up: each residual block sees what its counterpart on the way down gave as further channels
/// (`CrossAttnUpBlock2D`, `UpBlock2D`).
#[derive(Module, Debug)]
pub(super) struct UpBlock {
    resnets: Vec<ResnetBlock>,
    attentions: Vec<Transformer2d>,
    upsample: Option<Conv2d>,
}

fn resnet(config: &UnetConfig, input: usize, output: usize, device: &Device) -> ResnetBlock {
    ResnetBlockConfig {
        input,
        output,
        time_width: Some(config.time_width()),
        groups: config.groups,
        epsilon: config.norm_eps,
    }
    .init(device)
}

fn transformer(config: &UnetConfig, level: &UnetLevel, device: &Device) -> Transformer2d {
    Transformer2dConfig {
        channels: level.channels,
        heads: level.heads,
        context_width: config.context_width,
        groups: config.groups,
        upcast: config.upcast_attention,
    }
    .init(device)
}

/// A transformer for each of so many residual blocks, if the level attends.
fn transformers(
    config: &UnetConfig,
    level: &UnetLevel,
    count: usize,
    device: &Device,
) -> Vec<Transformer2d> {
    let count = if level.attends { count } else { 0 };
    (0..count)
        .map(|_| transformer(config, level, device))
        .collect()
}

impl DownBlock {
    /// The levels of a config.
    pub(super) fn init_all(config: &UnetConfig, device: &Device) -> Vec<Self> {
        let finest = config.levels.iter().take(1);
        // Each level begins with the channels of the one before, the first with its own.
        let before = finest.chain(&config.levels);
        let levels = config.levels.iter().zip(before).enumerate();
        levels
            .map(|(index, (level, before))| {
                let last = index + 1 == config.levels.len();
                let resnets = (0..config.layers).map(|layer| {
                    let below = if layer == 0 { before } else { level };
                    resnet(config, below.channels, level.channels, device)
                });
                Self {
                    resnets: resnets.collect(),
                    attentions: transformers(config, level, config.layers, device),
                    downsample: (!last).then(|| halving(level.channels, Border::Around, device)),
                }
            })
            .collect()
    }

    /// Gives the level's output, and keeps what the way up will need.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, channels of the level before, height, width]`
    /// - output: `[batch, channels, ⌈height / 2⌉, ⌈width / 2⌉]`; of the last level as high and wide as `x`
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        conditions: &Conditions,
        skips: &mut Vec<Tensor<4>>,
        mut watch: Watch<'_>,
    ) -> Tensor<4> {
        for (layer, resnet) in self.resnets.iter().enumerate() {
            x = layer_of(
                resnet,
                self.attentions.get(layer),
                x,
                conditions,
                layer,
                &mut watch,
            );
            skips.push(x.clone());
        }
        if let Some(downsample) = &self.downsample {
            x = convolved(downsample, x);
            skips.push(x.clone());
        }
        x
    }
}

impl MidBlock {
    /// The block behind the last of a config's levels.
    pub(super) fn init(config: &UnetConfig, level: &UnetLevel, device: &Device) -> Self {
        let resnet = || resnet(config, level.channels, level.channels, device);
        Self {
            before: resnet(),
            attention: transformer(config, level, device),
            after: resnet(),
        }
    }

    /// # Shapes
    ///
    /// - x, output: `[batch, channels, height, width]`
    pub(super) fn forward(&self, x: Tensor<4>, conditions: &Conditions) -> Tensor<4> {
        let Conditions { time, context } = conditions.clone();
        let x = self.before.forward(x, Some(time.clone()));
        let x = self.attention.forward(x, context);
        self.after.forward(x, Some(time))
    }
}

impl UpBlock {
    /// The levels of a config, the coarsest first.
    pub(super) fn init_all(config: &UnetConfig, device: &Device) -> Vec<Self> {
        let levels = &config.levels;
        let blocks = (0..levels.len()).rev().map(|index| {
            let level = &levels[index];
            // What comes from below, and what the finer level handed down.
            let coarser = &levels[(index + 1).min(levels.len() - 1)];
            let finer = &levels[index.saturating_sub(1)];
            let resnets = (0..=config.layers).map(|layer| {
                let below = if layer == 0 { coarser } else { level };
                let skip = if layer == config.layers { finer } else { level };
                let input = below.channels + skip.channels;
                resnet(config, input, level.channels, device)
            });
            Self {
                resnets: resnets.collect(),
                attentions: transformers(config, level, config.layers + 1, device),
                upsample: (index > 0).then(|| convolution(level.channels, level.channels, device)),
            }
        });
        blocks.collect()
    }

    /// Takes the level's maps off the end of `skips`.
    ///
    /// # Shapes
    ///
    /// - x: `[batch, channels of the level before, height, width]`
    /// - output: `[batch, channels, ..]`, as high and wide as what is last in `skips` then: twice as `x`, or one less
    pub(super) fn forward(
        &self,
        mut x: Tensor<4>,
        conditions: &Conditions,
        skips: &mut Vec<Tensor<4>>,
        mut watch: Watch<'_>,
    ) -> Tensor<4> {
        let own = skips.split_off(skips.len().saturating_sub(self.resnets.len()));
        for (layer, (resnet, skip)) in self.resnets.iter().zip(own.into_iter().rev()).enumerate() {
            let both = Tensor::cat(vec![x, skip], 1);
            let attention = self.attentions.get(layer);
            x = layer_of(resnet, attention, both, conditions, layer, &mut watch);
        }
        if let Some(upsample) = &self.upsample {
            x = doubled(x);
            if let Some(next) = skips.last() {
                let [_, _, height, width] = next.dims();
                x = cropped(x, [height, width]);
            }
            x = convolved(upsample, x);
        }
        x
    }
}

/// A residual block, and the transformer behind it where there is one.
fn layer_of(
    resnet: &ResnetBlock,
    attention: Option<&Transformer2d>,
    x: Tensor<4>,
    conditions: &Conditions,
    layer: usize,
    watch: &mut Watch<'_>,
) -> Tensor<4> {
    let Conditions { time, context } = conditions.clone();
    let x = resnet.forward(x, Some(time));
    watch.see(&format!("resnet_{layer}"), &x);
    let Some(attention) = attention else {
        return x;
    };
    let x = attention.forward(x, context);
    watch.see(&format!("attention_{layer}"), &x);
    x
}
