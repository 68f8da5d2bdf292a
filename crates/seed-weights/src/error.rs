//! The errors of this crate.

use std::path::PathBuf;

use burn::tensor::DType;

use crate::{HeaderError, IndexError};

/// Why a checkpoint could not be read, applied or written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A path leads to something else than a checkpoint.
    #[error(
        "{}: {found}, not a checkpoint; safetensors, PyTorch files and their `.index.json` are read",
        path.display()
    )]
    NotACheckpoint {
        /// The file or folder.
        path: PathBuf,
        /// What was found there.
        found: &'static str,
    },
    /// A folder holds several checkpoints.
    #[error(
        "{}: {} checkpoints are here, name the one that is meant: {}",
        folder.display(),
        candidates.len(),
        shortened(&candidates.iter().filter_map(|path| path.file_name()).map(|name| name.display().to_string()).collect::<Vec<_>>())
    )]
    Ambiguous {
        /// The folder.
        folder: PathBuf,
        /// Its indices, or without one its weights files.
        candidates: Vec<PathBuf>,
    },
    /// The bytes are not a sound safetensors file.
    #[error(
        "{name}: not a sound safetensors file: {reason}; it may be truncated, fetch or write it again"
    )]
    Malformed {
        /// File or resource name.
        name: String,
        /// What is wrong with its header.
        #[source]
        reason: HeaderError,
    },
    /// A file of `torch.save` cannot be read.
    #[error("{name}: not a readable PyTorch checkpoint: {reason}")]
    Torch {
        /// The file.
        name: String,
        /// What the reader said.
        reason: String,
    },
    /// An index and its shards do not fit together.
    #[error("{}: {source}", path.display())]
    Index {
        /// The index.
        path: PathBuf,
        /// What is wrong.
        source: IndexError,
    },
    /// Two checkpoints that are read as one have a tensor of the same name.
    #[error("`{key}` is both in {first} and in {second}; put one of them below a prefix")]
    InBoth {
        /// The key.
        key: String,
        /// One checkpoint.
        first: String,
        /// The other.
        second: String,
    },
    /// The model needs tensors that the checkpoint does not hold.
    #[error(
        "{name}: {} tensor(s) missing, is this the checkpoint of another model? {}",
        keys.len(),
        shortened(keys)
    )]
    Missing {
        /// File or resource name.
        name: String,
        /// Every missing key.
        keys: Vec<String>,
    },
    /// A tensor has another shape than the model's parameter.
    #[error("{name}: `{key}` has shape {found:?}, the model's config asks for {expected:?}")]
    Shape {
        /// File or resource name.
        name: String,
        /// Key in the checkpoint.
        key: String,
        /// Shape in the checkpoint.
        found: Vec<usize>,
        /// Shape the config asks for, in the checkpoint's layout.
        expected: Vec<usize>,
    },
    /// A tensor's element type cannot be used where it is asked for.
    #[error(
        "{name}: `{key}` is stored as {dtype}; weights are read from f32, f16 and bf16, integers from i64"
    )]
    ElementType {
        /// File or resource name.
        name: String,
        /// Key in the checkpoint.
        key: String,
        /// Stored type.
        dtype: String,
    },
    /// A tensor holds NaN or infinity.
    #[error("{name}: `{key}` holds NaN or infinite values; the checkpoint is damaged")]
    NotFinite {
        /// File or resource name.
        name: String,
        /// Key in the checkpoint.
        key: String,
    },
    /// A value is too large for the precision that was asked for.
    #[error("{name}: `{key}` holds values too large for {dtype:?}; keep it as f32 or bf16")]
    OutOfRange {
        /// File or resource name.
        name: String,
        /// Key in the checkpoint.
        key: String,
        /// The precision.
        dtype: DType,
    },
    /// Weights are kept and written in float types alone.
    #[error("{name}: weights are kept as f32, f16 or bf16, not as {dtype:?}")]
    Precision {
        /// File or resource name.
        name: String,
        /// The type that was asked for.
        dtype: DType,
    },
    /// Two parameters of a module have the same key, so that a file could hold one alone.
    #[error("{name}: two parameters have the key `{key}`; correct the key map")]
    SameKey {
        /// The file.
        name: String,
        /// The key.
        key: String,
    },
}

/// The first few of a list, and how many more there are.
pub(crate) fn shortened(items: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = items[..items.len().min(SHOWN)].join(", ");
    match items.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
