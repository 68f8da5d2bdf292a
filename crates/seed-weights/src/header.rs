//! The header of a safetensors file: what tensors it holds, and where.
//!
//! Eight bytes of length, little-endian, then JSON: `{"key": {"dtype", "shape", "data_offsets"}}`
//! with free-form strings under `__metadata__`, then the tensors' bytes without gaps.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use safetensors::{Dtype, tensor::TensorInfo};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::{
    error::{HeaderError, WeightsError},
    layout::{LENGTH_BYTES, MAX_HEADER, METADATA, byte_len},
    source::Source,
};

/// One tensor of a header; its bytes are known to be in the file.
#[derive(Debug)]
pub(crate) struct HeaderEntry {
    pub(crate) key: String,
    pub(crate) dtype: Dtype,
    pub(crate) shape: Vec<usize>,
    /// Where its bytes start in the file.
    pub(crate) position: u64,
}

/// A header whose tensors fill the file exactly.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) tensors: Vec<HeaderEntry>,
    pub(crate) metadata: HashMap<String, String>,
}

impl Header {
    /// Reads and checks the header; nothing is allocated that the file could not fill.
    pub(crate) fn read(source: &Source) -> Result<Self, WeightsError> {
        let malformed = |reason| WeightsError::Malformed {
            name: source.name(),
            reason,
        };
        let file = source.len();
        if file < LENGTH_BYTES {
            return Err(malformed(HeaderError::TooShort { bytes: file }));
        }
        let mut length = [0; LENGTH_BYTES as usize];
        source.read(0, &mut length)?;
        let bytes = u64::from_le_bytes(length);
        if bytes > MAX_HEADER {
            return Err(malformed(HeaderError::TooLong { bytes }));
        }
        let Some(data) = (file - LENGTH_BYTES).checked_sub(bytes) else {
            return Err(malformed(HeaderError::BeyondFile { bytes, file }));
        };
        let mut json = vec![0; bytes as usize];
        source.read(LENGTH_BYTES, &mut json)?;
        Self::parse(&json, LENGTH_BYTES + bytes, data).map_err(malformed)
    }

    fn parse(json: &[u8], data_start: u64, data: u64) -> Result<Self, HeaderError> {
        let Fields {
            mut tensors,
            metadata,
            duplicate,
        } = serde_json::from_slice(json).map_err(|error| HeaderError::Json(error.to_string()))?;
        if let Some(key) = duplicate {
            return Err(HeaderError::DuplicateKey(key));
        }
        tensors.sort_by_key(|(_, info)| info.data_offsets);
        let mut end_of_last = 0;
        let mut entries = Vec::with_capacity(tensors.len());
        for (key, info) in tensors {
            let (start, end) = info.data_offsets;
            if end < start || byte_len(&info.shape, info.dtype) != Some(end - start) {
                return Err(HeaderError::Size {
                    key,
                    shape: info.shape,
                    dtype: info.dtype.to_string(),
                    start,
                    end,
                });
            }
            let (start, end) = (start as u64, end as u64);
            if end > data {
                return Err(HeaderError::BeyondData { key, end, data });
            }
            if start < end_of_last {
                return Err(HeaderError::Overlap(key));
            }
            if start > end_of_last {
                return Err(HeaderError::Hole(key));
            }
            end_of_last = end;
            entries.push(HeaderEntry {
                key,
                dtype: info.dtype,
                shape: info.shape,
                position: data_start + start,
            });
        }
        if end_of_last != data {
            return Err(HeaderError::Trailing(data - end_of_last));
        }
        Ok(Self {
            tensors: entries,
            metadata,
        })
    }
}

/// The JSON as it stands, with the first key that is there twice.
struct Fields {
    tensors: Vec<(String, TensorInfo)>,
    metadata: HashMap<String, String>,
    duplicate: Option<String>,
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FieldsVisitor;

        impl<'de> Visitor<'de> for FieldsVisitor {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
                formatter.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut seen = HashSet::new();
                let mut fields = Fields {
                    tensors: Vec::new(),
                    metadata: HashMap::new(),
                    duplicate: None,
                };
                while let Some(key) = map.next_key::<String>()? {
                    if !seen.insert(key.clone()) {
                        fields.duplicate.get_or_insert(key.clone());
                    }
                    if key == METADATA {
                        fields.metadata = map.next_value()?;
                    } else {
                        fields.tensors.push((key, map.next_value()?));
                    }
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(FieldsVisitor)
    }
}
