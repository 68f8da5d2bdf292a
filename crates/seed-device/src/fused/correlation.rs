//! Correlations of maps with kernels on `flex`, which convolutions and their gradients are made of: sums in registers over
//! runs of [maps as they are laid out](super::laid_out).

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::laid_out::{Correlation, VECTOR};

/// Output channels whose weights lie side by side.
const TOGETHER: usize = 8;
/// Elements of a laid out part of a map: it stays in the second cache while all outputs are computed from it.
const PART: usize = 1 << 17;
/// Places that are added up in registers.
const PLACES: usize = 1 << 12;
/// Tasks that a gradient is divided into where there are as many pictures.
const TASKS: usize = 16;

/// Where outputs are put: each by `step` from `start` on, in maps of `map`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) map: [usize; 2],
    pub(super) start: [usize; 2],
    pub(super) step: [usize; 2],
}

/// Weights in the order in which they are read.
#[derive(Debug)]
pub(super) struct Weights {
    /// `[outputs / TOGETHER, channels · taps, TOGETHER]`
    values: Vec<f32>,
    outputs: usize,
    inner: usize,
}

impl Weights {
    /// Those of so many output channels and channels, where each lies `apart` from the next, and of the taps from these
    /// places on.
    pub(super) fn new(
        weights: &[f32],
        [outputs, channels]: [usize; 2],
        apart: [usize; 2],
        taps: &[usize],
    ) -> Self {
        let inner = channels * taps.len();
        let mut values = vec![0.0; outputs.div_ceil(TOGETHER) * inner * TOGETHER];
        values
            .par_chunks_mut((inner * TOGETHER).max(1))
            .enumerate()
            .for_each(|(block, values)| {
                let first = block * TOGETHER;
                let mut values = values.chunks_exact_mut(TOGETHER);
                for channel in 0..channels {
                    for (&tap, values) in taps.iter().zip(values.by_ref()) {
                        let at = first * apart[0] + channel * apart[1] + tap;
                        let weights = weights[at..].iter().step_by(apart[0]);
                        for (value, &weight) in values.iter_mut().zip(weights).take(outputs - first)
                        {
                            *value = weight;
                        }
                    }
                }
            });
        Self {
            values,
            outputs,
            inner,
        }
    }
}

