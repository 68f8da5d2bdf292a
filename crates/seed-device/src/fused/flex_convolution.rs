//! Convolutions of f32 on `flex`, and their gradients, as [correlations](Correlation).

use burn::backend::{DType, TensorMetadata, ops::ConvOptions};
use pulp::Arch;
use rayon::prelude::*;

use super::{
    correlation::{Places, Weights, correlate, products},
    flex_tensor::{FlexTensor, contiguous, slice, tensor, total},
    laid_out::Correlation,
    scalars::sum_of,
};

/// A convolution that is done here: of f32, with all channels together.
#[derive(Debug, Clone)]
pub(super) struct Convolution {
    batch: usize,
    /// Channels that come in and go out.
    channels: [usize; 2],
    kernel: [usize; 2],
    options: ConvOptions<2>,
    /// What each output sees of the input.
    seen: Correlation,
}

impl Convolution {
    /// None where it is left to Burn.
    pub(super) fn new(
        [x, weight, bias]: [&FlexTensor; 3],
        options: &ConvOptions<2>,
    ) -> Option<Self> {
        let f32s = [x, weight, bias]
            .iter()
            .all(|tensor| tensor.dtype() == DType::F32);
        let (shape, of_weight) = (x.shape(), weight.shape());
        let (map, kernel) = ([shape[2], shape[3]], [of_weight[2], of_weight[3]]);
        if !f32s || options.groups != 1 || shape[1] != of_weight[1] || kernel.contains(&0) {
            return None;
        }
        let output = |side: usize| {
            let (before, behind) = options.padding[side];
            let reach = options.dilation[side] * (kernel[side] - 1) + 1;
            let room = (map[side] + before + behind).checked_sub(reach)?;
            Some(room / options.stride[side] + 1)
        };
        let shifts = (0..kernel[0] * kernel[1]).map(|tap| {
            let [row, column] = [tap / kernel[1], tap % kernel[1]];
            [row * options.dilation[0], column * options.dilation[1]]
        });
        Some(Self {
            batch: shape[0],
            channels: [of_weight[1], of_weight[0]],
            kernel,
            options: options.clone(),
            seen: Correlation {
                channels: shape[1],
                map,
                origin: options.padding_begin().map(|before| -(before as isize)),
                stride: options.stride,
                shifts: shifts.collect(),
                output: [output(0)?, output(1)?],
            },
        })
    }

    /// What [`conv2d`](super::conv2d) gives.
    pub(super) fn forward(&self, [x, weight, bias]: [&FlexTensor; 3]) -> FlexTensor {
        let [inputs, outputs] = self.channels;
        let taps = self.kernel[0] * self.kernel[1];
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let all: Vec<usize> = (0..taps).collect();
        let weights = Weights::new(
            slice(&weight),
            [outputs, inputs],
            [inputs * taps, taps],
            &all,
        );
        let [rows, columns] = self.seen.output;
        let places = Places {
            map: self.seen.output,
            start: [0, 0],
            step: [1, 1],
        };
        let mut output = vec![0.0; self.batch * outputs * rows * columns];
        let bias = Some(slice(&bias));
        correlate(&self.seen, slice(&x), &weights, bias, places, &mut output);
        tensor(output, [self.batch, outputs, rows, columns].into())
    }

