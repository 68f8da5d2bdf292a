//! How much of a picture is left at each time step.
//!
//! - papers: DDPM <https://arxiv.org/abs/2006.11239> (ᾱ, section 2), Improved DDPM <https://arxiv.org/abs/2102.09672> (the
//!   cosine schedule), <https://arxiv.org/abs/2202.00512> (velocity), <https://arxiv.org/abs/2305.08891> (zero terminal SNR)
//! - original code: `DDPMScheduler` of diffusers

use std::f64::consts::FRAC_PI_2;

use burn::tensor::{Tensor, TensorData};
use seed_nn::{ConfigError, limits};
use serde::{Deserialize, Serialize};

use crate::error::DiffusionError;

/// How β, the share of noise that a time step adds, grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BetaSchedule {
    /// Evenly, as in DDPM.
    Linear,
    /// Its square root grows evenly, as in Stable Diffusion.
    ScaledLinear,
    /// Such that ᾱ follows a squared cosine, with β at most 0.999; unCLIP noises image embeddings so. Takes neither
    /// `beta_start` nor `beta_end`.
    #[serde(rename = "squaredcos_cap_v2")]
    Cosine,
}

/// Settings of a [`NoiseSchedule`], by the names of diffusers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NoiseScheduleConfig {
    /// How β grows.
    pub beta_schedule: BetaSchedule,
    /// β of the first time step.
    pub beta_start: f64,
    /// β of the last time step.
    pub beta_end: f64,
    /// Number of time steps.
    pub num_train_timesteps: usize,
    /// Whether the schedule is rescaled so that nothing of the picture is left at the last time step.
    pub rescale_betas_zero_snr: bool,
}

impl NoiseScheduleConfig {
    /// Stable Diffusion's, of every version.
    pub fn stable_diffusion() -> Self {
        Self {
            beta_schedule: BetaSchedule::ScaledLinear,
            beta_start: 0.00085,
            beta_end: 0.012,
            num_train_timesteps: 1000,
            rescale_betas_zero_snr: false,
        }
    }

    /// unCLIP's, for image embeddings.
    pub fn unclip() -> Self {
        Self {
            beta_schedule: BetaSchedule::Cosine,
            ..Self::stable_diffusion()
        }
    }

    /// Refuses numbers that make no schedule.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "noise schedule";
        let count = self.num_train_timesteps;
        ConfigError::check_size(part, "num_train_timesteps", count, limits::POSITIONS)?;
        if self.beta_schedule != BetaSchedule::Cosine {
            for (name, beta) in [("beta_start", self.beta_start), ("beta_end", self.beta_end)] {
                let sound = beta > 0.0 && beta < 1.0;
                ConfigError::check(sound, part, name, beta, "above 0 and below 1")?;
            }
        }
        let enough = !self.rescale_betas_zero_snr || count > 1;
        let rule = "at least 2 for rescale_betas_zero_snr";
        ConfigError::check(enough, part, "num_train_timesteps", count, rule)
    }

    /// Computes the schedule.
    ///
    /// # Errors
    ///
    /// [`ConfigError`] if the numbers make no schedule, or one that leaves too little of the picture for f32 to hold.
    pub fn init(&self) -> Result<NoiseSchedule, ConfigError> {
        self.validate()?;
        let mut left = 1.0;
        let mut alpha_bars: Vec<f64> = (0..self.num_train_timesteps)
            .map(|timestep| {
                left *= 1.0 - self.beta(timestep);
                left
            })
            .collect();
        // Latents are divided by the root of it.
        let sound = left >= f64::from(f32::MIN_POSITIVE);
        let rule = "such that something of the picture is left at the last time step";
        ConfigError::check(sound, "noise schedule", "beta_end", self.beta_end, rule)?;
        if self.rescale_betas_zero_snr {
            rescale(&mut alpha_bars);
        }
        Ok(NoiseSchedule { alpha_bars })
    }

    fn beta(&self, timestep: usize) -> f64 {
        let count = self.num_train_timesteps;
        let between = |start: f64, end: f64| {
            start + (end - start) * timestep as f64 / (count - 1).max(1) as f64
        };
        match self.beta_schedule {
            BetaSchedule::Linear => between(self.beta_start, self.beta_end),
            BetaSchedule::ScaledLinear => {
                between(self.beta_start.sqrt(), self.beta_end.sqrt()).powi(2)
            }
            BetaSchedule::Cosine => {
                let left = |timestep: usize| {
                    let share = timestep as f64 / count as f64;
                    ((share + 0.008) / 1.008 * FRAC_PI_2).cos().powi(2)
                };
                (1.0 - left(timestep + 1) / left(timestep)).min(0.999)
            }
        }
    }
}

/// Shifts and stretches the roots of ᾱ: the last becomes 0, the first stays (arXiv:2305.08891, algorithm 1).
fn rescale(alpha_bars: &mut [f64]) {
    let (Some(first), Some(last)) = (alpha_bars.first(), alpha_bars.last()) else {
        return;
    };
    let (first, last) = (first.sqrt(), last.sqrt());
    for alpha_bar in alpha_bars {
        *alpha_bar = ((alpha_bar.sqrt() - last) * first / (first - last)).powi(2);
    }
}

/// The share ᾱ of the picture's variance that is left at each time step.
///
/// A picture x₀ at time step t is √ᾱ·x₀ + √(1−ᾱ)·ε, with standard normal ε. Numbers are kept in f64 on the host; what is
/// computed of tensors is in the tensors' precision.
#[derive(Debug, Clone, PartialEq)]
pub struct NoiseSchedule {
    alpha_bars: Vec<f64>,
}