/// `output[output channel] = bias + Σ weight · map` over channels and taps, of each picture.
///
/// # Shapes
///
/// - maps: `[batch, channels, ..]`
/// - bias: of each output channel
/// - output: `[batch, output channels, ..]`; other places than those that are put stay as they are
pub(super) fn correlate(
    correlation: &Correlation,
    maps: &[f32],
    weights: &Weights,
    bias: Option<&[f32]>,
    places: Places,
    output: &mut [f32],
) {
    let of_output = places.map[0] * places.map[1];
    let of_map = correlation.channels * correlation.map[0] * correlation.map[1];
    let [rows, columns] = correlation.output;
    if [
        of_output,
        of_map,
        rows,
        columns,
        weights.outputs,
        maps.len(),
    ]
    .contains(&0)
    {
        return;
    }
    let layout = correlation.layout_within(PART);
    let offsets = correlation.offsets(&layout);
    let pitch = layout.run(layout.rows, columns) + VECTOR;
    // Few pictures: each thread does some channels of one.
    let blocks = weights.outputs.div_ceil(TOGETHER);
    let pictures = maps.len() / of_map;
    let shares = (2 * rayon::current_num_threads())
        .div_ceil(pictures)
        .min(blocks);
    let blocks_of_share = blocks.div_ceil(shares);
    let channels_of_share = blocks_of_share * TOGETHER;
    let shares = blocks.div_ceil(blocks_of_share);
    let tasks: Vec<(usize, usize, &mut [f32])> = output
        .chunks_exact_mut(weights.outputs * of_output)
        .enumerate()
        .flat_map(|(picture, output)| {
            output
                .chunks_mut(channels_of_share * of_output)
                .enumerate()
                .map(move |(share, output)| (picture, share, output))
        })
        .collect();
    debug_assert_eq!(tasks.len(), pictures * shares);
    tasks.into_par_iter().for_each_init(
        || {
            let laid_out = vec![0.0; layout.elements(correlation.channels)];
            (laid_out, vec![0.0; TOGETHER * pitch])
        },
        |(laid_out, sums), (picture, share, output)| {
            let map = &maps[picture * of_map..][..of_map];
            for first in (0..rows).step_by(layout.rows) {
                correlation.lay_out(&layout, [0, first], map, laid_out);
                let rows = layout.rows.min(rows - first);
                let run = layout.run(rows, columns);
                for (block, output) in output.chunks_mut(TOGETHER * of_output).enumerate() {
                    let block = share * blocks_of_share + block;
                    let channels = output.len() / of_output;
                    let of_block = weights.inner * TOGETHER;
                    let mut from = [0.0; TOGETHER];
                    if let Some(bias) = bias {
                        from[..channels].copy_from_slice(&bias[block * TOGETHER..][..channels]);
                    }
                    Arch::new().dispatch(Sums {
                        to: sums,
                        pitch,
                        run,
                        channels,
                        map: laid_out,
                        offsets: &offsets,
                        weights: &weights.values[block * of_block..][..of_block],
                        bias: from,
                    });
                    for (sums, output) in sums
                        .chunks_exact(pitch)
                        .zip(output.chunks_exact_mut(of_output))
                    {
                        for (row, sums) in sums.chunks(layout.width).take(rows).enumerate() {
                            let row = places.start[0] + (first + row) * places.step[0];
                            let output = &mut output[row * places.map[1] + places.start[1]..];
                            put(&sums[..columns], places.step[1], output);
                        }
                    }
                }
            }
        },
    );
}

fn put(sums: &[f32], step: usize, output: &mut [f32]) {
    if step == 1 {
        output[..sums.len()].copy_from_slice(sums);
        return;
    }
    for (output, &sum) in output.iter_mut().step_by(step).zip(sums) {
        *output = sum;
    }
}

/// The sums of [`TOGETHER`] output channels over a run of places.
struct Sums<'a> {
    /// `[TOGETHER, pitch]`
    to: &'a mut [f32],
    pitch: usize,
    run: usize,
    /// Output channels that there are.
    channels: usize,
    map: &'a [f32],
    offsets: &'a [usize],
    /// `[offsets, TOGETHER]`
    weights: &'a [f32],
    bias: [f32; TOGETHER],
}

impl WithSimd for Sums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        // As many sums as there are registers, less those for what comes in.
        match S::F32_LANES {
            16 if self.channels > 4 => self.all::<S, 8, 3>(simd, 0),
            16 => self.all::<S, 4, 6>(simd, 0),
            _ => {
                self.all::<S, 4, 2>(simd, 0);
                if self.channels > 4 {
                    self.all::<S, 4, 2>(simd, 4);
                }
            }
        }
    }
}

