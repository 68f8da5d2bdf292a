//! From the loader's plain numbers to tensors.

use burn::tensor::{Device, Int, Tensor, TensorData};
use seed_data::TokenBatch;

/// Rows of equal length, one a picture, as a tensor `[rows, shape…]`.
pub(crate) fn stack<const D: usize>(
    rows: Vec<Vec<f32>>,
    shape: [usize; D],
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(rows.concat(), shape), device)
}

/// Token ids and mask of a batch of texts, both `[texts, length]`.
pub(crate) fn tokens(batch: TokenBatch, device: &Device) -> (Tensor<2, Int>, Tensor<2, Int>) {
    let TokenBatch { ids, mask, shape } = batch;
    let tensor = |values| Tensor::from_data(TensorData::new(values, shape), device);
    (tensor(ids), tensor(mask))
}
