//! Who sees whom, and at which position: sequences padded, or several in one row.

use burn::tensor::{Device, Int, Tensor};
use seed_nn::{AttentionBias, causal_bias, padding_bias};

/// What is added to a hidden key's score, as in `seed-nn`.
const HIDDEN: f64 = -10_000.0;

/// Positions of a batch's tokens and the bias of their attention.
#[derive(Debug, Clone)]
pub struct Layout {
    /// `[batch or 1, length]`, counted from 0 in each sequence; −1 for padding before it.
    pub(super) positions: Tensor<2, Int>,
    /// `[batch or 1, 1, length, length]`
    pub(super) bias: AttentionBias,
}

impl Layout {
    /// Rows that hold one whole sequence each.
    pub fn full(length: usize, device: &Device) -> Self {
        Self {
            positions: Tensor::arange(0..length as i64, device).unsqueeze(),
            bias: causal_bias(length, device),
        }
    }

    /// Rows of one sequence with padding on either side.
    ///
    /// # Shapes
    ///
    /// - mask: `[batch, length]`, 1 for a real token
    pub fn padded(mask: Tensor<2, Int>) -> Self {
        let length = mask.dims()[1];
        let device = mask.device();
        Self {
            positions: mask.clone().cumsum(1) * mask.clone() - 1,
            bias: padding_bias(mask) + causal_bias(length, &device),
        }
    }

    /// Rows of several sequences: a token sees the earlier ones of its own sequence, and positions start
    /// anew with each.
    ///
    /// # Shapes
    ///
    /// - segments: `[batch, length]`, 0 for padding, 1, 2, … for the sequences in their order
    pub fn packed(segments: Tensor<2, Int>) -> Self {
        let [batch, length] = segments.dims();
        let device = segments.device();
        let of_queries = segments.clone().reshape([batch, 1, length, 1]);
        let of_keys = segments.clone().reshape([batch, 1, 1, length]);
        let shape = [batch, 1, length, length];
        let same = of_queries.expand(shape).equal(of_keys.expand(shape));
        let apart = same.float().neg().add_scalar(1.0).mul_scalar(HIDDEN);
        // A sequence's tokens stand side by side, so that a token's position is the number of earlier tokens
        // of its own sequence.
        let earlier = Tensor::<2>::ones([length, length], &device).tril(-1);
        let same = segments
            .clone()
            .reshape([batch, length, 1])
            .expand([batch, length, length])
            .equal(
                segments
                    .clone()
                    .reshape([batch, 1, length])
                    .expand([batch, length, length]),
            );
        let positions = (same.float() * earlier.unsqueeze::<3>())
            .sum_dim(2)
            .squeeze_dim::<2>(2)
            .int();
        // What padding is at has no meaning; OPT puts it at −1.
        let positions = positions.mask_fill(segments.equal_elem(0), -1);
        Self {
            positions,
            bias: apart + causal_bias(length, &device),
        }
    }
}

/// The bias that hides later tokens from `new` tokens behind `past` others, `[1, 1, new, past + new]`.
pub(super) fn later_keys(new: usize, past: usize, device: &Device) -> AttentionBias {
    Tensor::<2>::full([new, past + new], HIDDEN, device)
        .triu(past as i64 + 1)
        .unsqueeze()
}
