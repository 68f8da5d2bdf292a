//! Checkpoints that `torch.save` wrote, read by `pytorch-reader`: no code is run, sizes are bounded,
//! and a tensor's bytes are read from the file when they are asked for.

use std::{collections::HashMap, io, path::Path};

use pytorch_reader::{DType, FileFormat, PytorchError, PytorchReader, Tensor};
use safetensors::Dtype;

use crate::{error::WeightsError, format::Format};

/// The entries under which training scripts keep the weights beside optimiser, config and epoch; `state_dict` is that of
/// PyTorch Lightning.
pub(crate) const MODELS: [&str; 2] = ["model", "state_dict"];

pub(crate) struct TorchFile {
    pub(crate) format: Format,
    pub(crate) tensors: HashMap<String, Tensor>,
}

impl TorchFile {
    /// Opens a file: the tensors below one of [`MODELS`], else those at the root. A flat file may have keys
    /// that begin with `model.`, which is another thing.
    pub(crate) fn open(path: &Path) -> Result<Self, WeightsError> {
        let error = |error| open_error(path, error);
        let mut found = None;
        for model in MODELS {
            match PytorchReader::with_top_level_key(path, model) {
                Ok(reader) if !reader.is_empty() => {
                    found = Some((reader, Some(model)));
                    break;
                }
                Ok(_) | Err(PytorchError::KeyNotFound(_) | PytorchError::InvalidFormat(_)) => {}
                Err(other) => return Err(error(other)),
            }
        }
        let (reader, below) = match found {
            Some(found) => found,
            None => (PytorchReader::new(path).map_err(error)?, None),
        };
        if reader.is_empty() {
            return Err(WeightsError::Torch {
                name: path.display().to_string(),
                reason: "it holds no tensors".to_owned(),
            });
        }
        let container = match reader.metadata().format_type {
            FileFormat::Zip => "zip",
            FileFormat::Tar => "tar",
            FileFormat::Legacy | FileFormat::Pickle => "pickle",
        };
        Ok(Self {
            format: Format::Torch { container, below },
            tensors: reader.into_tensors(),
        })
    }
}

/// Reads a tensor's elements in row-major order, whatever its strides in the file.
pub(crate) fn read(name: &str, tensor: &Tensor) -> Result<Vec<u8>, WeightsError> {
    tensor.read().map_err(|source| match source.kind() {
        io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof => WeightsError::Torch {
            name: name.to_owned(),
            reason: source.to_string(),
        },
        _ => WeightsError::Io {
            path: name.into(),
            source,
        },
    })
}

fn open_error(path: &Path, error: PytorchError) -> WeightsError {
    match error {
        PytorchError::Io(source) if source.raw_os_error().is_some() => WeightsError::Io {
            path: path.to_owned(),
            source,
        },
        other => WeightsError::Torch {
            name: path.display().to_string(),
            reason: other.to_string(),
        },
    }
}

pub(crate) fn stored_type(dtype: DType) -> Dtype {
    match dtype {
        DType::F64 => Dtype::F64,
        DType::F32 => Dtype::F32,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::I64 => Dtype::I64,
        DType::I32 => Dtype::I32,
        DType::I16 => Dtype::I16,
        DType::I8 => Dtype::I8,
        DType::U64 => Dtype::U64,
        DType::U32 => Dtype::U32,
        DType::U16 => Dtype::U16,
        DType::U8 => Dtype::U8,
        DType::Bool => Dtype::BOOL,
    }
}
