//! Noise from the host, which is the same for every device.
//!
//! Numbers of a device's own generator differ between backends, and a picture would depend on how many are made beside it.

use std::f64::consts::TAU;

use burn::tensor::{Device, Tensor, TensorData};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What noise is for. Each use has its own numbers, so that no two are the same noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseUse {
    /// Latents that sampling starts from, or that noise a picture's latents.
    Latents,
    /// An image embedding (unCLIP).
    Embedding,
    /// The image embedding that guidance leads away from (unCLIP).
    NegativeEmbedding,
    /// A sample of the autoencoder's posterior.
    Posterior,
}

impl NoiseUse {
    const COUNT: u64 = 4;

    fn index(self) -> u64 {
        match self {
            Self::Latents => 0,
            Self::Embedding => 1,
            Self::NegativeEmbedding => 2,
            Self::Posterior => 3,
        }
    }
}

/// Standard normal noise, a function of (seed, picture, use) and of nothing else: picture 3 of a batch gets what picture 3
/// alone gets, on every backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Noise {
    seed: u64,
    first: u64,
}

impl Noise {
    /// Noise of pictures 0, 1, 2 and so on of a seed.
    pub fn new(seed: u64) -> Self {
        Self { seed, first: 0 }
    }

    /// The first picture of the batch.
    pub fn from_picture(self, first: u64) -> Self {
        Self { first, ..self }
    }

    /// Noise of a batch.
    ///
    /// # Shapes
    ///
    /// - output: `shape`, which is `[batch, ..]`
    pub fn draw<const D: usize>(
        &self,
        purpose: NoiseUse,
        shape: [usize; D],
        device: &Device,
    ) -> Tensor<D> {
        let each: usize = shape.iter().skip(1).product();
        let mut values = Vec::with_capacity(shape.iter().product());
        for picture in 0..shape[0] as u64 {
            let picture = self.first.wrapping_add(picture);
            let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
            let stream = picture.wrapping_mul(NoiseUse::COUNT);
            rng.set_stream(stream.wrapping_add(purpose.index()));
            values.extend(normal(&mut rng).take(each));
        }
        Tensor::from_data(TensorData::new(values, shape), device)
    }
}

/// Standard normal numbers by the method of Box and Muller, in f64: a pair of uniform numbers gives a pair of normal ones.
fn normal(rng: &mut ChaCha8Rng) -> impl Iterator<Item = f32> {
    std::iter::repeat_with(move || {
        // Above 0, so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
        let (sin, cos) = (TAU * rng.random::<f64>()).sin_cos();
        [(radius * cos) as f32, (radius * sin) as f32]
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use seed_device::test_device;

    use super::*;

    fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
        tensor.into_data().iter::<f32>().collect()
    }

    #[test]
    fn a_picture_of_a_batch_is_that_picture_alone() {
        let device = test_device();
        let noise = Noise::new(42);
        let shape = |batch| [batch, 4, 3, 5];
        let batch = values(noise.draw(NoiseUse::Latents, shape(4), &device));
        for picture in 0..4 {
            let noise = noise.from_picture(picture as u64);
            let alone = values(noise.draw(NoiseUse::Latents, shape(1), &device));
            assert_eq!(alone, batch[60 * picture..60 * (picture + 1)]);
        }
    }

    #[test]
    fn seeds_pictures_and_uses_have_their_own_numbers() {
        let device = test_device();
        let mut all = Vec::new();
        for seed in [0, 1, u64::MAX] {
            for first in [0, 1, u64::MAX] {
                for purpose in [
                    NoiseUse::Latents,
                    NoiseUse::Embedding,
                    NoiseUse::NegativeEmbedding,
                    NoiseUse::Posterior,
                ] {
                    let noise = Noise::new(seed).from_picture(first);
                    all.push(values(noise.draw(purpose, [1, 8], &device)));
                }
            }
        }
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one), "{index}");
        }
    }

    #[test]
    fn numbers_are_standard_normal() {
        let values = values(Noise::new(1).draw(NoiseUse::Latents, [2, 50_000], &test_device()));
        let moment = |power| {
            let sum: f64 = values.iter().map(|x| f64::from(*x).powi(power)).sum();
            sum / values.len() as f64
        };
        for (power, expected) in [(1, 0.0), (2, 1.0), (3, 0.0), (4, 3.0)] {
            let found = moment(power);
            assert!((found - expected).abs() < 0.1, "{power}: {found}");
        }
        let far = values.iter().filter(|x| x.abs() > 1.96).count();
        assert!((4_500..5_500).contains(&far), "{far}");
        // Neighbours come of one pair, and are independent all the same.
        let pairs: f64 = values.chunks(2).map(|p| f64::from(p[0] * p[1])).sum();
        assert!((pairs / 50_000.0).abs() < 0.02);
    }
}
