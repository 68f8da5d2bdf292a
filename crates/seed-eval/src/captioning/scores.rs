//! All scores of a set of captions, and of each.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{bleu, cider, item::CaptionItem, ngrams::Corpus, rouge};
use crate::{EvalError, ptb_tokenize};

/// The scores of a set of captions.
///
/// ```
/// # use seed_eval::{CaptionItem, CaptionScores};
/// let references = [vec!["A dog runs.".to_owned()], vec!["Two cats on a sofa".to_owned()]];
/// let items = [
///     CaptionItem { hypothesis: "a dog runs", references: &references[0] },
///     CaptionItem { hypothesis: "two cats on a bed", references: &references[1] },
/// ];
/// let scores = CaptionScores::of(&items)?;
/// assert!((scores.bleu[0] - 7.0 / 8.0).abs() < 1e-6);
/// assert!((scores.per_image[0].rouge_l - 1.0).abs() < 1e-9);
/// # Ok::<(), seed_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CaptionScores {
    /// BLEU-1 to BLEU-4 of the whole set; its brevity penalty takes the closest reference of each image, of
    /// equally close ones the shorter.
    pub bleu: [f64; 4],
    /// Mean ROUGE-L, beta 1.2.
    pub rouge_l: f64,
    /// Mean CIDEr-D, which papers on COCO call CIDEr.
    pub cider_d: f64,
    /// Mean CIDEr without the clipping and the length penalty of CIDEr-D.
    pub cider_plain: f64,
    /// The same for each image, in the order given.
    pub per_image: Vec<ImageCaptionScores>,
}

/// The scores of the caption of one image.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ImageCaptionScores {
    /// BLEU-1 to BLEU-4; an n-gram order without a match counts as next to nothing, not as nothing.
    pub bleu: [f64; 4],
    /// ROUGE-L.
    pub rouge_l: f64,
    /// CIDEr-D, with document frequencies of the whole set.
    pub cider_d: f64,
    /// CIDEr without clipping and length penalty.
    pub cider_plain: f64,
}

impl CaptionScores {
    /// Scores captions as they were written: they are tokenised by [`ptb_tokenize`] first.
    ///
    /// CIDEr weighs an n-gram by how few of the images have it in a reference, so that a single image scores
    /// 0 and a part of a set scores otherwise than within the whole.
    ///
    /// # Errors
    /// [`EvalError::Empty`], or [`EvalError::NoReferences`] naming the image.
    pub fn of(items: &[CaptionItem<'_>]) -> Result<Self, EvalError> {
        let tokenized: Vec<(String, Vec<String>)> = items
            .par_iter()
            .map(|item| {
                let references = item.references.iter().map(|text| ptb_tokenize(text));
                (ptb_tokenize(item.hypothesis), references.collect())
            })
            .collect();
        let items: Vec<CaptionItem<'_>> = tokenized
            .iter()
            .map(|(hypothesis, references)| CaptionItem {
                hypothesis,
                references,
            })
            .collect();
        Self::of_tokenized(&items)
    }

    /// Scores captions whose tokens are already separated by single spaces.
    ///
    /// # Errors
    /// As [`CaptionScores::of`].
    pub fn of_tokenized(items: &[CaptionItem<'_>]) -> Result<Self, EvalError> {
        if items.is_empty() {
            return Err(EvalError::Empty("captions"));
        }
        if let Some(image) = items.iter().position(|item| item.references.is_empty()) {
            return Err(EvalError::NoReferences { image });
        }
        let corpus = Corpus::new(items);
        let (bleu, bleu_per_image) = bleu::scores(&corpus);
        let cider = cider::scores(&corpus);
        let per_image: Vec<_> = items
            .par_iter()
            .zip(bleu_per_image)
            .zip(cider)
            .map(|((item, bleu), cider)| ImageCaptionScores {
                bleu,
                rouge_l: rouge::score(item),
                cider_d: cider.clipped,
                cider_plain: cider.plain,
            })
            .collect();
        let mean = |score: fn(&ImageCaptionScores) -> f64| {
            per_image.iter().map(score).sum::<f64>() / per_image.len() as f64
        };
        Ok(Self {
            bleu,
            rouge_l: mean(|image| image.rouge_l),
            cider_d: mean(|image| image.cider_d),
            cider_plain: mean(|image| image.cider_plain),
            per_image,
        })
    }
}
