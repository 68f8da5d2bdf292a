//! Kernels of the `flex` CPU backend: each row or run of elements once through the cache, on all
//! threads, with the widest vectors of the processor. Results do not depend on the number of threads.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use burn::backend::{
    DType, Distribution, Flex, FloatDType, TensorMetadata,
    flex::FlexDevice,
    ops::{FloatTensorOps, ModuleOps, QTensorOps},
    tensor::{FloatTensor, QuantizedTensor},
};
use pulp::Arch;
use rayon::prelude::*;

use super::{
    few_rows::{few_rows, few_rows_of_eight_bit},
    flex_tensor::{FlexTensor, RUN, contiguous, slice, tensor, total},
    kernels::{Kernels, LayerNormGradients, composed, like, rows},
    scalars::{exp_negative, polynomial, sum_of},
    widen::{widened, widened_eight_bit},
};

/// Rows that one task does at a time.
const ROWS: usize = 64;

impl Kernels for Flex {
    fn linear_forward(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if !all_f32(&[&x, &bias]) {
            let weight = like::<Self>(weight, &x);
            return <Self as ModuleOps<Self>>::linear(x, weight, Some(bias));
        }
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        let width = weight.shape()[1];
        shape[last] = width;
        let mut output = Self::product(rows::<Self>(x), weight);
        let bias = contiguous(&bias);
        let bias = slice(&bias);
        let run = (ROWS * width).max(1);
        output
            .storage_mut::<f32>()
            .par_chunks_mut(run)
            .for_each(|output| {
                Arch::new().dispatch(|| {
                    for row in output.chunks_exact_mut(width) {
                        for (output, &bias) in row.iter_mut().zip(bias) {
                            *output += bias;
                        }
                    }
                });
            });
        output.reshape(shape)
    }

    fn product(x: FloatTensor<Self>, weight: FloatTensor<Self>) -> FloatTensor<Self> {
        few_rows(&x, &weight).unwrap_or_else(|| {
            let weight = like::<Self>(weight, &x);
            Self::float_matmul(x, weight)
        })
    }

    fn eight_bit_product(x: FloatTensor<Self>, weight: QuantizedTensor<Self>) -> FloatTensor<Self> {
        few_rows_of_eight_bit(&x, &weight)
            .unwrap_or_else(|| composed::eight_bit_product::<Self>(x, weight))
    }

    fn cast(weight: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        let wide = (dtype == DType::F32).then(|| widened(&weight)).flatten();
        wide.unwrap_or_else(|| Self::float_cast(weight, dtype.into()))
    }

    fn widen_eight_bit(weight: QuantizedTensor<Self>, dtype: DType) -> FloatTensor<Self> {
        let wide = (dtype == DType::F32)
            .then(|| widened_eight_bit(&weight))
            .flatten();
        wide.unwrap_or_else(|| Self::dequantize(weight, dtype.into()))
    }

