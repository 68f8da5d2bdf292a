//! Weights kept narrow, widened to f32 on all threads of `flex`: Burn's own casts run on one, value by value.

// What runs inside `Arch::dispatch` must be inlined there to be compiled for its vectors.
#![expect(clippy::inline_always)]

use burn::{
    backend::{DType, TensorMetadata},
    tensor::{bf16, f16},
};
use pulp::Arch;
use rayon::prelude::*;

use super::{
    eight_bit::EIGHT_BIT_BLOCK,
    flex_tensor::{FlexQTensor, FlexTensor, RUN, tensor},
};

/// A type that weights are kept in.
pub(super) trait Stored: burn::tensor::Element + bytemuck::Pod + Sync {
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
        // Sign and magnitude move to their places together; then the exponent gets f32's offset.
        let bits = i32::from(self.to_bits() as i16);
        let value = f32::from_bits((bits << 13) as u32 & 0x8fff_e000) * TWO_TO_112;
        let infinite = if bits & 0x7c00 == 0x7c00 {
            0x7f80_0000
        } else {
            0
        };
        f32::from_bits(value.to_bits() | infinite)
    }
}

/// A matrix of f16 or bf16 as f32; none of any other type.
///
/// # Shapes
///
/// - weight, output: `[input, output]`, as it lies or as the transpose of what lies
pub(super) fn widened(weight: &FlexTensor) -> Option<FlexTensor> {
    match weight.dtype() {
        DType::F16 => widened_from::<f16>(weight),
        DType::BF16 => widened_from::<bf16>(weight),
        _ => None,
    }
}

fn widened_from<W: Stored>(weight: &FlexTensor) -> Option<FlexTensor> {
    let (weight, turned) = as_it_lies(weight);
    let narrow = weight.as_slice::<W>()?;
    let mut wide = vec![0.0; narrow.len()];
    wide.par_chunks_mut(RUN)
        .zip(narrow.par_chunks(RUN))
        .for_each(|(wide, narrow)| {
            Arch::new().dispatch(|| {
                for (wide, narrow) in wide.iter_mut().zip(narrow) {
                    *wide = narrow.widened();
                }
            });
        });
    let wide = tensor(wide, weight.shape());
    Some(if turned { wide.transpose(0, 1) } else { wide })
}

/// A matrix in the order in which its elements lie, and whether that is its transpose.
pub(super) fn as_it_lies(weight: &FlexTensor) -> (FlexTensor, bool) {
    if weight.is_contiguous() {
        (weight.clone(), false)
    } else {
        (weight.transpose(0, 1), true)
    }
}

/// A weight kept in blocks of 8 bits as the f32 that it stands for; none if its blocks are not
/// [ours](super::in_eight_bit).
///
/// # Shapes
///
/// - weight, output: `[input, output]`
pub(super) fn widened_eight_bit(weight: &FlexQTensor) -> Option<FlexTensor> {
    let (narrow, scales) = eight_bit_blocks(weight)?;
    let mut wide = vec![0.0; narrow.len()];
    wide.par_chunks_mut(RUN)
        .zip(narrow.par_chunks(RUN))
        .zip(scales.par_chunks(RUN / EIGHT_BIT_BLOCK))
        .for_each(|((wide, narrow), scales)| {
            Arch::new().dispatch(|| {
                let blocks = wide
                    .chunks_exact_mut(EIGHT_BIT_BLOCK)
                    .zip(narrow.chunks_exact(EIGHT_BIT_BLOCK));
                for ((wide, narrow), scale) in blocks.zip(scales) {
                    for (wide, narrow) in wide.iter_mut().zip(narrow) {
                        *wide = scale * f32::from(*narrow);
                    }
                }
            });
        });
    Some(tensor(wide, weight.shape()))
}

/// The values of a weight in blocks of 8 bits and a scale for each block; none if its blocks are not
/// [ours](super::in_eight_bit).
pub(super) fn eight_bit_blocks(weight: &FlexQTensor) -> Option<(&[i8], &[f32])> {
    let (output, scales) = (weight.shape()[1], weight.scales());
    let values = weight.tensor().as_slice::<i8>()?;
    let ours =
        output.is_multiple_of(EIGHT_BIT_BLOCK) && scales.len() * EIGHT_BIT_BLOCK == values.len();
    ours.then_some((values, scales))
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
