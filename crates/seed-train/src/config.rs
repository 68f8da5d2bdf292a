//! The settings that every stage's training has in common.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config_error::ConfigError;
use crate::optimizer::AdamWConfig;
use crate::schedule::LrSchedule;

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

    /// Settings that do not change what is computed: logging and keeping may change between sessions.
    pub const FREE: [&str; 3] = ["checkpoint_every", "keep_last", "log_every"];

    /// All settings that decide what is computed.
    pub fn identity(&self) -> Value {
        let mut identity = json!(self);
        if let Value::Object(settings) = &mut identity {
            settings.retain(|key, _| !Self::FREE.contains(&key.as_str()));
        }
        identity
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config_error::load_config;

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
