//! The errors of this crate.

use std::path::{Path, PathBuf};

use seed_data::DataError;
use seed_diffusion::DiffusionError;
use seed_encoders::EncoderConfigError;
use seed_eval::EvalError;
use seed_lm::LmError;
use seed_nn::ConfigError;
use seed_weights::WeightsError;

/// Why a kit or one of its cases could not be run.
#[derive(Debug, thiserror::Error)]
pub enum ParityError {
    /// A file or folder could not be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The folder holds no case.
    #[error(
        "{}: no case in this folder; a kit has one folder a case, such as `01_eva_vit`, each with its `config.json`",
        path.display()
    )]
    NoCases {
        /// The folder.
        path: PathBuf,
    },
    /// A case is asked for that the kit does not have.
    #[error("no case `{name}` in this kit; it has: {}", available.join(", "))]
    NoSuchCase {
        /// The case asked for.
        name: String,
        /// The cases there are.
        available: Vec<String>,
    },
    /// A JSON file does not parse.
    #[error("{}: not sound JSON: {source}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A JSON file lacks a value, or has it in another form.
    #[error("{}: no {wanted} at `{key}`", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        key: String,
        /// What is needed there.
        wanted: &'static str,
    },
    /// None of the files that could hold a case's weights is there.
    #[error("{}: no file `{stem}` with one of the endings {}", folder.display(), endings.join(", "))]
    NoCheckpoint {
        /// The case's folder.
        folder: PathBuf,
        /// File name without its ending.
        stem: String,
        /// The endings that were looked for.
        endings: &'static [&'static str],
    },
    /// An input has another shape than the case's config asks for.
    #[error(
        "{}: input `{key}` has shape {found:?}, the config asks for {expected}",
        path.display()
    )]
    InputShape {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// Its shape.
        found: Vec<usize>,
        /// What the model takes, `_` for any size.
        expected: String,
    },
    /// An input holds an index beyond the table that it points into.
    #[error("{}: input `{key}` holds the index {found}, but there are {rows} rows", path.display())]
    InputIndex {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// The index.
        found: i64,
        /// Rows of the table.
        rows: usize,
    },
    /// The golden file names a parameter that the model does not have or does not train.
    #[error("{stem}: `{key}` is no parameter of the model, or nothing it computes reaches it")]
    NoSuchParameter {
        /// The golden file, without its ending.
        stem: String,
        /// The key in it.
        key: String,
    },
    /// A tensor of pictures is not of bytes in `[height, width, 3]`.
    #[error("{}: `{key}` is no picture: {reason}", path.display())]
    Picture {
        /// The file.
        path: PathBuf,
        /// The tensor.
        key: String,
        /// What it is instead.
        reason: String,
    },
    /// A checkpoint could not be read or does not fit.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The sizes of a case describe no possible model.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A language model, an adapter or a prompt does not fit.
    #[error(transparent)]
    Language(#[from] LmError),
    /// A config of Stable Diffusion, or what it is given, does not fit.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// An encoder's config is not usable.
    #[error(transparent)]
    Encoder(#[from] EncoderConfigError),
    /// The optimiser's settings are not possible.
    #[error(transparent)]
    Training(#[from] seed_train::ConfigError),
    /// A picture or tokenizer could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A measure could not be taken.
    #[error(transparent)]
    Eval(#[from] EvalError),
}

impl ParityError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
