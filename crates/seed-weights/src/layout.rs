//! What the reading and the writing of safetensors files share.

use safetensors::Dtype;

/// The longest header that the format allows.
pub(crate) const MAX_HEADER: u64 = 100_000_000;

/// Bytes before the JSON: its length.
pub(crate) const LENGTH_BYTES: u64 = 8;

/// The entry of free-form strings.
pub(crate) const METADATA: &str = "__metadata__";

/// Bytes of a tensor, if they can be counted and are whole.
pub(crate) fn byte_len(shape: &[usize], dtype: Dtype) -> Option<usize> {
    let bits = shape
        .iter()
        .try_fold(dtype.bitsize(), |bits, &size| bits.checked_mul(size))?;
    bits.is_multiple_of(8).then_some(bits / 8)
}

/// The matrix that a 1×1 convolution is at each place: `[out, in]` of `[out, in, 1, 1]`; any other shape as it is.
pub(crate) fn matrix(shape: &[usize]) -> &[usize] {
    match shape {
        [_, _, 1, 1] => &shape[..2],
        shape => shape,
    }
}