impl NoiseSchedule {
    /// ᾱ of each time step, falling.
    pub fn alpha_bars(&self) -> &[f64] {
        &self.alpha_bars
    }

    /// ᾱ of a time step.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Timestep`].
    pub fn alpha_bar(&self, timestep: usize) -> Result<f64, DiffusionError> {
        let count = self.alpha_bars.len();
        let found = self.alpha_bars.get(timestep).copied();
        found.ok_or(DiffusionError::Timestep { timestep, count })
    }

    /// Signal to noise, ᾱ/(1−ᾱ), which losses are weighted by (min-SNR, <https://arxiv.org/abs/2303.09556>).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Timestep`].
    pub fn signal_to_noise(&self, timestep: usize) -> Result<f64, DiffusionError> {
        let alpha_bar = self.alpha_bar(timestep)?;
        Ok(alpha_bar / (1.0 - alpha_bar))
    }

    /// Pictures as they are at a time step each: √ᾱ·clean + √(1−ᾱ)·noise.
    ///
    /// # Shapes
    ///
    /// - clean, noise, output: `[batch, ..]`
    /// - timesteps: one for each of the batch
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Timestep`], [`DiffusionError::Shape`].
    pub fn add_noise<const D: usize>(
        &self,
        clean: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Result<Tensor<D>, DiffusionError> {
        let (signal, rest) = self.roots(&clean, &noise, timesteps)?;
        Ok(clean * signal + noise * rest)
    }

    /// What a model that predicts velocity is trained towards: √ᾱ·noise − √(1−ᾱ)·clean.
    ///
    /// # Shapes
    ///
    /// As in [`add_noise`](Self::add_noise).
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Timestep`], [`DiffusionError::Shape`].
    pub fn velocity<const D: usize>(
        &self,
        clean: Tensor<D>,
        noise: Tensor<D>,
        timesteps: &[usize],
    ) -> Result<Tensor<D>, DiffusionError> {
        let (signal, rest) = self.roots(&clean, &noise, timesteps)?;
        Ok(noise * signal - clean * rest)
    }

    /// √ᾱ and √(1−ᾱ) of each of a batch, `[batch, 1, ..]`.
    fn roots<const D: usize>(
        &self,
        clean: &Tensor<D>,
        noise: &Tensor<D>,
        timesteps: &[usize],
    ) -> Result<(Tensor<D>, Tensor<D>), DiffusionError> {
        let shape = clean.dims();
        DiffusionError::check_shape("noise", &noise.dims(), &shape)?;
        DiffusionError::check_shape("time steps", &[timesteps.len()], &shape[..1])?;
        let alpha_bars = timesteps.iter().map(|timestep| self.alpha_bar(*timestep));
        let alpha_bars: Vec<f64> = alpha_bars.collect::<Result<_, _>>()?;
        let mut column = [1; D];
        column[0] = timesteps.len();
        let root = |of: fn(f64) -> f64| {
            let roots: Vec<f32> = alpha_bars.iter().map(|a| of(*a).sqrt() as f32).collect();
            let data = TensorData::new(roots, column);
            Tensor::<D>::from_data(data, &clean.device()).cast(clean.dtype())
        };
        Ok((root(|a| a), root(|a| 1.0 - a)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn less_and_less_is_left() {
        for (beta_schedule, last) in [
            (BetaSchedule::Linear, 0.001_58),
            (BetaSchedule::ScaledLinear, 0.004_66),
            (BetaSchedule::Cosine, 0.0),
        ] {
            let config = NoiseScheduleConfig {
                beta_schedule,
                ..NoiseScheduleConfig::stable_diffusion()
            };
            let alpha_bars = config.init().unwrap().alpha_bars;
            assert!(alpha_bars.is_sorted_by(|a, b| a > b));
            assert!((alpha_bars[999] - last).abs() < 1e-5, "{}", alpha_bars[999]);
            let rescaled = NoiseScheduleConfig {
                rescale_betas_zero_snr: true,
                ..config
            };
            let rescaled = rescaled.init().unwrap().alpha_bars;
            assert!(rescaled.is_sorted_by(|a, b| a > b));
            assert!((rescaled[0] - alpha_bars[0]).abs() < 1e-12);
            assert!(rescaled[999].abs() <= 0.0);
        }
    }

    #[test]
    fn what_makes_no_schedule_is_refused_by_name() {
        let sound = NoiseScheduleConfig::stable_diffusion;
        let refused = |config: NoiseScheduleConfig, name: &str| {
            let error = config.init().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        for beta in [0.0, 1.0, -0.1, f64::NAN, f64::INFINITY] {
            let beta_start = beta;
            refused(
                NoiseScheduleConfig {
                    beta_start,
                    ..sound()
                },
                "beta_start",
            );
        }
        let beta_end = 0.9;
        refused(
            NoiseScheduleConfig {
                beta_end,
                ..sound()
            },
            "beta_end",
        );
        for num_train_timesteps in [0, usize::MAX] {
            refused(
                NoiseScheduleConfig {
                    num_train_timesteps,
                    ..sound()
                },
                "num_train_timesteps",
            );
        }
        let one = NoiseScheduleConfig {
            num_train_timesteps: 1,
            ..sound()
        };
        assert_eq!(one.init().unwrap().alpha_bars.len(), 1);
        refused(
            NoiseScheduleConfig {
                rescale_betas_zero_snr: true,
                ..one
            },
            "num_train_timesteps",
        );
    }
}
