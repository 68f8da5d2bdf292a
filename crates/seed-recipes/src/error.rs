//! What can go wrong around a recipe: data, weights, configs, evaluation, training.

use seed_data::{DataError, LoaderError};
use seed_eval::EvalError;
use seed_train::{MetricsError, RunError, Stopped, TrainError};
use seed_weights::WeightsError;

/// Any failure of a stage, in the words of the part that failed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs)] // Each variant is the error it wraps.
pub enum RecipeError {
    #[error(transparent)]
    Data(#[from] DataError),
    #[error(transparent)]
    Loader(#[from] LoaderError<DataError>),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Tokenizer(#[from] seed_tokenizer::TokenizerError),
    #[error(transparent)]
    Nano(#[from] seed_encoders::nano::NanoError),
    #[error(transparent)]
    Model(#[from] seed_nn::ConfigError),
    #[error(transparent)]
    Config(#[from] seed_train::ConfigError),
    #[error(transparent)]
    Device(#[from] seed_device::DeviceError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Train(#[from] TrainError),
    #[error(transparent)]
    Eval(#[from] EvalError),
    #[error(transparent)]
    Language(#[from] seed_lm::LmError),
    #[error(transparent)]
    Diffusion(#[from] seed_diffusion::DiffusionError),
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    #[error(transparent)]
    Stopped(#[from] Stopped),
    #[error(
        "`start` is \"q_former\", and these frozen parts come without one: set `start = \"random\"` or `{{ from = .. }}`"
    )]
    NoQFormer,
    #[error("a codebook of {codes} codes: codes are kept in two bytes, so at most 65,536")]
    TooManyCodes { codes: usize },
    #[error(
        "{} is not there: put the text tokenizer of this checkpoint beside it (bert-base-uncased's with [DEC] for the released ones)",
        file.display()
    )]
    NoTextTokenizer { file: std::path::PathBuf },
    #[error("{0}")]
    LanguageData(String),
    #[error("cannot write {}: {source}", path.display())]
    Report {
        path: std::path::PathBuf,
        source: std::io::Error,
    },
}
