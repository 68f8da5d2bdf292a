//! What can go wrong with the language model.

use seed_nn::ConfigError;
use seed_weights::WeightsError;

/// An input, a setting or a file that the language model cannot work with.
#[derive(Debug, thiserror::Error)]
pub enum LmError {
    /// Sizes that do not fit together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint that does not fit or is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// A published `config.json` that is not an OPT's.
    #[error("config.json: {reason}")]
    Published {
        /// What is wrong with it.
        reason: String,
    },
    /// A file that cannot be read or written.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More tokens than the model has positions.
    #[error(
        "{length} tokens are asked for and the model has {longest} positions: shorten the prompt or `max_new_tokens`"
    )]
    TooLong {
        /// Tokens of prompt and answer.
        length: usize,
        /// Positions of the model.
        longest: usize,
    },
    /// Nothing to go on from.
    #[error("prompt {row} is empty: it needs at least the start token")]
    EmptyPrompt {
        /// Which of the batch.
        row: usize,
    },
    /// Embeddings for another model.
    #[error("the prompt's embeddings have width {found}, the model's words {expected}")]
    EmbeddingWidth {
        /// Width of the embeddings.
        found: usize,
        /// Width of the model's word embeddings.
        expected: usize,
    },
    /// A code that the codebook does not have.
    #[error("code {code} is beyond the codebook's {codes} codes")]
    CodeOutOfRange {
        /// The code.
        code: i64,
        /// Size of the codebook.
        codes: usize,
    },
    /// An id that the vocabulary does not have.
    #[error("token {id} is beyond the vocabulary's {size} tokens")]
    IdOutOfRange {
        /// The id.
        id: u32,
        /// Size of the vocabulary, codes included.
        size: usize,
    },
    /// A setting of generation outside its range.
    #[error("{setting} is {value}: it must be {expected}")]
    Setting {
        /// Its name.
        setting: &'static str,
        /// What was given.
        value: String,
        /// What it must be.
        expected: &'static str,
    },
    /// No layer has a name that the adapter targets.
    #[error(
        "`target_modules` {targets:?} match no linear layer of the model; its layers are named like {example}"
    )]
    NoTarget {
        /// The patterns.
        targets: Vec<String>,
        /// The name of one layer.
        example: String,
    },
    /// An adapter or a visual vocabulary made for another model.
    #[error("made for another base model: {reason}")]
    OtherBase {
        /// What does not fit.
        reason: String,
    },
    /// A device on which Burn has no 8-bit weights.
    #[error("{device} keeps no weights in 8 bits: use flex, or f16 weights")]
    NoEightBit {
        /// The device.
        device: String,
    },
    /// An adapter cannot be merged into a weight of 8 bits.
    #[error("{layer} is kept in 8 bits: merge the adapter first, then keep the result in 8 bits")]
    EightBitBase {
        /// The layer.
        layer: String,
    },
    /// An adapter file with options that this code does not have.
    #[error("{path}: `{option}` is {value}, which is not supported")]
    AdapterOption {
        /// The file.
        path: String,
        /// The option.
        option: &'static str,
        /// Its value.
        value: String,
    },
    /// A name under which no adapter is kept.
    #[error("there is no adapter `{name}`; known: {known}")]
    NoAdapter {
        /// The name asked for.
        name: String,
        /// All names.
        known: String,
    },
    /// A template with an unknown or misplaced part.
    #[error("template `{template}`: {reason}")]
    Template {
        /// The template.
        template: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A tokenizer's or a reader's own error.
    #[error("{0}")]
    Text(String),
}

impl LmError {
    /// Refuses an id that a vocabulary of that size does not have.
    pub(crate) fn check_id(id: u32, size: usize) -> Result<(), Self> {
        if (id as usize) < size {
            return Ok(());
        }
        Err(Self::IdOutOfRange { id, size })
    }

    /// Refuses a setting unless it holds.
    pub(crate) fn require(
        holds: bool,
        setting: &'static str,
        value: impl ToString,
        expected: &'static str,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self::Setting {
            setting,
            value: value.to_string(),
            expected,
        })
    }
}
