//! Captions as counts of n-grams of words.

use std::collections::HashMap;

use super::item::CaptionItem;
use crate::white_space;

/// The longest n-gram.
pub(super) const ORDERS: usize = 4;

/// The words of an n-gram by number, of shorter ones with [`NO_WORD`] behind.
pub(super) type Ngram = [u32; ORDERS];

const NO_WORD: u32 = u32::MAX;

/// The number of words of an n-gram, less one.
pub(super) fn order(ngram: Ngram) -> usize {
    let words = ngram.iter().filter(|word| **word != NO_WORD).count();
    words.saturating_sub(1)
}

/// How often each n-gram of 1 to 4 words is in a caption.
#[derive(Debug)]
pub(super) struct Counts {
    /// Number of words.
    pub(super) words: usize,
    /// Sorted by n-gram, so that sums always run in one order.
    pub(super) ngrams: Vec<(Ngram, usize)>,
}

impl Counts {
    fn of<'a>(caption: &'a str, vocabulary: &mut HashMap<&'a str, u32>) -> Self {
        let words: Vec<u32> = white_space::split(caption)
            .map(|word| {
                let next = vocabulary.len() as u32;
                *vocabulary.entry(word).or_insert(next)
            })
            .collect();
        let mut all: Vec<Ngram> = (1..=ORDERS)
            .flat_map(|order| words.windows(order))
            .map(|window| {
                let mut ngram = [NO_WORD; ORDERS];
                ngram[..window.len()].copy_from_slice(window);
                ngram
            })
            .collect();
        all.sort_unstable();
        let ngrams = all
            .chunk_by(|a, b| a == b)
            .map(|same| (same[0], same.len()))
            .collect();
        Self {
            words: words.len(),
            ngrams,
        }
    }

    /// How often `ngram` is in the caption.
    pub(super) fn get(&self, ngram: &Ngram) -> usize {
        let found = self.ngrams.binary_search_by(|(other, _)| other.cmp(ngram));
        found.map_or(0, |place| self.ngrams[place].1)
    }
}

/// One image.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) hypothesis: Counts,
    pub(super) references: Vec<Counts>,
}

/// All images.
#[derive(Debug)]
pub(super) struct Corpus {
    pub(super) documents: Vec<Document>,
}

impl Corpus {
    /// Takes tokenised captions.
    pub(super) fn new(items: &[CaptionItem<'_>]) -> Self {
        let mut vocabulary = HashMap::new();
        let documents = items
            .iter()
            .map(|item| Document {
                hypothesis: Counts::of(item.hypothesis, &mut vocabulary),
                references: item
                    .references
                    .iter()
                    .map(|reference| Counts::of(reference, &mut vocabulary))
                    .collect(),
            })
            .collect();
        Self { documents }
    }
}