    /// The gradient of `x`: what each of its places gets from the outputs that see it.
    ///
    /// Places that lie a stride apart are seen through the same taps, and are a correlation of the outputs' gradient with
    /// those.
    pub(super) fn x_gradient(&self, weight: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
        let [inputs, outputs] = self.channels;
        let [height, width] = self.seen.map;
        let [_, kernel_columns] = self.kernel;
        let taps = self.kernel[0] * kernel_columns;
        let (weight, gradient) = (contiguous(weight), contiguous(gradient));
        let (weight, gradient) = (slice(&weight), slice(&gradient));
        let mut output = vec![0.0; self.batch * inputs * height * width];
        for rows in self.seen_together(0) {
            for columns in self.seen_together(1) {
                let both = || {
                    let columns = &columns.taps;
                    rows.taps
                        .iter()
                        .flat_map(move |row| columns.iter().map(move |column| [row, column]))
                };
                let of_taps: Vec<usize> = both()
                    .map(|[row, column]| row.index * kernel_columns + column.index)
                    .collect();
                let weights =
                    Weights::new(weight, [inputs, outputs], [taps, inputs * taps], &of_taps);
                let correlation = Correlation {
                    channels: outputs,
                    map: self.seen.output,
                    origin: [rows.origin, columns.origin],
                    stride: [1, 1],
                    shifts: both()
                        .map(|[row, column]| [row.shift, column.shift])
                        .collect(),
                    output: [rows.count, columns.count],
                };
                let places = Places {
                    map: self.seen.map,
                    start: [rows.start, columns.start],
                    step: self.options.stride,
                };
                correlate(&correlation, gradient, &weights, None, places, &mut output);
            }
        }
        tensor(output, [self.batch, inputs, height, width].into())
    }

    /// Of one side: the groups of places of the input that are seen through the same taps.
    fn seen_together(&self, side: usize) -> Vec<SeenTogether> {
        let (stride, dilation) = (self.options.stride[side], self.options.dilation[side]);
        let (before, _) = self.options.padding[side];
        let groups = (0..stride).filter_map(|rest| {
            // With its border a place is at `rest + stride · place`; the tap `index` sees it for the output
            // `place − index · dilation / stride`.
            let first = before.saturating_sub(rest).div_ceil(stride);
            let start = first * stride + rest - before;
            let count = self.seen.map[side].checked_sub(start)?.div_ceil(stride);
            let back = |index: usize| index * dilation / stride;
            let taps: Vec<usize> = (0..self.kernel[side])
                .filter(|index| index * dilation % stride == rest)
                .collect();
            let farthest = taps.iter().map(|&index| back(index)).max()?;
            let taps = taps.into_iter().map(|index| Tap {
                index,
                shift: farthest - back(index),
            });
            Some(SeenTogether {
                taps: taps.collect(),
                origin: first as isize - farthest as isize,
                start,
                count,
            })
        });
        groups.collect()
    }

    /// The gradient of the weight.
    pub(super) fn weight_gradient(&self, x: &FlexTensor, gradient: &FlexTensor) -> FlexTensor {
        let [inputs, outputs] = self.channels;
        let (x, gradient) = (contiguous(x), contiguous(gradient));
        let found = products(&self.seen, slice(&x), slice(&gradient), outputs);
        tensor(
            found,
            [outputs, inputs, self.kernel[0], self.kernel[1]].into(),
        )
    }

    /// The gradient of the bias: sums over pictures and places.
    pub(super) fn bias_gradient(&self, gradient: &FlexTensor) -> FlexTensor {
        let [_, outputs] = self.channels;
        let [rows, columns] = self.seen.output;
        let places = (rows * columns).max(1);
        let gradient = contiguous(gradient);
        let of_pictures: Vec<Vec<f32>> = slice(&gradient)
            .par_chunks((outputs * places).max(1))
            .map(|picture| {
                let channels = picture.chunks_exact(places);
                Arch::new().dispatch(|| {
                    channels
                        .map(|channel| sum_of(places, |i| channel[i]))
                        .collect()
                })
            })
            .collect();
        tensor(total(&of_pictures, outputs), [outputs].into())
    }
}

/// Places of the input, of one side, a stride apart.
struct SeenTogether {
    taps: Vec<Tap>,
    /// Where the outputs that are seen begin.
    origin: isize,
    /// The first place.
    start: usize,
    /// How many there are.
    count: usize,
}

/// A tap of the kernel, of one side.
struct Tap {
    index: usize,
    /// Of the output that it sees, from the first one on.
    shift: usize,
}
