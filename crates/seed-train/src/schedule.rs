//! The learning rate of each step.

use std::f64::consts::PI;

use serde::{Deserialize, Serialize};

use crate::config_error::ConfigError;

/// How the learning rate runs over the steps.
///
/// In TOML: `schedule = { kind = "cosine", peak = 1e-4, warmup_steps = 100 }`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum LrSchedule {
    /// Linear warm-up, then half a cosine down to `floor` at the last step; both per step.
    Cosine {
        /// Rate at the end of the warm-up.
        peak: f64,
        /// Steps of warm-up; the first step takes `peak / warmup_steps`, the last of them `peak`.
        #[serde(default)]
        warmup_steps: u64,
        /// Rate towards which the cosine falls.
        #[serde(default)]
        floor: f64,
    },
    /// The reference's schedule (LAVIS `LinearWarmupCosineLRScheduler`, called as SEED calls it):
    /// linear warm-up inside epoch 0 only, then constant within each epoch, a cosine over epochs.
    PerEpoch {
        /// Rate at the end of the warm-up (`init_lr`).
        peak: f64,
        /// Rate of the first step (`warmup_lr`).
        warmup_start: f64,
        /// Steps of warm-up (`warmup_steps`).
        warmup_steps: u64,
        /// Rate towards which the cosine falls (`min_lr`).
        floor: f64,
        /// Epochs of the whole cosine (`max_epoch`).
        epochs: u64,
        /// Steps of one epoch (`iters_per_epoch`).
        steps_per_epoch: u64,
    },
}

impl LrSchedule {
    /// The rate of `step` (from 0) in a run of `steps` steps.
    pub fn rate(&self, step: u64, steps: u64) -> f64 {
        match *self {
            Self::Cosine {
                peak,
                warmup_steps,
                floor,
            } => {
                if step < warmup_steps {
                    return peak * (step + 1) as f64 / warmup_steps as f64;
                }
                let span = steps.saturating_sub(warmup_steps).max(1);
                let done = (step - warmup_steps) as f64 / span as f64;
                cosine(peak, floor, done.min(1.0))
            }
            Self::PerEpoch {
                peak,
                warmup_start,
                warmup_steps,
                floor,
                epochs,
                steps_per_epoch,
            } => {
                let epoch = step / steps_per_epoch;
                if epoch == 0 {
                    let slope = (peak - warmup_start) / warmup_steps.max(1) as f64;
                    return peak.min(warmup_start + slope * step as f64);
                }
                cosine(peak, floor, epoch as f64 / epochs as f64)
            }
        }
    }

    /// Refuses rates that are negative or not finite, and empty epochs.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        let rates = match *self {
            Self::Cosine { peak, floor, .. } => {
                vec![("schedule.peak", peak), ("schedule.floor", floor)]
            }
            Self::PerEpoch {
                peak,
                warmup_start,
                floor,
                epochs,
                steps_per_epoch,
                ..
            } => {
                ConfigError::require(epochs > 0, "schedule.epochs", epochs, "at least 1")?;
                ConfigError::require(
                    steps_per_epoch > 0,
                    "schedule.steps_per_epoch",
                    steps_per_epoch,
                    "at least 1",
                )?;
                vec![
                    ("schedule.peak", peak),
                    ("schedule.warmup_start", warmup_start),
                    ("schedule.floor", floor),
                ]
            }
        };
        for (key, rate) in rates {
            ConfigError::require(
                rate.is_finite() && rate >= 0.0,
                key,
                rate,
                "a finite rate, 0 or more",
            )?;
        }
        Ok(())
    }
}

impl Default for LrSchedule {
    fn default() -> Self {
        Self::Cosine {
            peak: 1e-4,
            warmup_steps: 100,
            floor: 0.0,
        }
    }
}

/// Half a cosine from `peak` at `done = 0` to `floor` at `done = 1`.
fn cosine(peak: f64, floor: f64, done: f64) -> f64 {
    (peak - floor) * 0.5 * (1.0 + (PI * done).cos()) + floor
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn per_epoch_matches_the_reference() {
        let golden: Value =
            serde_json::from_str(include_str!("../tests/fixtures/reference_schedule.json"))
                .unwrap();
        let number = |key: &str| golden["config"][key].as_f64().unwrap();
        let steps_per_epoch = number("iters_per_epoch") as u64;
        let schedule = LrSchedule::PerEpoch {
            peak: number("init_lr"),
            warmup_start: number("warmup_lr"),
            warmup_steps: number("warmup_steps") as u64,
            floor: number("min_lr"),
            epochs: number("max_epoch") as u64,
            steps_per_epoch,
        };
        let rows = golden["epoch_step_rate"].as_array().unwrap();
        assert!(rows.len() > 8);
        for row in rows {
            let [epoch, step] = [0, 1].map(|i| row[i].as_u64().unwrap());
            let expected = row[2].as_f64().unwrap();
            let rate = schedule.rate(epoch * steps_per_epoch + step, 6 * steps_per_epoch);
            assert!(
                (rate - expected).abs() < 1e-12 * expected.max(1e-6),
                "{row}: {rate}"
            );
        }
    }

    #[test]
    fn cosine_warms_up_then_falls_to_the_floor() {
        let schedule = LrSchedule::Cosine {
            peak: 1.0,
            warmup_steps: 4,
            floor: 0.1,
        };
        let rates: Vec<f64> = (0..12).map(|step| schedule.rate(step, 12)).collect();
        assert_eq!(rates[..5], [0.25, 0.5, 0.75, 1.0, 1.0]);
        assert!((rates[8] - 0.55).abs() < 1e-12, "half way down");
        assert!(rates[4..].windows(2).all(|pair| pair[0] > pair[1]));
        assert!((schedule.rate(12, 12) - 0.1).abs() < 1e-12);
    }
}
