//! A checkpoint: tensors by key, read on demand, whatever files they are in.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap, btree_map},
    path::Path,
};

use burn::tensor::{DType, TensorData};
use safetensors::Dtype;

use crate::{
    archive::{Archive, extent, gathered},
    elements::{self, Fault, Reading, burn_type, is_weight_type},
    error::WeightsError,
    format::{Content, Format},
    header::Header,
    layout::matrix,
    source::{Source, Stream},
    torch::{self, TorchFile},
};

/// Named tensors in one or several files. Opening reads what they are; a tensor's values are read
/// when they are asked for, and not kept.
///
/// The files stay open, and are read at positions: several threads may read at once.
#[derive(Debug)]
pub struct Checkpoint {
    name: String,
    format: Format,
    sources: Vec<Source>,
    tensors: BTreeMap<String, Entry>,
    metadata: HashMap<String, String>,
}

#[derive(Debug)]
struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    place: Place,
}

#[derive(Debug)]
enum Place {
    /// Contiguous bytes of one of the sources.
    Bytes { source: usize, position: u64 },
    /// Elements of one of the sources that are not in row-major order, with the steps along each axis.
    Strided {
        source: usize,
        position: u64,
        strides: Vec<usize>,
    },
    /// Anywhere in a file of PyTorch, which its reader gathers.
    Torch(pytorch_reader::Tensor),
}

