//! The convolutions of the two models, and the change of resolution.

use burn::{
    module::Param,
    nn::{
        PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{
        Device, Tensor,
        module::interpolate,
        ops::{ConvOptions, InterpolateMode, InterpolateOptions},
    },
};
use seed_device::fused;

/// Where a halving convolution sees a border of zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Border {
    /// On all sides: the UNet.
    Around,
    /// Right and below: the autoencoder's encoder (`Downsample2D` with padding 0).
    RightAndBelow,
}

/// A 3×3 convolution that keeps the resolution.
pub(crate) fn convolution(input: usize, output: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([input, output], [3, 3])
        .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
        .init(device)
}

/// A 1×1 convolution: a linear layer at each place.
pub(crate) fn pointwise(input: usize, output: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new([input, output], [1, 1]).init(device)
}

/// A 3×3 convolution that halves the resolution.
pub(crate) fn halving(channels: usize, border: Border, device: &Device) -> Conv2d {
    let padding = match border {
        Border::Around => PaddingConfig2d::Explicit(1, 1, 1, 1),
        Border::RightAndBelow => PaddingConfig2d::Explicit(0, 0, 1, 1),
    };
    Conv2dConfig::new([channels, channels], [3, 3])
        .with_stride([2, 2])
        .with_padding(padding)
        .init(device)
}

/// A convolution of a map by one of the layers above.
///
/// # Shapes
///
/// - input: `[batch, input, height, width]`
/// - output: `[batch, output, ..]`
pub(crate) fn convolved(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let padding = match layer.padding {
        PaddingConfig2d::Explicit(top, left, bottom, right) => [(top, bottom), (left, right)],
        PaddingConfig2d::Valid => [(0, 0), (0, 0)],
        // No layer here: what it means depends on the map, and Burn works it out.
        PaddingConfig2d::Same => return layer.forward(x),
    };
    let options =
        ConvOptions::new_with_padding(layer.stride, padding, layer.dilation, layer.groups);
    let bias = layer.bias.as_ref().map(Param::val);
    fused::conv2d(x, layer.weight.val(), bias, options)
}

/// Each place as four, as nearest neighbours are.
///
/// # Shapes
///
/// - input: `[batch, channels, height, width]`
/// - output: `[batch, channels, 2·height, 2·width]`
pub(crate) fn doubled(x: Tensor<4>) -> Tensor<4> {
    let [_, _, height, width] = x.dims();
    let options = InterpolateOptions::new(InterpolateMode::Nearest)
        .with_align_corners(false)
        .with_output_size([2 * height, 2 * width]);
    interpolate(x, options)
}

/// The first `height` rows and `width` columns.
pub(crate) fn cropped(x: Tensor<4>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [_, _, rows, columns] = x.dims();
    if [rows, columns] == [height, width] {
        return x;
    }
    x.narrow(2, 0, height).narrow(3, 0, width)
}
