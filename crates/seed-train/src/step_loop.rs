//! The one step loop.

use std::error::Error;
use std::path::PathBuf;

use burn::module::{Module, ModuleVisitor, Param};
use burn::optim::{GradientsAccumulator, GradientsParams};
use burn::tensor::{Device, Tensor};
use serde_json::{Value, json};

use crate::checkpoint::{CheckpointError, Checkpoints};
use crate::config::TrainConfig;
use crate::config_error::ConfigError;
use crate::gradients::{GradientExchange, SingleProcess, clip_by_norm, global_norm};
use crate::metrics::{Evaluation, MetricsError, MetricsLine, TrainMetrics};
use crate::optimizer::Optimizer;
use crate::progress::{Progress, ProgressMode};
use crate::recipe::{Recipe, Updated};
use crate::run_dir::RunDir;
use crate::step_loop::scalars::{Clock, Pending, Row};
use crate::stop::StopFlag;

mod scalars;

/// Any error of the caller's: a loader's, an evaluation's, an exchange's.
pub type BoxError = Box<dyn Error + Send + Sync>;

type Evaluate<'a, M> = Box<dyn FnMut(&M, u64) -> Result<Vec<(String, f64)>, BoxError> + 'a>;

/// Trains one stage: what a run needs beside the recipe, with defaults for all of it.
///
/// ```
/// use seed_train::{BoxError, Recipe, RunDir, StopFlag, TrainConfig, Trained, Trainer};
///
/// fn train<R: Recipe, I: Iterator<Item = std::io::Result<R::Batch>>>(
///     recipe: &R,
///     model: R::Model,
///     batches_from: impl FnOnce(u64) -> I,
///     run: &mut RunDir,
/// ) -> Result<Trained<R::Model>, BoxError> {
///     let config = TrainConfig { steps: 2000, ..Default::default() };
///     let trained = Trainer::new(recipe, &config)
///         .stop(StopFlag::on_ctrl_c(|| {})?)
///         .on_evaluate(200, |_model, _step| Ok(vec![("recall".to_owned(), 0.5)]))
///         .train(model, batches_from, run)?;
///     Ok(trained)
/// }
/// ```
pub struct Trainer<'a, R: Recipe, X = SingleProcess> {
    recipe: &'a R,
    config: &'a TrainConfig,
    mode: ProgressMode,
    stop: StopFlag,
    steps_per_epoch: Option<u64>,
    exchange: X,
    evaluate: Option<(u64, Evaluate<'a, R::Model>)>,
}

/// What [`Trainer::train`] hands back.
#[derive(Debug)]
pub struct Trained<M> {
    /// The model, still on the autodiff device.
    pub model: M,
    /// Whether it is trained to the end.
    pub outcome: Outcome,
    /// The last step's metrics; `None` if no step was left to do.
    pub last: Option<TrainMetrics>,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// All steps are done.
    Finished,
    /// A stop was asked for; the checkpoint of `step` is written.
    Interrupted {
        /// Optimiser steps done.
        step: u64,
    },
}

impl<'a, R: Recipe> Trainer<'a, R> {
    /// A trainer in a single process, showing progress, that nothing stops.
    pub fn new(recipe: &'a R, config: &'a TrainConfig) -> Self {
        Self {
            recipe,
            config,
            mode: ProgressMode::default(),
            stop: StopFlag::new(),
            steps_per_epoch: None,
            exchange: SingleProcess,
            evaluate: None,
        }
    }
}

impl<'a, R: Recipe, X: GradientExchange> Trainer<'a, R, X> {
    /// How progress is shown.
    pub fn progress(mut self, mode: ProgressMode) -> Self {
        self.mode = mode;
        self
    }

    /// The flag that asks for a stop, usually [`StopFlag::on_ctrl_c`].
    pub fn stop(mut self, stop: StopFlag) -> Self {
        self.stop = stop;
        self
    }

    /// Steps of one epoch, as the loader counts them: for the `epoch` of the metrics.
    pub fn steps_per_epoch(mut self, steps: u64) -> Self {
        self.steps_per_epoch = Some(steps);
        self
    }

