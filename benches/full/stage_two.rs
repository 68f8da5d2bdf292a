//! Stage II's step at full size: from cached causal embeddings, and from pixels.

use std::path::Path;

use seed::{
    device::{Device, Precision},
    recipes::tokenizer::{StageTwo, StageTwoBatch, StageTwoShapes},
    tokenizer::PublishedTokenizer,
    train::{BoxError, Recipe, TrainConfig},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::noise::uniform_rows;
use crate::{
    from_pixels::FromPixels,
    machine,
    steps::{scratch_run, timed_steps, to_measure},
};

/// Steps whose time does not count, and those whose time does.
const WARMUP: u64 = 1;
const STEPS: u64 = 3;

/// What one device says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct StageTwoAnswer {
    /// Pictures of a step.
    pub(crate) pictures: usize,
    /// Seconds of each measured step from the cache.
    pub(crate) cached: Vec<f64>,
    /// Seconds of each measured step from pixels.
    pub(crate) uncached: Vec<f64>,
    /// Peak memory of the steps from the cache, nothing frozen in it, in MB.
    pub(crate) cached_peak_mb: Option<f64>,
    /// Peak memory at the end, in MB.
    pub(crate) peak_mb: Option<f64>,
}

/// Trains a code autoencoder of the release's sizes, from random weights.
pub(crate) fn run(
    release: &Path,
    device: &Device,
    dtype: Precision,
    pictures: usize,
) -> Result<StageTwoAnswer, BoxError> {
    let published = PublishedTokenizer::open(release)?;
    let config = &published.config;
    let autodiff = device.clone().autodiff();
    let text = config
        .codes
        .text_head
        .as_ref()
        .map(|head| [head.reverse.queries, head.target_width]);
    let stage_two = || {
        let codes = config.codes.clone();
        let weights = Default::default();
        let shapes = StageTwoShapes { text, image: None };
        StageTwo::new(codes, shapes, Value::Null, weights, autodiff.clone())
    };
    let text_states = text.map_or_else(Vec::new, |[length, width]| {
        uniform_rows(pictures, length * width)
    });
    let embeddings = uniform_rows(pictures, config.codes.positions * config.codes.width);
    let cached = seconds(&stage_two(), config.codes.init(&autodiff)?, || {
        StageTwoBatch {
            embeddings: embeddings.clone(),
            text_states: text_states.clone(),
            image_embeddings: Vec::new(),
        }
    })?;
    let cached_peak_mb = machine::peak_mb();

    let (frozen, _) = published.load(device, dtype.dtype())?;
    let size = config.image.image_size;
    let recipe = FromPixels {
        stage_two: stage_two(),
        image: frozen.image,
        tokens: frozen.tokens,
        image_size: size,
        device: device.clone(),
    };
    let images = uniform_rows(pictures, 3 * size * size);
    let uncached = seconds(&recipe, config.codes.init(&autodiff)?, || {
        (images.clone(), text_states.clone())
    })?;
    Ok(StageTwoAnswer {
        pictures,
        cached,
        uncached,
        cached_peak_mb,
        peak_mb: machine::peak_mb(),
    })
}

/// Seconds of each measured step.
fn seconds<R: Recipe>(
    recipe: &R,
    model: R::Model,
    batch: impl Fn() -> R::Batch,
) -> Result<Vec<f64>, BoxError> {
    let config = to_measure(TrainConfig::default(), WARMUP + STEPS, 1e-4);
    let (_scratch, mut run) = scratch_run(&std::env::temp_dir())?;
    let ms = timed_steps(recipe, model, &config, &mut run, batch)?;
    Ok(ms[WARMUP as usize..].iter().map(|ms| ms / 1e3).collect())
}
