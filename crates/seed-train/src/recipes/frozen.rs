//! The frozen parts run once: their outputs are rows on disk, and training reads the rows.

use std::sync::Arc;

use burn::tensor::{Device, Tensor};
use indicatif::{ProgressBar, ProgressStyle};
use rayon::prelude::*;
use seed_data::{
    Cache, CacheKey, DataError, EvalTransform, Normalize, PairSet, Rows, TextTokenizer,
    TrainTransform, item_rng,
};
use seed_encoders::{ClipText, EvaVit};
use seed_tokenizer::TokenEncoder;

use super::tensors::{stack, tokens};

/// Pictures that go through a frozen model at once.
const BATCH: usize = 64;

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
        pictures: std::ops::Range<usize>,
        device: &Device,
    ) -> Result<Tensor<3>, DataError> {
        let count = pictures.len();
        let rows = pictures
            .map(|picture| self.read(view, picture))
            .collect::<Result<_, _>>()?;
        Ok(stack(rows, [count, self.shape[0], self.shape[1]], device))
    }
}

/// Runs the frozen models and remembers what they gave.
pub struct FrozenCache<'a> {
    /// Where rows are kept.
    pub cache: &'a Cache,
    /// Where the models run, without autodiff.
    pub device: &'a Device,
    /// Whether to draw progress bars.
    pub show_progress: bool,
}

impl FrozenCache<'_> {
    /// Image tokens `[1 + patches, width]` of each picture in each view.
    ///
    /// `renderings` are the same pairs drawn in several styles; view `v` takes rendering
    /// `v mod renderings`. `weights` identifies the tower's parameters.
    pub fn image_tokens(
        &self,
        tower: &EvaVit,
        weights: &str,
        size: usize,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, DataError> {
        let pictures = renderings[0].len();
        let [_, tokens, width] = tower.pos_embed.lazy_shape().dims();
        let mut key = self
            .key("image-tokens", tokens * width, weights)
            .part("size", size)
            .part("views", format!("{views:?}"));
        for set in renderings {
            key = key.part("set", hex(&set.fingerprint()));
        }
        let plain = EvalTransform::new(size as u32);
        let normalize = Normalize::clip();
        let look = |view: usize, picture: usize| -> Result<Vec<f32>, DataError> {
            let image = renderings[view % renderings.len()].picture(picture)?;
            Ok(match views {
                Views::Plain => plain.tensor(&image, &normalize),
                Views::Random {
                    transform, seed, ..
                } => {
                    let mut rng = item_rng(*seed, view as u64, picture as u32);
                    transform.tensor(&image, &normalize, &mut rng)
                }
            })
        };
        let shape = [tokens, width];
        self.rows(
            key,
            "image tokens",
            pictures,
            views.count(),
            shape,
            |view, range| {
                let count = range.len();
                let images = range
                    .into_par_iter()
                    .map(|picture| look(view, picture))
                    .collect::<Result<_, _>>()?;
                Ok(tower.forward(stack(images, [count, 3, size, size], self.device)))
            },
        )
    }

    /// Causal embeddings `[tokens, width]` of each picture in each view.
    pub fn embeddings(
        &self,
        encoder: &TokenEncoder,
        weights: &str,
        image_tokens: &FrozenRows,
        shape: [usize; 2],
    ) -> Result<FrozenRows, DataError> {
        let key = self
            .key("causal-embeddings", shape[0] * shape[1], weights)
            .part("image-tokens", &image_tokens.identity);
        let (pictures, views) = (image_tokens.pictures, image_tokens.views);
        self.rows(
            key,
            "causal embeddings",
            pictures,
            views,
            shape,
            |view, range| Ok(encoder.forward(image_tokens.tensor(view, range, self.device)?)),
        )
    }

    /// Text states `[length, width]` of each pair's first caption: stage II's text target.
    pub fn text_states(
        &self,
        tower: &ClipText,
        weights: &str,
        tokenizer: &TextTokenizer,
        set: &dyn PairSet,
        shape: [usize; 2],
    ) -> Result<FrozenRows, DataError> {
        let key = self
            .key("text-states", shape[0] * shape[1], weights)
            .part("length", shape[0])
            .part("set", hex(&set.fingerprint()));
        self.rows(key, "text states", set.len(), 1, shape, |_, range| {
            let captions: Vec<&str> = range.map(|index| set.captions(index)[0].as_str()).collect();
            let (ids, _) = tokens(tokenizer.encode_batch(&captions, shape[0])?, self.device);
            Ok(tower.forward(ids, None).last_hidden_state)
        })
    }

    fn key(&self, kind: &str, values: usize, weights: &str) -> CacheKey {
        // Devices differ in the last bits; rows of one are not mixed with rows of another.
        CacheKey::new(kind, 2 * values)
            .part("weights", weights)
            .part("device", format!("{:?}", self.device))
    }

    fn rows(
        &self,
        key: CacheKey,
        what: &str,
        pictures: usize,
        views: usize,
        shape: [usize; 2],
        mut run: impl FnMut(usize, std::ops::Range<usize>) -> Result<Tensor<3>, DataError>,
    ) -> Result<FrozenRows, DataError> {
        let rows = self
            .cache
            .get_or_build(&key, |writer| -> Result<(), DataError> {
                let bar = self.bar(what, pictures * views);
                for view in 0..views {
                    for start in (0..pictures).step_by(BATCH) {
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

    fn bar(&self, what: &str, total: usize) -> ProgressBar {
        if !self.show_progress {
            return ProgressBar::hidden();
        }
        let style = "{msg:20} {bar:30} {pos}/{len} {per_sec} {eta} left";
        let style =
            ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar());
        ProgressBar::new(total as u64)
            .with_style(style)
            .with_message(what.to_owned())
    }
}

fn hex(bytes: &[u8]) -> String {
    blake3::Hash::from_slice(bytes).map_or_else(|_| String::new(), |hash| hash.to_hex().to_string())
}
