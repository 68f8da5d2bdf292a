//! A few rows by a matrix on `flex`: what decoding is made of.
//!
//! Such a product takes as long as reading the matrix. It is read once, on all threads, in the type that it is kept
//! in: a weight of f16, bf16 or 8 bits is widened in registers, where the general product needs a widened copy of all of
//! it.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use burn::{
    backend::{DType, TensorMetadata},
    tensor::{bf16, f16},
};
use pulp::{Arch, NullaryFnOnce};
use rayon::prelude::*;

use super::{
    eight_bit::EIGHT_BIT_BLOCK,
    flex_tensor::{FlexQTensor, FlexTensor, contiguous, slice, tensor},
    widen::{Stored, as_it_lies, eight_bit_blocks},
};

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
    let (rows, input, output) = (x.shape()[0], weight.shape()[0], weight.shape()[1]);
    if x.dtype() != DType::F32 || rows > FEW || rows * input * output == 0 {
        return None;
    }
    match weight.dtype() {
        DType::F32 => product::<f32>(x, weight),
        DType::F16 => product::<f16>(x, weight),
        DType::BF16 => product::<bf16>(x, weight),
        _ => None,
    }
}

/// `x · weight` for a few rows of f32 and a weight kept in 8 bits; none where the general product has to do it.
///
/// # Shapes
///
/// - x: `[rows, input]`
/// - weight: `[input, output]`
/// - output: `[rows, output]`
pub(super) fn few_rows_of_eight_bit(x: &FlexTensor, weight: &FlexQTensor) -> Option<FlexTensor> {
    let (rows, input, output) = (x.shape()[0], weight.shape()[0], weight.shape()[1]);
    if x.dtype() != DType::F32 || rows > FEW || rows * input * output == 0 {
        return None;
    }
    let (weight, scales) = eight_bit_blocks(weight)?;
    Some(by_columns(x, output, |sums, x, start| {
        Arch::new().dispatch(AddBlocks {
            sums,
            x,
            input,
            weight: &weight[start..],
            scales: &scales[start / EIGHT_BIT_BLOCK..],
            stride: output,
        });
    }))
}

fn product<W: Stored>(x: &FlexTensor, weight: &FlexTensor) -> Option<FlexTensor> {
    let [input, output] = [weight.shape()[0], weight.shape()[1]];
    let (weight, turned) = as_it_lies(weight);
    let weight = weight.as_slice::<W>()?;
    Some(by_columns(x, output, |sums, x, start| {
        if turned {
            let count = sums.len() * input / x.len();
            Arch::new().dispatch(MultiplyRows {
                sums,
                x,
                input,
                weight: &weight[start * input..][..count * input],
            });
        } else {
            Arch::new().dispatch(AddRows {
                sums,
                x,
                input,
                weight: &weight[start..],
                stride: output,
            });
        }
    }))
}

/// `[rows, output]`, some columns a task: `add` gets the task's sums `[rows, columns]`, all of `x` and the first of the
/// columns.
fn by_columns(
    x: &FlexTensor,
    output: usize,
    add: impl Fn(&mut [f32], &[f32], usize) + Sync,
) -> FlexTensor {
    let rows = x.shape()[0];
    let x = contiguous(x);
    let x = slice(&x);
    let starts: Vec<usize> = (0..output).step_by(COLUMNS).collect();
    let parts: Vec<Vec<f32>> = starts
        .par_iter()
        .map(|&start| {
            let count = COLUMNS.min(output - start);
            let mut sums = vec![0.0; rows * count];
            add(&mut sums, x, start);
            sums
        })
        .collect();
    let mut values = vec![0.0; rows * output];
    for (start, part) in starts.iter().zip(&parts) {
        let count = part.len() / rows;
        for (values, sums) in values
            .chunks_exact_mut(output)
            .zip(part.chunks_exact(count))
        {
            values[*start..][..count].copy_from_slice(sums);
        }
    }
    tensor(values, [rows, output].into())
}

