//! Files that the tests read: those that PyTorch wrote, and safetensors put together by hand.

use std::path::{Path, PathBuf};

use burn::tensor::TensorData;
use seed_weights::{Checkpoint, WeightsError};

/// A file that `fixtures/make.py` wrote.
pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// A safetensors file with any header.
pub(crate) fn safetensors(header: &str, data: &[u8]) -> Vec<u8> {
    let length = (header.len() as u64).to_le_bytes();
    [&length, header.as_bytes(), data].concat()
}

/// A sound one: `a` of shape [2, 2] and `b` of shape [3], f32.
pub(crate) fn sound() -> Vec<u8> {
    let header = concat!(
        r#"{"__metadata__":{"config":"{}"},"#,
        r#""a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"#,
        r#""b":{"dtype":"F32","shape":[3],"data_offsets":[16,28]}}"#
    );
    let values = [1.0_f32, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
    let data: Vec<u8> = values
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    safetensors(header, &data)
}

pub(crate) fn floats(data: TensorData) -> Vec<f32> {
    data.iter::<f32>().collect()
}

/// Reads every tensor of a checkpoint in every way there is.
pub(crate) fn read_all(checkpoint: &Checkpoint) -> Vec<WeightsError> {
    let mut errors = Vec::new();
    for key in checkpoint.keys() {
        errors.extend(checkpoint.float(key).err());
        errors.extend(checkpoint.stored(key).err());
        errors.extend(checkpoint.int(key).err());
    }
    errors
}
