//! Tensors of the `flex` CPU backend, and their elements as slices.

use burn::{
    backend::{
        Flex, Shape,
        tensor::{FloatTensor, QuantizedTensor},
    },
    tensor::TensorData,
};

/// Elements that one task does at a time.
pub(super) const RUN: usize = 1 << 14;

pub(super) type FlexTensor = FloatTensor<Flex>;
/// The same for what is kept in 8 bits.
pub(super) type FlexQTensor = QuantizedTensor<Flex>;

/// A tensor whose elements lie one after the other.
pub(super) fn contiguous(tensor: &FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() {
        tensor.clone()
    } else {
        tensor.to_contiguous()
    }
}

pub(super) fn slice(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous tensor of f32")
}

pub(super) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Each task's sums, added up in order.
pub(super) fn total(sums: &[Vec<f32>], width: usize) -> Vec<f32> {
    let mut total = vec![0.0; width];
    for sums in sums {
        for (total, sum) in total.iter_mut().zip(sums) {
            *total += sum;
        }
    }
    total
}
