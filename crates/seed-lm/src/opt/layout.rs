//! Who sees whom, and at which position: sequences padded, or several in one row.

use burn::tensor::{Device, Int, Tensor};
use seed_nn::{AttentionBias, causal_bias, padding_bias, visibility_bias};

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
        let shape = [batch, length, length];
        let of_queries = segments.clone().reshape([batch, length, 1]).expand(shape);
        let of_keys = segments.clone().reshape([batch, 1, length]).expand(shape);
        let same = of_queries.equal(of_keys).float();
        // A sequence's tokens stand side by side, so that a token's position is the number of earlier tokens
        // of its own sequence.
        let earlier = Tensor::<2>::ones([length, length], &device).tril(-1);
        let positions = (same.clone() * earlier.unsqueeze::<3>())
            .sum_dim(2)
            .squeeze_dim::<2>(2)
            .int();
        // What padding is at has no meaning; OPT puts it at −1.
        let positions = positions.mask_fill(segments.equal_elem(0), -1);
        Self {
            positions,
            bias: visibility_bias(same.unsqueeze_dim(1)) + causal_bias(length, &device),
        }
    }
}
