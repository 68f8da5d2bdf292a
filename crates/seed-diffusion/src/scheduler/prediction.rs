//! What a model's output says of the picture and of the noise.

use std::{fmt, str::FromStr};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::DiffusionError;

/// What the model predicts; the values in a file are those of diffusers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prediction {
    /// The noise ε (Stable Diffusion 1, and the base models of 2).
    Epsilon,
    /// The velocity v = √ᾱ·ε − √(1−ᾱ)·x₀ (<https://arxiv.org/abs/2202.00512>, appendix D; Stable Diffusion 2).
    #[serde(rename = "v_prediction")]
    Velocity,
    /// The picture x₀ itself.
    Sample,
}

impl Prediction {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Epsilon, Self::Velocity, Self::Sample];

    fn name(self) -> &'static str {
        match self {
            Self::Epsilon => "epsilon",
            Self::Velocity => "v_prediction",
            Self::Sample => "sample",
        }
    }

    /// The picture x₀, where ᾱ is left of it.
    pub(super) fn denoised(self, alpha_bar: f64) -> Mix {
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        match self {
            Self::Epsilon => Mix::new(1.0 / signal, -noise / signal),
            Self::Velocity => Mix::new(signal, -noise),
            Self::Sample => Mix::new(0.0, 1.0),
        }
    }

    /// The noise ε, where ᾱ is left of the picture.
    pub(super) fn noise(self, alpha_bar: f64) -> Mix {
        let (signal, noise) = (alpha_bar.sqrt(), (1.0 - alpha_bar).sqrt());
        match self {
            Self::Epsilon => Mix::new(0.0, 1.0),
            Self::Velocity => Mix::new(noise, signal),
            Self::Sample => Mix::new(1.0 / noise, -signal / noise),
        }
    }

    /// The latents where `to` is left of the picture, of those where `from` is: the same picture under the same noise in
    /// other shares (DDIM, <https://arxiv.org/abs/2010.02502>, equation 12 without fresh noise).
    pub(super) fn transfer(self, from: f64, to: f64) -> Mix {
        let denoised = self.denoised(from).scaled(to.sqrt());
        let noise = self.noise(from).scaled((1.0 - to).sqrt());
        Mix::new(
            denoised.latents + noise.latents,
            denoised.output + noise.output,
        )
    }
}

impl fmt::Display for Prediction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Prediction {
    type Err = DiffusionError;

    /// # Errors
    ///
    /// [`DiffusionError::Setting`] with all names, for another name.
    fn from_str(name: &str) -> Result<Self, DiffusionError> {
        let found = Self::ALL.into_iter().find(|one| one.name() == name);
        found.ok_or_else(|| DiffusionError::Setting {
            setting: "prediction",
            value: name.to_owned(),
            expected: format!("one of {}", Self::ALL.map(Self::name).join(", ")),
        })
    }
}

/// So much of the latents and so much of the model's output. Shares are worked out in f64, so that tensors are touched once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mix {
    latents: f64,
    output: f64,
}

impl Mix {
    pub(super) fn new(latents: f64, output: f64) -> Self {
        Self { latents, output }
    }

    fn scaled(self, by: f64) -> Self {
        Self::new(self.latents * by, self.output * by)
    }

    /// # Shapes
    ///
    /// - latents, output, result: `[batch, channels, height, width]`
    pub(super) fn of(self, latents: &Tensor<4>, output: &Tensor<4>) -> Tensor<4> {
        latents.clone().mul_scalar(self.latents) + output.clone().mul_scalar(self.output)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_have_one_name_everywhere() {
        for prediction in Prediction::ALL {
            let name = prediction.to_string();
            assert_eq!(name.parse::<Prediction>().unwrap(), prediction);
            assert_eq!(
                serde_json::to_value(prediction).unwrap().as_str(),
                Some(&*name)
            );
        }
        let error = "velocity".parse::<Prediction>().unwrap_err().to_string();
        assert!(error.contains("v_prediction"), "{error}");
    }

    /// Each prediction of the same picture and noise leads to the same place.
    #[test]
    fn predictions_agree() {
        let (picture, noise) = (0.7f64, -1.3f64);
        let at = |alpha_bar: f64| alpha_bar.sqrt() * picture + (1.0 - alpha_bar).sqrt() * noise;
        for (from, to) in [(0.005f64, 0.2f64), (0.3, 0.999), (0.9, 1.0), (0.4, 0.4)] {
            let velocity = from.sqrt() * noise - (1.0 - from).sqrt() * picture;
            for (prediction, output) in [
                (Prediction::Epsilon, noise),
                (Prediction::Velocity, velocity),
                (Prediction::Sample, picture),
            ] {
                let value = |mix: Mix| mix.latents * at(from) + mix.output * output;
                assert!((value(prediction.denoised(from)) - picture).abs() < 1e-12);
                assert!((value(prediction.noise(from)) - noise).abs() < 1e-12);
                assert!((value(prediction.transfer(from, to)) - at(to)).abs() < 1e-12);
            }
        }
    }
}