    /// Averages gradients with other processes.
    pub fn exchange<Y: GradientExchange>(self, exchange: Y) -> Trainer<'a, R, Y> {
        let Self {
            recipe,
            config,
            mode,
            stop,
            steps_per_epoch,
            evaluate,
            ..
        } = self;
        Trainer {
            recipe,
            config,
            mode,
            stop,
            steps_per_epoch,
            exchange,
            evaluate,
        }
    }

    /// Calls `evaluate` with `model.valid()` after every `every` steps and after the last one; what
    /// it returns goes to the metrics.
    pub fn on_evaluate(
        mut self,
        every: u64,
        evaluate: impl FnMut(&R::Model, u64) -> Result<Vec<(String, f64)>, BoxError> + 'a,
    ) -> Self {
        self.evaluate = Some((every, Box::new(evaluate)));
        self
    }

    /// Trains `model` until the last step or a stop, going on from the run's newest whole checkpoint
    /// of this stage if there is one.
    ///
    /// `batches` is given the number of micro-batches already consumed (steps × accumulation) and
    /// yields those that follow; only their order may decide what they hold.
    ///
    /// The device's random stream is seeded anew at every step.
    pub fn train<F, I, E>(
        self,
        model: R::Model,
        batches: F,
        run: &mut RunDir,
    ) -> Result<Trained<R::Model>, TrainError>
    where
        F: FnOnce(u64) -> I,
        I: IntoIterator<Item = Result<R::Batch, E>>,
        E: Into<BoxError>,
    {
        let config = self.config;
        config.validate()?;
        let device = training_device(&model).ok_or(TrainError::NothingToTrain)?;
        let stage = self.recipe.name();
        let checkpoints = Checkpoints::new(run.checkpoints(stage), config.keep_last);
        let identity = identity(stage, config, self.recipe.config());

        let mut progress = Progress::start(self.mode, stage, config.steps);
        let found = checkpoints.latest_good(&identity)?;
        let (model, optimizer, step) = if let Some(found) = &found {
            for error in &found.damaged {
                progress.note(&format!("passing over a checkpoint: {error}"));
            }
            progress.note(&format!("{stage}: going on from {}", found.path.display()));
            if let Some(planned) = found.planned_steps().filter(|&n| n != config.steps) {
                progress.note(&format!(
                    "{stage}: {} steps instead of {planned}; the learning rate follows the longer schedule",
                    config.steps
                ));
            }
            let model = found.load_model(model)?;
            let replaced = self.recipe.replaced_parameters(&model);
            let optimizer = config.optimizer.forgetful(&model, &replaced)?;
            let optimizer = optimizer.try_map(|module| found.load_optimizer(module))?;
            (model, optimizer, found.state.step)
        } else {
            let replaced = self.recipe.replaced_parameters(&model);
            let optimizer = config.optimizer.forgetful(&model, &replaced)?;
            (model, optimizer, 0)
        };
        run.metrics.rewind(stage, step)?;
        let session = Session {
            trainer: self,
            stage,
            device,
            checkpoints,
            identity,
            run,
            progress,
            clock: Clock::new(step),
            pending: Pending::default(),
            last: None,
        };
        session.run(
            model,
            optimizer,
            step,
            batches(step * config.accumulation as u64).into_iter(),
        )
    }
}

/// One call of [`Trainer::train`].
struct Session<'a, 'r, R: Recipe, X> {
    trainer: Trainer<'a, R, X>,
    stage: &'static str,
    device: Device,
    checkpoints: Checkpoints,
    identity: Value,
    run: &'r mut RunDir,
    progress: Progress,
    clock: Clock,
    pending: Pending,
    last: Option<TrainMetrics>,
}

