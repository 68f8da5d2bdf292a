//! GroupNorm over the channels of a map.

use burn::{
    module::{Initializer, Module, Param},
    tensor::{DType, Device, Tensor},
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
/// A group's values lie side by side, so that this is a LayerNorm over them, as one fused step, and then a scale and a
/// shift for each channel.
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
        let [batch, channels, height, width] = x.dims();
        let dtype = x.dtype();
        let group = channels / self.groups * height * width;
        let like = (&x.device(), DType::F32);
        let (one, zero) = (
            Tensor::<1>::ones([group], like),
            Tensor::<1>::zeros([group], like),
        );
        let groups = x.cast(DType::F32).reshape([batch, self.groups, group]);
        let normal = fused::layer_norm(groups, one, zero, self.epsilon)
            .reshape([batch, channels, height, width]);
        let of_channels = |parameter: &Param<Tensor<1>>| {
            let parameter = parameter.val().cast(DType::F32);
            parameter.reshape([1, channels, 1, 1])
        };
        (normal * of_channels(&self.gamma) + of_channels(&self.beta)).cast(dtype)
    }
}
