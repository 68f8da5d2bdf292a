//! What a picture says of its latents.

use burn::tensor::Tensor;

/// Where the logarithm of the variance ends, as in the reference (`DiagonalGaussianDistribution`).
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

/// A normal distribution at each place of the latents.
#[derive(Debug, Clone)]
pub struct Moments {
    /// `[batch, latent_channels, height, width]`, which is the most likely sample too.
    pub mean: Tensor<4>,
    /// Natural logarithm of the variance, between −30 and 20, in the shape of `mean`.
    pub log_variance: Tensor<4>,
}

impl Moments {
    /// Of what the encoder gives, `[batch, 2 · latent_channels, height, width]`: means, then logarithms of variances.
    pub(super) fn of(encoded: Tensor<4>) -> Self {
        let channels = encoded.dims()[1] / 2;
        let [low, high] = LOG_VARIANCE;
        Self {
            mean: encoded.clone().narrow(1, 0, channels),
            log_variance: encoded.narrow(1, channels, channels).clamp(low, high),
        }
    }

    /// Standard deviation, in the shape of `mean`.
    pub fn std(&self) -> Tensor<4> {
        self.log_variance.clone().mul_scalar(0.5).exp()
    }

    /// `mean + std · noise`.
    ///
    /// # Shapes
    ///
    /// - noise, output: `[batch, latent_channels, height, width]`
    pub fn sample(&self, noise: Tensor<4>) -> Tensor<4> {
        self.mean.clone() + self.std() * noise
    }
}
