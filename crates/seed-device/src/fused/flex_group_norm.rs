//! GroupNorm of f32 on `flex`: a group's values lie side by side, and go through the cache together.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use burn::backend::{DType, TensorMetadata};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{
    flex_tensor::{FlexTensor, contiguous, slice, tensor, total},
    maps::GroupNormOptions,
    scalars::{exp_negative, sum_of},
};

/// Values that are added up in f32.
const RUN: usize = 1 << 12;

/// Sizes of a norm that is done here: of f32.
#[derive(Debug, Clone, Copy)]
pub(super) struct GroupNorm {
    groups: usize,
    /// Channels of a group.
    channels: usize,
    /// Places of a channel.
    places: usize,
    epsilon: f64,
    silu: bool,
}

impl GroupNorm {
    /// None where it is left to a composition.
    pub(super) fn new(
        [x, gamma, beta]: [&FlexTensor; 3],
        options: &GroupNormOptions,
    ) -> Option<Self> {
        let f32s = [x, gamma, beta]
            .iter()
            .all(|tensor| tensor.dtype() == DType::F32);
        let shape = x.shape();
        let fits = options.groups > 0
            && shape[1].is_multiple_of(options.groups)
            && shape.num_elements() > 0;
        (f32s && fits).then(|| Self {
            groups: options.groups,
            channels: shape[1] / options.groups,
            places: shape[2] * shape[3],
            epsilon: options.epsilon,
            silu: options.silu,
        })
    }

    fn of_group(&self) -> usize {
        self.channels * self.places
    }

    /// Parameters of the group of this number among all pictures'.
    fn parameters<'a>(&self, group: usize, of_all: &'a [f32]) -> &'a [f32] {
        &of_all[group % self.groups * self.channels..][..self.channels]
    }

    /// What [`group_norm`](super::group_norm) gives, or [`group_norm_silu`](super::group_norm_silu).
    pub(super) fn forward(&self, [x, gamma, beta]: [&FlexTensor; 3]) -> FlexTensor {
        let shape = x.shape();
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let (x, gamma, beta) = (slice(&x), slice(&gamma), slice(&beta));
        let mut output = vec![0.0; x.len()];
        output
            .par_chunks_exact_mut(self.of_group())
            .zip(x.par_chunks_exact(self.of_group()))
            .enumerate()
            .for_each(|(group, (output, x))| {
                Arch::new().dispatch(Forward {
                    norm: *self,
                    x,
                    gamma: self.parameters(group, gamma),
                    beta: self.parameters(group, beta),
                    output,
                });
            });
        tensor(output, shape)
    }

    /// The gradients of `x`, `gamma` and `beta`.
    pub(super) fn gradients(
        &self,
        [x, gamma, beta]: [&FlexTensor; 3],
        gradient: &FlexTensor,
    ) -> [FlexTensor; 3] {
        let shape = x.shape();
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let gradient = contiguous(gradient);
        let (x, gamma, beta) = (slice(&x), slice(&gamma), slice(&beta));
        let mut of_x = vec![0.0; x.len()];
        let pairs = x
            .par_chunks_exact(self.of_group())
            .zip(slice(&gradient).par_chunks_exact(self.of_group()));
        let sums: Vec<Vec<f32>> = of_x
            .par_chunks_exact_mut(self.of_group())
            .zip(pairs)
            .enumerate()
            .map(|(group, (output, (x, gradient)))| {
                let mut sums = vec![0.0; 2 * self.channels];
                Arch::new().dispatch(Backward {
                    norm: *self,
                    x,
                    gamma: self.parameters(group, gamma),
                    beta: self.parameters(group, beta),
                    gradient,
                    output,
                    sums: &mut sums,
                });
                sums
            })
            .collect();
        // Of the groups of a picture, one after the other.
        let of_pictures = |from: usize| {
            let pictures = sums.chunks(self.groups).map(|groups| {
                groups
                    .iter()
                    .flat_map(|sums| sums[from..][..self.channels].iter().copied())
                    .collect()
            });
            let pictures: Vec<Vec<f32>> = pictures.collect();
            let all = self.groups * self.channels;
            tensor(total(&pictures, all), [all].into())
        };
        let (of_gamma, of_beta) = (of_pictures(0), of_pictures(self.channels));
        [tensor(of_x, shape), of_gamma, of_beta]
    }

    /// Mean, and what is divided by, inverted.
    #[inline(always)]
    fn statistics(&self, x: &[f32]) -> (f32, f32) {
        let count = x.len() as f64;
        let mean = sum_in_runs(x, |x| x) / count;
        let mean = mean as f32;
        let variance = sum_in_runs(x, |x| (x - mean) * (x - mean)) / count;
        (mean, (variance + self.epsilon).sqrt().recip() as f32)
    }
}