/// Of a weight `[input, output]`: adds to the sums each row of it, times its element of `x`; four at a time, so that
/// sums are loaded and stored a quarter as often.
///
/// No closure, here and below: one of this size is not inlined, and so not compiled for the widest vectors.
struct AddRows<'a, W> {
    /// `[rows, columns]`
    sums: &'a mut [f32],
    /// `[rows, input]`
    x: &'a [f32],
    input: usize,
    /// From the first of the columns on.
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
            input,
            weight,
            stride,
        } = self;
        let count = sums.len() / (x.len() / input);
        let row = |row: usize| &weight[row * stride..][..count];
        let whole = input / 4 * 4;
        for four in (0..whole).step_by(4) {
            let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|next| row(four + next));
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                let x = &x[four..][..4];
                let runs = w0.iter().zip(w1).zip(w2).zip(w3);
                for (sum, (((w0, w1), w2), w3)) in sums.iter_mut().zip(runs) {
                    let half = w1.widened().mul_add(x[1], w0.widened().mul_add(x[0], *sum));
                    *sum = w3.widened().mul_add(x[3], w2.widened().mul_add(x[2], half));
                }
            }
        }
        for rest in whole..input {
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                for (sum, weight) in sums.iter_mut().zip(row(rest)) {
                    *sum = weight.widened().mul_add(x[rest], *sum);
                }
            }
        }
    }
}

/// [`AddRows`] of a weight in blocks of 8 bits: a row's element of `x` is multiplied by the block's scale first.
struct AddBlocks<'a> {
    /// `[rows, columns]`, whole blocks of columns.
    sums: &'a mut [f32],
    /// `[rows, input]`
    x: &'a [f32],
    input: usize,
    /// From the first of the columns on.
    weight: &'a [i8],
    /// From the first of the columns' blocks on.
    scales: &'a [f32],
    stride: usize,
}

impl NullaryFnOnce for AddBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Self {
            sums,
            x,
            input,
            weight,
            scales,
            stride,
        } = self;
        let count = sums.len() / (x.len() / input);
        let blocks = stride / EIGHT_BIT_BLOCK;
        let whole = input / 4 * 4;
        for four in (0..whole).step_by(4) {
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                let x = &x[four..][..4];
                for (block, sums) in sums.chunks_exact_mut(EIGHT_BIT_BLOCK).enumerate() {
                    let [x0, x1, x2, x3] =
                        [0, 1, 2, 3].map(|row| x[row] * scales[(four + row) * blocks + block]);
                    let [w0, w1, w2, w3] = [0, 1, 2, 3].map(|row| {
                        &weight[(four + row) * stride + block * EIGHT_BIT_BLOCK..]
                            [..EIGHT_BIT_BLOCK]
                    });
                    let runs = w0.iter().zip(w1).zip(w2).zip(w3);
                    for (sum, (((w0, w1), w2), w3)) in sums.iter_mut().zip(runs) {
                        let half = f32::from(*w1).mul_add(x1, f32::from(*w0).mul_add(x0, *sum));
                        *sum = f32::from(*w3).mul_add(x3, f32::from(*w2).mul_add(x2, half));
                    }
                }
            }
        }
        for row in whole..input {
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                for (block, sums) in sums.chunks_exact_mut(EIGHT_BIT_BLOCK).enumerate() {
                    let x = x[row] * scales[row * blocks + block];
                    let weight = &weight[row * stride + block * EIGHT_BIT_BLOCK..];
                    for (sum, weight) in sums.iter_mut().zip(weight) {
                        *sum = f32::from(*weight).mul_add(x, *sum);
                    }
                }
            }
        }
    }
}

/// Of a weight `[output, input]`: each sum is a product of two runs.
struct MultiplyRows<'a, W> {
    /// `[rows, columns]`
    sums: &'a mut [f32],
    /// `[rows, input]`
    x: &'a [f32],
    input: usize,
    /// `[columns, input]`
    weight: &'a [W],
}

impl<W: Stored> NullaryFnOnce for MultiplyRows<'_, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        const LANES: usize = 64;
        let Self {
            sums,
            x,
            input,
            weight,
        } = self;
        let count = weight.len() / input;
        for (column, weight) in weight.chunks_exact(input).enumerate() {
            for (x, sums) in x.chunks_exact(input).zip(sums.chunks_exact_mut(count)) {
                let mut lanes = [0.0f32; LANES];
                let (runs, weights) = (x.chunks_exact(LANES), weight.chunks_exact(LANES));
                let rest = runs.remainder().iter().zip(weights.remainder());
                let rest: f32 = rest.map(|(x, weight)| x * weight.widened()).sum();
                for (x, weight) in runs.zip(weights) {
                    for ((lane, x), weight) in lanes.iter_mut().zip(x).zip(weight) {
                        *lane = weight.widened().mul_add(*x, *lane);
                    }
                }
                sums[column] = rest + lanes.iter().sum::<f32>();
            }
        }
    }
}
