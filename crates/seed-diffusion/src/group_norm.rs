//! GroupNorm over the channels of a map.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{Device, Tensor},
};
use seed_device::fused;

/// Sizes of a [`GroupNorm`].
#[derive(Debug, Clone, PartialEq)]
pub struct GroupNormConfig {
    /// Number of groups; divides `channels`.
    pub groups: usize,
    /// Number of channels.
    pub channels: usize,
    /// Added to the variance.
    pub epsilon: f64,
}

/// `(x − mean) / √(variance + epsilon) · gamma + beta`, with mean and variance of each group of channels over all places.
///
/// - paper: <https://arxiv.org/abs/1803.08494>
///
/// One fused step, with the SiLU that follows in most places.
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// Scale `[channels]`.
    pub gamma: Param<Tensor<1>>,
    /// Shift `[channels]`.
    pub beta: Param<Tensor<1>>,
    groups: usize,
    epsilon: f64,
}

impl GroupNormConfig {
    /// Initialises the norm on `device`: scale 1, shift 0.
    pub fn init(&self, device: &Device) -> GroupNorm {
        GroupNorm {
            gamma: Initializer::Ones.init([self.channels], device),
            beta: Initializer::Zeros.init([self.channels], device),
            groups: self.groups,
            epsilon: self.epsilon,
        }
    }
}

impl GroupNorm {
    /// Mean and variance are taken in f32, whatever the type of `x`; the output has that type again.
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, channels, height, width]`
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        fused::group_norm(x, gamma, beta, self.groups, self.epsilon)
    }

    /// SiLU of [`forward`](Self::forward).
    ///
    /// # Shapes
    ///
    /// - input, output: `[batch, channels, height, width]`
    pub fn forward_silu(&self, x: Tensor<4>) -> Tensor<4> {
        let (gamma, beta) = (self.gamma.val(), self.beta.val());
        fused::group_norm_silu(x, gamma, beta, self.groups, self.epsilon)
    }
}