impl Sums<'_> {
    #[inline(always)]
    fn all<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, from: usize) {
        let mut at = 0;
        while at + N * S::F32_LANES <= self.run {
            self.some::<S, M, N>(simd, from, at);
            at += N * S::F32_LANES;
        }
        while at < self.run {
            self.some::<S, M, 1>(simd, from, at);
            at += S::F32_LANES;
        }
    }

    /// `N` vectors of places of `M` channels.
    #[inline(always)]
    fn some<S: Simd, const M: usize, const N: usize>(&mut self, simd: S, from: usize, at: usize) {
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        for (m, sums) in sums.iter_mut().enumerate() {
            *sums = [simd.splat_f32s(self.bias[from + m]); N];
        }
        let map = &self.map[at..];
        for (&offset, weights) in self.offsets.iter().zip(self.weights.chunks_exact(TOGETHER)) {
            let seen = &map[offset..][..N * S::F32_LANES];
            let Some(seen) = S::as_simd_f32s(seen).0.first_chunk::<N>() else {
                return;
            };
            let Some(weights) = weights[from..].first_chunk::<M>() else {
                return;
            };
            for (sums, &weight) in sums.iter_mut().zip(weights) {
                let weight = simd.splat_f32s(weight);
                for (sum, &seen) in sums.iter_mut().zip(seen) {
                    *sum = simd.mul_add_e_f32s(weight, seen, *sum);
                }
            }
        }
        for (m, sums) in sums.iter().enumerate() {
            let to = &mut self.to[(from + m) * self.pitch + at..][..N * S::F32_LANES];
            S::as_mut_simd_f32s(to).0.copy_from_slice(sums);
        }
    }
}

/// `Σ gradient · map` over pictures and places, for each output channel and each channel and tap.
///
/// # Shapes
///
/// - maps: `[batch, channels, ..]`
/// - gradient: `[batch, outputs, rows, columns]` of the correlation's output
/// - output: `[outputs, channels, taps]`
pub(super) fn products(
    correlation: &Correlation,
    maps: &[f32],
    gradient: &[f32],
    outputs: usize,
) -> Vec<f32> {
    let inner = correlation.channels * correlation.shifts.len();
    let of_map = correlation.channels * correlation.map[0] * correlation.map[1];
    let [rows, columns] = correlation.output;
    let of_gradient = outputs * rows * columns;
    let mut total = vec![0.0; outputs * inner];
    if [of_map, of_gradient, inner, maps.len()].contains(&0) {
        return total;
    }
    let pictures = maps.len() / of_map;
    let mut layout = correlation.layout_within(4 * PART);
    // Small pictures are added up together, and the outputs divided instead. What is added to what depends on the sizes
    // alone: the sums are the same on any number of threads.
    let places = layout.height * layout.width;
    let parts = (pictures * places / PLACES).clamp(1, TASKS.min(pictures));
    let of_part = pictures.div_ceil(parts);
    let together = (PLACES / places).clamp(1, of_part);
    if together > 1 && layout.rows == rows {
        layout = correlation.layout(rows, together);
    }
    let together = layout.pictures;
    let offsets = correlation.offsets(&layout);
    let shares = rayon::current_num_threads()
        .div_ceil(parts)
        .clamp(1, outputs);
    let of_share = outputs.div_ceil(shares);
    let pitch = (together * places).next_multiple_of(VECTOR);
    let tasks: Vec<[usize; 2]> = (0..pictures)
        .step_by(of_part)
        .flat_map(|picture| {
            (0..outputs)
                .step_by(of_share)
                .map(move |output| [picture, output])
        })
        .collect();
    let sums: Vec<Vec<f32>> = tasks
        .par_iter()
        .map(|&[picture, output]| {
            let outputs_of_all = outputs;
            let outputs = of_share.min(outputs - output);
            let mut sums = vec![0.0; outputs * inner];
            let mut laid_out = vec![0.0; layout.elements(correlation.channels)];
            let mut gradients = vec![0.0; outputs * pitch];
            let end = (picture + of_part).min(pictures);
            for picture in (picture..end).step_by(together) {
                let together = together.min(end - picture);
                for first in (0..rows).step_by(layout.rows) {
                    let rows_of_part = layout.rows.min(rows - first);
                    for at in 0..together {
                        let map = &maps[(picture + at) * of_map..][..of_map];
                        correlation.lay_out(&layout, [at, first], map, &mut laid_out);
                    }
                    for (channel, to) in gradients.chunks_exact_mut(pitch).enumerate() {
                        for (at, to) in to.chunks_mut(places).enumerate() {
                            let rows_of_part = if at < together { rows_of_part } else { 0 };
                            let at = (picture + at) * outputs_of_all + output + channel;
                            let from = gradient.get((at * rows + first) * columns..);
                            let from = from.unwrap_or_default();
                            spread(from, [rows_of_part, columns], layout.width, to);
                        }
                    }
                    Arch::new().dispatch(Products {
                        sums: &mut sums,
                        gradients: &gradients,
                        pitch,
                        run: (together - 1) * places + layout.run(rows_of_part, columns),
                        maps: &laid_out,
                        offsets: &offsets,
                    });
                }
            }
            sums
        })
        .collect();
    for (&[_, output], sums) in tasks.iter().zip(&sums) {
        let total = &mut total[output * inner..][..sums.len()];
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    total
}

/// Rows with zeros between and behind them.
fn spread(from: &[f32], [rows, columns]: [usize; 2], width: usize, to: &mut [f32]) {
    let (inside, behind) = to.split_at_mut((rows * width).min(to.len()));
    for (row, from) in inside.chunks_mut(width).zip(from.chunks_exact(columns)) {
        // The last row may end with its last column.
        let (row, between) = row.split_at_mut(columns);
        row.copy_from_slice(from);
        between.fill(0.0);
    }
    behind.fill(0.0);
}

/// Adds to each output channel's and each offset's sum the products over a run.
struct Products<'a> {
    /// `[outputs, offsets]`
    sums: &'a mut [f32],
    /// `[outputs, pitch]`, zeros behind the run
    gradients: &'a [f32],
    pitch: usize,
    run: usize,
    maps: &'a [f32],
    offsets: &'a [usize],
}

