//! Image-text retrieval: recall at 1, 5 and 10 in both directions.
//!
//! The protocol of SEED's Table 1 (arXiv 2307.08041, §2.2), after LAVIS' `tasks/retrieval.py`: features
//! are compared by cosine, with no re-ranking; an image finds its text if *any* text of its concept is
//! among the first K, a text its image likewise. Here one concept may also be drawn several times, so
//! the truth is a concept id on either side.
//!
//! **Ties count against the model**: a wrong candidate that scores exactly as well as the best right one
//! is placed before it. A collapsed model, which gives all candidates one score, so gets 0 and not 100.

use std::{cmp::Ordering, collections::HashMap};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{
    EvalError, Features,
    features::{check_finite, dot},
};

/// Share of the queries answered within the first 1, 5 and 10 candidates, in percent (0–100).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Recall {
    /// R@1.
    pub r1: f64,
    /// R@5.
    pub r5: f64,
    /// R@10.
    pub r10: f64,
}

impl Recall {
    /// The mean of the three.
    pub fn mean(&self) -> f64 {
        (self.r1 + self.r5 + self.r10) / 3.0
    }

    /// `hit(query, k)` is how surely (0–1) the query is answered within the first `k`.
    fn of(queries: usize, hit: impl Fn(usize, usize) -> f64) -> Self {
        let at = |k| 100.0 * (0..queries).map(|query| hit(query, k)).sum::<f64>() / queries as f64;
        Self {
            r1: at(1),
            r5: at(5),
            r10: at(10),
        }
    }
}

/// Recall in both directions over one set of candidates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct RetrievalScores {
    /// Each image looks for a text of its concept.
    pub image_to_text: Recall,
    /// Each text looks for an image of its concept.
    pub text_to_image: Recall,
    /// R@mean: the mean of the six recalls.
    pub r_mean: f64,
}

impl RetrievalScores {
    /// Joins the two directions.
    pub fn new(image_to_text: Recall, text_to_image: Recall) -> Self {
        let r_mean = f64::midpoint(image_to_text.mean(), text_to_image.mean());
        Self {
            image_to_text,
            text_to_image,
            r_mean,
        }
    }
}

/// Which images and which texts belong together: those of one concept.
///
/// ```
/// # use seed_eval::{Features, GroundTruth};
/// let images = Features::new(2, 2, vec![1.0, 0.1, 0.1, 1.0])?;
/// let texts = Features::new(2, 2, vec![0.0, 1.0, 1.0, 0.0])?;
/// let truth = GroundTruth::new(&[7, 8], &[8, 7])?;
/// assert_eq!(truth.cosine(&images, &texts)?.image_to_text.r1, 100.0);
/// assert_eq!(truth.chance().image_to_text.r1, 50.0);
/// # Ok::<(), seed_eval::EvalError>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GroundTruth<'a> {
    images: &'a [usize],
    texts: &'a [usize],
}

impl<'a> GroundTruth<'a> {
    /// Takes the concept of each image and of each text.
    ///
    /// # Errors
    /// [`EvalError::Empty`], or [`EvalError::Unanswerable`] if a concept is on one side only: it would
    /// lower every score, chance included, without saying anything about the model.
    pub fn new(images: &'a [usize], texts: &'a [usize]) -> Result<Self, EvalError> {
        if images.is_empty() {
            return Err(EvalError::Empty("images"));
        }
        if texts.is_empty() {
            return Err(EvalError::Empty("texts"));
        }
        let truth = Self { images, texts };
        answerable("image", images, "text", texts)?;
        answerable("text", texts, "image", images)?;
        Ok(truth)
    }

    /// Recall when candidates are ranked by the cosine of `images` `[images, dim]` and `texts`
    /// `[texts, dim]`. Rows run on rayon's threads; the score matrix is never held.
    ///
    /// # Errors
    /// [`EvalError::Mismatch`] if rows or widths disagree, [`EvalError::ZeroRow`].
    pub fn cosine(
        &self,
        images: &Features,
        texts: &Features,
    ) -> Result<RetrievalScores, EvalError> {
        expect("rows of image features", images.rows(), self.images.len())?;
        expect("rows of text features", texts.rows(), self.texts.len())?;
        expect("width of text features", texts.dim(), images.dim())?;
        let (images, texts) = (images.clone().normalize()?, texts.clone().normalize()?);
        Ok(self.rank(|image, text| dot(images.row(image), texts.row(text))))
    }

    /// Recall from given scores `[images, texts]`, row-major, the higher the better.
    ///
    /// # Errors
    /// [`EvalError::Mismatch`] if the count is wrong, [`EvalError::NotFinite`].
    pub fn scores(&self, scores: &[f32]) -> Result<RetrievalScores, EvalError> {
        let texts = self.texts.len();
        expect("scores", scores.len(), self.images.len() * texts)?;
        check_finite("scores", scores, texts)?;
        Ok(self.rank(|image, text| scores[image * texts + text]))
    }

