//! From any checkpoint into one safetensors file.

use std::{fmt, path::Path};

use burn::tensor::DType;

use crate::{
    checkpoint::Checkpoint,
    elements::{burn_type, is_weight_type},
    error::WeightsError,
    layout::byte_len,
    load::Cast,
    save::file_type,
    write::{About, TensorWriter},
};

/// What a conversion did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConvertReport {
    /// Tensors in the new file.
    pub tensors: usize,
    /// Bytes of their elements.
    pub bytes: u64,
    /// How many changed their precision, by both types.
    pub cast: Vec<Cast>,
}

impl fmt::Display for ConvertReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.bytes as f64 / 1e6;
        write!(formatter, "{} tensors, {megabytes:.1} MB", self.tensors)?;
        for cast in &self.cast {
            write!(formatter, ", {cast}")?;
        }
        Ok(())
    }
}

/// Writes every tensor of `checkpoint` into the safetensors file `path`, floats as `dtype` (f32, f16
/// or bf16) if one is given, everything else as it is stored. Metadata of the checkpoint is kept,
/// with what `about` says over it. The same tensors give the same bytes.
///
/// One tensor at a time is in memory, and the file appears whole or not at all: one that is already
/// there stays until then.
///
/// # Errors
///
/// [`WeightsError::Io`] (no space, no permission), [`WeightsError::Precision`] for another type,
/// [`WeightsError::OutOfRange`] for values that f16 cannot hold, and what reading gives.
pub fn convert(
    checkpoint: &Checkpoint,
    path: impl AsRef<Path>,
    dtype: Option<DType>,
    about: impl Into<About>,
) -> Result<ConvertReport, WeightsError> {
    let path = path.as_ref();
    let file_dtype = dtype.map(|dtype| file_type(path, dtype)).transpose()?;
    let mut report = ConvertReport::default();
    let mut tensors = Vec::new();
    let mut casts = Vec::new();
    for key in checkpoint.keys() {
        let (Some(stored), Some(shape)) = (checkpoint.stored_type(key), checkpoint.shape(key))
        else {
            continue;
        };
        // Only where the type changes; everything else goes over in bytes.
        let cast = match (
            burn_type(stored).filter(|&from| is_weight_type(from)),
            dtype,
        ) {
            (Some(from), Some(to)) if from != to => {
                Cast::count(&mut report.cast, from, to);
                Some(to)
            }
            _ => None,
        };
        let written = cast.and(file_dtype).unwrap_or(stored);
        report.tensors += 1;
        report.bytes += byte_len(shape, written).unwrap_or_default() as u64;
        tensors.push((key.to_owned(), written, shape.to_vec()));
        casts.push((key, cast));
    }
    let mut metadata: std::collections::BTreeMap<_, _> =
        checkpoint.metadata().clone().into_iter().collect();
    metadata.extend(about.into().entries());

    let mut writer = TensorWriter::create(path, tensors, metadata)?;
    for (key, cast) in casts {
        match cast {
            Some(dtype) => writer.put(key, checkpoint.cast(key, dtype)?.as_bytes())?,
            None => copy(checkpoint, key, &mut writer)?,
        }
    }
    writer.finish()?;
    Ok(report)
}

/// Carries a tensor's bytes over in pieces.
fn copy(checkpoint: &Checkpoint, key: &str, writer: &mut TensorWriter) -> Result<(), WeightsError> {
    const PIECE: usize = 1 << 20;
    let mut left = checkpoint
        .stored_type(key)
        .zip(checkpoint.shape(key))
        .and_then(|(dtype, shape)| byte_len(shape, dtype))
        .unwrap_or_default();
    let mut stream = checkpoint.bytes(key)?;
    let mut piece = vec![0_u8; PIECE.min(left)];
    while left > 0 {
        let piece = &mut piece[..PIECE.min(left)];
        stream.fill(piece)?;
        writer.put(key, piece)?;
        left -= piece.len();
    }
    Ok(())
}
