//! The loaders: how fast they are alone, and how long a training waits for them.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use seed::{
    data::{DataError, Loader, LoaderConfig},
    device::Device,
    recipes::tokenizer::{stage_one_batch, stage_one_loader, stage_two_batch, stage_two_loader},
    train::{BoxError, MetricsLine, ProgressMode, Recipe, TrainConfig, Trainer, read_metrics},
};

use super::{
    exchange::{Data, Spec},
    works::{self, Answer, LoaderAnswer, Work},
};
use crate::steps::scratch_run;

/// How long a loader runs alone.
const ALONE: Duration = Duration::from_secs(2);

/// Measures the loader of each training.
pub(crate) fn run(spec: &Spec, folder: &Path, device: &Device) -> Result<Answer, BoxError> {
    let tokens = works::tokens(spec, folder, device)?;
    let data = Data::open(spec, folder, &tokens, device)?;
    let autodiff = device.clone().autodiff();
    let config = |train: &TrainConfig| LoaderConfig::new(train.batch_size, train.seed);

    let train = &spec.tokenizer.stage_one;
    let (recipe, model) = works::stage_one(spec, folder, &autodiff)?;
    let loader = stage_one_loader(
        data.splits.train(),
        &data.image_tokens,
        spec.tokenizer.vary_captions,
        config(train),
    )?;
    let collate = |items| {
        let (tokenizer, length) = (&data.frozen.text.tokenizer, spec.tokenizer.text_length);
        Ok(stage_one_batch(items, tokenizer, length)?)
    };
    let stage_one = Feed {
        work: Work::StageOne,
        loader: &loader,
        collate: &collate,
    }
    .measure(&recipe, model, train, folder)?;

    let train = &spec.tokenizer.stage_two;
    let (recipe, model) = works::stage_two(spec, folder, &autodiff)?;
    let loader = stage_two_loader(&data.rows, config(train))?;
    let stage_two = Feed {
        work: Work::StageTwo,
        loader: &loader,
        collate: &|items| Ok(stage_two_batch(items)),
    }
    .measure(&recipe, model, train, folder)?;

    let training = data.clip(spec, device);
    let (recipe, model) = works::clip(spec, folder, &autodiff)?;
    let clip = Feed {
        work: Work::Clip,
        loader: &training.loader()?,
        collate: &|items| Ok(training.collate(items)?),
    }
    .measure(&recipe, model, &spec.clip.train, folder)?;

    Ok(Answer {
        loaders: vec![stage_one, stage_two, clip],
        ..Answer::default()
    })
}

/// A loader and what makes a batch of its items.
struct Feed<'a, T, B> {
    work: Work,
    loader: &'a Loader<T, DataError>,
    collate: &'a dyn Fn(Vec<T>) -> Result<B, BoxError>,
}

impl<T: Send + 'static, B: Send> Feed<'_, T, B> {
    fn measure<R: Recipe<Batch = B>>(
        &self,
        recipe: &R,
        model: R::Model,
        config: &TrainConfig,
        folder: &Path,
    ) -> Result<LoaderAnswer, BoxError> {
        Ok(LoaderAnswer {
            work: self.work.name().to_owned(),
            pairs_per_second: self.alone(config.batch_size)?,
            waited: self.waited(recipe, model, config, folder)?,
        })
    }

    /// Pairs a second from the second batch on, with a consumer that only collates.
    fn alone(&self, batch_size: usize) -> Result<f64, BoxError> {
        let mut batches = self.loader.start_at(0)?;
        let mut next = || -> Result<(), BoxError> {
            let batch = batches.next().ok_or("the loader ended")??;
            (self.collate)(batch.items).map(drop)
        };
        next()?;
        let (begun, mut pairs) = (Instant::now(), 0);
        while begun.elapsed() < ALONE {
            next()?;
            pairs += batch_size;
        }
        Ok(pairs as f64 / begun.elapsed().as_secs_f64())
    }

    /// Share of a training's time, after its first step, in which it waited for a batch.
    fn waited<R: Recipe<Batch = B>>(
        &self,
        recipe: &R,
        model: R::Model,
        config: &TrainConfig,
        folder: &Path,
    ) -> Result<f64, BoxError> {
        let batches = self.loader.start_at(0)?;
        let batches = |_| batches.map(|batch| (self.collate)(batch?.items));
        let config = TrainConfig {
            log_every: 1,
            ..config.clone()
        };
        let (_scratch, mut run) = scratch_run(folder)?;
        Trainer::new(recipe, &config)
            .progress(ProgressMode::Quiet)
            .train(model, batches, &mut run)?;
        let lines = read_metrics(&run.metrics_path())?;
        let steps: Vec<_> = lines
            .iter()
            .filter_map(|line| match line {
                MetricsLine::Train(step) => Some((step.data_wait_seconds, step.seconds)),
                MetricsLine::Evaluation(_) => None,
            })
            .collect();
        let waited: f64 = steps.iter().skip(1).map(|(waited, _)| waited).sum();
        match (steps.first(), steps.last()) {
            (Some((_, first)), Some((_, last))) if last > first => Ok(waited / (last - first)),
            _ => Err("too few steps to see whether training waits: at least 2".into()),
        }
    }
}
