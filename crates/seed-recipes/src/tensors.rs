//! From the loader's plain numbers to tensors.

use burn::tensor::{Device, Int, Tensor, TensorData};
use image::RgbImage;
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

/// Pictures `[pictures, 3, height, width]` of values from 0 to 1.
pub(crate) fn rgb_images(pictures: Tensor<4>) -> Vec<RgbImage> {
    let [_, channels, height, width] = pictures.dims();
    // Channels last, as a picture has them.
    let pixels = pictures.permute([0, 2, 3, 1]).into_data();
    let pixels: Vec<u8> = pixels
        .iter::<f32>()
        .map(|value| (value * 255.0).round() as u8)
        .collect();
    let each = pixels.chunks(channels * height * width);
    each.filter_map(|pixels| RgbImage::from_raw(width as u32, height as u32, pixels.to_vec()))
        .collect()
}
