//! What the operations on maps, `[batch, channels, height, width]`, need of a backend: convolution and GroupNorm.

use burn::backend::{Backend, ops::ConvOptions, tensor::FloatTensor};

use super::kernels::{Kernels, like};

/// A map and its layer's two parameters: weight and bias of a convolution, scale and shift of a norm.
pub type Inputs<B> = [FloatTensor<B>; 3];

/// What a GroupNorm is, beside its parameters.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GroupNormOptions {
    /// Number of groups; divides the channels.
    pub groups: usize,
    /// Added to the variance.
    pub epsilon: f64,
    /// Whether the result goes through SiLU.
    pub silu: bool,
}

/// What a forward pass leaves for the gradients of its inputs.
#[derive(Debug, Clone)]
pub struct Kept<B: Backend, O> {
    /// As they came in, or where a backend's own graph begins.
    pub inputs: Inputs<B>,
    /// Where a backend's own graph ends.
    pub graph: Option<FloatTensor<B>>,
    /// What was computed.
    pub options: O,
    /// The inputs that have a gradient.
    pub tracked: [bool; 3],
}

impl<B: Backend, O> Kept<B, O> {
    /// Of a backend without a graph of its own.
    pub(super) fn inputs(inputs: Inputs<B>, options: O, tracked: [bool; 3]) -> Self {
        Self {
            inputs,
            graph: None,
            options,
            tracked,
        }
    }
}

/// The gradients of those inputs that have one.
pub type Gradients<B> = [Option<FloatTensor<B>>; 3];

/// The parameters in the type that the map is computed in.
pub(super) fn of_one_type<B: Kernels>([x, weight, bias]: Inputs<B>) -> Inputs<B> {
    let (weight, bias) = (like::<B>(weight, &x), like::<B>(bias, &x));
    [x, weight, bias]
}

/// Forward and backward passes. The default bodies are compositions of a backend's own operations (`composed`); a
/// backend that can do better overrides them.
pub trait MapKernels: Kernels {
    /// [`conv2d`](super::conv2d).
    fn conv2d_forward(inputs: Inputs<Self>, options: &ConvOptions<2>) -> FloatTensor<Self> {
        let [x, weight, bias] = of_one_type::<Self>(inputs);
        Self::conv2d(x, weight, Some(bias), options.clone())
    }

    /// The same, and what its gradients need.
    fn conv2d_kept(
        inputs: Inputs<Self>,
        options: ConvOptions<2>,
        tracked: [bool; 3],
    ) -> (FloatTensor<Self>, Kept<Self, ConvOptions<2>>) {
        let output = Self::conv2d_forward(inputs.clone(), &options);
        (output, Kept::inputs(inputs, options, tracked))
    }

    /// Gradients of [`conv2d`](super::conv2d).
    fn conv2d_gradients(
        kept: Kept<Self, ConvOptions<2>>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        composed::conv2d_gradients::<Self>(kept, gradient)
    }

    /// [`group_norm`](super::group_norm) and [`group_norm_silu`](super::group_norm_silu), of f32.
    fn group_norm_forward(inputs: Inputs<Self>, options: &GroupNormOptions) -> FloatTensor<Self> {
        composed::group_norm_forward::<Self>(inputs, *options)
    }

    /// The same, and what its gradients need.
    fn group_norm_kept(
        inputs: Inputs<Self>,
        options: GroupNormOptions,
        tracked: [bool; 3],
    ) -> (FloatTensor<Self>, Kept<Self, GroupNormOptions>) {
        let output = Self::group_norm_forward(inputs.clone(), &options);
        (output, Kept::inputs(inputs, options, tracked))
    }

    /// Gradients of [`group_norm`](super::group_norm) and [`group_norm_silu`](super::group_norm_silu).
    fn group_norm_gradients(
        kept: Kept<Self, GroupNormOptions>,
        gradient: FloatTensor<Self>,
    ) -> Gradients<Self> {
        composed::group_norm_gradients::<Self>(kept, gradient)
    }
}

#[cfg(feature = "ndarray")]
impl MapKernels for burn::backend::NdArray {}
#[cfg(any(feature = "cuda", feature = "wgpu"))]
impl MapKernels for burn::backend::Cube {}

/// The operations as compositions of a backend's own.
pub(super) mod composed {
    use burn::backend::{Shape, TensorMetadata, ops::ConvOptions, tensor::FloatTensor};

