//! What stands for a picture in a sequence: its codes, or embeddings in their place.

use std::sync::Arc;

use burn::tensor::Device;
use rand::RngExt;
use seed_data::{DataError, PairSet};
use serde_json::{Value, json};

use super::{
    codes::{CodeRows, FrozenTokenizer},
    config::VisualInput,
    recipe::Task,
};
use crate::{
    error::RecipeError,
    frozen::{FrozenCache, FrozenRows, Views},
};

/// The codes of a picture, and the vectors in their place where there are some.
pub(super) type CodesAndVectors = (Vec<i64>, Vec<f32>);

/// What stands for each picture of a set, in each view.
#[derive(Clone)]
pub(super) enum Pictures {
    /// Codes.
    Codes(CodeRows),
    /// What was not quantised.
    Embeddings(FrozenRows),
}

impl Pictures {
    /// Reads them from the cache, or computes them.
    pub(super) fn of(
        input: VisualInput,
        tokenizer: &FrozenTokenizer,
        cache: &FrozenCache<'_>,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<Self, RecipeError> {
        Ok(match input {
            VisualInput::Codes => Self::Codes(tokenizer.codes(cache, renderings, views)?),
            VisualInput::Embeddings => {
                Self::Embeddings(tokenizer.embeddings(cache, renderings, views)?)
            }
        })
    }

    fn identity(&self) -> &str {
        match self {
            Self::Codes(rows) => &rows.identity,
            Self::Embeddings(rows) => &rows.identity,
        }
    }

    /// Codes and vectors of a picture; code 0 everywhere stands in the place of vectors.
    pub(super) fn read(&self, view: usize, picture: usize) -> Result<CodesAndVectors, DataError> {
        match self {
            Self::Codes(rows) => Ok((rows.read(view, picture)?, Vec::new())),
            Self::Embeddings(rows) => Ok((vec![0; rows.shape[0]], rows.read(view, picture)?)),
        }
    }

    /// The vectors of the first `count` pictures, `[pictures · positions, width]`; none of codes.
    pub(super) fn sample(
        &self,
        count: usize,
        device: &Device,
    ) -> Result<Option<burn::tensor::Tensor<2>>, DataError> {
        match self {
            Self::Codes(_) => Ok(None),
            Self::Embeddings(rows) => {
                let vectors = rows.tensor(0, 0..rows.pictures.min(count), device)?;
                Ok(Some(vectors.flatten(0, 1)))
            }
        }
    }
}

/// What a training draws from.
#[derive(Clone)]
pub(super) struct TrainingPictures {
    /// Every picture in random views.
    pub(super) views: Pictures,
    /// Every picture as it is.
    pub(super) plain: Pictures,
}

impl TrainingPictures {
    /// Hashes of all that they depend on.
    pub(super) fn identity(&self) -> Value {
        json!({ "views": self.views.identity(), "plain": self.plain.identity() })
    }

    /// A picture for a task: a drawing is of the picture as it is; what is read is so in one view of all.
    pub(super) fn draw(
        &self,
        task: Task,
        picture: usize,
        views: usize,
        rng: &mut impl RngExt,
    ) -> Result<CodesAndVectors, DataError> {
        let view = rng.random_range(0..=views);
        if task == Task::Image || view == views {
            self.plain.read(0, picture)
        } else {
            self.views.read(view, picture)
        }
    }
}