    fn column_sums(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&x]) {
            return composed::column_sums::<Self>(x);
        }
        let width = x.shape()[1];
        let x = contiguous(&x);
        let run = (ROWS * width).max(1);
        let sums: Vec<Vec<f32>> = slice(&x)
            .par_chunks(run)
            .map(|x| {
                let mut sums = vec![0.0; width];
                Arch::new().dispatch(|| {
                    for row in x.chunks_exact(width) {
                        for (sum, &value) in sums.iter_mut().zip(row) {
                            *sum += value;
                        }
                    }
                });
                sums
            })
            .collect();
        tensor(total(&sums, width), [width].into())
    }

    fn gelu_forward(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&x]) {
            return <Self as burn::backend::ops::ActivationOps<Self>>::gelu(x);
        }
        map(&x, gelu)
    }

    fn gelu_gradient(x: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&x, &gradient]) {
            return <Self as burn::backend::ops::ActivationOps<Self>>::gelu_backward(x, gradient);
        }
        zip(&x, &gradient, |x, gradient| gradient * gelu_slope(x))
    }

    fn softmax_gradient(y: FloatTensor<Self>, gradient: FloatTensor<Self>) -> FloatTensor<Self> {
        if !all_f32(&[&y, &gradient]) {
            return composed::softmax_gradient::<Self>(y, gradient);
        }
        let shape = y.shape();
        let width = shape[shape.num_dims() - 1];
        let (y, gradient) = (contiguous(&y), contiguous(&gradient));
        let (y, gradient) = (slice(&y), slice(&gradient));
        let mut output = vec![0.0; y.len()];
        let run = (ROWS * width).max(1);
        output
            .par_chunks_mut(run)
            .zip(y.par_chunks(run).zip(gradient.par_chunks(run)))
            .for_each(|(output, (y, gradient))| {
                Arch::new().dispatch(|| softmax_rows(output, y, gradient, width));
            });
        tensor(output, shape)
    }

    fn layer_norm_gradients(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        epsilon: f64,
    ) -> LayerNormGradients<Self> {
        if !all_f32(&[&x, &gamma, &gradient]) {
            return composed::layer_norm_gradients::<Self>(x, gamma, gradient, epsilon);
        }
        let shape = x.shape();
        let width = shape[shape.num_dims() - 1];
        let (x, gamma, gradient) = (contiguous(&x), contiguous(&gamma), contiguous(&gradient));
        let (x, gamma, gradient) = (slice(&x), slice(&gamma), slice(&gradient));
        let mut of_x = vec![0.0; x.len()];
        let run = (ROWS * width).max(1);
        let sums: Vec<Vec<f32>> = of_x
            .par_chunks_mut(run)
            .zip(x.par_chunks(run).zip(gradient.par_chunks(run)))
            .map(|(output, (x, gradient))| {
                let mut sums = vec![0.0; 2 * width];
                let (of_gamma, of_beta) = sums.split_at_mut(width);
                Arch::new().dispatch(|| {
                    layer_norm_rows(
                        output,
                        of_gamma,
                        of_beta,
                        x,
                        gamma,
                        gradient,
                        epsilon as f32,
                    );
                });
                sums
            })
            .collect();
        let mut total = total(&sums, 2 * width);
        let of_beta = total.split_off(width);
        LayerNormGradients {
            x: tensor(of_x, shape),
            gamma: tensor(total, [width].into()),
            beta: tensor(of_beta, [width].into()),
        }
    }

    fn dropout_mask(like: FloatTensor<Self>, probability: f64) -> FloatTensor<Self> {
        if !all_f32(&[&like]) {
            return composed::dropout_mask::<Self>(like, probability);
        }
        let shape = like.shape();
        let uniform = Distribution::Uniform(0.0, 1.0);
        let seed = Self::float_random([2].into(), uniform, &FlexDevice, FloatDType::F32);
        let seed = slice(&seed)
            .iter()
            .fold(0, |seed, &value| seed << 32 | u64::from(value.to_bits()));
        let threshold = (probability * f64::from(1 << 16)).round() as u64;
        let kept = 1.0 / (1.0 - threshold as f64 / f64::from(1 << 16));
        let mut mask = vec![0.0; shape.num_elements()];
        mask.par_chunks_mut(RUN)
            .enumerate()
            .for_each(|(chunk, mask)| {
                let stream = split_mix(seed ^ split_mix(chunk as u64));
                Arch::new().dispatch(|| draw_mask(mask, stream, threshold, kept as f32));
            });
        tensor(mask, shape)
    }
}

/// These kernels are of f32; other types take the compositions.
fn all_f32(tensors: &[&FlexTensor]) -> bool {
    tensors.iter().all(|tensor| tensor.dtype() == DType::F32)
}

fn map(x: &FlexTensor, function: impl Fn(f32) -> f32 + Sync) -> FlexTensor {
    let shape = x.shape();
    let x = contiguous(x);
    let x = slice(&x);
    let mut output = vec![0.0; x.len()];
    output
        .par_chunks_mut(RUN)
        .zip(x.par_chunks(RUN))
        .for_each(|(output, x)| {
            Arch::new().dispatch(|| {
                for (output, &x) in output.iter_mut().zip(x) {
                    *output = function(x);
                }
            });
        });
    tensor(output, shape)
}