impl<R: Recipe, X: GradientExchange> Session<'_, '_, R, X> {
    fn run<E: Into<BoxError>>(
        mut self,
        mut model: R::Model,
        mut optimizer: Optimizer,
        mut step: u64,
        mut batches: impl Iterator<Item = Result<R::Batch, E>>,
    ) -> Result<Trained<R::Model>, TrainError> {
        let config = self.trainer.config;
        while step < config.steps {
            model = self.step(model, &mut optimizer, step, &mut batches)?;
            step += 1;

            let last = step == config.steps;
            let stopping = self.trainer.stop.is_requested() || self.progress.stop_requested();
            let saving = last || stopping || step.is_multiple_of(config.checkpoint_every);
            let evaluating = match &self.trainer.evaluate {
                Some((every, _)) => last || (*every > 0 && step.is_multiple_of(*every)),
                None => false,
            };
            if saving || evaluating || step.is_multiple_of(config.log_every) || self.clock.is_due()
            {
                self.drain()?;
            }
            if evaluating {
                self.evaluate(&model, step)?;
            }
            if saving {
                let device = format!("{:?}", self.device);
                let files = optimizer.module();
                self.checkpoints
                    .save(&model, files, step, &self.identity, &device)?;
            }
            if stopping && !last {
                let outcome = Outcome::Interrupted { step };
                return Ok(Trained {
                    model,
                    outcome,
                    last: self.last,
                });
            }
        }
        Ok(Trained {
            model,
            outcome: Outcome::Finished,
            last: self.last,
        })
    }

    /// Does the step with index `step` (from 0).
    fn step<E: Into<BoxError>>(
        &mut self,
        model: R::Model,
        optimizer: &mut Optimizer,
        step: u64,
        batches: &mut impl Iterator<Item = Result<R::Batch, E>>,
    ) -> Result<R::Model, TrainError> {
        let (recipe, config) = (self.trainer.recipe, self.trainer.config);
        self.clock.begin();
        self.device.seed(seed_device::step_seed(config.seed, step));
        let rate = config.schedule.rate(step, config.steps);
        let mut row = Row::new(step, rate);
        let mut gradients = GradientsAccumulator::new();
        for _ in 0..config.accumulation {
            let batch = self
                .clock
                .waiting(|| batches.next())
                .ok_or(TrainError::DataEnded {
                    step,
                    steps: config.steps,
                })?
                .map_err(|error| TrainError::Data {
                    step,
                    source: error.into(),
                })?;
            let losses = recipe.loss(&model, batch);
            row.push(&losses);
            // Each micro-batch gives its share, so that the sum is the mean.
            let loss = match config.accumulation {
                1 => losses.total,
                count => losses.total.div_scalar(count as f64),
            };
            gradients.accumulate(&model, GradientsParams::from_grads(loss.backward(), &model));
        }
        let mut gradients = self
            .trainer
            .exchange
            .exchange(&model, gradients.grads())
            .map_err(|error| TrainError::Exchange {
                step,
                source: error.into(),
            })?;
        let norm = global_norm(&model, &gradients).ok_or(TrainError::NothingToTrain)?;
        row.set_gradient_norm(norm.clone());
        if let Some(max_norm) = config.clip_norm {
            gradients = clip_by_norm(&model, gradients, norm, max_norm);
        }
        let model = optimizer.step(rate, model, gradients);
        let Updated { model, replaced } = recipe.after_update(model, step + 1);
        optimizer.forget(replaced);
        self.clock.end();
        self.pending.push(row, &self.clock);
        Ok(model)
    }

    /// Reads the scalars of all steps since the last call off the device, in one transfer; stops at
    /// the first that is not finite, else writes and shows them.
    fn drain(&mut self) -> Result<(), TrainError> {
        let config = self.trainer.config;
        // Devices that run behind are waited for here: that is training, too.
        self.clock.begin();
        let drained = self.pending.drain();
        self.clock.end();
        self.clock.drained();
        for values in drained {
            let parts = values.not_finite();
            if !parts.is_empty() {
                let last_good = self.checkpoints.list().pop().map(|(_, path)| path);
                return Err(TrainError::NotFinite {
                    step: values.step,
                    parts,
                    last_good,
                });
            }
            let step = values.step + 1;
            let log = step.is_multiple_of(config.log_every) || step == config.steps;
            let epoch = self.trainer.steps_per_epoch;
            let metrics = self.clock.metrics(self.stage, config, epoch, values, log);
            if log {
                self.run
                    .metrics
                    .write(&MetricsLine::Train(metrics.clone()))?;
            }
            self.last = Some(metrics);
        }
        if let Some(metrics) = &self.last {
            self.progress
                .step(metrics, self.clock.left(metrics.step, config.steps));
        }
        Ok(())
    }

