//! A tokenizer's training as one asks for it on a command line: frozen parts, run folder, report.

use std::{borrow::Cow, ops::ControlFlow, sync::Arc};

use burn::tensor::Device;
use clap::Args;
use seed_data::{Cache, Corpus};
use seed_encoders::nano;
use seed_eval::Report;
use seed_train::{ConfigError, Outcome, ProgressMode, StopFlag, load_config};
use seed_weights::WeightsError;

use super::{
    config::{StageOneStart, TokenizerTrainingConfig},
    training::TokenizerTraining,
};
use crate::{
    clip::{ClipPretraining, ClipPretrainingConfig, train_tokenizer_of},
    error::RecipeError,
    frozen::FrozenParts,
    options::RunOptions,
    outcome::{RunOutcome, TrainingOutcome, unless_stopped},
    splits::Splits,
};

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 300;
/// What a finished run leaves in its folder.
const OUTPUTS: &[&str] = &[
    "tokens.safetensors",
    "tokenizer.safetensors",
    "tokenizer.json",
    "report.json",
    "report.html",
];

/// The training of a tokenizer, as a command line asks for it.
#[derive(Debug, Clone, Args)]
pub struct TokenizerRun {
    /// What every training is asked.
    #[command(flatten)]
    pub options: RunOptions,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "tokenizer")]
    pub name: String,
    /// Train the frozen parts anew first instead of using the shipped ones (hours); stage I then starts from random
    /// weights, since the shipped Q-Former reads another tower's tokens.
    #[arg(long)]
    pub pretrain: bool,
}

impl TokenizerRun {
    /// The settings, with what this run changes in them.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Config`] and [`RecipeError::Model`], which name the key.
    pub fn settings(&self) -> Result<TokenizerTrainingConfig, RecipeError> {
        let mut config = match &self.options.config {
            Some(file) => load_config(file)?,
            None => TokenizerTrainingConfig::nano()?,
        };
        if let Some(seed) = self.options.seed {
            config.stage_one.seed = seed;
            config.stage_two.seed = seed;
        }
        if let Some(seed) = self.options.split_seed {
            config.split_seed = seed;
        }
        if self.options.smoke {
            config = config.smoke()?;
        }
        if self.pretrain {
            ConfigError::require(
                !matches!(config.start, StageOneStart::From(_)),
                "start",
                "{ from = .. }",
                "\"random\" with --pretrain: what it names reads another image tower's tokens",
            )?;
            config.start = StageOneStart::Random;
        }
        config.validate()?;
        Ok(config)
    }

    /// Trains both stages on `device`, which the options' was opened as, and writes the report.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(
        &self,
        device: &Device,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<RunOutcome<Report>, RecipeError> {
        let started = std::time::Instant::now();
        let config = self.settings()?;
        if progress != ProgressMode::Quiet {
            let shipped = TokenizerTrainingConfig::nano()?;
            self.options
                .tell_without_effect(&config.of_pictures(), &shipped.of_pictures());
        }
        let cache = self.options.cache()?;
        let corpus = Corpus::embedded()?;
        let splits = match &self.options.data {
            Some(folder) => Splits::of_folder(folder, config.split_seed)?,
            None => Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?,
        };
        let splits = if self.options.smoke {
            splits.limited(SMOKE_PAIRS)
        } else {
            splits
        };
        let frozen = if self.pretrain {
            match self.pretrain(&corpus, &cache, device, progress, &stop)? {
                ControlFlow::Continue(frozen) => frozen,
                ControlFlow::Break(step) => {
                    return Ok(RunOutcome::at("pretraining", step));
                }
            }
        } else {
            FrozenParts::nano(device)?
        };

        let seed = config.stage_one.seed;
        let mut run = self.options.open_run(&self.name, &config, seed, OUTPUTS)?;
        let training = TokenizerTraining {
            config: &config,
            frozen: &frozen,
            splits: &splits,
            cache: &cache,
            device,
            progress,
            stop,
        };
        let work = "frozen outputs were computed";
        let trained = match unless_stopped(training.train(&mut run), work)? {
            Ok(TrainingOutcome::Finished(trained)) => trained,
            Ok(TrainingOutcome::Interrupted { stage, step }) => {
                return Ok(RunOutcome::at(stage, step));
            }
            Err(stopped) => return Ok(stopped),
        };
        let facts = [
            ("device", self.options.device.to_string()),
            ("seed", seed.to_string()),
            ("training pairs", splits.train().len().to_string()),
            ("time", format!("{:.0} s", started.elapsed().as_secs_f64())),
        ];
        let work = "the trained tokenizer was judged";
        let report = match unless_stopped(training.report(&trained, &run, &facts), work)? {
            Ok(report) => report,
            Err(stopped) => return Ok(stopped),
        };
        let (tables, command) = (report.terminal_table(), "seed tokenize IMAGE --checkpoint");
        Ok(RunOutcome::finished(
            report,
            run.path(),
            "report.html",
            &tables,
            command,
        ))
    }

    /// Trains the nano CLIP in a run of its own; the step it was stopped at, if it was.
    fn pretrain(
        &self,
        corpus: &Corpus,
        cache: &Cache,
        device: &Device,
        progress: ProgressMode,
        stop: &StopFlag,
    ) -> Result<ControlFlow<u64, FrozenParts>, RecipeError> {
        let mut config = ClipPretrainingConfig::nano()?;
        if let Some(seed) = self.options.seed {
            config.train.seed = seed;
        }
        if self.options.smoke {
            config = config.smoke()?;
        }
        let name = format!("{}-clip", self.name);
        let outputs = &["clip.safetensors"];
        let mut run = self
            .options
            .open_run(&name, &config, config.train.seed, outputs)?;
        let tokenizer = train_tokenizer_of(corpus, config.clip.text.vocab_size)?;
        let json = tokenizer.to_json()?;
        let training = ClipPretraining {
            config: &config,
            corpus,
            tokenizer: Arc::new(tokenizer),
            cache,
            device,
        };
        let trained = training.train(&mut run, progress, stop.clone())?;
        if let Outcome::Interrupted { step } = trained.outcome {
            return Ok(ControlFlow::Break(step));
        }
        let path = run.path().join("clip.safetensors");
        training.save(trained.model.clip, &path)?;
        let bytes = std::fs::read(&path).map_err(|source| WeightsError::Io {
            path: path.clone(),
            source,
        })?;
        let name = path.display().to_string();
        let nano = nano::clip_from(&name, Cow::Owned(bytes), device)?;
        let frozen = FrozenParts::of_nano_clip(nano, &json)?;
        Ok(ControlFlow::Continue(frozen))
    }
}
