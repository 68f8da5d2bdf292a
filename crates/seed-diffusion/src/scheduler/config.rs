//! Settings of a scheduler.

use std::{fmt, str::FromStr};

use seed_nn::ConfigError;
use serde::{Deserialize, Serialize};

use super::{noise_schedule::NoiseScheduleConfig, prediction::Prediction};
use crate::error::DiffusionError;

/// How a step leads to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sampler {
    /// DDIM without fresh noise (<https://arxiv.org/abs/2010.02502>).
    #[serde(rename = "ddim")]
    Ddim,
    /// Linear multistep as diffusers has it (`PNDMScheduler` with `skip_prk_steps`): the means are of the model's outputs.
    #[serde(rename = "pndm")]
    Pndm,
    /// Linear multistep as Stable Diffusion's v1 release has it: the means are of the noise. Differs from `Pndm` where the
    /// model predicts something else, and where there is a single step.
    #[serde(rename = "plms")]
    Plms,
    /// DPM-Solver++ of second order, multistep (<https://arxiv.org/abs/2211.01095>).
    #[serde(rename = "dpm++")]
    DpmSolverPlusPlus,
}

impl Sampler {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Ddim, Self::Pndm, Self::Plms, Self::DpmSolverPlusPlus];

    fn name(self) -> &'static str {
        match self {
            Self::Ddim => "ddim",
            Self::Pndm => "pndm",
            Self::Plms => "plms",
            Self::DpmSolverPlusPlus => "dpm++",
        }
    }
}

impl fmt::Display for Sampler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Sampler {
    type Err = DiffusionError;

