//! Other wordings of a caption of the corpus.

use rand::{RngExt, seq::SliceRandom};
use rand_chacha::ChaCha8Rng;

/// The label and some of its keywords in random order, so that the text tower learns words rather
/// than whole captions; sometimes the keywords alone.
pub(crate) fn vary_caption(caption: &str, rng: &mut ChaCha8Rng) -> String {
    let mut words = caption.split(", ");
    let label = words.next().unwrap_or_default();
    let mut keywords: Vec<&str> = words.collect();
    if keywords.is_empty() || rng.random_range(0.0..1.0) < 0.3 {
        return caption.to_owned();
    }
    keywords.shuffle(rng);
    keywords.truncate(rng.random_range(0..=keywords.len()));
    if keywords.is_empty() || rng.random_range(0.0..1.0) < 0.8 {
        keywords.insert(0, label);
    }
    keywords.join(", ")
}
