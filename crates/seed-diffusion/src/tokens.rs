//! Maps and tokens: one is the other, read place by place.

use burn::tensor::Tensor;

/// A map as tokens, row by row: `[batch, channels, height, width]` → `[batch, height · width, channels]`.
pub(crate) fn tokens(map: Tensor<4>) -> Tensor<3> {
    map.flatten::<3>(2, 3).swap_dims(1, 2)
}

/// Tokens as the map that they were: `[batch, height · width, channels]` → `[batch, channels, height, width]`.
pub(crate) fn map(tokens: Tensor<3>, [height, width]: [usize; 2]) -> Tensor<4> {
    let [batch, _, channels] = tokens.dims();
    tokens
        .swap_dims(1, 2)
        .reshape([batch, channels, height, width])
}
