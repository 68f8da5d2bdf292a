//! How far a rebuilt picture is from the original.

use burn::tensor::{Tensor, module::avg_pool2d, ops::AvgPoolOptions};
use seed_diffusion::Moments;
use serde::{Deserialize, Serialize};

/// Side of the squares whose mean colours are compared too.
const POOL: usize = 4;

/// Weights of the terms beside the mean absolute difference of pixels, which has 1.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectiveWeights {
    /// Differences between neighbouring pixels, across and down: edges.
    pub gradients: f64,
    /// Colours by [axes of equal deviation](super::OpponentAxes).
    pub opponent: f64,
    /// The same of squares of 4 × 4 pixels.
    pub pooled_opponent: f64,
    /// Divergence of the latents' distribution from the standard normal one, as a sum over a picture's latents.
    pub divergence: f64,
}

/// The objective of an autoencoder, its colours by these axes.
#[derive(Debug, Clone)]
pub struct Objective {
    /// Weights of its terms.
    pub weights: ObjectiveWeights,
    /// `[1, 3, 3]`, on the pictures' device ([`OpponentAxes::matrix`](super::OpponentAxes::matrix)).
    pub axes: Tensor<3>,
}

/// Terms of the objective, each `[1]`, not weighted.
#[derive(Debug, Clone)]
pub struct Terms {
    /// Mean absolute difference of pixels.
    pub pixels: Tensor<1>,
    /// Kullback-Leibler divergence of a picture's latents from the standard normal distribution, in nats.
    pub divergence: Tensor<1>,
    /// All terms, weighted.
    pub total: Tensor<1>,
}

impl Objective {
    /// # Shapes
    ///
    /// - original, rebuilt: `[batch, 3, height, width]`, sides divisible by 4
    pub fn terms(&self, original: Tensor<4>, rebuilt: Tensor<4>, moments: &Moments) -> Terms {
        let [batch, channels, height, width] = original.dims();
        let difference = rebuilt - original;
        let pixels = difference.clone().abs().mean();
        let down = difference.clone().narrow(2, 1, height - 1)
            - difference.clone().narrow(2, 0, height - 1);
        let across =
            difference.clone().narrow(3, 1, width - 1) - difference.clone().narrow(3, 0, width - 1);
        let gradients = down.abs().mean() + across.abs().mean();
        let colours = self
            .axes
            .clone()
            .matmul(difference.reshape([batch, channels, height * width]))
            .reshape([batch, channels, height, width]);
        let squares = AvgPoolOptions::new([POOL, POOL]).with_stride([POOL, POOL]);
        let pooled = avg_pool2d(colours.clone(), squares);
        let divergence = divergence(moments);
        let weights = &self.weights;
        let total = pixels.clone()
            + gradients.mul_scalar(weights.gradients)
            + colours.abs().mean().mul_scalar(weights.opponent)
            + pooled.abs().mean().mul_scalar(weights.pooled_opponent)
            + divergence.clone().mul_scalar(weights.divergence);
        Terms {
            pixels,
            divergence,
            total,
        }
    }
}

/// ½ Σ (μ² + σ² − 1 − ln σ²) of a picture's latents, mean over the batch.
fn divergence(moments: &Moments) -> Tensor<1> {
    let batch = moments.mean.dims()[0];
    let variance = moments.log_variance.clone().exp();
    let each = moments.mean.clone().square() + variance - moments.log_variance.clone();
    each.sub_scalar(1.0).sum().mul_scalar(0.5 / batch as f64)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;
    use seed_device::test_device;

    use super::*;
    use crate::autoencoder::OpponentAxes;

    fn objective(device: &Device) -> Objective {
        Objective {
            weights: ObjectiveWeights {
                gradients: 0.25,
                opponent: 0.5,
                pooled_opponent: 0.5,
                divergence: 1e-6,
            },
            axes: OpponentAxes::of([]).matrix(device),
        }
    }

    fn number(tensor: Tensor<1>) -> f64 {
        tensor.into_data().iter::<f64>().next().unwrap()
    }

    fn standard(shape: [usize; 4], device: &Device) -> Moments {
        Moments {
            mean: Tensor::zeros(shape, device),
            log_variance: Tensor::zeros(shape, device),
        }
    }

    #[test]
    fn a_picture_rebuilt_costs_nothing_and_standard_latents_neither() {
        let device = test_device();
        let picture =
            Tensor::<4>::random([2, 3, 8, 8], burn::tensor::Distribution::Default, &device);
        let terms =
            objective(&device).terms(picture.clone(), picture, &standard([2, 4, 2, 2], &device));
        assert!(number(terms.total).abs() < 1e-6);
    }

    /// Worked out by hand: one pixel of 64 in each of the three channels is off by 1.
    #[test]
    fn one_wrong_pixel() {
        let device = test_device();
        let picture = Tensor::<4>::zeros([1, 3, 8, 8], &device);
        let wrong = picture.clone().slice_assign(
            [0..1, 0..3, 3..4, 3..4],
            Tensor::<4>::ones([1, 3, 1, 1], &device),
        );
        let terms = objective(&device).terms(picture, wrong, &standard([1, 4, 2, 2], &device));
        let pixels = 1.0 / 64.0;
        assert!((number(terms.pixels) - pixels).abs() < 1e-6);
        // Two of 56 differences down, and two across.
        let gradients = 4.0 / 56.0;
        // √3 along luma, nothing along the others; the same of a square's mean, with a sixteenth of the places.
        let opponent = 3f64.sqrt() / 3.0 / 64.0;
        let pooled = 3f64.sqrt() / 16.0 / 3.0 / 4.0;
        let expected = pixels + 0.25 * gradients + 0.5 * opponent + 0.5 * pooled;
        let found = number(terms.total);
        assert!((found - expected).abs() < 1e-5, "{found} {expected}");
    }

    #[test]
    fn divergence_is_that_of_normal_distributions() {
        let device = test_device();
        let shape = [1, 1, 1, 1];
        let moments = Moments {
            mean: Tensor::<4>::full(shape, 2.0, &device),
            log_variance: Tensor::<4>::full(shape, 0.25f64.ln(), &device),
        };
        let expected = 0.5 * (4.0 + 0.25 - 1.0 - 0.25f64.ln());
        assert!((number(divergence(&moments)) - expected).abs() < 1e-5);
    }
}
