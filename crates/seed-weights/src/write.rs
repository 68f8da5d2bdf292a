//! A safetensors file, written tensor by tensor into its place.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use safetensors::{Dtype, tensor::TensorInfo};
use seed_files::AtomicFile;
use serde_json::{Map, Value};

use crate::{
    error::WeightsError,
    layout::{LENGTH_BYTES, METADATA, byte_len},
};

/// What a weights file says about itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct About {
    /// The model's config, as JSON; the entry `config` of the file's metadata.
    pub config: String,
    /// Where the weights come from (data, step, source file, ...); one entry `provenance`, JSON.
    pub provenance: BTreeMap<String, String>,
}

impl About {
    /// The config alone.
    pub fn config(config: impl Into<String>) -> Self {
        Self {
            config: config.into(),
            provenance: BTreeMap::new(),
        }
    }

    /// Adds a line of provenance.
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.provenance.insert(name.into(), value.into());
        self
    }

    /// The entries of the file's metadata.
    pub(crate) fn entries(self) -> BTreeMap<String, String> {
        let provenance: Map<String, Value> = self
            .provenance
            .into_iter()
            .map(|(name, value)| (name, value.into()))
            .collect();
        let provenance = if provenance.is_empty() {
            String::new()
        } else {
            Value::Object(provenance).to_string()
        };
        let entries = [("config", self.config), ("provenance", provenance)];
        entries
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

impl From<String> for About {
    fn from(config: String) -> Self {
        Self::config(config)
    }
}

/// A file beside its place, which takes tensors in any order and is renamed when it is whole. The
/// same tensors and metadata give the same bytes: the layout is that of the `safetensors` crate, but
/// that metadata is sorted.
pub(crate) struct TensorWriter {
    path: PathBuf,
    file: AtomicFile,
    /// Where a tensor's bytes go.
    positions: HashMap<String, u64>,
}

impl TensorWriter {
    /// Begins a file of tensors whose keys are all different.
    pub(crate) fn create(
        path: &Path,
        mut tensors: Vec<(String, Dtype, Vec<usize>)>,
        metadata: BTreeMap<String, String>,
    ) -> Result<Self, WeightsError> {
        // The widest types come first, so that each tensor is aligned to its elements.
        tensors.sort_by(|(left, left_type, _), (right, right_type, _)| {
            right_type.cmp(left_type).then_with(|| left.cmp(right))
        });
        let mut header = Map::new();
        if !metadata.is_empty() {
            let entries = metadata.into_iter().map(|(name, text)| (name, text.into()));
            header.insert(METADATA.to_owned(), Value::Object(entries.collect()));
        }
        let mut positions = HashMap::with_capacity(tensors.len());
        let mut start = 0;
        for (key, dtype, shape) in tensors {
            let end = byte_len(&shape, dtype)
                .and_then(|bytes| bytes.checked_add(start))
                .ok_or_else(|| invalid(path, "a tensor is too large to be counted"))?;
            let info = TensorInfo {
                dtype,
                shape,
                data_offsets: (start, end),
            };
            let info = serde_json::to_value(info).map_err(|error| invalid(path, error))?;
            if key == METADATA || header.insert(key.clone(), info).is_some() {
                return Err(WeightsError::SameKey {
                    name: path.display().to_string(),
                    key,
                });
            }
            positions.insert(key, start as u64);
            start = end;
        }
        let mut header = Value::Object(header).to_string().into_bytes();
        header.resize(header.len().next_multiple_of(LENGTH_BYTES as usize), b' ');

        let data = LENGTH_BYTES + header.len() as u64;
        for position in positions.values_mut() {
            *position += data;
        }
        let begin = || -> io::Result<AtomicFile> {
            let mut file = AtomicFile::create(path)?;
            file.write_all(&(header.len() as u64).to_le_bytes())?;
            file.write_all(&header)?;
            // Says at once if the disk is too small, where the file system can say so.
            file.as_file().set_len(data + start as u64)?;
            Ok(file)
        };
        let file = begin().map_err(|source| io_error(path, source))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            positions,
        })
    }

    /// Writes the next bytes of a tensor; several calls for one tensor go on where the last ended.
    pub(crate) fn put(&mut self, key: &str, bytes: &[u8]) -> Result<(), WeightsError> {
        let Some(position) = self.positions.get_mut(key) else {
            return Err(invalid(&self.path, format!("`{key}` was not announced")));
        };
        let mut write = || {
            self.file.seek(SeekFrom::Start(*position))?;
            self.file.write_all(bytes)
        };
        write().map_err(|source| io_error(&self.path, source))?;
        *position += bytes.len() as u64;
        Ok(())
    }

    /// Puts the file in its place; one that was there stays until then.
    pub(crate) fn finish(self) -> Result<(), WeightsError> {
        let Self { path, file, .. } = self;
        file.commit().map_err(|source| io_error(&path, source))
    }
}

/// Writes a small file whole or not at all: beside its place, then renamed. What was there before stays until then.
///
/// # Errors
///
/// [`WeightsError::Io`].
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<(), WeightsError> {
    seed_files::write_file(path, bytes).map_err(|source| io_error(path, source))
}

fn io_error(path: &Path, source: io::Error) -> WeightsError {
    WeightsError::Io {
        path: path.to_owned(),
        source,
    }
}

fn invalid(
    path: &Path,
    reason: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> WeightsError {
    io_error(path, io::Error::new(io::ErrorKind::InvalidInput, reason))
}
