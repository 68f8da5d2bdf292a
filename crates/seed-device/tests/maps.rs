//! The fused operations on maps beside Burn's own, at the sizes that are trained, on `SEED_TEST_DEVICE`.

use burn::tensor::{
    DType, Device, Distribution, Tensor, TensorData, activation::silu, module, ops::ConvOptions,
};
use seed_device::{Precision, fused, test_device, test_precisions};

fn device() -> Device {
    let device = test_device().autodiff();
    seed_device::seed(&device, 11);
    device
}

fn normal<const D: usize>(shape: [usize; D], device: &Device) -> TensorData {
    Tensor::<D>::random(shape, Distribution::Normal(0.1, 1.0), device).into_data()
}

#[track_caller]
fn assert_close(found: &TensorData, expected: &TensorData, tolerance: f32, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let expected: Vec<f32> = expected.iter::<f32>().collect();
    let largest = expected
        .iter()
        .fold(1.0f32, |most, value| most.max(value.abs()));
    for (found, expected) in found.iter::<f32>().zip(expected) {
        assert!(
            (found - expected).abs() <= tolerance * largest,
            "{what}: {found} for {expected}, of at most {largest}"
        );
    }
}

/// A layer's input and its two parameters, and the gradient that comes back to its output.
struct Layer {
    x: TensorData,
    weight: TensorData,
    bias: TensorData,
    gradient: TensorData,
}

/// Output, and the gradient of each input that has one.
type Found = (TensorData, [Option<TensorData>; 3]);

impl Layer {
    fn run<const D: usize>(
        &self,
        tracked: [bool; 3],
        device: &Device,
        function: impl Fn(Tensor<4>, Tensor<D>, Tensor<1>) -> Tensor<4>,
    ) -> Found {
        let track = |wanted| move |x: Tensor<4>| if wanted { x.require_grad() } else { x };
        let x = track(tracked[0])(Tensor::from_data(self.x.clone(), device));
        let weight = Tensor::<D>::from_data(self.weight.clone(), device);
        let bias = Tensor::<1>::from_data(self.bias.clone(), device);
        let weight = if tracked[1] {
            weight.require_grad()
        } else {
            weight
        };
        let bias = if tracked[2] {
            bias.require_grad()
        } else {
            bias
        };
        let output = function(x.clone(), weight.clone(), bias.clone());
        let loss = (output.clone() * Tensor::from_data(self.gradient.clone(), device)).sum();
        let gradients = loss.backward();
        let found = [
            x.grad(&gradients).map(|found| found.into_data()),
            weight.grad(&gradients).map(|found| found.into_data()),
            bias.grad(&gradients).map(|found| found.into_data()),
        ];
        (output.into_data(), found)
    }
}

/// Batch, channels in and out, side of the map; kernel, stride, border before and behind.
type Size = ([usize; 4], [usize; 2], (usize, usize));

const SIZES: [Size; 6] = [
    ([2, 3, 32, 64], [3, 1], (1, 1)),
    ([2, 32, 32, 32], [3, 2], (0, 1)),
    ([3, 48, 88, 16], [3, 2], (1, 1)),
    ([5, 136, 88, 8], [3, 1], (1, 1)),
    ([2, 88, 48, 16], [1, 1], (0, 0)),
    ([1, 320, 24, 12], [3, 1], (1, 1)),
];

fn convolution(index: usize, device: &Device) -> (Layer, ConvOptions<2>) {
    let ([batch, inputs, outputs, side], [kernel, stride], padding) = SIZES[index];
    let options = ConvOptions::new_with_padding([stride; 2], [padding; 2], [1, 1], 1);
    let to = (side + padding.0 + padding.1 - kernel) / stride + 1;
    let layer = Layer {
        x: normal([batch, inputs, side, side], device),
        weight: normal([outputs, inputs, kernel, kernel], device),
        bias: normal([outputs], device),
        gradient: normal([batch, outputs, to, to], device),
    };
    (layer, options)
}

#[test]
fn a_convolution_and_its_gradients_are_burns() {
    let device = device();
    for (index, size) in SIZES.iter().enumerate() {
        let (layer, options) = convolution(index, &device);
        let found = layer.run::<4>([true; 3], &device, |x, weight, bias| {
            fused::conv2d(x, weight, Some(bias), options.clone())
        });
        let expected = layer.run::<4>([true; 3], &device, |x, weight, bias| {
            module::conv2d(x, weight, Some(bias), options.clone())
        });
        assert_close(&found.0, &expected.0, 1e-5, &format!("{size:?}"));
        for (input, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
            let what = format!("{size:?}, gradient of input {input}");
            let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
            assert_close(found, expected, 1e-5, &what);
        }
    }
}

fn group_norm_layer(shape: [usize; 4], device: &Device) -> Layer {
    Layer {
        x: normal(shape, device),
        weight: normal([shape[1]], device),
        bias: normal([shape[1]], device),
        gradient: normal(shape, device),
    }
}

