//! From a module into a safetensors file.

use std::{borrow::Cow, path::Path};

use burn::{module::Module, tensor::DType};
use safetensors::Dtype;

use crate::{
    elements::{Fault, Reading, floats},
    error::WeightsError,
    keys::KeyMap,
    parameters::{for_each_value, parameters},
    source::Stream,
    write::{About, TensorWriter},
};

/// Writes the float parameters of `module` under the checkpoint's key names, as `dtype` (f32, f16 or
/// bf16), with the model's config and the weights' provenance in the metadata; a config alone may be
/// given as a string. The same values give the same bytes.
///
/// The file appears whole or not at all: it is written beside its place, one tensor at a time, and
/// then renamed.
///
/// # Errors
///
/// [`WeightsError::Io`], [`WeightsError::Precision`] for another type, [`WeightsError::OutOfRange`]
/// for values that f16 cannot hold, [`WeightsError::SameKey`] if the map gives two parameters one key.
pub fn save<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    keys: &KeyMap,
    dtype: DType,
    about: impl Into<About>,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    let stored = file_type(path, dtype)?;
    let tensors = parameters(module)
        .into_iter()
        .map(|parameter| (keys.key(&parameter.path), stored, parameter.shape))
        .collect();
    let mut writer = TensorWriter::create(path, tensors, about.into().entries())?;
    let mut outcome = Ok(());
    for_each_value(module, keys, &mut |key, data| {
        if outcome.is_err() {
            return;
        }
        let values = Stream::Held(Cow::Borrowed(data.as_bytes()), 0);
        let reading = Reading {
            from: data.dtype(),
            to: dtype,
            finite: false,
            transposed: false,
        };
        outcome = floats(values, data.shape().as_slice(), reading)
            .map_err(|fault| match fault {
                Fault::Read(error) => error,
                Fault::NotFinite | Fault::OutOfRange => WeightsError::OutOfRange {
                    name: path.display().to_string(),
                    key: key.clone(),
                    dtype,
                },
            })
            .and_then(|data| writer.put(&key, data.as_bytes()));
    });
    outcome?;
    writer.finish()
}

/// The safetensors name of a weight type.
pub(crate) fn file_type(path: &Path, dtype: DType) -> Result<Dtype, WeightsError> {
    match dtype {
        DType::F32 => Ok(Dtype::F32),
        DType::F16 => Ok(Dtype::F16),
        DType::BF16 => Ok(Dtype::BF16),
        dtype => Err(WeightsError::Precision {
            name: path.display().to_string(),
            dtype,
        }),
    }
}
