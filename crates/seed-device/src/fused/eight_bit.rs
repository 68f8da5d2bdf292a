//! Weights kept in 8 bits, by Burn's own quantisation: each run of [`EIGHT_BIT_BLOCK`] values of a row shares a scale.
//!
//! A frozen weight is read in a quarter of f32's time and half of f16's, which is what decoding is made of; products
//! are computed in f32. What rounding to 255 steps of a block costs is an error of at most 0.4 % of the block's largest
//! value.

use burn::{
    backend::{Backend, DTypeUsage, Dispatch},
    tensor::{
        DType, Device, Tensor,
        quantization::{QuantScheme, QuantStore, QuantValue, ScaleDtype},
    },
};

/// Values that share a scale.
pub const EIGHT_BIT_BLOCK: usize = 64;

fn scheme() -> QuantScheme {
    QuantScheme::default()
        .with_value(QuantValue::Q8S)
        .with_store(QuantStore::Native)
        .per_block([1, EIGHT_BIT_BLOCK as u8], ScaleDtype::F32)
}

/// Whether a device keeps weights in 8 bits; Burn's libtorch does not.
pub fn keeps_eight_bit(device: &Device) -> bool {
    let usage = Dispatch::dtype_usage(device.as_dispatch(), DType::QFloat(scheme()));
    usage.contains(DTypeUsage::Storage)
}

/// A weight in 8 bits, for [`linear`](super::linear) and [`product`](super::product).
///
/// # Shapes
///
/// - weight, output: `[input, output]`
///
/// # Panics
///
/// If the device does not keep 8 bits, or `output` is not a multiple of [`EIGHT_BIT_BLOCK`].
pub fn in_eight_bit(weight: Tensor<2>) -> Tensor<2> {
    weight.quantize_dynamic(&scheme())
}

/// Whether a weight is kept in 8 bits.
pub fn is_eight_bit(dtype: DType) -> bool {
    matches!(dtype, DType::QFloat(_))
}
