//! Steps of the [`Trainer`] that trains the models, timed.

use std::{iter, path::Path, time::Instant};

use seed::{
    device::Device,
    train::{
        BoxError, Existing, LrSchedule, ProgressMode, Recipe, RunDir, RunInfo, TrainConfig, Trainer,
    },
};
use serde_json::Value;

/// A training of that many measured steps at a constant rate (a schedule costs nothing), without logs and checkpoints.
pub(crate) fn to_measure(train: TrainConfig, steps: u64, rate: f64) -> TrainConfig {
    TrainConfig {
        schedule: LrSchedule::Cosine {
            peak: rate,
            warmup_steps: 0,
            floor: rate,
        },
        // A last step whose end nobody sees: steps are timed where the next batch is asked for.
        steps: steps + 1,
        log_every: 1 << 40,
        checkpoint_every: 1 << 40,
        ..train
    }
}

/// Trains on one batch again and again. Milliseconds of each step but the last, from the moment the trainer has its
/// batch until it asks for the next.
pub(crate) fn timed_steps<R: Recipe>(
    recipe: &R,
    model: R::Model,
    config: &TrainConfig,
    run: &mut RunDir,
    batch: impl Fn() -> R::Batch,
) -> Result<Vec<f64>, BoxError> {
    let device = model_device(&model)?;
    let mut ms = Vec::new();
    let times = &mut ms;
    let batches = move |_| {
        let mut handed: Option<Instant> = None;
        iter::from_fn(move || {
            if let Err(error) = device.sync() {
                return Some(Err(BoxError::from(format!("the device failed: {error:?}"))));
            }
            times.extend(handed.map(|handed| 1e3 * handed.elapsed().as_secs_f64()));
            let batch = batch();
            handed = Some(Instant::now());
            Some(Ok(batch))
        })
    };
    Trainer::new(recipe, config)
        .progress(ProgressMode::Quiet)
        .train(model, batches, run)?;
    Ok(ms)
}

fn model_device<M: burn::module::Module>(model: &M) -> Result<Device, BoxError> {
    let device = model.devices().into_iter().next();
    device.ok_or_else(|| "the model has no parameters".into())
}

/// A run folder that is gone when the first value is dropped.
pub(crate) fn scratch_run(folder: &Path) -> Result<(tempfile::TempDir, RunDir), BoxError> {
    let scratch = tempfile::tempdir_in(folder)?;
    let info = RunInfo {
        config: Value::Null,
        seed: 42,
        device: String::new(),
        outputs: &[],
    };
    let run = RunDir::open(scratch.path(), "bench", Existing::Refuse, &info)?;
    Ok((scratch, run))
}
