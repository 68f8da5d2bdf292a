//! A UNet's training as one asks for it on a command line.

use std::path::PathBuf;

use burn::tensor::Device;
use clap::Args;
use seed_data::Corpus;
use seed_diffusion::{load_autoencoder, nano};
use seed_train::{ProgressMode, StopFlag, load_config};

use super::{
    config::DiffusionTrainingConfig,
    training::{DiffusionTraining, LatentDiffusion},
};
use crate::{
    error::RecipeError,
    frozen::FrozenParts,
    options::RunOptions,
    outcome::{RunOutcome, TrainingOutcome, unless_stopped},
    splits::Splits,
};

/// Pairs of each set that a smoke run looks at.
const SMOKE_PAIRS: usize = 100;
/// What a finished run leaves in its folder.
const OUTPUTS: &[&str] = &[
    "unet",
    "vae",
    "scheduler",
    "image_normalizer",
    "model_index.json",
    SHEET,
];
/// Held-out pictures beside what was drawn from their captions.
const SHEET: &str = "drawn.png";

/// The training of a UNet, as a command line asks for it.
#[derive(Debug, Clone, Args)]
pub struct DiffusionRun {
    /// What every training is asked.
    #[command(flatten)]
    pub options: RunOptions,
    /// Name of this run's folder below --runs.
    #[arg(long, default_value = "diffusion")]
    pub name: String,
    /// The autoencoder whose latents are drawn: a folder with `vae` in it, such as a run of `seed train autoencoder`; without
    /// it the one that ships.
    #[arg(long, value_name = "DIR")]
    pub autoencoder: Option<PathBuf>,
}

impl DiffusionRun {
    /// The settings, with what this run changes in them.
    ///
    /// # Errors
    ///
    /// [`RecipeError::Config`] and [`RecipeError::Model`], which name the key.
    pub fn settings(&self) -> Result<DiffusionTrainingConfig, RecipeError> {
        let mut config = match &self.options.config {
            Some(file) => load_config(file)?,
            None => DiffusionTrainingConfig::nano()?,
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

    /// Trains on `device`, which the options' was opened as.
    ///
    /// # Errors
    ///
    /// [`RecipeError`].
    pub fn train(
        &self,
        device: &Device,
        progress: ProgressMode,
        stop: StopFlag,
    ) -> Result<RunOutcome<LatentDiffusion>, RecipeError> {
        let config = self.settings()?;
        if progress != ProgressMode::Quiet {
            let shipped = DiffusionTrainingConfig::nano()?;
            self.options
                .tell_without_effect(&config.of_pictures(), &shipped.of_pictures());
        }
        let cache = self.options.cache()?;
        let splits = if let Some(folder) = &self.options.data {
            Splits::of_folder(folder, config.split_seed)?
        } else {
            let corpus = Corpus::embedded()?;
            Splits::of_corpus(&corpus, config.render_size, &[], &cache)?
        };
        let splits = if self.options.smoke {
            splits.limited(SMOKE_PAIRS)
        } else {
            splits
        };
        let autoencoder = match &self.autoencoder {
            Some(folder) => load_autoencoder(folder, device)?,
            None => nano::autoencoder(device)?,
        };
        let frozen = FrozenParts::nano(device)?;
        let seed = config.train.seed;
        let mut run = self.options.open_run(&self.name, &config, seed, OUTPUTS)?;
        let training = DiffusionTraining {
            config: &config,
            autoencoder: &autoencoder,
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
        let command = "seed draw \"red apple\" --sd";
        training.sheet(&trained)?.save(&run.path().join(SHEET))?;
        Ok(RunOutcome::finished(
            *trained,
            run.path(),
            SHEET,
            "",
            command,
        ))
    }
}