impl Checkpoint {
    /// Reads a safetensors file that is already in memory, such as weights embedded in the program;
    /// `name` stands for it in errors.
    pub fn from_bytes(
        name: impl Into<String>,
        bytes: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Self, WeightsError> {
        Self::from_safetensors(Source::Memory {
            name: name.into(),
            bytes: bytes.into(),
        })
    }

    /// Reads a file that is no index, of which the content is known.
    pub(crate) fn from_file(
        path: &Path,
        source: Source,
        content: &Content,
    ) -> Result<Self, WeightsError> {
        let other = |found| WeightsError::NotACheckpoint {
            path: path.to_owned(),
            found,
        };
        match content {
            Content::Safetensors => Self::from_safetensors(source),
            Content::Torch => Self::from_torch(path).or_else(|error| match error {
                WeightsError::Torch { .. } => Self::from_archive(path, source).ok_or(error),
                error => Err(error),
            }),
            Content::Json => Err(other("JSON")),
            Content::Other(found) => Err(other(found)),
        }
    }

    fn from_safetensors(source: Source) -> Result<Self, WeightsError> {
        let header = Header::read(&source)?;
        let tensors = header.tensors.into_iter().map(|tensor| {
            let place = Place::Bytes {
                source: 0,
                position: tensor.position,
            };
            let (dtype, shape) = (tensor.dtype, tensor.shape);
            (
                tensor.key,
                Entry {
                    dtype,
                    shape,
                    place,
                },
            )
        });
        Ok(Self {
            name: source.name(),
            format: Format::Safetensors,
            tensors: tensors.collect(),
            metadata: header.metadata,
            sources: vec![source],
        })
    }

    fn from_torch(path: &Path) -> Result<Self, WeightsError> {
        let TorchFile { format, tensors } = TorchFile::open(path)?;
        let tensors = tensors.into_iter().map(|(key, tensor)| {
            let dtype = torch::stored_type(tensor.dtype());
            let shape = tensor.shape().to_vec();
            let place = Place::Torch(tensor);
            (
                key,
                Entry {
                    dtype,
                    shape,
                    place,
                },
            )
        });
        Ok(Self {
            name: path.display().to_string(),
            format,
            sources: Vec::new(),
            tensors: tensors.collect(),
            metadata: HashMap::new(),
        })
    }

    /// What can be read of an archive of PyTorch's of which `pytorch-reader` reads nothing.
    fn from_archive(path: &Path, source: Source) -> Option<Self> {
        let Archive { tensors, below } = Archive::open(path)?;
        let tensors = tensors.into_iter().map(|(key, tensor)| {
            let (source, position) = (0, tensor.position);
            let place = match tensor.strides {
                Some(strides) => Place::Strided {
                    source,
                    position,
                    strides,
                },
                None => Place::Bytes { source, position },
            };
            let (dtype, shape) = (tensor.dtype, tensor.shape);
            let entry = Entry {
                dtype,
                shape,
                place,
            };
            (key, entry)
        });
        Some(Self {
            name: path.display().to_string(),
            format: Format::Torch {
                container: "zip",
                below,
            },
            tensors: tensors.collect(),
            metadata: HashMap::new(),
            sources: vec![source],
        })
    }

    /// The file or resource name, for errors and reports.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How the tensors are stored.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Every key, sorted.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// The shape of a tensor, as stored.
    pub fn shape(&self, key: &str) -> Option<&[usize]> {
        self.tensors.get(key).map(|entry| entry.shape.as_slice())
    }

    /// The element type of a tensor, as stored; `None` for one that Burn does not have.
    pub fn element_type(&self, key: &str) -> Option<DType> {
        burn_type(self.tensors.get(key)?.dtype)
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
    /// [`WeightsError::NotFinite`] if it holds NaN or infinity; and what reading a file gives.
    pub fn float(&self, key: &str) -> Result<TensorData, WeightsError> {
        self.weight(key, DType::F32, false)
    }

    /// Reads a tensor in the precision of the file, bit for bit.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Missing`], [`WeightsError::ElementType`] for a type that Burn does not have;
    /// and what reading a file gives.
    pub fn stored(&self, key: &str) -> Result<TensorData, WeightsError> {
        let entry = self.entry(key)?;
        let dtype = burn_type(entry.dtype).ok_or_else(|| self.element_error(key, entry))?;
        elements::stored(self.stream(entry)?, &entry.shape, dtype)
    }

    /// Reads an i64 tensor.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Missing`], [`WeightsError::ElementType`] if it is not stored as i64; and what
    /// reading a file gives.
    pub fn int(&self, key: &str) -> Result<TensorData, WeightsError> {
        let entry = self.entry(key)?;
        if entry.dtype != Dtype::I64 {
            return Err(self.element_error(key, entry));
        }
        elements::stored(self.stream(entry)?, &entry.shape, DType::I64)
    }

    /// Puts every key below a prefix, with or without its last dot: `eva_vit_g.pth` has its keys
    /// bare, where the reference expects `visual_encoder.`.
    pub fn below(mut self, prefix: &str) -> Self {
        let prefix = prefix.trim_end_matches('.');
        if !prefix.is_empty() {
            self.tensors = self
                .tensors
                .into_iter()
                .map(|(key, entry)| (format!("{prefix}.{key}"), entry))
                .collect();
        }
        self
    }

    /// The tensors below a prefix alone, with or without its last dot; their keys stay.
    pub fn only(mut self, prefix: &str) -> Self {
        let prefix = format!("{}.", prefix.trim_end_matches('.'));
        self.retain(|key| key.starts_with(&prefix));
        self
    }

    /// Reads two checkpoints as one. Of metadata in both, the first's stays.
    ///
    /// # Errors
    ///
    /// [`WeightsError::InBoth`] for a key that both have.
    pub fn joined(mut self, other: Self) -> Result<Self, WeightsError> {
        let shift = self.sources.len();
        for (key, mut entry) in other.tensors {
            if let Place::Bytes { source, .. } | Place::Strided { source, .. } = &mut entry.place {
                *source += shift;
            }
            match self.tensors.entry(key) {
                btree_map::Entry::Vacant(vacant) => {
                    vacant.insert(entry);
                }
                btree_map::Entry::Occupied(occupied) => {
                    return Err(WeightsError::InBoth {
                        key: occupied.key().clone(),
                        first: self.name,
                        second: other.name,
                    });
                }
            }
        }
        self.sources.extend(other.sources);
        for (key, value) in other.metadata {
            self.metadata.entry(key).or_insert(value);
        }
        self.name = format!("{} and {}", self.name, other.name);
        self.format = Format::Joined;
        Ok(self)
    }

    /// Gives the checkpoint another name and format; used for what is put together of shards.
    pub(crate) fn described(mut self, name: String, format: Format) -> Self {
        (self.name, self.format) = (name, format);
        self
    }

    /// Leaves the tensors of some keys alone.
    pub(crate) fn retain(&mut self, keep: impl Fn(&str) -> bool) {
        self.tensors.retain(|key, _| keep(key));
    }

    /// Whether a tensor can be read as floats.
    pub(crate) fn check_weight(&self, key: &str) -> Result<DType, WeightsError> {
        let entry = self.entry(key)?;
        burn_type(entry.dtype)
            .filter(|&dtype| is_weight_type(dtype))
            .ok_or_else(|| self.element_error(key, entry))
    }

    /// Reads a finite float tensor as `dtype`, a weight type; a matrix with its axes swapped, if asked for.
    pub(crate) fn weight(
        &self,
        key: &str,
        dtype: DType,
        transposed: bool,
    ) -> Result<TensorData, WeightsError> {
        self.convert(key, dtype, true, transposed)
    }

    /// Reads a float tensor as `dtype`; values that are infinite in the file may stay so.
    pub(crate) fn cast(&self, key: &str, dtype: DType) -> Result<TensorData, WeightsError> {
        self.convert(key, dtype, false, false)
    }

    fn convert(
        &self,
        key: &str,
        dtype: DType,
        finite: bool,
        transposed: bool,
    ) -> Result<TensorData, WeightsError> {
        let reading = Reading {
            from: self.check_weight(key)?,
            to: dtype,
            finite,
            transposed,
        };
        let entry = self.entry(key)?;
        let (name, key) = (self.name.clone(), key.to_owned());
        // Of what is stored as a 1×1 convolution the matrix is turned.
        let shape = if transposed {
            matrix(&entry.shape)
        } else {
            &entry.shape
        };
        elements::floats(self.stream(entry)?, shape, reading).map_err(|fault| match fault {
            Fault::Read(error) => error,
            Fault::NotFinite => WeightsError::NotFinite { name, key },
            Fault::OutOfRange => WeightsError::OutOfRange { name, key, dtype },
        })
    }

    /// The element type in the words of the safetensors format.
    pub(crate) fn stored_type(&self, key: &str) -> Option<Dtype> {
        self.tensors.get(key).map(|entry| entry.dtype)
    }

    /// A tensor's bytes in order.
    pub(crate) fn bytes(&self, key: &str) -> Result<Stream<'_>, WeightsError> {
        self.stream(self.entry(key)?)
    }

    fn stream(&self, entry: &Entry) -> Result<Stream<'_>, WeightsError> {
        match &entry.place {
            Place::Bytes { source, position } => {
                Ok(Stream::Stored(&self.sources[*source], *position))
            }
            Place::Strided {
                source,
                position,
                strides,
            } => {
                // Held against the file when it was opened.
                let (width, shape) = (entry.dtype.bitsize() / 8, &entry.shape);
                let mut bytes = vec![0; extent(shape, strides).unwrap_or(0) * width];
                self.sources[*source].read(*position, &mut bytes)?;
                let elements = gathered(&bytes, shape, strides, width);
                Ok(Stream::Held(elements.into(), 0))
            }
            Place::Torch(tensor) => Ok(Stream::Held(torch::read(&self.name, tensor)?.into(), 0)),
        }
    }

    fn entry(&self, key: &str) -> Result<&Entry, WeightsError> {
        self.tensors.get(key).ok_or_else(|| WeightsError::Missing {
            name: self.name.clone(),
            keys: vec![key.to_owned()],
        })
    }

    fn element_error(&self, key: &str, entry: &Entry) -> WeightsError {
        WeightsError::ElementType {
            name: self.name.clone(),
            key: key.to_owned(),
            dtype: entry.dtype.to_string().to_lowercase(),
        }
    }
}