/// Runs are added up in f32, and their sums in f64.
#[inline(always)]
fn sum_in_runs(x: &[f32], term: impl Fn(f32) -> f32) -> f64 {
    x.chunks(RUN)
        .map(|run| f64::from(sum_of(run.len(), |i| term(run[i]))))
        .sum()
}

/// `1 / (1 + exp(−x))`, without a power that could overflow.
#[inline(always)]
fn sigmoid(x: f32) -> f32 {
    let power = exp_negative(-x.abs());
    let top = if x < 0.0 { power } else { 1.0 };
    top / (1.0 + power)
}

/// Of one group.
struct Forward<'a> {
    norm: GroupNorm,
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    output: &'a mut [f32],
}

impl NullaryFnOnce for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mean, inverse) = self.norm.statistics(self.x);
        let channels = self
            .x
            .chunks_exact(self.norm.places)
            .zip(self.output.chunks_exact_mut(self.norm.places));
        for ((x, output), (gamma, &beta)) in channels.zip(self.gamma.iter().zip(self.beta)) {
            let scale = inverse * gamma;
            if self.norm.silu {
                for (output, &x) in output.iter_mut().zip(x) {
                    let y = (x - mean).mul_add(scale, beta);
                    *output = y * sigmoid(y);
                }
            } else {
                for (output, &x) in output.iter_mut().zip(x) {
                    *output = (x - mean).mul_add(scale, beta);
                }
            }
        }
    }
}

/// Of one group.
struct Backward<'a> {
    norm: GroupNorm,
    x: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    gradient: &'a [f32],
    output: &'a mut [f32],
    /// Of `gamma`, and behind it of `beta`.
    sums: &'a mut [f32],
}

impl NullaryFnOnce for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (mean, inverse) = self.norm.statistics(self.x);
        let (of_gamma, of_beta) = self.sums.split_at_mut(self.norm.channels);
        let places = self.norm.places;
        let (mut level, mut slope) = (0.0, 0.0);
        for (channel, &gamma) in self.gamma.iter().enumerate() {
            let at = channel * places;
            let (x, gradient) = (&self.x[at..][..places], &self.gradient[at..][..places]);
            // The output holds the gradient of what SiLU is given, until that of `x` takes its place.
            let output = &mut self.output[at..][..places];
            if self.norm.silu {
                let (scale, beta) = (inverse * gamma, self.beta[channel]);
                for (output, (&x, &gradient)) in output.iter_mut().zip(x.iter().zip(gradient)) {
                    let y = (x - mean).mul_add(scale, beta);
                    let sigmoid = sigmoid(y);
                    *output = gradient * sigmoid * (y - y * sigmoid + 1.0);
                }
            } else {
                output.copy_from_slice(gradient);
            }
            of_beta[channel] = sum_in_runs(output, |gradient| gradient) as f32;
            of_gamma[channel] = sum_of(places, |i| output[i] * (x[i] - mean)) * inverse;
            level += gamma * of_beta[channel];
            slope += gamma * of_gamma[channel];
        }
        let scale = 1.0 / self.norm.of_group() as f32;
        let (level, slope) = (level * scale * inverse, slope * scale * inverse * inverse);
        let channels = self
            .x
            .chunks_exact(places)
            .zip(self.output.chunks_exact_mut(places));
        for ((x, output), gamma) in channels.zip(self.gamma) {
            let gamma = gamma * inverse;
            for (output, &x) in output.iter_mut().zip(x) {
                let centred = output.mul_add(gamma, -level);
                *output = (x - mean).mul_add(-slope, centred);
            }
        }
    }
}