    fn evaluate(&mut self, model: &R::Model, step: u64) -> Result<(), TrainError> {
        let Some((_, evaluate)) = &mut self.trainer.evaluate else {
            return Ok(());
        };
        let values = evaluate(&model.valid(), step)
            .map_err(|source| TrainError::Evaluation { step, source })?;
        let values = values
            .into_iter()
            .filter(|(_, value)| value.is_finite())
            .collect();
        let evaluation = Evaluation {
            stage: self.stage.to_owned(),
            step,
            values,
        };
        self.progress.evaluation(&evaluation);
        self.run
            .metrics
            .write(&MetricsLine::Evaluation(evaluation))?;
        Ok(())
    }
}

/// All that decides what a stage computes.
fn identity(stage: &str, config: &TrainConfig, recipe: Value) -> Value {
    json!({ "stage": stage, "train": config.identity(), "recipe": recipe })
}

/// Refuses a run that has a checkpoint of `stage` made with other settings, before work begins that such a checkpoint
/// would not fit: an earlier stage made longer, frozen outputs computed anew.
///
/// `recipe` is what [`Recipe::config`] gives, without `inputs` if those are not known yet.
pub fn check_stage(
    run: &RunDir,
    stage: &str,
    config: &TrainConfig,
    recipe: Value,
) -> Result<(), TrainError> {
    let checkpoints = Checkpoints::new(run.checkpoints(stage), config.keep_last);
    Ok(checkpoints.check(&identity(stage, config, recipe))?)
}

/// The device of a parameter that gets a gradient; `None` if there is none.
fn training_device<M: Module>(model: &M) -> Option<Device> {
    struct Find(Option<Device>);
    impl ModuleVisitor for Find {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            if self.0.is_none() && param.is_require_grad() {
                self.0 = Some(param.val().device());
            }
        }
    }
    let mut find = Find(None);
    model.visit(&mut find);
    find.0
}

/// Why a training stopped before its end.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An impossible config.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A checkpoint could not be written or must not be resumed.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// The metrics file.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
    /// The loss or the gradients became infinite or NaN.
    #[error(
        "step {step}: {} not finite; a lower learning rate, a longer warm-up or clip_norm may help. {}",
        parts.join(", "),
        last_good.as_ref().map_or_else(
            || "No checkpoint was written before.".to_owned(),
            |path| format!("The last good checkpoint is {}.", path.display())
        )
    )]
    NotFinite {
        /// Index of the step, from 0.
        step: u64,
        /// `loss`, `gradients`, and the recipe's parts that are not finite.
        parts: Vec<String>,
        /// The newest checkpoint, written before.
        last_good: Option<PathBuf>,
    },
    /// The loader failed.
    #[error("step {step}: cannot read a batch: {source}")]
    Data {
        /// Index of the step, from 0.
        step: u64,
        /// Why.
        source: BoxError,
    },
    /// The loader has no more batches.
    #[error(
        "step {step} of {steps}: there are no more batches; the loader must go over the data again"
    )]
    DataEnded {
        /// Index of the step, from 0.
        step: u64,
        /// Steps of the run.
        steps: u64,
    },
    /// Another process could not be reached.
    #[error("step {step}: the exchange of gradients failed: {source}")]
    Exchange {
        /// Index of the step, from 0.
        step: u64,
        /// Why.
        source: BoxError,
    },
    /// The evaluation failed.
    #[error("evaluation after step {step}: {source}")]
    Evaluation {
        /// Optimiser steps done.
        step: u64,
        /// Why.
        source: BoxError,
    },
    /// No parameter of the model gets a gradient.
    #[error(
        "no parameter of the model gets a gradient: make the model on `device.autodiff()`, and freeze less"
    )]
    NothingToTrain,
}
