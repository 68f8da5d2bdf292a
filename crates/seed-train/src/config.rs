//! The settings of a training run, and how they are read and refused.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::{AdamWConfig, LrSchedule};

/// What every stage's training has in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Optimiser steps of the whole run.
    pub steps: u64,
    /// Images of one micro-batch: what [`Recipe::loss`](crate::Recipe::loss) sees at once.
    pub batch_size: usize,
    /// Micro-batches whose gradients are averaged into one step. A contrastive loss takes its
    /// negatives from one micro-batch only, so this is not the same as a larger batch there.
    pub accumulation: usize,
    /// AdamW.
    pub optimizer: AdamWConfig,
    /// Learning rate of each step.
    pub schedule: LrSchedule,
    /// Largest norm of all gradients taken together; none as in the reference.
    pub clip_norm: Option<f64>,
    /// Steps of one epoch, for the `epoch` of the metrics.
    pub steps_per_epoch: Option<u64>,
    /// Steps between checkpoints; the last step always writes one.
    pub checkpoint_every: u64,
    /// Checkpoints to keep, newest first.
    pub keep_last: usize,
    /// Steps between lines of `metrics.jsonl`.
    pub log_every: u64,
    /// Seed of dropout (with the step) and, by convention, of initialisation and data order.
    pub seed: u64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            steps: 1000,
            batch_size: 64,
            accumulation: 1,
            optimizer: AdamWConfig::default(),
            schedule: LrSchedule::default(),
            clip_norm: None,
            steps_per_epoch: None,
            checkpoint_every: 200,
            keep_last: 2,
            log_every: 10,
            seed: 42,
        }
    }
}

impl TrainConfig {
    /// Refuses values with which no training is possible, naming the key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let counts = [
            ("steps", self.steps),
            ("batch_size", self.batch_size as u64),
            ("accumulation", self.accumulation as u64),
            ("checkpoint_every", self.checkpoint_every),
            ("keep_last", self.keep_last as u64),
            ("log_every", self.log_every),
            ("steps_per_epoch", self.steps_per_epoch.unwrap_or(1)),
        ];
        for (key, count) in counts {
            ConfigError::require(count > 0, key, count, "at least 1")?;
        }
        if let Some(norm) = self.clip_norm {
            ConfigError::require(norm.is_finite() && norm > 0.0, "clip_norm", norm, "above 0")?;
        }
        self.optimizer.validate()?;
        self.schedule.validate()
    }

    /// Images of one optimiser step.
    pub fn images_per_step(&self) -> usize {
        self.batch_size * self.accumulation
    }

    /// The part that decides what is computed; logging and keeping may change between sessions.
    pub(crate) fn identity(&self) -> Value {
        json!({
            "steps": self.steps,
            "batch_size": self.batch_size,
            "accumulation": self.accumulation,
            "optimizer": self.optimizer,
            "schedule": self.schedule,
            "clip_norm": self.clip_norm,
            "seed": self.seed,
        })
    }
}

/// Reads a TOML file into a config; unknown keys are errors where `T` denies them.
pub fn load_config<T: DeserializeOwned>(path: &Path) -> Result<T, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|source| ConfigError::Parse {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// A config that cannot be read or cannot be trained with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not there or not readable.
    #[error("cannot read the config {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Not TOML, a value of the wrong kind, or an unknown key; the message has line and key.
    #[error("the config {} is not valid:\n{source}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Line, column, key and what was expected.
        source: Box<toml::de::Error>,
    },
    /// A value with which no training is possible.
    #[error("config: {key} = {value} is impossible, it must be {expected}")]
    Invalid {
        /// Dotted name of the key.
        key: String,
        /// The value found.
        value: String,
        /// What it must be.
        expected: String,
    },
}

impl ConfigError {
    /// `Ok` if `holds`, else [`ConfigError::Invalid`].
    pub fn require(
        holds: bool,
        key: &str,
        value: impl Display,
        expected: &str,
    ) -> Result<(), Self> {
        if holds {
            return Ok(());
        }
        Err(Self::Invalid {
            key: key.to_owned(),
            value: value.to_string(),
            expected: expected.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<TrainConfig, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        load_config(file.path())
    }

    #[test]
    fn reads_what_it_is_given_and_defaults_the_rest() {
        let config = read(
            "steps = 7\n[schedule]\nkind = 'cosine'\npeak = 2e-3\n[optimizer]\nweight_decay = 0.1",
        )
        .unwrap();
        assert_eq!(config.steps, 7);
        let peak = LrSchedule::Cosine {
            peak: 2e-3,
            warmup_steps: 0,
            floor: 0.0,
        };
        assert_eq!(config.schedule, peak);
        let optimizer = AdamWConfig {
            weight_decay: 0.1,
            ..Default::default()
        };
        assert_eq!(config.optimizer, optimizer);
        config.validate().unwrap();
    }

    #[test]
    fn unknown_keys_are_named() {
        for (text, key) in [
            ("step = 7", "step"),
            ("[optimizer]\nmomentum = 0.9", "momentum"),
            ("[schedule]\nkind = 'cosine'\npeak = 1.0\nwarm = 3", "warm"),
        ] {
            let message = read(text).unwrap_err().to_string();
            assert!(message.contains(&format!("`{key}`")), "{message}");
        }
    }

    #[test]
    fn impossible_values_are_named() {
        let zero_steps = TrainConfig {
            steps: 0,
            ..Default::default()
        };
        let nan_clip = TrainConfig {
            clip_norm: Some(f64::NAN),
            ..Default::default()
        };
        let infinite_rate = TrainConfig {
            schedule: LrSchedule::Cosine {
                peak: f64::INFINITY,
                warmup_steps: 0,
                floor: 0.0,
            },
            ..Default::default()
        };
        let beta = TrainConfig {
            optimizer: AdamWConfig {
                beta1: 1.0,
                ..Default::default()
            },
            ..Default::default()
        };
        for (config, key) in [
            (zero_steps, "steps"),
            (nan_clip, "clip_norm"),
            (infinite_rate, "schedule.peak"),
            (beta, "optimizer.beta1"),
        ] {
            match config.validate() {
                Err(ConfigError::Invalid { key: found, .. }) => assert_eq!(found, key),
                other => panic!("{key}: {other:?}"),
            }
        }
    }
}
