//! Retrieval on one set of candidates, and the rows of its table.

use serde::{Deserialize, Serialize};

use crate::{retrieval::RetrievalScores, set_name::SetName, share::Share};

/// Retrieval on one set of candidates. Scores are in percent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalResult {
    /// Which set.
    #[serde(flatten)]
    pub set: SetName,
    /// Pictures among the candidates.
    pub images: usize,
    /// Texts among the candidates.
    pub texts: usize,
    /// With the embeddings that the codes are made from.
    pub embeddings: RetrievalScores,
    /// With codes, that is, with the embeddings reconstructed from them.
    pub codes: Option<RetrievalScores>,
    /// With 16×16 pixels through a ridge regression.
    pub pixels: Option<RetrievalScores>,
    /// Expected of a random order.
    pub chance: RetrievalScores,
}

impl RetrievalResult {
    /// What the codes lose against the embeddings, in points of R@mean (negative if they gain).
    pub fn loss_of_codes(&self) -> Option<f64> {
        self.codes
            .map(|codes| self.embeddings.r_mean - codes.r_mean)
    }

    /// The rows of the table, best informed first.
    pub(super) fn rows(&self, causal: bool) -> impl Iterator<Item = Row<'_>> {
        let embeddings = if causal {
            "causal embeddings"
        } else {
            "embeddings"
        };
        let rows = [
            (embeddings, By::Embeddings, Some(&self.embeddings)),
            ("codes", By::Codes, self.codes.as_ref()),
            ("16×16 pixels", By::Pixels, self.pixels.as_ref()),
            ("chance", By::Chance, Some(&self.chance)),
        ];
        rows.into_iter().filter_map(|(name, by, scores)| {
            let scores = scores?;
            Some(Row { name, by, scores })
        })
    }

    /// A measured recall of the pictures, or of the texts, as the count that it is.
    pub(super) fn counted(percent: f64, queries: usize) -> Share {
        if percent.is_finite() {
            // A recall is hits / queries, so that rounding gives the hits back.
            let hits = (percent / 100.0 * queries as f64).round();
            Share::new(hits as usize, queries)
        } else {
            Share::default()
        }
    }
}

/// A row of the retrieval table.
pub(super) struct Row<'a> {
    pub(super) name: &'static str,
    pub(super) by: By,
    pub(super) scores: &'a RetrievalScores,
}

/// What the scores of a row were found with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Embeddings,
    Codes,
    Pixels,
    Chance,
}

impl By {
    /// Whether this is the model that the report is about.
    pub(super) fn is_model(self) -> bool {
        matches!(self, Self::Embeddings | Self::Codes)
    }
}

impl Row<'_> {
    /// The standard errors of R@1, image to text and text to image, in points; none for what is computed, not counted.
    pub(super) fn errors(&self, result: &RetrievalResult) -> Option<[f64; 2]> {
        let RetrievalScores {
            image_to_text,
            text_to_image,
            ..
        } = self.scores;
        (self.by != By::Chance).then(|| {
            [
                (image_to_text.r1, result.images),
                (text_to_image.r1, result.texts),
            ]
            .map(|(r1, queries)| RetrievalResult::counted(r1, queries).standard_error())
        })
    }
}
