//! BLEU (Papineni et al., 2002) of a whole set of captions and of each.

use std::array;

use super::ngrams::{Corpus, Document, ORDERS, order};

/// What pycocoevalcap adds above and below the line of a ratio, so that 0 of 0 is 0.
const TINY: f64 = 1e-15;
const SMALL: f64 = 1e-9;

/// What BLEU is computed from; that of a set is the sum of that of its captions.
#[derive(Debug, Clone, Copy, Default)]
struct Statistics {
    /// N-grams of the caption that are in a reference, each at most as often as in one reference.
    correct: [usize; ORDERS],
    /// N-grams of the caption.
    guessed: [usize; ORDERS],
    words: usize,
    /// Words of the reference whose length is closest.
    reference_words: usize,
}

impl Statistics {
    fn of(document: &Document) -> Self {
        let words = document.hypothesis.words;
        let mut correct = [0; ORDERS];
        for (ngram, count) in &document.hypothesis.ngrams {
            let references = document.references.iter();
            let most = references.map(|reference| reference.get(ngram)).max();
            correct[order(*ngram)] += (*count).min(most.unwrap_or(0));
        }
        let lengths = document.references.iter().map(|reference| reference.words);
        let closest = lengths.min_by_key(|length| (length.abs_diff(words), *length));
        Self {
            correct,
            guessed: array::from_fn(|order| words.saturating_sub(order)),
            words,
            reference_words: closest.unwrap_or(0),
        }
    }

    fn add(mut self, other: &Self) -> Self {
        for order in 0..ORDERS {
            self.correct[order] += other.correct[order];
            self.guessed[order] += other.guessed[order];
        }
        self.words += other.words;
        self.reference_words += other.reference_words;
        self
    }

    /// The geometric mean of the precisions up to each order, times the brevity penalty.
    fn bleu(&self) -> [f64; ORDERS] {
        let ratio = (self.words as f64 + TINY) / (self.reference_words as f64 + SMALL);
        let penalty = if ratio < 1.0 {
            (1.0 - 1.0 / ratio).exp()
        } else {
            1.0
        };
        let mut product = 1.0;
        array::from_fn(|order| {
            let (correct, guessed) = (self.correct[order] as f64, self.guessed[order] as f64);
            product *= (correct + TINY) / (guessed + SMALL);
            f64::powf(product, 1.0 / (order + 1) as f64) * penalty
        })
    }
}

/// BLEU-1 to BLEU-4 of the set, and of each caption.
pub(super) fn scores(corpus: &Corpus) -> ([f64; ORDERS], Vec<[f64; ORDERS]>) {
    let each: Vec<Statistics> = corpus.documents.iter().map(Statistics::of).collect();
    let all = each.iter().fold(Statistics::default(), Statistics::add);
    (all.bleu(), each.iter().map(Statistics::bleu).collect())
}
