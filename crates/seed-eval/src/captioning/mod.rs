//! How good captions are: BLEU, ROUGE-L and CIDEr, as the COCO evaluation counts them.
//!
//! The numbers are those of pycocoevalcap 1.2 over all images at once, its quirks included: the best
//! precision and the best recall of ROUGE-L may come from two references, and the lengths that CIDEr-D's
//! penalty compares are counts of bigrams. A score is between 0 and 1, of CIDEr between 0 and 10; papers
//! print them times 100.

mod bleu;
mod cider;
mod item;
mod ngrams;
mod rouge;
mod scores;

pub use item::CaptionItem;
pub use scores::{CaptionScores, ImageCaptionScores};
