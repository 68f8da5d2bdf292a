//! What a run is judged by, and the page that shows it.
//!
//! - [`Features`]: a table of feature vectors, one a row;
//! - [`GroundTruth`] → [`RetrievalScores`]: image→text and text→image recall, and what chance gives;
//! - [`PixelControl`]: the same retrieval from 16×16 pixels through a ridge regression, since drawings
//!   of one concept by two vendors may simply look alike;
//! - [`CaptionScores`]: BLEU, ROUGE-L and CIDEr of captions, tokenised as COCO's evaluation does
//!   ([`ptb_tokenize`]);
//! - [`VqaScores`], [`GqaScores`]: accuracy of answers to questions;
//! - [`annotations`]: the captions and questions of COCO, Flickr30K, NoCaps, VQAv2 and GQA, from their files;
//! - [`language`]: what a language model's training ends with, and its page;
//! - [`pictures`]: what rebuilt and drawn pictures are judged by: PSNR, SSIM, similarity, KID, CMMD, an independent judge;
//! - [`white_space`]: Python's notion of it, by which the reference's programs cut text;
//! - [`Share`]: how many of how many, with Wilson's interval; [`Target`]: what an experiment asks of a [`Score`];
//! - [`CodebookHealth`]: usage, perplexity and dead codes, overall and per position;
//! - [`Report`]: all of it as JSON, as one self-contained HTML page, and as a table for the terminal.
//!
//! Everything works on plain slices: no model, tensor or device is known here.

pub mod annotations;
mod captioning;
mod codebook;
mod error;
mod features;
mod figure;
mod gqa;
pub mod language;
mod nan;
mod normal_equations;
mod numbers;
pub mod pictures;
mod pixel_control;
mod ptb;
pub mod report;
mod retrieval;
mod score;
mod set_name;
mod share;
mod target;
mod vqa;
pub mod white_space;

pub use captioning::{CaptionItem, CaptionScores, ImageCaptionScores};
pub use codebook::{CodeCount, CodeUse, CodebookHealth, PositionHealth, SharedCode, shared_codes};
pub use error::EvalError;
pub use features::Features;
pub use figure::Figure;
pub use gqa::{GqaItem, GqaScores};
pub use pixel_control::PixelControl;
pub use ptb::ptb_tokenize;
pub use report::Report;
pub use retrieval::{GroundTruth, Neighbour, Recall, RetrievalScores, nearest};
pub use score::Score;
pub use set_name::SetName;
pub use share::{Share, TooManyHits};
pub use target::{Asked, Target, TargetError, Verdict};
pub use vqa::{VqaItem, VqaScores, vqa_cleaned_answers, vqa_normalize, vqa_punctuation};
