//! What stands between codes and pixels.

use std::path::PathBuf;

use seed_data::DataError;
use seed_diffusion::DiffusionError;
use seed_encoders::nano::NanoError;
use seed_nn::ConfigError;
use seed_weights::WeightsError;

use super::settings::Form;

/// Models, settings or codes that pictures cannot be made of.
#[derive(Debug, thiserror::Error)]
pub enum PixelError {
    /// A setting or a tensor that diffusion cannot work with.
    #[error(transparent)]
    Diffusion(#[from] DiffusionError),
    /// A checkpoint that does not fit or is damaged.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// The shipped text tower is damaged.
    #[error(transparent)]
    Nano(#[from] NanoError),
    /// Sizes that do not fit together.
    #[error(transparent)]
    Sizes(#[from] ConfigError),
    /// A text tokenizer that cannot be read or used.
    #[error(transparent)]
    Text(#[from] DataError),
    /// A file of a diffusion model cannot be read, or says what this code does not do.
    #[error("{}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The tokenizer cannot lead to pictures in this form.
    #[error("this tokenizer has no {form} head, which pictures by form `{form}` need; {have}")]
    NoHead {
        /// What was asked for.
        form: Form,
        /// What it has instead.
        have: String,
    },
    /// The diffusion model takes no image embeddings.
    #[error("this diffusion model takes no image embeddings, which form `image` needs: {reason}")]
    NoImageEmbeddings {
        /// What it lacks.
        reason: String,
    },
    /// Tokenizer, text tower and diffusion model do not belong together.
    #[error(
        "the {what} are {found} wide, and the diffusion model's are {expected}: they do not belong together"
    )]
    Width {
        /// What is compared, and whose it is.
        what: &'static str,
        /// Width of what is given.
        found: usize,
        /// Width that the diffusion model takes.
        expected: usize,
    },
    /// UNet and autoencoder do not belong together.
    #[error("UNet and autoencoder do not belong together: {reason}")]
    Parts {
        /// What does not fit.
        reason: String,
    },
    /// Nothing says what a text, even the empty one, means to the diffusion model.
    #[error(
        "{name} comes without a text tower, and the states of a text {need}: name a folder with `text_encoder` and `tokenizer`; \
         guidance 1 by form `text` needs none"
    )]
    NoPrompts {
        /// The diffusion model.
        name: String,
        /// What needs it.
        need: &'static str,
    },
    /// Words, and nothing that makes ids of them.
    #[error("nothing says what `{text}` means: this text tower comes without a tokenizer")]
    NoTextTokenizer {
        /// The words.
        text: String,
    },
    /// Something to lead away from, and nothing that leads.
    #[error(
        "a negative text has no effect with guidance 1: raise the guidance, or leave the text out"
    )]
    NegativeWithoutGuidance,
    /// Too few codes or too many.
    #[error("{found} codes, and an image of this tokenizer has {expected}")]
    CodeCount {
        /// How many were given.
        found: usize,
        /// How many there must be, in words.
        expected: String,
    },
    /// A code that the codebook does not have.
    #[error("code {code} at position {position}: the codebook has {codes}, from 0 to {}", codes - 1)]
    Code {
        /// The code.
        code: i64,
        /// Where it stands, from 1.
        position: usize,
        /// Size of the codebook.
        codes: usize,
    },
    /// A prefix of no codes, or of more than there are.
    #[error("a prefix of {prefix} codes: it must be between 1 and {positions}")]
    Prefix {
        /// How many were asked for.
        prefix: usize,
        /// How many an image has.
        positions: usize,
    },
    /// A noise level of image embeddings where there are none.
    #[error("a noise level is of image embeddings: form `text` has none")]
    NoiseLevelOfText,
    /// The model gave what is no number.
    #[error("the diffusion model gave values that are no numbers for picture {picture}")]
    NotFinite {
        /// The picture.
        picture: u64,
    },
}
