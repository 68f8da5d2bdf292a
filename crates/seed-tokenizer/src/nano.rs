//! What ships with the library at nano size: the tokenizer that `examples/train_tokenizer` makes, and the
//! Q-Former that its stage I starts from (`experiments/nano-q-former`).
//!
//! Both were trained on drawings (the embedded corpus) alone: the tokenizer shows what the programs do, and
//! tokenizes photographs badly.

use seed_encoders::nano::image_tower;
use seed_weights::Checkpoint;

use crate::{PublishedTokenizer, TokenizerError};

/// Without its image tower, which is the nano CLIP's.
const WEIGHTS: &[u8] = include_bytes!("../weights/nano-tokenizer.safetensors");
const Q_FORMER: &[u8] = include_bytes!("../weights/nano-q-former.safetensors");

/// The shipped nano tokenizer, not yet loaded.
pub fn published() -> Result<PublishedTokenizer, TokenizerError> {
    let checkpoint = Checkpoint::from_bytes("the shipped nano tokenizer", WEIGHTS)?;
    PublishedTokenizer::of(checkpoint.joined(image_tower()?)?, None)
}

/// The shipped Q-Former, in the layout of `causal_qformer.pth`: it plays BLIP-2's.
pub fn q_former() -> Result<Checkpoint, TokenizerError> {
    Ok(Checkpoint::from_bytes(
        "the shipped nano Q-Former",
        Q_FORMER,
    )?)
}
