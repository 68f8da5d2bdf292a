//! A few rows by a matrix on `flex`: what decoding is made of.
//!
//! Such a product takes as long as reading the matrix. It is read once, on all threads, in the type that it is kept
//! in: a weight of f16 or bf16 is widened in registers, where the general product needs a widened copy of all of it.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use burn::{
    backend::{DType, TensorMetadata},
    tensor::{bf16, f16},
};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::flex::{FlexTensor, contiguous, slice, tensor};

/// Rows up to which this is faster than the general product.
const FEW: usize = 4;
/// Columns that one task does at a time, with the sums in the first cache.
const COLUMNS: usize = 512;

/// `x · weight` for a few rows of f32; none where the general product is the better one.
///
/// # Shapes
///
/// - x: `[rows, input]`
/// - weight: `[input, output]`, as it lies or as the transpose of what lies
/// - output: `[rows, output]`
pub(super) fn few_rows(x: &FlexTensor, weight: &FlexTensor) -> Option<FlexTensor> {
    if x.dtype() != DType::F32 || x.shape()[0] > FEW {
        return None;
    }
    match weight.dtype() {
        DType::F32 => product::<f32>(x, weight),
        DType::F16 => product::<f16>(x, weight),
        DType::BF16 => product::<bf16>(x, weight),
        _ => None,
    }
}

/// A type that weights are kept in.
trait Stored: burn::tensor::Element + bytemuck::Pod + Sync {
    fn widened(self) -> f32;
}

impl Stored for f32 {
    #[inline(always)]
    fn widened(self) -> f32 {
        self
    }
}

impl Stored for bf16 {
    #[inline(always)]
    fn widened(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

impl Stored for f16 {
    /// Without branches, so that a whole register is widened at once.
    #[inline(always)]
    fn widened(self) -> f32 {
        const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = f32::from_bits((bits & 0x7fff) << 13) * TWO_TO_112;
        let infinite = if bits & 0x7c00 == 0x7c00 {
            0x7f80_0000
        } else {
            0
        };
        f32::from_bits(magnitude.to_bits() | infinite | (bits & 0x8000) << 16)
    }
}

fn product<W: Stored>(x: &FlexTensor, weight: &FlexTensor) -> Option<FlexTensor> {
    let (rows, output) = (x.shape()[0], weight.shape()[1]);
    let x = contiguous(x);
    let x = slice(&x);
    let values = if weight.is_contiguous() {
        down_columns(x, rows, weight.as_slice::<W>()?, output)
    } else {
        let transposed = weight.transpose(0, 1);
        along_rows(x, rows, transposed.as_slice::<W>()?, output)
    };
    Some(tensor(values, [rows, output].into()))
}

/// The weight as `[input, output]`: each task adds up multiples of runs of its rows.
fn down_columns<W: Stored>(x: &[f32], rows: usize, weight: &[W], output: usize) -> Vec<f32> {
    let input = x.len() / rows;
    let parts: Vec<Vec<f32>> = (0..output.div_ceil(COLUMNS))
        .into_par_iter()
        .map(|part| {
            let start = part * COLUMNS;
            let count = COLUMNS.min(output - start);
            let mut sums = vec![0.0; rows * count];
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                Arch::new().dispatch(AddRows {
                    sums,
                    x,
                    weight: &weight[start..],
                    stride: output,
                });
            }
            sums
        })
        .collect();
    let mut values = vec![0.0; rows * output];
    for (part, sums) in parts.iter().enumerate() {
        let start = part * COLUMNS;
        let count = COLUMNS.min(output - start);
        for (values, sums) in values
            .chunks_exact_mut(output)
            .zip(sums.chunks_exact(count))
        {
            values[start..start + count].copy_from_slice(sums);
        }
    }
    values
}

/// Adds to the sums each row of the weight, times its element of `x`; four at a time, so that sums are loaded
/// and stored a quarter as often.
///
/// No closure, here and below: one of this size is not inlined, and so not compiled for the widest vectors.
struct AddRows<'a, W> {
    sums: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [W],
    stride: usize,
}

impl<W: Stored> NullaryFnOnce for AddRows<'_, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            sums,
            x,
            weight,
            stride,
        } = self;
        let count = sums.len();
        let row = |row: usize| &weight[row * stride..][..count];
        let fours = x.chunks_exact(4);
        let whole = x.len() / 4 * 4;
        for (rest, &x) in fours.remainder().iter().enumerate() {
            for (sum, weight) in sums.iter_mut().zip(row(whole + rest)) {
                *sum = weight.widened().mul_add(x, *sum);
            }
        }
        for (four, x) in fours.enumerate() {
            let [a, b, c, d] = [0, 1, 2, 3].map(|next| row(4 * four + next));
            let runs = a.iter().zip(b).zip(c).zip(d);
            for (sum, (((a, b), c), d)) in sums.iter_mut().zip(runs) {
                let first = b.widened().mul_add(x[1], a.widened().mul_add(x[0], *sum));
                *sum = d.widened().mul_add(x[3], c.widened().mul_add(x[2], first));
            }
        }
    }
}

/// The weight as `[output, input]`: each output is a product of two runs.
fn along_rows<W: Stored>(x: &[f32], rows: usize, weight: &[W], output: usize) -> Vec<f32> {
    let input = x.len() / rows;
    let mut values = vec![0.0; rows * output];
    for (x, values) in x.chunks_exact(input).zip(values.chunks_exact_mut(output)) {
        let tasks = values
            .par_chunks_mut(COLUMNS)
            .zip(weight.par_chunks(COLUMNS * input));
        tasks.for_each(|(values, weight)| {
            Arch::new().dispatch(MultiplyRows { values, x, weight });
        });
    }
    values
}

struct MultiplyRows<'a, W> {
    values: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [W],
}

impl<W: Stored> NullaryFnOnce for MultiplyRows<'_, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        const LANES: usize = 64;
        let Self { values, x, weight } = self;
        for (value, weight) in values.iter_mut().zip(weight.chunks_exact(x.len())) {
            let mut lanes = [0.0f32; LANES];
            let (runs, weights) = (x.chunks_exact(LANES), weight.chunks_exact(LANES));
            let rest = runs.remainder().iter().zip(weights.remainder());
            let rest: f32 = rest.map(|(x, weight)| x * weight.widened()).sum();
            for (x, weight) in runs.zip(weights) {
                for ((lane, x), weight) in lanes.iter_mut().zip(x).zip(weight) {
                    *lane = weight.widened().mul_add(*x, *lane);
                }
            }
            *value = rest + lanes.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_half_is_widened_exactly() {
        for bits in 0..=u16::MAX {
            let (half, brain) = (f16::from_bits(bits), bf16::from_bits(bits));
            let same = |found: f32, expected: f32| {
                found.to_bits() == expected.to_bits() || (found.is_nan() && expected.is_nan())
            };
            assert!(same(half.widened(), half.to_f32()), "{bits:#x}");
            assert!(same(brain.widened(), brain.to_f32()), "{bits:#x}");
        }
    }
}