fn zip(a: &FlexTensor, b: &FlexTensor, function: impl Fn(f32, f32) -> f32 + Sync) -> FlexTensor {
    let shape = a.shape();
    let (a, b) = (contiguous(a), contiguous(b));
    let (a, b) = (slice(&a), slice(&b));
    let mut output = vec![0.0; a.len()];
    output
        .par_chunks_mut(RUN)
        .zip(a.par_chunks(RUN).zip(b.par_chunks(RUN)))
        .for_each(|(output, (a, b))| {
            Arch::new().dispatch(|| {
                for (output, (&a, &b)) in output.iter_mut().zip(a.iter().zip(b)) {
                    *output = function(a, b);
                }
            });
        });
    tensor(output, shape)
}

/// `erf(x)` within 4e-7: the rational approximation of Eigen and XLA, odd in `x`.
#[inline(always)]
fn erf(x: f32) -> f32 {
    // From here on 1 is the nearest f32; the approximation would miss it by 1e-7, which GELU multiplies.
    if x.abs() > 3.92 {
        return 1.0f32.copysign(x);
    }
    let square = x * x;
    let top = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_6e-5,
        -7.349_906_3e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    let bottom = [
        -1.456_607_2e-5,
        -2.133_740_6e-4,
        -1.682_827e-3,
        -7.373_329e-3,
        -1.426_473_9e-2,
    ];
    x * polynomial(&top, square) / polynomial(&bottom, square)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    0.5 * x * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2))
}

/// Derivative of GELU: `Φ(x) + x·φ(x)`.
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    const INVERSE_SQRT_TAU: f32 = 0.398_942_3;
    let below = 0.5 * (1.0 + erf(x * std::f32::consts::FRAC_1_SQRT_2));
    below + x * INVERSE_SQRT_TAU * exp_negative(-0.5 * x * x)
}

#[inline(always)]
fn softmax_rows(output: &mut [f32], y: &[f32], gradient: &[f32], width: usize) {
    let rows = y.chunks_exact(width).zip(gradient.chunks_exact(width));
    for (output, (y, gradient)) in output.chunks_exact_mut(width).zip(rows) {
        let dot = sum_of(width, |i| y[i] * gradient[i]);
        for ((output, &y), &gradient) in output.iter_mut().zip(y).zip(gradient) {
            *output = y * (gradient - dot);
        }
    }
}

#[inline(always)]
fn layer_norm_rows(
    output: &mut [f32],
    of_gamma: &mut [f32],
    of_beta: &mut [f32],
    x: &[f32],
    gamma: &[f32],
    gradient: &[f32],
    epsilon: f32,
) {
    let width = gamma.len();
    let scale = 1.0 / width as f32;
    let rows = x.chunks_exact(width).zip(gradient.chunks_exact(width));
    for (output, (x, gradient)) in output.chunks_exact_mut(width).zip(rows) {
        let mean = sum_of(width, |i| x[i]) * scale;
        let variance = sum_of(width, |i| (x[i] - mean) * (x[i] - mean)) * scale;
        let inverse = 1.0 / (variance + epsilon).sqrt();
        // The row's output holds the normalised row until the gradient takes its place.
        for (normal, &x) in output.iter_mut().zip(x) {
            *normal = (x - mean) * inverse;
        }
        for (i, &normal) in output.iter().enumerate() {
            of_gamma[i] += gradient[i] * normal;
            of_beta[i] += gradient[i];
        }
        let level = sum_of(width, |i| gradient[i] * gamma[i]) * scale;
        let slope = sum_of(width, |i| gradient[i] * gamma[i] * output[i]) * scale;
        for (i, output) in output.iter_mut().enumerate() {
            *output = (gradient[i] * gamma[i] - level - *output * slope) * inverse;
        }
    }
}

/// SplitMix64's output function.
#[inline(always)]
fn split_mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ z >> 31
}

/// Four elements from each number of the stream, 16 bits each.
#[inline(always)]
fn draw_mask(mask: &mut [f32], stream: u64, threshold: u64, kept: f32) {
    for (counter, four) in mask.chunks_mut(4).enumerate() {
        let bits =
            split_mix(stream.wrapping_add((counter as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        for (i, value) in four.iter_mut().enumerate() {
            *value = if (bits >> (16 * i)) & 0xffff < threshold {
                0.0
            } else {
                kept
            };
        }
    }
}
