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
        Self::load_below("", checkpoint, device)
    }

    /// As [`load`](Self::load), from below a prefix.
    ///
    /// # Errors
    ///
    /// Those of [`load`](Self::load).
    pub fn load_below(
        prefix: &str,
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let dot = if prefix.is_empty() { "" } else { "." };
        let [mean, std] = ["mean", "std"].map(|name| format!("{prefix}{dot}{name}"));
        Self::load_rows([&mean, &std], checkpoint, device)
    }

    /// As [`load`](Self::load), from the keys of mean and deviation.
    pub(crate) fn load_rows(
        [mean_key, std_key]: [&str; 2],
        checkpoint: &Checkpoint,
        device: &Device,
    ) -> Result<Self, DiffusionError> {
        let mean = checkpoint.float(mean_key)?;
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
        let mean = row(mean_key, mean)?;
        let std = row(std_key, checkpoint.float(std_key)?)?;
        Self::of(mean, std, device)
    }

    /// A normaliser for embeddings of that mean and deviation.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Sizes`] if a deviation is not above 0; [`DiffusionError::Shape`] unless both are of one width.
    pub fn new(mean: &[f32], std: &[f32], device: &Device) -> Result<Self, DiffusionError> {
        let width = mean.len();
        ConfigError::check_size("image normalizer", "width", width, limits::WIDTH)?;
        DiffusionError::check_shape("image normalizer's std", &[std.len()], &[width])?;
        let row = |values: &[f32]| TensorData::new(values.to_vec(), [1, width]);
        Self::of(row(mean), row(std), device)
    }

    fn of(mean: TensorData, std: TensorData, device: &Device) -> Result<Self, DiffusionError> {
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

    /// Mean of the embeddings, `[1, width]`.
    pub fn mean(&self) -> Tensor<2> {
        self.mean.clone()
    }

    /// Deviation of the embeddings, `[1, width]`.
    pub fn std(&self) -> Tensor<2> {
        self.std.clone()
    }

    /// The same on another device.
    pub fn on(&self, device: &Device) -> Self {
        Self {
            mean: self.mean.clone().to_device(device),
            std: self.std.clone().to_device(device),
            schedule: self.schedule.clone(),
        }
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
        let levels = vec![level; embeddings.dims()[0]];
        self.class_labels_at(embeddings, noise, &levels)
    }

    /// As [`class_labels`](Self::class_labels), with a level for each of the batch: what a UNet is trained with.
    ///
    /// # Errors
    ///
    /// Those of [`class_labels`](Self::class_labels).
    pub fn class_labels_at(
        &self,
        embeddings: Tensor<2>,
        noise: Tensor<2>,
        levels: &[usize],
    ) -> Result<Tensor<2>, DiffusionError> {
        let [batch, width] = [embeddings.dims()[0], self.width()];
        DiffusionError::check_shape("image embeddings", &embeddings.dims(), &[batch, width])?;
        let normalized = (embeddings - self.mean.clone()) / self.std.clone();
        let noised = self.schedule.add_noise(normalized, noise, levels)?;
        let noised = noised * self.std.clone() + self.mean.clone();
        let features = levels.iter().flat_map(|&level| features(level, width));
        let features = TensorData::new(features.collect(), [batch, width]);
        let features = Tensor::<2>::from_data(features, &noised.device()).cast(noised.dtype());
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
