//! The frozen parts run once: their outputs are rows on disk, and training reads the rows.

use std::{ops::Range, sync::Arc};

use burn::tensor::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use seed_data::{
    Cache, CacheKey, DataError, EvalTransform, Normalize, PairSet, Rows, TRANSFORM_VERSION,
    TrainTransform, item_rng,
};
use seed_tokenizer::TokenEncoder;
use seed_train::StopFlag;

use super::parts::{FrozenTower, ImageEmbedding};
use crate::{error::RecipeError, tensors::stack};

/// Pictures that go through a frozen model at once.
pub(super) const BATCH: usize = 64;

/// How each picture is looked at.
#[derive(Debug, Clone, PartialEq)]
pub enum Views {
    /// Once, squashed to the model's size: evaluation.
    Plain,
    /// Several times, each with its own random crop: training.
    Random {
        /// Views of each picture.
        count: usize,
        /// Crop and augmentation.
        transform: TrainTransform,
        /// Seed of the crops.
        seed: u64,
    },
}

impl Views {
    /// Number of views of each picture.
    pub fn count(&self) -> usize {
        match self {
            Self::Plain => 1,
            Self::Random { count, .. } => *count,
        }
    }
}

/// Outputs of a frozen model for each picture of a set in each view, kept on disk as f16.
#[derive(Clone)]
pub struct FrozenRows {
    rows: Arc<Rows>,
    /// Number of pictures.
    pub pictures: usize,
    /// Number of views of each picture.
    pub views: usize,
    /// Shape of one row: tokens and width.
    pub shape: [usize; 2],
    /// Hash of all that the rows depend on.
    pub identity: String,
}

impl FrozenRows {
    /// Reads one row.
    pub fn read(&self, view: usize, picture: usize) -> Result<Vec<f32>, DataError> {
        let mut values = Vec::with_capacity(self.shape[0] * self.shape[1]);
        self.rows
            .read_f16_into(view * self.pictures + picture, &mut values)?;
        Ok(values)
    }

    /// Reads the rows of several pictures in one view, as a tensor `[pictures, tokens, width]`.
    pub fn tensor(
        &self,
        view: usize,
        pictures: Range<usize>,
        device: &Device,
    ) -> Result<Tensor<3>, DataError> {
        let count = pictures.len();
        let rows = pictures
            .map(|picture| self.read(view, picture))
            .collect::<Result<_, _>>()?;
        Ok(stack(rows, [count, self.shape[0], self.shape[1]], device))
    }
}

/// Bytes of the rows of so many pictures in so many views.
pub(crate) fn bytes_of(pictures: usize, views: usize, shape: [usize; 2]) -> u64 {
    (pictures as u64) * (views as u64) * (2 * shape[0] * shape[1]) as u64
}

/// Runs the frozen models and remembers what they gave.
///
/// Whoever asks for a stop while rows are made gets [`RecipeError::Stopped`] between two batches, and nothing is kept of
/// rows that are not all there.
pub struct FrozenCache<'a> {
    /// Where rows are kept.
    pub cache: &'a Cache,
    /// Where the models run, without autodiff.
    pub device: &'a Device,
    /// Whether to draw progress bars.
    pub show_progress: bool,
    /// Asks for a stop.
    pub stop: &'a StopFlag,
}

