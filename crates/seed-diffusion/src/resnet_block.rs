//! The residual block of both models (`ResnetBlock2D` of diffusers).

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor},
};
use seed_nn::{Linear, LinearConfig};

use crate::{
    convolution::{convolution, convolved, pointwise},
    group_norm::{GroupNorm, GroupNormConfig},
};

/// Sizes of a [`ResnetBlock`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResnetBlockConfig {
    /// Channels that come in.
    pub(crate) input: usize,
    /// Channels that go out.
    pub(crate) output: usize,
    /// Width of the time embedding; the autoencoder has none.
    pub(crate) time_width: Option<usize>,
    /// Groups of both norms.
    pub(crate) groups: usize,
    /// Epsilon of both norms.
    pub(crate) epsilon: f64,
}

/// `x + conv2(silu(norm2(conv1(silu(norm1(x))) + time)))`, with a 1×1 convolution on the way around where the number of
/// channels changes. Field names are the checkpoint's.
#[derive(Module, Debug)]
pub(crate) struct ResnetBlock {
    norm1: GroupNorm,
    conv1: Conv2d,
    time_emb_proj: Option<Linear>,
    norm2: GroupNorm,
    conv2: Conv2d,
    conv_shortcut: Option<Conv2d>,
}

impl ResnetBlockConfig {
    /// Initialises the block on `device`.
    pub(crate) fn init(&self, device: &Device) -> ResnetBlock {
        let norm = |channels| {
            GroupNormConfig {
                groups: self.groups,
                channels,
                epsilon: self.epsilon,
            }
            .init(device)
        };
        let time = |width| LinearConfig::new(width, self.output).init(device);
        let changes = self.input != self.output;
        ResnetBlock {
            norm1: norm(self.input),
            conv1: convolution(self.input, self.output, device),
            time_emb_proj: self.time_width.map(time),
            norm2: norm(self.output),
            conv2: convolution(self.output, self.output, device),
            conv_shortcut: changes.then(|| pointwise(self.input, self.output, device)),
        }
    }
}

impl ResnetBlock {
    /// # Shapes
    ///
    /// - x: `[batch, input, height, width]`
    /// - time: `[batch or 1, time_width]`, behind its SiLU, which is the same for all blocks
    /// - output: `[batch, output, height, width]`
    pub(crate) fn forward(&self, x: Tensor<4>, time: Option<Tensor<2>>) -> Tensor<4> {
        let mut hidden = convolved(&self.conv1, self.norm1.forward_silu(x.clone()));
        if let (Some(projection), Some(time)) = (&self.time_emb_proj, time) {
            let time = projection.forward(time);
            let [batch, channels] = time.dims();
            hidden = hidden + time.reshape([batch, channels, 1, 1]);
        }
        let hidden = convolved(&self.conv2, self.norm2.forward_silu(hidden));
        let around = match &self.conv_shortcut {
            Some(shortcut) => convolved(shortcut, x),
            None => x,
        };
        around + hidden
    }
}
