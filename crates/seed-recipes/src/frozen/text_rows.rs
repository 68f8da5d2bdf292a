//! Text states of captions: stage II's text target (SEED v1).

use seed_data::{DataError, PairSet};

use super::{
    parts::FrozenText,
    rows::{FrozenCache, FrozenRows, hex},
};
use crate::{error::RecipeError, tensors::tokens};

/// Text states of every caption that a pair is known by.
#[derive(Clone)]
pub struct TextRows {
    rows: FrozenRows,
    /// Number of the first caption of each pair, and the number of all captions at the end.
    first: Vec<usize>,
}

impl TextRows {
    /// Shape of the states of one caption: positions and width.
    pub fn shape(&self) -> [usize; 2] {
        self.rows.shape
    }

    /// Hash of all that the states depend on.
    pub fn identity(&self) -> &str {
        &self.rows.identity
    }

    /// Captions of a pair.
    pub fn captions(&self, pair: usize) -> usize {
        self.first[pair + 1] - self.first[pair]
    }

    /// The states of one caption of a pair.
    pub fn read(&self, pair: usize, caption: usize) -> Result<Vec<f32>, DataError> {
        self.rows.read(0, self.first[pair] + caption)
    }
}

impl FrozenCache<'_> {
    /// Text states `[length, width]` of some texts, all positions, padding included; each is a picture's row in one view.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Data`], [`RecipeError::Stopped`].
    pub fn states_of_texts(
        &self,
        text: &FrozenText,
        texts: &[String],
        length: usize,
    ) -> Result<FrozenRows, RecipeError> {
        let mut hasher = blake3::Hasher::new();
        for text in texts {
            hasher.update(&(text.len() as u64).to_le_bytes());
            hasher.update(text.as_bytes());
        }
        let shape = [length, text.config.width];
        let key = self
            .key("states-of-texts", shape, &text.identity)
            .part("texts", hasher.finalize().to_hex().to_string());
        self.rows(key, "text states", (texts.len(), 1), shape, |_, range| {
            let batch = text.tokenizer.encode_batch(&texts[range], length)?;
            let (ids, _) = tokens(batch, self.device);
            Ok(text.model.forward(ids, None).last_hidden_state)
        })
    }

    /// Text states `[length, width]` of the [candidate captions](PairSet::candidates) of each pair, all positions,
    /// padding included; `length` is the number of positions.
    pub fn text_states(
        &self,
        text: &FrozenText,
        set: &dyn PairSet,
        length: usize,
    ) -> Result<TextRows, RecipeError> {
        let shape = [length, text.config.width];
        let captions: Vec<&str> = (0..set.len())
            .flat_map(|pair| set.candidates(pair))
            .map(String::as_str)
            .collect();
        let mut first = vec![0];
        for pair in 0..set.len() {
            first.push(first[pair] + set.candidates(pair).len());
        }
        let key = self
            .key("text-states", shape, &text.identity)
            .part("set", hex(&set.fingerprint()));
        let of = (captions.len(), 1);
        let rows = self.rows(key, "text states", of, shape, |_, range| {
            let batch = text.tokenizer.encode_batch(&captions[range], length)?;
            let (ids, _) = tokens(batch, self.device);
            Ok(text.model.forward(ids, None).last_hidden_state)
        })?;
        Ok(TextRows { rows, first })
    }
}
