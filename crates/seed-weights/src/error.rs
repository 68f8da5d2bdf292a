//! The errors of this crate.

use std::path::PathBuf;

use burn::tensor::DType;

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
    /// The bytes are not a sound safetensors file.
    #[error(
        "{name}: not a sound safetensors file ({reason}); it may be truncated, fetch or write it again"
    )]
    Malformed {
        /// File or resource name.
        name: String,
        /// What the parser said.
        reason: String,
    },
    /// The model needs tensors that the checkpoint does not hold.
    #[error("{name}: {} tensor(s) missing, first {}; is this the checkpoint of another model?", keys.len(), keys[0])]
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
    /// A tensor's element type is not a float this library reads.
    #[error("{name}: `{key}` is stored as {dtype}; f32, f16 and bf16 are read")]
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
    /// Weights can be written in float types alone.
    #[error("{}: weights are written as f32, f16 or bf16, not as {dtype:?}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// The type that was asked for.
        dtype: DType,
    },
}
