//! What a model did with some of the held-out pictures and prompts, for the eye.

use serde::{Deserialize, Serialize};

use super::results::PromptKind;
use crate::report::{CaptionMatch, Png};

/// A held-out picture, and what the model says of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CaptionedPicture {
    /// The picture.
    pub picture: Png,
    /// Where it comes from, such as `openmoji, seen`.
    pub source: String,
    /// Its own caption.
    pub reference: String,
    /// What the model says.
    pub caption: String,
    /// Whether that is right.
    pub right: bool,
}

/// A held-out picture, a question about it, and what the model answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AnsweredPicture {
    /// The picture.
    pub picture: Png,
    /// Where it comes from, such as `openmoji, seen`.
    pub source: String,
    /// What was asked.
    pub question: String,
    /// What the model answers.
    pub answer: String,
    /// The right answer.
    pub reference: String,
    /// Whether the two are the same after VQA's normalisation.
    pub right: bool,
}

/// A prompt, and what the model draws for it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DrawnCaption {
    /// What training knew of the prompt.
    pub kind: PromptKind,
    /// The prompt.
    pub caption: String,
    /// Whether it is an image: exactly the right number of codes between the marks.
    pub well_formed: bool,
    /// The codes, as many as were generated.
    pub codes: Vec<u32>,
    /// The captions nearest to the codes of an image, best first; the prompt itself is a hit.
    pub matches: Vec<CaptionMatch>,
    /// Pictures whose codes are nearest to those of an image, the nearest first.
    pub neighbours: Vec<Png>,
}
