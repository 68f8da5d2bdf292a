//! From a module into a safetensors file.

use std::{collections::HashMap, io::Write, path::Path};

use burn::{
    module::Module,
    tensor::{DType, TensorData},
};
use safetensors::{Dtype, SafeTensorError, tensor::TensorView};

use crate::{KeyMap, WeightsError, values};

/// Writes the float parameters of `module` under the checkpoint's key names, as `dtype` (f32, f16 or
/// bf16), with the model's `config` in the metadata. The same values give the same bytes.
///
/// The file appears whole or not at all: it is written beside its place and then renamed.
pub fn save<M: Module>(
    module: &M,
    path: impl AsRef<Path>,
    keys: &KeyMap,
    dtype: DType,
    config: String,
) -> Result<(), WeightsError> {
    let path = path.as_ref();
    let stored = match dtype {
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        dtype => {
            return Err(WeightsError::Unwritable {
                path: path.to_owned(),
                dtype,
            });
        }
    };
    let tensors: Vec<(String, TensorData)> = values(module, keys)
        .into_iter()
        .map(|(key, data)| (key, data.convert_dtype(dtype)))
        .collect();
    let malformed = |error: SafeTensorError| WeightsError::Malformed {
        name: path.display().to_string(),
        reason: error.to_string(),
    };
    let views = tensors
        .iter()
        .map(|(key, data)| {
            let view = TensorView::new(stored, data.shape().to_vec(), data.as_bytes());
            Ok((key.as_str(), view.map_err(malformed)?))
        })
        .collect::<Result<Vec<_>, WeightsError>>()?;
    // One entry alone: safetensors writes several in random order, and files are known by their hash.
    let metadata = HashMap::from([("config".to_owned(), config)]);
    let bytes = safetensors::serialize(views, Some(metadata)).map_err(malformed)?;
    write_atomically(path, &bytes).map_err(|source| WeightsError::Io {
        path: path.to_owned(),
        source,
    })
}

fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
