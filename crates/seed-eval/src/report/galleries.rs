//! What the galleries show: pictures with captions found for them, codes with pictures that share them.

use serde::{Deserialize, Serialize};

use super::png::Png;
use crate::nan::null_as_nan;

/// A picture and the captions nearest to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NearestCaptions {
    /// The picture.
    pub picture: Png,
    /// Its own caption.
    pub caption: String,
    /// Where it comes from, such as `openmoji, unseen`.
    pub source: String,
    /// The nearest captions, best first.
    pub matches: Vec<CaptionMatch>,
}

/// A caption found for a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionMatch {
    /// The caption.
    pub caption: String,
    /// Its cosine with the picture.
    #[serde(deserialize_with = "null_as_nan")]
    pub score: f32,
    /// Whether it is one of the picture's own.
    pub hit: bool,
}

/// A code and pictures that share it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeGallery {
    /// The code.
    pub code: u32,
    /// Pictures that have it, shown or not.
    pub pictures: usize,
    /// Those shown.
    pub examples: Vec<CodeExample>,
}

/// A picture that has a code.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeExample {
    /// The picture.
    pub picture: Png,
    /// Its caption.
    pub caption: String,
    /// The position of the code in its sequence, from 0.
    pub position: usize,
}
