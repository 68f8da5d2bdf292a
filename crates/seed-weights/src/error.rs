//! The errors of this crate.

use std::path::PathBuf;

use burn::tensor::DType;
use seed_device::DeviceError;

use crate::layout::MAX_HEADER;

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
    /// The module's device has no numbers of the type that was asked for.
    #[error("{name}: {source}")]
    Device {
        /// File or resource name.
        name: String,
        /// What the device lacks.
        source: DeviceError,
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

/// What is wrong with the header of a safetensors file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// Not even the length of the header is there.
    #[error("the file has {bytes} bytes, fewer than a header's length takes")]
    TooShort {
        /// Length of the file.
        bytes: u64,
    },
    /// The header says it is longer than the format allows.
    #[error("the header claims {bytes} bytes, the format allows {MAX_HEADER}")]
    TooLong {
        /// Claimed length.
        bytes: u64,
    },
    /// The header does not fit into the file.
    #[error("the header claims {bytes} bytes, the file has {file}")]
    BeyondFile {
        /// Claimed length.
        bytes: u64,
        /// Length of the file.
        file: u64,
    },
    /// The header is no JSON, or not of the form of the format.
    #[error("the header cannot be read: {0}")]
    Json(String),
    /// Two tensors of one name; a JSON reader would silently keep one.
    #[error("`{0}` is there twice")]
    DuplicateKey(String),
    /// A shape and an element type do not give the bytes that the tensor takes.
    #[error("`{key}` of shape {shape:?} and type {dtype} does not fill bytes {start} to {end}")]
    Size {
        /// The tensor.
        key: String,
        /// Its shape.
        shape: Vec<usize>,
        /// Its element type.
        dtype: String,
        /// Its first byte in the data.
        start: usize,
        /// The byte after its last.
        end: usize,
    },
    /// A tensor shares bytes with the one before it.
    #[error("`{0}` overlaps another tensor")]
    Overlap(String),
    /// There are bytes before a tensor that belong to none.
    #[error("there is a hole before `{0}`")]
    Hole(String),
    /// A tensor ends after the file.
    #[error("`{key}` ends at byte {end} of the data, which has {data}")]
    BeyondData {
        /// The tensor.
        key: String,
        /// Its end.
        end: u64,
        /// Bytes of data in the file.
        data: u64,
    },
    /// There are bytes after the last tensor.
    #[error("{0} bytes after the last tensor belong to none")]
    Trailing(u64),
}

/// What is wrong with an index or the shards it names.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IndexError {
    /// The file is longer than any index.
    #[error("it has {0} bytes, which is no index")]
    TooLong(u64),
    /// The file is no JSON, or has no `weight_map` from keys to files.
    #[error("it cannot be read as an index: {0}")]
    Json(String),
    /// The index lists a key twice.
    #[error("`{0}` is listed twice")]
    DuplicateKey(String),
    /// The index lists nothing.
    #[error("its `weight_map` is empty")]
    Empty,
    /// A shard would be outside the folder of the index.
    #[error("it names the shard `{0}`, which is not a path inside its folder")]
    OutsideFolder(String),
    /// A shard is not there.
    #[error("the shard `{0}` is missing; fetch it into the folder of the index")]
    MissingShard(String),
    /// A shard does not hold what the index says.
    #[error("the shard `{shard}` does not hold `{key}`")]
    MissingKey {
        /// The file.
        shard: String,
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
