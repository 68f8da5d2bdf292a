//! The nano tokenizer that ships with the library: `examples/train_tokenizer`'s result.
//!
//! It was trained on drawings (the embedded corpus) alone: it shows what the programs do, and tokenizes
//! photographs badly.

use seed_weights::Checkpoint;

use crate::{PublishedTokenizer, TokenizerError};

const WEIGHTS: &[u8] = include_bytes!("../weights/nano-tokenizer.safetensors");

/// The shipped nano tokenizer, not yet loaded.
pub fn published() -> Result<PublishedTokenizer, TokenizerError> {
    let checkpoint = Checkpoint::from_bytes("the shipped nano tokenizer", WEIGHTS)?;
    PublishedTokenizer::of(checkpoint, None)
}
