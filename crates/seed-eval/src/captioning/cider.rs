//! CIDEr (Vedantam et al., 2015): the cosine of counts of n-grams, weighed by how rare they are.

use std::collections::HashMap;

use rayon::prelude::*;

use super::ngrams::{Corpus, Counts, Document, Ngram, ORDERS, order};

/// Deviation of CIDEr-D's penalty on lengths that differ.
const SIGMA: f64 = 6.0;

/// CIDEr of one caption.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cider {
    /// CIDEr-D: weights clipped at the reference's, and a Gaussian penalty on the difference of lengths.
    pub(super) clipped: f64,
    /// Without the two.
    pub(super) plain: f64,
}

/// CIDEr of each caption.
pub(super) fn scores(corpus: &Corpus) -> Vec<Cider> {
    let rarity = Rarity::of(corpus);
    let documents = corpus.documents.par_iter();
    documents.map(|document| rarity.score(document)).collect()
}

/// How few images have an n-gram in a reference.
struct Rarity {
    images: HashMap<Ngram, usize>,
    /// Logarithm of the number of images.
    log_count: f64,
}

impl Rarity {
    fn of(corpus: &Corpus) -> Self {
        let mut images = HashMap::new();
        for document in &corpus.documents {
            let references = document.references.iter();
            let mut ngrams: Vec<Ngram> = references
                .flat_map(|reference| reference.ngrams.iter().map(|(ngram, _)| *ngram))
                .collect();
            ngrams.sort_unstable();
            ngrams.dedup();
            for ngram in ngrams {
                *images.entry(ngram).or_default() += 1;
            }
        }
        Self {
            images,
            log_count: (corpus.documents.len() as f64).ln(),
        }
    }

    /// The inverse document frequency; an n-gram of no reference counts as one of a single image.
    fn weight(&self, ngram: &Ngram) -> f64 {
        let images = self.images.get(ngram).copied().unwrap_or(0).max(1);
        self.log_count - (images as f64).ln()
    }

    fn vector<'a>(&self, counts: &'a Counts) -> Vector<'a> {
        let mut norms = [0.0; ORDERS];
        let mut bigrams = 0;
        let weights = counts
            .ngrams
            .iter()
            .map(|(ngram, count)| {
                let weight = *count as f64 * self.weight(ngram);
                norms[order(*ngram)] += weight * weight;
                bigrams += if order(*ngram) == 1 { *count } else { 0 };
                weight
            })
            .collect();
        Vector {
            counts,
            weights,
            norms: norms.map(f64::sqrt),
            bigrams,
        }
    }

    /// The mean over references and orders, times 10.
    fn score(&self, document: &Document) -> Cider {
        let hypothesis = self.vector(&document.hypothesis);
        let (mut clipped, mut plain) = (0.0, 0.0);
        for reference in &document.references {
            let reference = self.vector(reference);
            let similarity = hypothesis.similarity(&reference);
            clipped += similarity.clipped;
            plain += similarity.plain;
        }
        let scale = 10.0 / (ORDERS * document.references.len()) as f64;
        Cider {
            clipped: clipped * scale,
            plain: plain * scale,
        }
    }
}

/// The weighed n-grams of a caption.
struct Vector<'a> {
    counts: &'a Counts,
    /// One for each n-gram of `counts`.
    weights: Vec<f64>,
    /// Euclidean length for each order.
    norms: [f64; ORDERS],
    /// What the length penalty takes for the length.
    bigrams: usize,
}

impl Vector<'_> {
    fn weight(&self, ngram: &Ngram) -> f64 {
        let ngrams = &self.counts.ngrams;
        let found = ngrams.binary_search_by(|(other, _)| other.cmp(ngram));
        found.map_or(0.0, |place| self.weights[place])
    }

    /// The sum of the cosines of each order.
    fn similarity(&self, reference: &Self) -> Cider {
        let (mut clipped, mut plain) = ([0.0; ORDERS], [0.0; ORDERS]);
        for ((ngram, _), weight) in self.counts.ngrams.iter().zip(&self.weights) {
            let other = reference.weight(ngram);
            clipped[order(*ngram)] += weight.min(other) * other;
            plain[order(*ngram)] += weight * other;
        }
        let cosine = |products: [f64; ORDERS]| {
            let norms = self.norms.iter().zip(reference.norms);
            let cosines = products.iter().zip(norms).map(|(product, (a, b))| {
                let norm = a * b;
                if norm > 0.0 { product / norm } else { 0.0 }
            });
            cosines.sum::<f64>()
        };
        let apart = self.bigrams.abs_diff(reference.bigrams) as f64;
        let penalty = (-apart * apart / (2.0 * SIGMA * SIGMA)).exp();
        Cider {
            clipped: cosine(clipped) * penalty,
            plain: cosine(plain),
        }
    }
}