    use super::{Gradients, GroupNormOptions, Inputs, Kept, MapKernels, of_one_type};

    /// By Burn's own formulas.
    pub(in super::super) fn conv2d_gradients<B: MapKernels>(
        kept: Kept<B, ConvOptions<2>>,
        gradient: FloatTensor<B>,
    ) -> Gradients<B> {
        let [x, weight, bias] = of_one_type::<B>(kept.inputs);
        let [of_x, of_weight, of_bias] = kept.tracked;
        let options = kept.options;
        [
            of_x.then(|| {
                B::conv2d_x_backward(x.clone(), weight.clone(), gradient.clone(), options.clone())
            }),
            of_weight
                .then(|| B::conv2d_weight_backward(x.clone(), weight, gradient.clone(), options)),
            of_bias.then(|| B::conv2d_bias_backward(x, bias, gradient)),
        ]
    }

    /// Each group normalised, as `[batch, channels, height, width]`, and what it was divided by, inverted:
    /// `[batch · groups, 1]`.
    fn normalized<B: MapKernels>(
        x: FloatTensor<B>,
        options: GroupNormOptions,
    ) -> (FloatTensor<B>, FloatTensor<B>) {
        let shape = x.shape();
        let groups = Shape::new([
            shape[0] * options.groups,
            shape[1] / options.groups * shape[2] * shape[3],
        ]);
        let (normal, inverse) = B::normalize(B::float_reshape(x, groups), options.epsilon);
        (B::float_reshape(normal, shape), inverse)
    }

    /// A parameter of each channel, to be applied to a map.
    fn of_channels<B: MapKernels>(parameter: FloatTensor<B>) -> FloatTensor<B> {
        let channels = parameter.shape()[0];
        B::float_reshape(parameter, Shape::new([1, channels, 1, 1]))
    }

    fn scaled<B: MapKernels>(
        normal: FloatTensor<B>,
        gamma: FloatTensor<B>,
        beta: FloatTensor<B>,
    ) -> FloatTensor<B> {
        let scaled = B::float_mul(normal, of_channels::<B>(gamma));
        B::float_add(scaled, of_channels::<B>(beta))
    }

    pub(in super::super) fn group_norm_forward<B: MapKernels>(
        inputs: Inputs<B>,
        options: GroupNormOptions,
    ) -> FloatTensor<B> {
        let [x, gamma, beta] = inputs;
        let output = scaled::<B>(normalized::<B>(x, options).0, gamma, beta);
        if !options.silu {
            return output;
        }
        B::float_mul(B::sigmoid(output.clone()), output)
    }

    /// `gradient · (σ + y·σ·(1 − σ))` with `σ` the sigmoid of `y`.
    fn silu_gradient<B: MapKernels>(y: FloatTensor<B>, gradient: FloatTensor<B>) -> FloatTensor<B> {
        let sigmoid = B::sigmoid(y.clone());
        let rest = B::float_sub(y.clone(), B::float_mul(y, sigmoid.clone()));
        let slope = B::float_mul(sigmoid, B::float_add_scalar(rest, 1.0.into()));
        B::float_mul(gradient, slope)
    }

    /// Sums over all places of all maps of a batch: `[channels]`.
    fn channel_sums<B: MapKernels>(x: FloatTensor<B>) -> FloatTensor<B> {
        let shape = x.shape();
        let (batch, channels) = (shape[0], shape[1]);
        let maps = B::float_reshape(x, Shape::new([batch, channels, shape[2] * shape[3]]));
        let sums = B::float_sum_dim(B::float_sum_dim(maps, 2), 0);
        B::float_reshape(sums, Shape::new([channels]))
    }

