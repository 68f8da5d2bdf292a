//! Scaled dot-product attention, fused where Burn fuses it.

use burn::tensor::{Device, Int, Tensor, module::attention, ops::AttentionModuleOptions};
use seed_device::fused;

use crate::Dropout;

/// An additive attention bias `[batch or 1, 1, queries, keys]`: 0 keeps a position, a large negative
/// number hides it.
///
/// Biases rather than Boolean masks, since libtorch reads a Boolean mask the other way round.
pub type AttentionBias = Tensor<4>;

/// What is added to a hidden position's score; the reference's own number (`Qformer_casual.py`), large
/// enough to vanish in the softmax and small enough for half precision.
const HIDDEN: f64 = -10_000.0;

/// The bias of causal self-attention over `length` positions: position `i` sees `0..=i`.
pub fn causal_bias(length: usize, device: &Device) -> AttentionBias {
    causal_bias_after(0, length, device)
}

/// The bias of causal self-attention of `length` positions behind `past` others, which all of them see:
/// `[1, 1, length, past + length]`.
pub fn causal_bias_after(past: usize, length: usize, device: &Device) -> AttentionBias {
    Tensor::<2>::full([length, past + length], HIDDEN, device)
        .triu(past as i64 + 1)
        .unsqueeze()
}

/// The bias that hides padded keys.
///
/// # Shapes
///
/// - mask: `[batch, keys]`, 1 for a real token and 0 for padding
/// - output: `[batch, 1, 1, keys]`
pub fn padding_bias(mask: Tensor<2, Int>) -> AttentionBias {
    let [batch, keys] = mask.dims();
    visibility_bias(mask.float().reshape([batch, 1, 1, keys]))
}

/// The bias that hides what is marked 0 and keeps what is marked 1.
///
/// # Shapes
///
/// - seen, output: `[batch, 1, queries or 1, keys]`
pub fn visibility_bias(seen: Tensor<4>) -> AttentionBias {
    (seen - 1.0).mul_scalar(-HIDDEN)
}

/// `[batch, tokens, heads · head]` → `[batch, heads, tokens, head]`.
pub fn split_heads(x: Tensor<3>, heads: usize) -> Tensor<4> {
    let [batch, tokens, width] = x.dims();
    x.reshape([batch, tokens, heads, width / heads])
        .swap_dims(1, 2)
}

/// `[batch, heads, tokens, head]` → `[batch, tokens, heads · head]`.
pub fn merge_heads(x: Tensor<4>) -> Tensor<3> {
    let [batch, heads, tokens, head] = x.dims();
    x.swap_dims(1, 2).reshape([batch, tokens, heads * head])
}

/// `softmax(q·kᵀ / √head + bias) · v`, with optional dropout on the attention weights.
///
/// Without autodiff and dropout this is Burn's fused operation; under autodiff Burn keeps the scores
/// anyway, and the plain form allows dropout.
///
/// # Shapes
///
/// - query: `[batch, heads, queries, head]`
/// - key, value: `[batch, heads, keys, head]`
/// - bias: broadcastable to `[batch, heads, queries, keys]`
/// - output: `[batch, heads, queries, head]`
pub fn scaled_dot_product(
    query: Tensor<4>,
    key: Tensor<4>,
    value: Tensor<4>,
    bias: Option<AttentionBias>,
    dropout: Option<&Dropout>,
) -> Tensor<4> {
    let [batch, heads, queries, head] = query.dims();
    let keys = key.dims()[2];
    let bias = bias.map(|bias| bias.cast(query.dtype()));
    if !query.is_autodiff() {
        let bias = bias.map(|bias| bias.expand([batch, heads, queries, keys]));
        return attention(
            query,
            key,
            value,
            None,
            bias,
            AttentionModuleOptions::default(),
        );
    }
    // Scaling the queries costs less than scaling the scores.
    let query = query.mul_scalar((head as f64).powf(-0.5));
    let mut scores = query.matmul(key.swap_dims(2, 3));
    if let Some(bias) = bias {
        scores = scores + bias;
    }
    let mut weights = fused::softmax(scores);
    if let Some(dropout) = dropout {
        weights = dropout.forward(weights);
    }
    weights.matmul(value)
}

/// Divides each row by its Euclidean norm, as `torch.nn.functional.normalize` does (norm clamped
/// at 1e-12).
///
/// # Shapes
///
/// - input, output: `[.., width]`
pub fn l2_normalize<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    let norm = x.clone().square().sum_dim(D - 1).sqrt().clamp_min(1e-12);
    x / norm
}
