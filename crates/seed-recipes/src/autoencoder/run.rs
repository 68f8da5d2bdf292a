//! An autoencoder's training as one asks for it on a command line.

use burn::tensor::Device;
use clap::Args;
use seed_data::Corpus;
use seed_train::{ProgressMode, StopFlag, load_config};

use super::{
    config::AutoencoderTrainingConfig, report::AutoencoderReport, training::AutoencoderTraining,
};
use crate::{
    error::RecipeError,
    options::RunOptions,
    outcome::{RunOutcome, TrainingOutcome, unless_stopped},
    splits::Splits,
};

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 100;
/// What a finished run leaves in its folder.
const OUTPUTS: &[&str] = &["vae", "report.json", SHEET];
/// Held-out pictures beside what came back.
const SHEET: &str = "rebuilt.png";

/// The training of an autoencoder, as a command line asks for it.
#[derive(Debug, Clone, Args)]
pub struct AutoencoderRun {
    /// What every training is asked.
    #[command(flatten)]
    pub options: RunOptions,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "autoencoder")]
    pub name: String,
}

impl AutoencoderRun {
    /// The settings, with what this run changes in them.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Config`] and [`RecipeError::Model`], which name the key.
    pub fn settings(&self) -> Result<AutoencoderTrainingConfig, RecipeError> {
        let mut config = match &self.options.config {
            Some(file) => load_config(file)?,
            None => AutoencoderTrainingConfig::nano()?,
        };
        if let Some(seed) = self.options.seed {
            config.train.seed = seed;
        }
        if let Some(seed) = self.options.split_seed {
            config.split_seed = seed;
        }
        if self.options.smoke {
            config = config.smoke()?;
        }
        config.validate()?;
        Ok(config)
    }

    /// Trains on `device`, which the options' was opened as, and judges the result.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(
        &self,
        device: &Device,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<RunOutcome<AutoencoderReport>, RecipeError> {
        let config = self.settings()?;
        if progress != ProgressMode::Quiet {
            let shipped = AutoencoderTrainingConfig::nano()?;
            self.options
                .tell_without_effect(&config.of_pictures(), &shipped.of_pictures());
        }
        let cache = self.options.cache()?;
        let splits = if let Some(folder) = &self.options.data {
            Splits::of_folder(folder, config.split_seed)?
        } else {
            let corpus = Corpus::embedded()?;
            Splits::of_corpus(&corpus, config.render_size, &config.styles, &cache)?
        };
        let splits = if self.options.smoke {
            splits.limited(SMOKE_PAIRS)
        } else {
            splits
        };
        let seed = config.train.seed;
        let mut run = self.options.open_run(&self.name, &config, seed, OUTPUTS)?;
        let training = AutoencoderTraining {
            config: &config,
            splits: &splits,
            device,
            progress,
            stop,
        };
        let model = match unless_stopped(training.train(&mut run), "pictures were read")? {
            Ok(TrainingOutcome::Finished(model)) => model,
            Ok(TrainingOutcome::Interrupted { stage, step }) => {
                return Ok(RunOutcome::at(stage, step));
            }
            Err(stopped) => return Ok(stopped),
        };
        let report = training.report(&model)?;
        report.save(run.path())?;
        training.sheet(&model)?.save(&run.path().join(SHEET))?;
        let told = report.to_string();
        let command = "seed train diffusion --autoencoder";
        Ok(RunOutcome::finished(
            report,
            run.path(),
            SHEET,
            &told,
            command,
        ))
    }
}
