//! Image embeddings as unCLIP's UNet takes them: noised in units of their own deviation, beside the level of that noise.
//!
//! - paper: <https://arxiv.org/abs/2204.06125>
//! - published weights: `stabilityai/stable-diffusion-2-1-unclip`, `image_normalizer`
//! - original code: `StableUnCLIPImageNormalizer` and `noise_image_embeddings` of diffusers

use burn::tensor::{Device, Tensor, TensorData};
use seed_nn::{ConfigError, limits};
use seed_weights::{Checkpoint, WeightsError};

use crate::{
    error::DiffusionError,
    scheduler::{NoiseSchedule, NoiseScheduleConfig},
};

/// Mean and deviation of image embeddings, and the noise that is added to them.
#[derive(Debug, Clone)]
pub struct ImageNormalizer {
    /// `[1, width]`
    mean: Tensor<2>,
    /// `[1, width]`
    std: Tensor<2>,
    schedule: NoiseSchedule,
}

impl ImageNormalizer {
    /// Reads `mean` and `std`. The noise is unCLIP's: a squared cosine over 1000 levels.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Weights`] if one is missing or damaged, or they are no rows of one width; [`DiffusionError::Sizes`]
    /// if a deviation is not above 0.
    pub fn load(checkpoint: &Checkpoint, device: &Device) -> Result<Self, DiffusionError> {
        let mean = checkpoint.float("mean")?;
        let width = mean.shape().last().copied().unwrap_or(0);
        ConfigError::check_size("image normalizer", "width", width, limits::WIDTH)?;
        let row = |key: &str, data: TensorData| {
            let found = data.shape().to_vec();
            if found == [1, width] {
                return Ok(data);
            }
            Err(WeightsError::Shape {
                name: checkpoint.name().to_owned(),
                key: key.to_owned(),
                found,
                expected: vec![1, width],
            })
        };
        let mean = row("mean", mean)?;
        let std = row("std", checkpoint.float("std")?)?;
        for deviation in std.iter::<f32>() {
            let sound = deviation > 0.0;
            ConfigError::check(sound, "image normalizer", "std", deviation, "above 0")?;
        }
        Ok(Self {
            mean: Tensor::from_data(mean, device),
            std: Tensor::from_data(std, device),
            schedule: NoiseScheduleConfig::unclip().init()?,
        })
    }

    /// Width of an image embedding; class labels have twice as many numbers.
    pub fn width(&self) -> usize {
        self.mean.dims()[1]
    }

    /// Number of noise levels.
    pub fn levels(&self) -> usize {
        self.schedule.alpha_bars().len()
    }

    /// Class labels of image embeddings: noised, with the features of the level behind them.
    ///
    /// Level 0 is a little noise too. The pictures vary more the higher the level is.
    ///
    /// # Shapes
    ///
    /// - embeddings, noise: `[batch, width]`; noise is standard normal
    /// - output: `[batch, 2 × width]`
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Shape`], [`DiffusionError::Timestep`] for a level that there is not.
    pub fn class_labels(
        &self,
        embeddings: Tensor<2>,
        noise: Tensor<2>,
        level: usize,
    ) -> Result<Tensor<2>, DiffusionError> {
        let [batch, width] = [embeddings.dims()[0], self.width()];
        DiffusionError::check_shape("image embeddings", &embeddings.dims(), &[batch, width])?;
        let normalized = (embeddings - self.mean.clone()) / self.std.clone();
        let noised = self
            .schedule
            .add_noise(normalized, noise, &vec![level; batch])?;
        let noised = noised * self.std.clone() + self.mean.clone();
        let features = TensorData::new(features(level, width), [1, width]);
        let features = Tensor::<2>::from_data(features, &noised.device())
            .cast(noised.dtype())
            .expand([batch, width]);
        Ok(Tensor::cat(vec![noised, features], 1))
    }

    /// Class labels that guidance leads away from where there is no negative embedding: all zero, the level's features too.
    ///
    /// # Shapes
    ///
    /// - output: `[batch, 2 × width]`
    pub fn zero_labels(&self, batch: usize) -> Tensor<2> {
        Tensor::zeros([batch, 2 * self.width()], &self.mean.device())
    }
}

/// Sinusoidal features of a level: cosines, then sines, of falling frequencies (`get_timestep_embedding` of diffusers with
/// `flip_sin_to_cos` and `downscale_freq_shift` 0); a last odd place is 0.
fn features(level: usize, width: usize) -> Vec<f32> {
    let half = width / 2;
    let angle = |index: usize| level as f64 * 10_000f64.powf(-(index as f64) / half as f64);
    let cosines = (0..half).map(|index| angle(index).cos() as f32);
    let sines = (0..half).map(|index| angle(index).sin() as f32);
    let padding = std::iter::repeat_n(0.0, width % 2);
    cosines.chain(sines).chain(padding).collect()
}
