//! `scheduler_config.json` as diffusers publishes it.
//!
//! A setting is obeyed or refused: what would change the arithmetic in a way that this code does not have is an error by its
//! name, and so is what it has never heard of.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    config::{FinalNoise, Sampler, SchedulerConfig, Spacing},
    noise_schedule::{BetaSchedule, NoiseScheduleConfig},
    prediction::Prediction,
};
use crate::error::DiffusionError;

/// β and time steps; defaults are those of diffusers.
#[derive(Deserialize)]
struct PublishedNoise {
    #[serde(default = "thousand")]
    num_train_timesteps: usize,
    #[serde(default = "beta_start")]
    beta_start: f64,
    #[serde(default = "beta_end")]
    beta_end: f64,
    #[serde(default = "linear")]
    beta_schedule: BetaSchedule,
    trained_betas: Option<Value>,
    #[serde(default)]
    rescale_betas_zero_snr: bool,
}

/// What the samplers read.
#[derive(Deserialize)]
struct Published {
    #[serde(rename = "_class_name")]
    class: String,
    #[serde(default = "epsilon")]
    prediction_type: Prediction,
    timestep_spacing: Option<Spacing>,
    #[serde(default)]
    steps_offset: usize,
    set_alpha_to_one: Option<bool>,
    skip_prk_steps: Option<bool>,
    clip_sample: Option<bool>,
    #[serde(default = "two")]
    solver_order: usize,
    #[serde(default = "yes")]
    lower_order_final: bool,
    #[serde(default = "zero")]
    final_sigmas_type: FinalNoise,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

fn thousand() -> usize {
    1000
}

fn beta_start() -> f64 {
    0.0001
}

fn beta_end() -> f64 {
    0.02
}

fn linear() -> BetaSchedule {
    BetaSchedule::Linear
}

fn epsilon() -> Prediction {
    Prediction::Epsilon
}

fn two() -> usize {
    2
}

fn yes() -> bool {
    true
}

fn zero() -> FinalNoise {
    FinalNoise::Zero
}

/// Settings that are known by the one value that changes nothing.
fn neutral(key: &str) -> Option<Value> {
    Some(match key {
        "thresholding"
        | "euler_at_final"
        | "use_karras_sigmas"
        | "use_exponential_sigmas"
        | "use_beta_sigmas"
        | "use_lu_lambdas"
        | "use_flow_sigmas"
        | "use_dynamic_shifting" => json!(false),
        "algorithm_type" => json!("dpmsolver++"),
        "solver_type" => json!("midpoint"),
        // −∞, which is written as null by the time it is read here.
        "lambda_min_clipped" | "variance_type" => Value::Null,
        _ => return None,
    })
}

/// Settings that others read, or that only have a meaning beside one that is refused.
fn is_idle(key: &str) -> bool {
    key.starts_with('_')
        || matches!(
            key,
            "num_train_timesteps"
                | "beta_start"
                | "beta_end"
                | "beta_schedule"
                | "trained_betas"
                | "rescale_betas_zero_snr"
                | "dynamic_thresholding_ratio"
                | "sample_max_value"
                | "clip_sample_range"
                | "flow_shift"
                | "time_shift_type"
        )
}

fn refuse(reason: impl ToString) -> DiffusionError {
    DiffusionError::Config {
        part: "scheduler_config.json".to_owned(),
        reason: reason.to_string(),
    }
}

fn parse<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, DiffusionError> {
    serde_json::from_str(text).map_err(refuse)
}

/// Python writes −∞ as no JSON has it.
fn as_json(text: &str) -> String {
    text.replace("-Infinity", "null")
}

impl NoiseScheduleConfig {
    /// Reads the noise of any class of scheduler from the text of its `scheduler_config.json`, and nothing else of it.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if it cannot be read or brings its own β, [`DiffusionError::Sizes`] if the numbers make no
    /// schedule.
    pub fn from_diffusers(text: &str) -> Result<Self, DiffusionError> {
        let published: PublishedNoise = parse(&as_json(text))?;
        if published.trained_betas.is_some() {
            return Err(refuse(
                "`trained_betas` is not supported: give it as null, and name a beta_schedule",
            ));
        }
        let config = Self {
            beta_schedule: published.beta_schedule,
            beta_start: published.beta_start,
            beta_end: published.beta_end,
            num_train_timesteps: published.num_train_timesteps,
            rescale_betas_zero_snr: published.rescale_betas_zero_snr,
        };
        config.validate()?;
        Ok(config)
    }
}

impl SchedulerConfig {
    /// Reads the text of a published `scheduler_config.json`, of `DDIMScheduler`, `PNDMScheduler` or
    /// `DPMSolverMultistepScheduler`. What is missing is as diffusers has it where it is missing.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Config`] if it cannot be read, is of another class, or asks for what this code does not do, by name;
    /// [`DiffusionError::Sizes`] if its numbers do not fit together.
    pub fn from_diffusers(text: &str) -> Result<Self, DiffusionError> {
        let noise = NoiseScheduleConfig::from_diffusers(text)?;
        let text = as_json(text);
        let published: Published = parse(&text)?;
        let sampler = match published.class.as_str() {
            "DDIMScheduler" => Sampler::Ddim,
            "PNDMScheduler" => Sampler::Pndm,
            "DPMSolverMultistepScheduler" => Sampler::DpmSolverPlusPlus,
            other => {
                return Err(refuse(format!(
                    "`_class_name` is {other}; DDIMScheduler, PNDMScheduler and DPMSolverMultistepScheduler are supported"
                )));
            }
        };
        for (key, value) in &published.rest {
            match neutral(key) {
                Some(neutral) if *value == neutral => {}
                Some(neutral) => {
                    return Err(refuse(format!(
                        "`{key}` is {value}, and only {neutral} is supported"
                    )));
                }
                None if is_idle(key) => {}
                None => return Err(refuse(format!("`{key}` is not known"))),
            }
        }
        // The others have no clipping, whatever their files say.
        if sampler == Sampler::Ddim && published.clip_sample.unwrap_or(true) {
            return Err(refuse(
                "`clip_sample` is true, as it is where it is missing, and only false is supported: latents are not clipped",
            ));
        }
        if sampler == Sampler::Pndm && !published.skip_prk_steps.unwrap_or(false) {
            return Err(refuse(
                "`skip_prk_steps` is false, as it is where it is missing, and only true is supported",
            ));
        }
        let config = Self {
            sampler,
            prediction_type: published.prediction_type,
            noise,
            timestep_spacing: published.timestep_spacing,
            steps_offset: published.steps_offset,
            set_alpha_to_one: published.set_alpha_to_one,
            solver_order: published.solver_order,
            lower_order_final: published.lower_order_final,
            final_sigmas_type: published.final_sigmas_type,
        };
        config.validate()?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `CompVis/stable-diffusion-v1-4`, word for word.
    const STABLE_DIFFUSION: &str = r#"{
        "_class_name": "PNDMScheduler", "_diffusers_version": "0.7.0.dev0", "beta_end": 0.012,
        "beta_schedule": "scaled_linear", "beta_start": 0.00085, "num_train_timesteps": 1000,
        "set_alpha_to_one": false, "skip_prk_steps": true, "steps_offset": 1, "trained_betas": null, "clip_sample": false
    }"#;