/// GroupNorm and SiLU as Burn takes them apart.
fn composed(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize) -> Tensor<4> {
    let [batch, channels, height, width] = x.dims();
    let x = x.reshape([batch, groups, channels / groups * height * width]);
    let (variance, mean) = x.clone().var_mean_bias(2);
    let normal = (x - mean) / (variance + 1e-6).sqrt();
    let normal = normal.reshape([batch, channels, height, width]);
    silu(normal * gamma.reshape([1, channels, 1, 1]) + beta.reshape([1, channels, 1, 1]))
}

#[test]
fn group_norm_with_silu_and_its_gradients_are_burns() {
    let device = device();
    for (shape, groups) in [
        ([3, 32, 64, 64], 8),
        ([5, 88, 8, 8], 8),
        ([2, 6, 9, 11], 6),
        ([1, 4, 70, 70], 1),
    ] {
        let layer = group_norm_layer(shape, &device);
        let found = layer.run::<1>([true; 3], &device, |x, gamma, beta| {
            fused::group_norm_silu(x, gamma, beta, groups, 1e-6)
        });
        let expected = layer.run::<1>([true; 3], &device, |x, gamma, beta| {
            composed(x, gamma, beta, groups)
        });
        assert_close(&found.0, &expected.0, 1e-5, &format!("{shape:?}"));
        for (input, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
            let what = format!("{shape:?}, gradient of input {input}");
            let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
            assert_close(found, expected, 1e-5, &what);
        }
    }
}

/// Frozen parameters, and maps without a gradient: what is asked for is the same, and nothing else is given.
#[test]
fn each_gradient_alone_is_the_same() {
    let device = device();
    let (convolved, options) = convolution(1, &device);
    let convolve = |x: Tensor<4>, weight: Tensor<4>, bias: Tensor<1>| {
        fused::conv2d(x, weight, Some(bias), options.clone())
    };
    let normalized = group_norm_layer([2, 6, 9, 11], &device);
    let normalize = |x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>| {
        fused::group_norm_silu(x, gamma, beta, 3, 1e-6)
    };
    let all = [
        convolved.run([true; 3], &device, convolve),
        normalized.run([true; 3], &device, normalize),
    ];
    for wanted in 0..3 {
        let tracked = [0, 1, 2].map(|input| input == wanted);
        let alone = [
            convolved.run(tracked, &device, convolve),
            normalized.run(tracked, &device, normalize),
        ];
        for ((output, found), (of_all, expected)) in alone.iter().zip(&all) {
            assert_close(output, of_all, 0.0, "output");
            for (input, (found, expected)) in found.iter().zip(expected).enumerate() {
                assert_eq!(found.is_some(), input == wanted, "{input}");
                if let (Some(found), Some(expected)) = (found, expected) {
                    assert_close(found, expected, 1e-6, &format!("gradient of input {input}"));
                }
            }
        }
    }
}

/// In the types that activations may have: weights are cast, norms are computed in f32.
#[test]
fn narrow_maps_keep_their_type() {
    let device = device();
    for precision in test_precisions(&device, &[Precision::F16, Precision::Bf16]) {
        let dtype: DType = precision.dtype();
        let (layer, options) = convolution(4, &device);
        let run = |dtype| {
            let norm = move |x: Tensor<4>| {
                let ones = || Tensor::<1>::ones([88], &x.device());
                let (gamma, beta) = (ones(), ones());
                fused::group_norm_silu(x, gamma, beta, 8, 1e-6)
            };
            layer.run::<4>([true; 3], &device, |x, weight, bias| {
                let normal = norm(x.cast(dtype));
                assert_eq!(normal.dtype(), dtype);
                let seen = fused::conv2d(normal, weight, Some(bias), options.clone());
                assert_eq!(seen.dtype(), dtype);
                seen.cast(DType::F32)
            })
        };
        let (found, expected) = (run(dtype), run(DType::F32));
        // Rounded to 8 bits, and many products added up.
        assert_close(&found.0, &expected.0, 3e-2, "output");
        for (input, (found, expected)) in found.1.iter().zip(&expected.1).enumerate() {
            let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
            assert_eq!(found.dtype(), DType::F32);
            assert_close(found, expected, 3e-2, &format!("gradient of input {input}"));
        }
    }
}

/// Of a batch as large as a decoder's: all sizes multiplied are 9 · 2⁶⁴, which once was taken for no elements at all.
#[test]
fn a_picture_of_a_large_batch_is_that_picture_alone() {
    let device = device();
    let drawn = |shape: [usize; 4]| Tensor::<4>::from_data(normal(shape, &device), &device);
    let (x, weight) = (drawn([8, 48, 64, 64]), drawn([32, 48, 3, 3]));
    let options = ConvOptions::new_with_padding([1, 1], [(1, 1), (1, 1)], [1, 1], 1);
    let convolve = |x: Tensor<4>| fused::conv2d(x, weight.clone(), None, options.clone());
    let all = convolve(x.clone());
    for picture in [0, 7] {
        let alone = convolve(x.clone().narrow(0, picture, 1)).into_data();
        let found = all.clone().narrow(0, picture, 1).into_data();
        assert_close(&found, &alone, 1e-5, &format!("picture {picture}"));
    }
}