    pub(in super::super) fn group_norm_gradients<B: MapKernels>(
        kept: Kept<B, GroupNormOptions>,
        mut gradient: FloatTensor<B>,
    ) -> Gradients<B> {
        let [x, gamma, beta] = kept.inputs;
        let [of_x, of_gamma, of_beta] = kept.tracked;
        let (shape, options) = (x.shape(), kept.options);
        let (normal, inverse) = normalized::<B>(x, options);
        if options.silu {
            let output = scaled::<B>(normal.clone(), gamma.clone(), beta);
            gradient = silu_gradient::<B>(output, gradient);
        }
        let of_beta = of_beta.then(|| channel_sums::<B>(gradient.clone()));
        let of_gamma =
            of_gamma.then(|| channel_sums::<B>(B::float_mul(gradient.clone(), normal.clone())));
        let of_x = of_x.then(|| {
            let groups = Shape::new([
                shape[0] * options.groups,
                shape[1] / options.groups * shape[2] * shape[3],
            ]);
            let scaled = B::float_mul(gradient, of_channels::<B>(gamma));
            let scaled = B::float_reshape(scaled, groups.clone());
            let normal = B::float_reshape(normal, groups);
            let mean = B::float_mean_dim(scaled.clone(), 1);
            let slope = B::float_mean_dim(B::float_mul(scaled.clone(), normal.clone()), 1);
            let centred = B::float_sub(scaled, mean);
            let centred = B::float_sub(centred, B::float_mul(normal, slope));
            B::float_reshape(B::float_mul(centred, inverse), shape)
        });
        [of_x, of_gamma, of_beta]
    }
}

#[cfg(all(test, feature = "flex"))]
mod tests {
    use burn::{
        backend::{Flex, TensorMetadata, ops::FloatTensorOps},
        tensor::{TensorData, read_sync},
    };

    use super::*;

    /// Numbers of no pattern, about as often above 0 as below.
    fn tensor(shape: &[usize], from: f32) -> FloatTensor<Flex> {
        let count: usize = shape.iter().product();
        let values: Vec<f32> = (0..count)
            .map(|at| ((at as f32 + from) * 0.618_034).fract() * 4.0 - 1.7)
            .collect();
        Flex::float_from_data(TensorData::new(values, shape.to_vec()), &Default::default())
    }

    #[track_caller]
    fn assert_close(found: FloatTensor<Flex>, expected: FloatTensor<Flex>) {
        assert_eq!(found.shape(), expected.shape());
        let values = |tensor| read_sync(Flex::float_into_data(tensor)).unwrap();
        let (found, expected) = (values(found), values(expected));
        for (found, expected) in found.iter::<f32>().zip(expected.iter::<f32>()) {
            assert!(
                (found - expected).abs() < 1e-5 * expected.abs().max(10.0),
                "{found} for {expected}"
            );
        }
    }

    #[track_caller]
    fn assert_all_close(found: Gradients<Flex>, expected: Gradients<Flex>) {
        for (found, expected) in found.into_iter().zip(expected) {
            match (found, expected) {
                (Some(found), Some(expected)) => assert_close(found, expected),
                (found, expected) => assert!(found.is_none() && expected.is_none()),
            }
        }
    }

    const TRACKED: [[bool; 3]; 4] = [
        [true, true, true],
        [true, false, false],
        [false, true, false],
        [false, false, true],
    ];

    /// The compositions that backends without kernels of their own use, on a backend that has some.
    #[test]
    fn the_composed_gradients_of_a_convolution_are_those_of_the_kernels() {
        for tracked in TRACKED {
            let options = ConvOptions::new_with_padding([2, 1], [(0, 1), (1, 1)], [1, 1], 1);
            let inputs = [
                tensor(&[2, 5, 9, 8], 1.0),
                tensor(&[7, 5, 3, 3], 2.0),
                tensor(&[7], 3.0),
            ];
            let (output, kept) = Flex::conv2d_kept(inputs, options, tracked);
            let gradient = tensor(&output.shape(), 4.0);
            let expected = Flex::conv2d_gradients(kept.clone(), gradient.clone());
            let found = composed::conv2d_gradients::<Flex>(kept, gradient);
            assert_all_close(found, expected);
        }
    }

    /// See above.
    #[test]
    fn the_composed_group_norm_is_that_of_the_kernels() {
        for (tracked, silu) in TRACKED.into_iter().flat_map(|t| [(t, false), (t, true)]) {
            let options = GroupNormOptions {
                groups: 3,
                epsilon: 1e-5,
                silu,
            };
            let inputs = [
                tensor(&[2, 6, 9, 8], 1.0),
                tensor(&[6], 2.0),
                tensor(&[6], 3.0),
            ];
            let (output, kept) = Flex::group_norm_kept(inputs.clone(), options, tracked);
            let gradient = tensor(&output.shape(), 4.0);
            assert_close(
                composed::group_norm_forward::<Flex>(inputs, options),
                output,
            );
            let expected = Flex::group_norm_gradients(kept.clone(), gradient.clone());
            let found = composed::group_norm_gradients::<Flex>(kept, gradient);
            assert_all_close(found, expected);
        }
    }
}
