//! A tokenizer's training as one asks for it on a command line: frozen parts, run folder, report.

use std::{borrow::Cow, ops::ControlFlow, path::PathBuf, sync::Arc};

use burn::tensor::Device;
use seed_data::{Cache, Corpus};
use seed_device::DeviceSpec;
use seed_encoders::nano;
use seed_eval::Report;

use super::{
    ClipPretraining, ClipPretrainingConfig, FrozenParts, RecipeError, Splits, StageOneStart,
    TokenizerOutcome, TokenizerTraining, TokenizerTrainingConfig, train_tokenizer_of,
};
use crate::{Existing, Outcome, ProgressMode, RunDir, RunInfo, StopFlag, load_config};

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 300;

/// What was asked for. The library decides nothing here that a command line could not say.
#[derive(Debug, Clone)]
pub struct TokenizerRun {
    /// Where to train.
    pub device: DeviceSpec,
    /// The user's own pictures instead of the embedded corpus.
    pub data: Option<PathBuf>,
    /// Settings in TOML instead of [`TokenizerTrainingConfig::nano`].
    pub config: Option<PathBuf>,
    /// Seed of both stages, instead of the settings'.
    pub seed: Option<u64>,
    /// A minute's run: shows that everything works, learns little.
    pub smoke: bool,
    /// Train the frozen parts anew first instead of using the shipped ones.
    pub pretrain: bool,
    /// The folder of all runs.
    pub runs: PathBuf,
    /// Name of this run's folder.
    pub name: String,
    /// What to do with a run of this name.
    pub existing: Existing,
    /// How progress is shown.
    pub progress: ProgressMode,
}

/// How a run ended.
#[derive(Debug)]
pub enum TokenizerRunOutcome {
    /// Both stages are done and judged.
    Finished {
        /// What the held-out sets say.
        report: Box<Report>,
        /// The run's folder, with the report and `tokenizer.safetensors`.
        folder: PathBuf,
    },
    /// A stop was asked for; the run can be resumed.
    Interrupted {
        /// The stage that was running.
        stage: &'static str,
        /// Steps of it that are done.
        step: u64,
    },
}

impl TokenizerRun {
    /// The settings, with what this run changes in them.
    pub fn settings(&self) -> Result<TokenizerTrainingConfig, RecipeError> {
        let mut config = match &self.config {
            Some(file) => load_config(file)?,
            None => TokenizerTrainingConfig::nano(),
        };
        if let Some(seed) = self.seed {
            config.stage_one.seed = seed;
            config.stage_two.seed = seed;
        }
        if self.smoke {
            config = config.smoke();
        }
        if self.pretrain {
            // The shipped Q-Former reads another image tower's tokens.
            config.start = StageOneStart::Random;
        }
        config.validate()?;
        Ok(config)
    }

    /// Trains both stages on `device`, which [`Self::device`] was opened as, and writes the report.
    pub fn train(
        &self,
        device: &Device,
        stop: StopFlag,
    ) -> Result<TokenizerRunOutcome, RecipeError> {
        let started = std::time::Instant::now();
        let config = self.settings()?;
        let cache = Cache::open(Cache::default_dir()?, Cache::DEFAULT_BYTES)?;
        let corpus = Corpus::embedded()?;
        let splits = match &self.data {
            Some(folder) => Splits::of_folder(folder, config.stage_one.seed)?,
            None => Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?,
        };
        let splits = if self.smoke {
            splits.limited(SMOKE_PAIRS)
        } else {
            splits
        };
        let frozen = if self.pretrain {
            match self.pretrain(&corpus, &cache, device, &stop)? {
                ControlFlow::Continue(frozen) => frozen,
                ControlFlow::Break(step) => {
                    let stage = "pretraining";
                    return Ok(TokenizerRunOutcome::Interrupted { stage, step });
                }
            }
        } else {
            FrozenParts::nano(device)?
        };

        let mut run = self.open_run(&self.name, &config, config.stage_one.seed)?;
        let training = TokenizerTraining {
            config: &config,
            frozen: &frozen,
            splits: &splits,
            cache: &cache,
            device,
            progress: self.progress,
            stop,
        };
        let trained = match training.train(&mut run)? {
            TokenizerOutcome::Finished(trained) => trained,
            TokenizerOutcome::Interrupted { stage, step } => {
                return Ok(TokenizerRunOutcome::Interrupted { stage, step });
            }
        };
        let facts = [
            ("device", self.device.to_string()),
            ("seed", config.stage_one.seed.to_string()),
            ("training pairs", splits.train().len().to_string()),
            ("time", format!("{:.0} s", started.elapsed().as_secs_f64())),
        ];
        let report = training.report(&trained, &run, &facts)?;
        Ok(TokenizerRunOutcome::Finished {
            report: Box::new(report),
            folder: run.path().to_owned(),
        })
    }

    /// Trains the nano CLIP in a run of its own; the step it was stopped at, if it was.
    fn pretrain(
        &self,
        corpus: &Corpus,
        cache: &Cache,
        device: &Device,
        stop: &StopFlag,
    ) -> Result<ControlFlow<u64, FrozenParts>, RecipeError> {
        let mut config = ClipPretrainingConfig::nano();
        if self.smoke {
            config = config.smoke();
        }
        let name = format!("{}-clip", self.name);
        let mut run = self.open_run(&name, &config, config.train.seed)?;
        let tokenizer = train_tokenizer_of(corpus, config.clip.text.vocab_size)?;
        let json = tokenizer.to_json()?;
        let training = ClipPretraining {
            config: &config,
            corpus,
            tokenizer: Arc::new(tokenizer),
            cache,
            device,
        };
        let trained = training.train(&mut run, self.progress, stop.clone())?;
        if let Outcome::Interrupted { step } = trained.outcome {
            return Ok(ControlFlow::Break(step));
        }
        let path = run.path().join("clip.safetensors");
        training.save(trained.model.clip, &path)?;
        let bytes = std::fs::read(&path).map_err(|source| seed_weights::WeightsError::Io {
            path: path.clone(),
            source,
        })?;
        let name = path.display().to_string();
        let nano = nano::clip_from(&name, Cow::Owned(bytes), device)?;
        let frozen = FrozenParts::of_nano_clip(nano, &json)?;
        Ok(ControlFlow::Continue(frozen))
    }

    fn open_run(
        &self,
        name: &str,
        config: &impl serde::Serialize,
        seed: u64,
    ) -> Result<RunDir, RecipeError> {
        let info = RunInfo {
            config: serde_json::to_value(config).unwrap_or_default(),
            seed,
            device: self.device.to_string(),
        };
        Ok(RunDir::open(&self.runs, name, self.existing, &info)?)
    }
}
