//! A checkpoint in memory, read by key.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    fs,
    ops::Range,
    path::Path,
};

use burn::tensor::{DType, TensorData};
use safetensors::{Dtype, SafeTensors};

use crate::WeightsError;

/// A safetensors file, its header checked, its tensors read on demand.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    bytes: Cow<'static, [u8]>,
    tensors: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    range: Range<usize>,
}

impl Checkpoint {
    /// Reads a file.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WeightsError> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|source| WeightsError::Io {
            path: path.to_owned(),
            source,
        })?;
        Self::from_bytes(path.display().to_string(), bytes)
    }

    /// Reads bytes that are already in memory, such as weights embedded in the program; `name`
    /// stands for them in errors.
    pub fn from_bytes(
        name: impl Into<String>,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, WeightsError> {
        let (name, bytes) = (name.into(), bytes.into());
        let malformed = |reason: String| WeightsError::Malformed {
            name: name.clone(),
            reason,
        };
        let (header_bytes, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| malformed(error.to_string()))?;
        let data_start = header_bytes + size_of::<u64>();
        let mut tensors = BTreeMap::new();
        for (key, info) in header.tensors() {
            let (start, end) = info.data_offsets;
            let range = data_start + start..data_start + end;
            if range.end > bytes.len() {
                return Err(malformed(format!(
                    "`{key}` ends beyond the end of the file"
                )));
            }
            tensors.insert(
                key,
                Entry {
                    dtype: info.dtype,
                    shape: info.shape.clone(),
                    range,
                },
            );
        }
        let metadata = header.metadata().clone().unwrap_or_default();
        Ok(Self {
            name,
            bytes,
            tensors,
            metadata,
        })
    }

    /// The file or resource name, for errors and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Every key, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, as stored.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|entry| entry.shape.as_slice())
    }

    /// The free-form metadata of the file (config, provenance).
    pub fn metadata(&self) -> &HashMap<String, String> {
        &self.metadata
    }

    /// Reads a float tensor as f32, whatever precision it is stored in.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Missing`], [`WeightsError::ElementType`] for anything but f32, f16 and bf16,
    /// [`WeightsError::NotFinite`] if it holds NaN or infinity.
    pub fn float(&self, key: &str) -> Result<TensorData, WeightsError> {
        let entry = self.entry(key)?;
        let dtype = match entry.dtype {
            Dtype::F32 => DType::F32,
            Dtype::F16 => DType::F16,
            Dtype::BF16 => DType::BF16,
            other => {
                return Err(WeightsError::ElementType {
                    name: self.name.clone(),
                    key: key.to_owned(),
                    dtype: format!("{other:?}"),
                });
            }
        };
        let bytes = self.bytes[entry.range.clone()].to_vec();
        let data =
            TensorData::from_bytes_vec(bytes, entry.shape.clone(), dtype).convert_dtype(DType::F32);
        if data.iter::<f32>().any(|value| !value.is_finite()) {
            return Err(WeightsError::NotFinite {
                name: self.name.clone(),
                key: key.to_owned(),
            });
        }
        Ok(data)
    }

    /// Reads an i64 tensor.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Missing`], or [`WeightsError::ElementType`] if it is not stored as i64.
    pub fn int(&self, key: &str) -> Result<TensorData, WeightsError> {
        let entry = self.entry(key)?;
        if entry.dtype != Dtype::I64 {
            return Err(WeightsError::ElementType {
                name: self.name.clone(),
                key: key.to_owned(),
                dtype: format!("{:?}", entry.dtype),
            });
        }
        let bytes = self.bytes[entry.range.clone()].to_vec();
        Ok(TensorData::from_bytes_vec(
            bytes,
            entry.shape.clone(),
            DType::I64,
        ))
    }

    fn entry(&self, key: &str) -> Result<&Entry, WeightsError> {
        self.tensors.get(key).ok_or_else(|| WeightsError::Missing {
            name: self.name.clone(),
            keys: vec![key.to_owned()],
        })
    }
}
