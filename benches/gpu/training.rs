//! A training that the repository waits for, with what time is left.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;
use seed::{
    data::{Cache, Corpus},
    device::DeviceSpec,
    recipes::clip::{ClipPretraining, ClipPretrainingConfig, train_tokenizer_of},
    train::{BoxError, Existing, Outcome, ProgressMode, StopFlag, load_config},
};

/// Name of the run.
const NAME: &str = "nano-clip";

/// The nano CLIP's training.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The device.
    #[arg(long, default_value = "cuda:0")]
    device: DeviceSpec,
    /// Its settings.
    #[arg(long, default_value = "experiments/nano-clip/config.toml")]
    config: PathBuf,
    /// Optimiser steps, instead of the settings'.
    #[arg(long)]
    steps: Option<u64>,
    /// Where the run's folder is, or was left by an earlier card.
    #[arg(long, default_value = "runs")]
    runs: PathBuf,
    /// Stop, resumable, after this many seconds.
    #[arg(long, default_value_t = 300)]
    seconds: u64,
}

impl Arguments {
    pub(crate) fn run(&self) -> Result<bool, BoxError> {
        let mut config: ClipPretrainingConfig = load_config(&self.config)?;
        if let Some(steps) = self.steps {
            config.train.steps = steps;
        }
        let device = self.device.open()?;
        let corpus = Corpus::embedded()?;
        let cache = Cache::open(Cache::default_dir()?, Cache::limit_from(None)?)?;
        let tokenizer = train_tokenizer_of(&corpus, config.clip.text.vocab_size)?;
        let training = ClipPretraining {
            config: &config,
            corpus: &corpus,
            tokenizer: Arc::new(tokenizer),
            cache: &cache,
            device: &device,
        };
        let existing = Existing::asked(self.runs.join(NAME).is_dir(), false);
        let device = self.device.to_string();
        let mut run = training.open_run(&self.runs, NAME, &device, existing)?;
        let stop = StopFlag::new();
        let (clock, seconds) = (stop.clone(), self.seconds);
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_secs(seconds));
            clock.request();
        });
        let trained = training.train(&mut run, ProgressMode::Quiet, stop)?;
        let path = run.path().join("clip.safetensors");
        training.save(trained.model.clip, &path)?;
        match trained.outcome {
            Outcome::Interrupted { step } => {
                println!("stopped after step {step} of {}", config.train.steps);
            }
            Outcome::Finished => println!("finished, {} steps", config.train.steps),
        }
        println!("weights: {}", path.display());
        Ok(true)
    }
}
