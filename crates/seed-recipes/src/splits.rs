//! What a tokenizer is trained on and what it is judged by.

use std::{path::Path, sync::Arc};

use seed_data::{
    Cache, Corpus, CorpusSet, DataError, FolderOptions, FolderSet, PairSet, PairSubset, Split,
    Style, split_held_out,
};
use seed_eval::SetName;
use serde_json::Value;

use crate::frozen::hex;

/// Share of a user's own pictures that is held out.
const HELD_OUT: f64 = 0.1;

/// A held-out set and its place in the table of results.
#[derive(Clone)]
pub struct EvaluationSet {
    /// Which it is.
    pub name: SetName,
    /// Its pairs.
    pub set: Arc<dyn PairSet>,
}

/// Training pairs and held-out sets that share no picture.
#[derive(Clone)]
pub struct Splits {
    /// The training pairs, in one or more renderings with the same indices.
    pub renderings: Vec<Arc<dyn PairSet>>,
    /// The held-out sets.
    pub evaluations: Vec<EvaluationSet>,
}

impl Splits {
    /// The official split of the embedded corpus, rendered at `size` pixels: the training vendors'
    /// seen concepts, plain and in the given styles, against the validation and test vendors.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the drawings do not fit into the cache, before any is rendered.
    pub fn of_corpus(
        corpus: &Corpus,
        size: u32,
        styles: &[Style],
        cache: &Cache,
    ) -> Result<Self, DataError> {
        let render = |set: CorpusSet, style| -> Result<Arc<dyn PairSet>, DataError> {
            Ok(Arc::new(
                set.with_size(size).with_style(style).render_all(cache)?,
            ))
        };
        let held_out = [
            ("validation", "emojione", "seen", corpus.validation_seen()),
            (
                "validation",
                "emojione",
                "unseen",
                corpus.validation_unseen(),
            ),
            ("test", "openmoji", "seen", corpus.test_seen()),
            ("test", "openmoji", "unseen", corpus.test_unseen()),
            ("test", "openmoji", "flags", corpus.flags(Split::Test)),
        ];
        let styles = std::iter::once(Style::Plain).chain(styles.iter().copied());
        let train = corpus.train();
        let pictures: usize = held_out.iter().map(|(.., set)| set.len()).sum();
        let pictures = pictures + styles.clone().count() * train.len();
        let pixels = u64::from(size) * u64::from(size);
        cache.check_fits(pictures as u64 * 3 * pixels)?;
        let renderings = styles
            .map(|style| render(train.clone(), style))
            .collect::<Result<_, _>>()?;
        let evaluations = held_out
            .into_iter()
            .map(|(split, source, concepts, set)| {
                let set = render(set, Style::Plain)?;
                let name = SetName::new(split, source, concepts);
                Ok(EvaluationSet { name, set })
            })
            .collect::<Result<_, DataError>>()?;
        Ok(Self {
            renderings,
            evaluations,
        })
    }

    /// A folder of the user's own pictures. About a tenth is held out for validation: each picture by its own contents
    /// and `split_seed` alone, so that adding pictures moves none.
    ///
    /// # Errors
    ///
    /// [`DataError`] if the folder cannot be read, or so few pictures are there that none is held out.
    pub fn of_folder(folder: &Path, split_seed: u64) -> Result<Self, DataError> {
        let set: Arc<dyn PairSet> = Arc::new(FolderSet::open(folder, FolderOptions::default())?);
        let (train, validation) = split_held_out(&set, split_seed, HELD_OUT)?;
        let validation = EvaluationSet {
            name: SetName::new(
                "validation",
                folder.display().to_string(),
                "held-out pictures",
            ),
            set: Arc::new(validation),
        };
        Ok(Self {
            renderings: vec![Arc::new(train)],
            evaluations: vec![validation],
        })
    }

    /// The same splits with at most `most` pairs a set, spread evenly: for a quick look.
    pub fn limited(mut self, most: usize) -> Self {
        let limit = |set: &Arc<dyn PairSet>| -> Arc<dyn PairSet> {
            let kept = set.len().min(most);
            let indices = (0..kept).map(|index| index * set.len() / kept).collect();
            Arc::new(PairSubset::new(Arc::clone(set), indices))
        };
        self.renderings = self.renderings.iter().map(limit).collect();
        for evaluation in &mut self.evaluations {
            evaluation.set = limit(&evaluation.set);
        }
        self
    }

    /// Hashes of all that is trained on.
    pub fn identity(&self) -> Value {
        let renderings = self.renderings.iter();
        renderings.map(|set| hex(&set.fingerprint())).collect()
    }

    /// The training pairs in their first rendering.
    pub fn train(&self) -> &Arc<dyn PairSet> {
        &self.renderings[0]
    }
}
