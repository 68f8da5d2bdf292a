//! A linear layer over tokens whose weight files keep in either of two forms.

use burn::{
    module::Module,
    nn::conv::Conv2d,
    tensor::{Device, Tensor},
};
use seed_nn::{Linear, LinearConfig, product};

use crate::convolution::pointwise;

/// `x · weight + bias` for each token.
///
/// Stable Diffusion 1 and the files of CompVis store some of these as 1×1 convolutions, `[output, input, 1, 1]`; what they
/// compute is the same.
#[derive(Module, Debug)]
pub(crate) enum Projection {
    /// Stored as `[output, input]`.
    Linear(Linear),
    /// Stored as `[output, input, 1, 1]`.
    Convolution(Conv2d),
}

impl Projection {
    /// A layer with bias in one of the forms, initialised as PyTorch does.
    pub(crate) fn init(input: usize, output: usize, linear: bool, device: &Device) -> Self {
        if linear {
            Self::Linear(LinearConfig::new(input, output).init(device))
        } else {
            Self::Convolution(pointwise(input, output, device))
        }
    }

    /// # Shapes
    ///
    /// - x: `[batch, tokens, input]`
    /// - output: `[batch, tokens, output]`
    pub(crate) fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Linear(linear) => linear.forward(x),
            Self::Convolution(convolution) => {
                let weight = convolution.weight.val();
                let [output, input, _, _] = weight.dims();
                let projected = product(x, weight.reshape([output, input]).transpose());
                match &convolution.bias {
                    Some(bias) => projected + bias.val().reshape([1, 1, output]),
                    None => projected,
                }
            }
        }
    }
}

/// A map as tokens, row by row: `[batch, channels, height, width]` → `[batch, height · width, channels]`.
pub(crate) fn tokens(map: Tensor<4>) -> Tensor<3> {
    map.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// Tokens as the map that they were: `[batch, height · width, channels]` → `[batch, channels, height, width]`.
pub(crate) fn map(tokens: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [batch, _, channels] = tokens.dims();
    tokens
        .swap_dims(1, 2)
        .reshape([batch, channels, height, width])
}