    #[test]
    fn stable_diffusions_own_file_is_its_preset() {
        let config = SchedulerConfig::from_diffusers(STABLE_DIFFUSION).unwrap();
        assert_eq!(config, SchedulerConfig::stable_diffusion());
    }

    fn with(class: &str, more: &str) -> Result<SchedulerConfig, DiffusionError> {
        let text = format!(
            r#"{{"_class_name": "{class}", "skip_prk_steps": true, "clip_sample": false {more}}}"#
        );
        SchedulerConfig::from_diffusers(&text)
    }

    #[test]
    fn what_is_missing_is_as_diffusers_has_it() {
        let config = with("DPMSolverMultistepScheduler", "").unwrap();
        assert_eq!(config.noise.beta_schedule, BetaSchedule::Linear);
        assert!((config.noise.beta_end - 0.02).abs() < 1e-12);
        assert_eq!(config.spacing(), Spacing::Linspace);
        assert_eq!((config.solver_order, config.steps_offset), (2, 0));
        assert_eq!(
            with("DDIMScheduler", "").unwrap().spacing(),
            Spacing::Leading
        );
        let text = r#"{"_class_name": "DDIMScheduler"}"#;
        let error = SchedulerConfig::from_diffusers(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("clip_sample"), "{error}");
        let text = r#"{"_class_name": "PNDMScheduler"}"#;
        let error = SchedulerConfig::from_diffusers(text)
            .unwrap_err()
            .to_string();
        assert!(error.contains("skip_prk_steps"), "{error}");
    }

    #[test]
    fn what_changes_nothing_is_read_over() {
        let more = r#", "thresholding": false, "dynamic_thresholding_ratio": 0.995, "sample_max_value": 1.0,
            "lambda_min_clipped": -Infinity, "algorithm_type": "dpmsolver++", "solver_type": "midpoint",
            "use_karras_sigmas": false, "variance_type": null, "_anything": 3"#;
        with("DPMSolverMultistepScheduler", more).unwrap();
    }

    #[test]
    fn what_is_not_supported_is_refused_by_name() {
        for (key, value) in [
            ("thresholding", "true"),
            ("algorithm_type", "\"sde-dpmsolver++\""),
            ("solver_type", "\"heun\""),
            ("use_karras_sigmas", "true"),
            ("lambda_min_clipped", "-5.1"),
            ("euler_at_final", "true"),
            ("variance_type", "\"learned\""),
            ("trained_betas", "[0.1, 0.2]"),
            ("solver_order", "3"),
            ("steps_offset", "1000"),
            ("beta_end", "1.5"),
            ("something_new", "1"),
        ] {
            let error = with(
                "DPMSolverMultistepScheduler",
                &format!(r#", "{key}": {value}"#),
            )
            .unwrap_err()
            .to_string();
            assert!(error.contains(key), "{error}");
        }
        for (key, value) in [
            ("beta_schedule", "sigmoid"),
            ("prediction_type", "flow_prediction"),
            ("timestep_spacing", "random"),
        ] {
            let error = with("DDIMScheduler", &format!(r#", "{key}": "{value}""#))
                .unwrap_err()
                .to_string();
            assert!(error.contains(value), "{error}");
        }
        let error = with("EulerDiscreteScheduler", "").unwrap_err().to_string();
        assert!(error.contains("EulerDiscreteScheduler"), "{error}");
        for text in ["", "[]", "{}", "null"] {
            assert!(SchedulerConfig::from_diffusers(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_noise_of_any_class_is_read() {
        let text = r#"{"_class_name": "DDPMScheduler", "beta_schedule": "squaredcos_cap_v2", "variance_type": "fixed_small",
            "beta_start": 0.00085, "beta_end": 0.012, "clip_sample": true}"#;
        let config = NoiseScheduleConfig::from_diffusers(text).unwrap();
        assert_eq!(config, NoiseScheduleConfig::unclip());
    }
}
