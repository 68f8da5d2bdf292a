//! Which texts a picture is drawn from.

use std::collections::HashMap;

use seed_data::{PairSet, item_rng};

use crate::captions::vary_caption;

/// Texts of a set's pairs. Pairs of one concept have the same texts, which are kept once.
pub(super) struct Wordings {
    /// All texts, each once; the first is the empty one.
    pub(super) texts: Vec<String>,
    /// For each pair the places of its texts.
    pub(super) of_pair: Vec<Vec<usize>>,
}

impl Wordings {
    /// The place of the empty text.
    pub(super) const EMPTY: usize = 0;

    /// `count` texts of each pair: its captions as they are, then the first with some of its keywords in random order.
    pub(super) fn of(set: &dyn PairSet, count: usize, seed: u64) -> Self {
        let mut texts = vec![String::new()];
        let mut places = HashMap::from([(String::new(), Self::EMPTY)]);
        let mut place_of = |text: String| {
            *places.entry(text).or_insert_with_key(|text| {
                texts.push(text.clone());
                texts.len() - 1
            })
        };
        let of_pair = (0..set.len()).map(|pair| {
            let captions = set.captions(pair);
            let mut rng = item_rng(seed, 0, set.concept(pair) as u32);
            let varied = captions.iter().take(1).cycle();
            let varied = varied.map(|caption| vary_caption(caption, &mut rng));
            let all = captions.iter().cloned().chain(varied).take(count);
            all.map(&mut place_of).collect()
        });
        let of_pair = of_pair.collect();
        Self { texts, of_pair }
    }
}