impl FrozenCache<'_> {
    /// Image tokens `[1 + patches, width]` of each picture in each view.
    ///
    /// `renderings` are the same pairs drawn in several styles; view `v` takes rendering `v mod renderings`.
    pub fn image_tokens(
        &self,
        tower: &FrozenTower,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, RecipeError> {
        let pictures = renderings[0].len();
        let size = tower.config.image_size;
        let shape = [tower.config.tokens(), tower.config.width];
        let mut key = self
            .key("image-tokens", shape, &tower.identity)
            .part("transform", TRANSFORM_VERSION)
            .part("views", format!("{views:?}"));
        for set in renderings {
            key = key.part("set", hex(&set.fingerprint()));
        }
        let normalize = Normalize::clip();
        let of = (pictures, views.count());
        self.rows(key, "image tokens", of, shape, |view, range| {
            let count = range.len();
            let images = look(renderings, views, size, &normalize, view, range)?;
            let images = stack(images, [count, 3, size, size], self.device);
            Ok(tower.model.forward(images))
        })
    }

    /// Embeddings `[tokens, width]` of each picture in each view: causal ones if the encoder is. `weights` identifies
    /// the encoder.
    pub fn embeddings(
        &self,
        encoder: &TokenEncoder,
        weights: &str,
        image_tokens: &FrozenRows,
        shape: [usize; 2],
    ) -> Result<FrozenRows, RecipeError> {
        let key = self
            .key("embeddings", shape, weights)
            .part("image-tokens", &image_tokens.identity);
        let of = (image_tokens.pictures, image_tokens.views);
        self.rows(key, "embeddings", of, shape, |view, range| {
            Ok(encoder.forward(image_tokens.tensor(view, range, self.device)?))
        })
    }

    /// Image embeddings `[1, width]` of each picture in each view: stage II's image target. `weights` identifies what
    /// makes them of image tokens.
    pub fn image_embeddings(
        &self,
        embedding: &ImageEmbedding,
        weights: &str,
        image_tokens: &FrozenRows,
    ) -> Result<FrozenRows, RecipeError> {
        let shape = [1, embedding.width()];
        let key = self
            .key("image-embeddings", shape, weights)
            .part("image-tokens", &image_tokens.identity);
        let of = (image_tokens.pictures, image_tokens.views);
        self.rows(key, "image embeddings", of, shape, |view, range| {
            let image_tokens = image_tokens.tensor(view, range, self.device)?;
            Ok(embedding.forward(image_tokens).unsqueeze_dim(1))
        })
    }

    /// A key of rows of f16.
    pub(super) fn key(&self, kind: &str, shape: [usize; 2], weights: &str) -> CacheKey {
        // Devices differ in the last bits; rows of one are not mixed with rows of another.
        CacheKey::new(kind, 2 * shape[0] * shape[1])
            .part("weights", weights)
            .part("device", format!("{:?}", self.device))
    }

    /// The rows of so many pictures in so many views, made by `run` if they are not there.
    pub(super) fn rows(
        &self,
        key: CacheKey,
        what: &str,
        (pictures, views): (usize, usize),
        shape: [usize; 2],
        mut run: impl FnMut(usize, Range<usize>) -> Result<Tensor<3>, RecipeError>,
    ) -> Result<FrozenRows, RecipeError> {
        let count = pictures * views;
        let rows = self
            .cache
            .get_or_build(&key, count, |writer| -> Result<(), RecipeError> {
                let bar = self.bar(what, count);
                for view in 0..views {
                    for start in (0..pictures).step_by(BATCH) {
                        if (view, start) > (0, 0) {
                            self.stop.check()?;
                        }
                        let range = start..(start + BATCH).min(pictures);
                        let count = range.len();
                        let values: Vec<f32> =
                            run(view, range)?.into_data().iter::<f32>().collect();
                        for row in values.chunks(shape[0] * shape[1]) {
                            writer.push_f16(row)?;
                        }
                        bar.inc(count as u64);
                    }
                }
                bar.finish_and_clear();
                Ok(())
            })?;
        let identity = key.name();
        Ok(FrozenRows {
            rows: Arc::new(rows),
            pictures,
            views,
            shape,
            identity,
        })
    }

    /// A bar of so many pictures or prompts, if bars are drawn.
    pub(crate) fn bar(&self, what: &str, total: usize) -> ProgressBar {
        if !self.show_progress {
            return ProgressBar::hidden();
        }
        let style = "{msg:26} {bar:30} {pos}/{len} {per_sec} {eta} left";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total as u64)
            .with_style(style)
            .with_message(what.to_owned())
    }
}

/// Pictures in a view, each `[3, size, size]`; view `v` takes rendering `v mod renderings`.
pub(super) fn look(
    renderings: &[Arc<dyn PairSet>],
    views: &Views,
    size: usize,
    normalize: &Normalize,
    view: usize,
    range: Range<usize>,
) -> Result<Vec<Vec<f32>>, DataError> {
    let plain = EvalTransform::new(size as u32);
    let set = &renderings[view % renderings.len()];
    let look = |picture: usize| {
        let image = set.picture(picture)?;
        Ok(match views {
            Views::Plain => plain.tensor(&image, normalize),
            Views::Random {
                transform, seed, ..
            } => {
                let mut rng = item_rng(*seed, view as u64, picture as u32);
                transform.tensor(&image, normalize, &mut rng)
            }
        })
    };
    range.into_par_iter().map(look).collect()
}

/// A hash as text.
pub(crate) fn hex(bytes: &[u8; 32]) -> String {
    blake3::Hash::from_bytes(*bytes).to_hex().to_string()
}