    /// # Errors
    ///
    /// [`DiffusionError::Setting`] with all names, for another name.
    fn from_str(name: &str) -> Result<Self, DiffusionError> {
        let found = Self::ALL.into_iter().find(|sampler| sampler.name() == name);
        found.ok_or_else(|| DiffusionError::Setting {
            setting: "sampler",
            value: name.to_owned(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// Which time steps are visited (<https://arxiv.org/abs/2305.08891>, table 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spacing {
    /// A whole number apart, counted from the first; [`steps_offset`](SchedulerConfig::steps_offset) is added.
    Leading,
    /// Evenly from the first to the last, rounded.
    Linspace,
    /// Evenly, counted down from the last, rounded.
    Trailing,
}

/// How much noise is left after DPM-Solver++'s last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FinalNoise {
    /// None. The last step is then of first order, since it ends infinitely far away in log signal to noise.
    Zero,
    /// That of the first time step of the training.
    SigmaMin,
}

/// Settings of a [`Scheduler`](crate::Scheduler), by the names of diffusers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerConfig {
    /// How a step leads to the next.
    pub sampler: Sampler,
    /// What the model predicts.
    pub prediction_type: Prediction,
    /// How noisy each time step is.
    pub noise: NoiseScheduleConfig,
    /// Which time steps are visited; none for the sampler's own way: linspace of DPM-Solver++, leading of the others.
    pub timestep_spacing: Option<Spacing>,
    /// Added to each time step where spacing is leading.
    pub steps_offset: usize,
    /// Whether the last step leaves no noise, or that of the first time step of the training; none for the sampler's own way:
    /// none is left by DDIM. DPM-Solver++ has `final_sigmas_type` in its place.
    pub set_alpha_to_one: Option<bool>,
    /// Order of DPM-Solver++: 1 or 2.
    pub solver_order: usize,
    /// Whether DPM-Solver++'s last step is of first order where there are fewer than 15 steps.
    pub lower_order_final: bool,
    /// How much noise DPM-Solver++'s last step leaves.
    pub final_sigmas_type: FinalNoise,
}

impl SchedulerConfig {
    /// What Stable Diffusion 1 was published with: PNDM of predicted noise.
    pub fn stable_diffusion() -> Self {
        Self {
            sampler: Sampler::Pndm,
            prediction_type: Prediction::Epsilon,
            noise: NoiseScheduleConfig::stable_diffusion(),
            timestep_spacing: None,
            steps_offset: 1,
            set_alpha_to_one: Some(false),
            solver_order: 2,
            lower_order_final: true,
            final_sigmas_type: FinalNoise::Zero,
        }
    }

    /// Another sampler of the same model. As in diffusers, what was set stays, and what was not is the new sampler's own way.
    pub fn with_sampler(self, sampler: Sampler) -> Self {
        Self { sampler, ..self }
    }

    /// Another kind of prediction.
    pub fn with_prediction(self, prediction_type: Prediction) -> Self {
        Self {
            prediction_type,
            ..self
        }
    }

    /// Which time steps are visited.
    pub fn spacing(&self) -> Spacing {
        self.timestep_spacing.unwrap_or(match self.sampler {
            Sampler::DpmSolverPlusPlus => Spacing::Linspace,
            _ => Spacing::Leading,
        })
    }

    /// Whether no noise is left in the end.
    pub(super) fn ends_clean(&self) -> bool {
        match self.sampler {
            Sampler::DpmSolverPlusPlus => self.final_sigmas_type == FinalNoise::Zero,
            Sampler::Ddim => self.set_alpha_to_one.unwrap_or(true),
            Sampler::Pndm | Sampler::Plms => self.set_alpha_to_one.unwrap_or(false),
        }
    }

    /// Refuses settings that do not go together.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let part = "scheduler";
        self.noise.validate()?;
        let order = self.solver_order;
        let known = (1..=2).contains(&order);
        ConfigError::check(known, part, "solver_order", order, "1 or 2")?;
        let offset = self.steps_offset;
        let sound = offset < self.noise.num_train_timesteps;
        let rule = "below num_train_timesteps";
        ConfigError::check(sound, part, "steps_offset", offset, rule)?;
        // diffusers has none either.
        let known = self.sampler != Sampler::Pndm || self.prediction_type != Prediction::Sample;
        let rule = "epsilon or v_prediction for pndm";
        ConfigError::check(known, part, "prediction_type", "sample", rule)?;
        // Multistep samplers divide by ᾱ of the first step, and so does the picture that predicted noise leads to.
        let divides = match self.sampler {
            Sampler::Ddim => self.prediction_type == Prediction::Epsilon,
            Sampler::Pndm | Sampler::Plms => true,
            Sampler::DpmSolverPlusPlus => false,
        };
        let sound = !(self.noise.rescale_betas_zero_snr && divides);
        let rule = "false for pndm and plms, and for ddim of predicted noise";
        ConfigError::check(sound, part, "rescale_betas_zero_snr", true, rule)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samplers_have_one_name_everywhere() {
        for sampler in Sampler::ALL {
            assert_eq!(sampler.to_string().parse::<Sampler>().unwrap(), sampler);
            let in_files = serde_json::to_value(sampler).unwrap();
            assert_eq!(in_files.as_str(), Some(sampler.name()));
        }
        let error = "euler".parse::<Sampler>().unwrap_err().to_string();
        assert!(error.contains("dpm++"), "{error}");
    }

    #[test]
    fn settings_that_do_not_go_together_are_refused_by_name() {
        let refused = |change: fn(&mut SchedulerConfig), name: &str| {
            let mut config = SchedulerConfig::stable_diffusion();
            config.validate().unwrap();
            change(&mut config);
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        };
        refused(|config| config.solver_order = 3, "solver_order");
        refused(|config| config.solver_order = 0, "solver_order");
        refused(|config| config.steps_offset = 1000, "steps_offset");
        refused(
            |config| config.prediction_type = Prediction::Sample,
            "prediction_type",
        );
        for sampler in [Sampler::Ddim, Sampler::Pndm, Sampler::Plms] {
            let mut config = SchedulerConfig::stable_diffusion().with_sampler(sampler);
            config.noise.rescale_betas_zero_snr = true;
            let error = config.validate().unwrap_err().to_string();
            assert!(error.contains("rescale_betas_zero_snr"), "{error}");
        }
    }

    #[test]
    fn files_of_settings_come_back() {
        let config = SchedulerConfig::stable_diffusion().with_prediction(Prediction::Velocity);
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<SchedulerConfig>(&text).unwrap(),
            config
        );
        let other = text.replace("solver_order", "solver_ordre");
        assert!(serde_json::from_str::<SchedulerConfig>(&other).is_err());
    }
}
