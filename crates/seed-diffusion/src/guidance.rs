//! Classifier-free guidance: away from what the model says of nothing, towards what it says of the prompt.
//!
//! - papers: <https://arxiv.org/abs/2207.12598>; <https://arxiv.org/abs/2305.08891>, section 3.4, for the rescaling
//! - original code: `StableDiffusionPipeline` of diffusers, `rescale_noise_cfg`

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::error::DiffusionError;

/// How strongly the prompt is followed.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Settings", into = "Settings")]
pub struct Guidance {
    scale: f64,
    rescale: f64,
}

/// A [`Guidance`] before its ranges are looked at.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    scale: f64,
    #[serde(default)]
    rescale: f64,
}

impl TryFrom<Settings> for Guidance {
    type Error = DiffusionError;

    fn try_from(settings: Settings) -> Result<Self, DiffusionError> {
        Self::new(settings.scale)?.with_rescale(settings.rescale)
    }
}

impl From<Guidance> for Settings {
    fn from(guidance: Guidance) -> Self {
        Self {
            scale: guidance.scale,
            rescale: guidance.rescale,
        }
    }
}

impl Guidance {
    /// Guidance of that scale: 1 follows the prompt as it is, 7.5 is Stable Diffusion's.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Setting`] unless it is at least 0 and finite.
    pub fn new(scale: f64) -> Result<Self, DiffusionError> {
        let sound = scale.is_finite() && scale >= 0.0;
        DiffusionError::require(sound, "guidance", scale, "at least 0, and finite")?;
        Ok(Self {
            scale,
            rescale: 0.0,
        })
    }

    /// Brings the deviation of the guided prediction back to that of the prompt's, by that share: 0 for not at all, 1 for
    /// wholly. Strong guidance overexposes pictures without it.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Setting`] unless it is between 0 and 1.
    pub fn with_rescale(self, rescale: f64) -> Result<Self, DiffusionError> {
        let sound = (0.0..=1.0).contains(&rescale);
        DiffusionError::require(sound, "guidance_rescale", rescale, "between 0 and 1")?;
        Ok(Self { rescale, ..self })
    }

    /// The scale.
    pub fn scale(&self) -> f64 {
        self.scale
    }

    /// The share by which the deviation is brought back.
    pub fn rescale(&self) -> f64 {
        self.rescale
    }

    /// Whether the unconditional half is needed: not where the scale is 1.
    pub fn is_on(&self) -> bool {
        (self.scale - 1.0).abs() > 0.0
    }

    /// Calls the model once for both halves, and guides.
    ///
    /// The model is given the latents twice, first for the unconditional half; where the scale is 1, once, for the
    /// conditional half alone. Its context must have as many rows.
    ///
    /// # Shapes
    ///
    /// - latents, output: `[batch, channels, height, width]`
    /// - to and from the model: `[2 × batch, ..]`, or `[batch, ..]` where guidance is off
    ///
    /// # Errors
    ///
    /// Those of `model`; [`DiffusionError::Shape`] if it gives another shape than it was given.
    pub fn guided<E: From<DiffusionError>>(
        &self,
        latents: Tensor<4>,
        model: impl FnOnce(Tensor<4>) -> Result<Tensor<4>, E>,
    ) -> Result<Tensor<4>, E> {
        if !self.is_on() {
            return model(latents);
        }
        let batch = latents.dims()[0];
        let both = Tensor::cat(vec![latents.clone(), latents], 0);
        let shape = both.dims();
        let output = model(both)?;
        DiffusionError::check_shape("the prediction", &output.dims(), &shape)?;
        let unconditional = output.clone().narrow(0, 0, batch);
        let conditional = output.narrow(0, batch, batch);
        Ok(self.combine(unconditional, conditional))
    }

    /// The guided prediction, u + scale·(c − u).
    ///
    /// # Shapes
    ///
    /// - unconditional, conditional, output: `[batch, channels, height, width]`
    pub fn combine(&self, unconditional: Tensor<4>, conditional: Tensor<4>) -> Tensor<4> {
        if !self.is_on() {
            return conditional;
        }
        let towards = conditional.clone() - unconditional.clone();
        let guided = unconditional + towards.mul_scalar(self.scale);
        if self.rescale <= 0.0 {
            return guided;
        }
        // A picture of one value has no deviation, and stays.
        let share = deviation(conditional) / deviation(guided.clone()).clamp_min(f32::MIN_POSITIVE);
        let factor = share
            .mul_scalar(self.rescale)
            .add_scalar(1.0 - self.rescale);
        guided * factor
    }
}

/// The deviation of each of a batch, `[batch, 1, 1, 1]`.
fn deviation(x: Tensor<4>) -> Tensor<4> {
    let batch = x.dims()[0];
    let flat: Tensor<2> = x.flatten(1, 3);
    flat.var(1).sqrt().reshape([batch, 1, 1, 1])
}

#[cfg(test)]
mod tests {
    use seed_device::test_device;

    use super::*;

    #[test]
    fn what_is_no_guidance_is_refused() {
        for scale in [-1.0, f64::NAN, f64::INFINITY] {
            let error = Guidance::new(scale).unwrap_err().to_string();
            assert!(error.contains("guidance"), "{error}");
        }
        assert!(serde_json::from_str::<Guidance>(r#"{"scale": -1.0}"#).is_err());
        let guidance = Guidance::new(7.5).unwrap();
        for rescale in [-0.1, 1.1, f64::NAN] {
            assert!(guidance.with_rescale(rescale).is_err());
        }
        let guidance = guidance.with_rescale(0.7).unwrap();
        let text = serde_json::to_string(&guidance).unwrap();
        assert_eq!(serde_json::from_str::<Guidance>(&text).unwrap(), guidance);
    }

    #[test]
    fn one_half_is_enough_where_the_scale_is_1() {
        let device = test_device();
        let latents = Tensor::<4>::ones([3, 1, 2, 2], &device);
        for (scale, rows) in [(1.0, 3), (0.0, 6), (2.0, 6)] {
            let guidance = Guidance::new(scale).unwrap();
            let output = guidance.guided(latents.clone(), |x| {
                assert_eq!(x.dims()[0], rows);
                Ok::<_, DiffusionError>(x)
            });
            assert_eq!(output.unwrap().dims(), [3, 1, 2, 2]);
        }
        let error = Guidance::new(2.0)
            .unwrap()
            .guided(latents, |x| Ok::<_, DiffusionError>(x.narrow(0, 0, 3)));
        assert!(matches!(error, Err(DiffusionError::Shape { .. })));
    }

    /// The first half is the unconditional one.
    #[test]
    fn halves_keep_their_order() {
        let device = test_device();
        let latents = Tensor::<4>::zeros([1, 1, 1, 2], &device);
        let output = Guidance::new(3.0).unwrap().guided(latents, |_| {
            let data = [[[[1.0, 2.0]]], [[[2.0, 4.0]]]];
            Ok::<_, DiffusionError>(Tensor::<4>::from_floats(data, &device))
        });
        let values: Vec<f32> = output.unwrap().into_data().iter::<f32>().collect();
        assert_eq!(values, [4.0, 8.0]);
    }

    #[test]
    fn a_picture_of_one_value_stays_finite() {
        let x = Tensor::<4>::ones([1, 1, 2, 2], &test_device());
        let guidance = Guidance::new(2.0).unwrap().with_rescale(0.5).unwrap();
        let values = guidance.combine(x.clone().mul_scalar(0.5), x).into_data();
        assert!(values.iter::<f32>().all(f32::is_finite));
    }
}