    /// The recall a random order of the same candidates is expected to give.
    ///
    /// With `m` right ones among `n` candidates, none is among the first `k` with probability
    /// `C(n−m, k) / C(n, k)` (hypergeometric).
    pub fn chance(&self) -> RetrievalScores {
        RetrievalScores::new(
            expected_recall(self.images, self.texts),
            expected_recall(self.texts, self.images),
        )
    }

    fn rank(&self, score: impl Fn(usize, usize) -> f32 + Sync) -> RetrievalScores {
        let to_text = ranks(self.images, self.texts, &score);
        let to_image = ranks(self.texts, self.images, |text, image| score(image, text));
        let recall = |ranks: &[usize]| {
            Recall::of(ranks.len(), |query, k| {
                f64::from(u8::from(ranks[query] < k))
            })
        };
        RetrievalScores::new(recall(&to_text), recall(&to_image))
    }
}

/// A candidate and how well it fits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Row of the candidate.
    pub row: usize,
    /// Its cosine with the query, −1 to 1.
    pub score: f32,
}

/// For each query the `k` candidates nearest by cosine, best first; of equals the lower row first.
///
/// # Errors
/// [`EvalError::Mismatch`] if the widths disagree, [`EvalError::ZeroRow`].
pub fn nearest(
    queries: &Features,
    candidates: &Features,
    k: usize,
) -> Result<Vec<Vec<Neighbour>>, EvalError> {
    expect(
        "width of candidate features",
        candidates.dim(),
        queries.dim(),
    )?;
    let (queries, candidates) = (
        queries.clone().normalize()?,
        candidates.clone().normalize()?,
    );
    let better = |a: &Neighbour, b: &Neighbour| -> Ordering {
        b.score.total_cmp(&a.score).then(a.row.cmp(&b.row))
    };
    Ok((0..queries.rows())
        .into_par_iter()
        .map(|query| {
            let score = |row| dot(queries.row(query), candidates.row(row));
            let mut all: Vec<_> = (0..candidates.rows())
                .map(|row| Neighbour {
                    row,
                    score: score(row),
                })
                .collect();
            if 0 < k && k < all.len() {
                all.select_nth_unstable_by(k - 1, better);
            }
            all.truncate(k);
            all.sort_unstable_by(better);
            all
        })
        .collect())
}

/// How many wrong candidates come before the best right one, for each query; all of them, where none is right.
pub(crate) fn ranks(
    queries: &[usize],
    candidates: &[usize],
    score: impl Fn(usize, usize) -> f32 + Sync,
) -> Vec<usize> {
    let row = || Vec::with_capacity(candidates.len());
    let rank = |scores: &mut Vec<f32>, (query, concept): (usize, &usize)| {
        scores.clear();
        scores.extend((0..candidates.len()).map(|candidate| score(query, candidate)));
        let scored = || candidates.iter().zip(&*scores);
        let best = scored()
            .filter(|(other, _)| *other == concept)
            .fold(f32::NEG_INFINITY, |best, (_, &score)| best.max(score));
        scored()
            .filter(|(other, score)| *other != concept && **score >= best)
            .count()
    };
    queries.par_iter().enumerate().map_init(row, rank).collect()
}

fn expected_recall(queries: &[usize], candidates: &[usize]) -> Recall {
    let counts = count(candidates);
    let n = candidates.len();
    Recall::of(queries.len(), |query, k| {
        let wrong = n - counts[&queries[query]];
        // Past the last wrong candidate a factor is 0: a hit is certain.
        let miss: f64 = (0..k.min(n))
            .map(|i| wrong.saturating_sub(i) as f64 / (n - i) as f64)
            .product();
        1.0 - miss
    })
}

fn answerable(
    side: &'static str,
    queries: &[usize],
    other: &'static str,
    candidates: &[usize],
) -> Result<(), EvalError> {
    let counts = count(candidates);
    match queries
        .iter()
        .enumerate()
        .find(|(_, concept)| !counts.contains_key(concept))
    {
        None => Ok(()),
        Some((row, &concept)) => Err(EvalError::Unanswerable {
            side,
            row,
            concept,
            other,
        }),
    }
}

fn count(concepts: &[usize]) -> HashMap<usize, usize> {
    let mut counts = HashMap::new();
    for &concept in concepts {
        *counts.entry(concept).or_default() += 1;
    }
    counts
}

pub(crate) fn expect(what: &'static str, got: usize, wanted: usize) -> Result<(), EvalError> {
    if got == wanted {
        Ok(())
    } else {
        Err(EvalError::Mismatch { what, got, wanted })
    }
}