impl WithSimd for Products<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, simd: S) {
        match S::F32_LANES {
            16 => self.all::<S, 3, 9>(simd),
            _ => self.all::<S, 3, 3>(simd),
        }
    }
}

impl Products<'_> {
    #[inline(always)]
    fn all<S: Simd, const M: usize, const N: usize>(&mut self, simd: S) {
        let inner = self.offsets.len();
        let outputs = self.sums.len() / inner;
        for column in (0..inner).step_by(N) {
            let columns = N.min(inner - column);
            // The last again and again, where fewer are left.
            let mut offsets = [self.offsets[column + columns - 1]; N];
            offsets[..columns].copy_from_slice(&self.offsets[column..][..columns]);
            for output in (0..outputs).step_by(M) {
                let channels = M.min(outputs - output);
                let mut of_channel = [output + channels - 1; M];
                for (m, of_channel) in of_channel[..channels].iter_mut().enumerate() {
                    *of_channel = output + m;
                }
                let found = self.some::<S, M, N>(simd, of_channel, offsets);
                for (m, found) in found[..channels].iter().enumerate() {
                    let sums = &mut self.sums[(output + m) * inner + column..][..columns];
                    for (sum, &found) in sums.iter_mut().zip(found) {
                        *sum += simd.reduce_sum_f32s(found);
                    }
                }
            }
        }
    }

    #[inline(always)]
    fn some<S: Simd, const M: usize, const N: usize>(
        &self,
        simd: S,
        channels: [usize; M],
        offsets: [usize; N],
    ) -> [[S::f32s; N]; M] {
        let mut sums = [[simd.splat_f32s(0.0); N]; M];
        let run = self.run.next_multiple_of(S::F32_LANES);
        let maps = offsets.map(|offset| S::as_simd_f32s(&self.maps[offset..][..run]).0);
        let gradients = channels.map(|channel| {
            let gradient = &self.gradients[channel * self.pitch..][..run];
            S::as_simd_f32s(gradient).0
        });
        for at in 0..run / S::F32_LANES {
            let gradients = gradients.map(|gradient| gradient[at]);
            for n in 0..N {
                let seen = maps[n][at];
                for (sums, &gradient) in sums.iter_mut().zip(&gradients) {
                    sums[n] = simd.mul_add_e_f32s(gradient, seen, sums[n]);
                }
            }
        }
        sums
    }
}
