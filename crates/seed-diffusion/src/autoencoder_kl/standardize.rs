//! Latents of mean 0 and deviation 1, without a scaling factor.

use burn::tensor::{Tensor, TensorData};

use super::model::AutoencoderKl;
use crate::error::DiffusionError;

impl AutoencoderKl {
    /// The same autoencoder whose latents are `(latents − mean) / deviation` of each channel: what is done to the latents is
    /// folded into the convolutions before and behind them, so that it is exact.
    ///
    /// # Errors
    ///
    /// [`DiffusionError::Shape`] unless there is a mean and a deviation for each channel; [`DiffusionError::Setting`] if one is not
    /// finite or a deviation is not above 0.
    pub fn standardized(mut self, mean: &[f32], deviation: &[f32]) -> Result<Self, DiffusionError> {
        let channels = self.config().latent_channels;
        for (part, values) in [("latents' mean", mean), ("latents' deviation", deviation)] {
            DiffusionError::check_shape(part, &[values.len()], &[channels])?;
        }
        for (&mean, &deviation) in mean.iter().zip(deviation) {
            DiffusionError::require(mean.is_finite(), "latents' mean", mean, "finite")?;
            let sound = deviation > 0.0 && deviation.is_finite();
            DiffusionError::require(sound, "latents' deviation", deviation, "above 0 and finite")?;
        }
        let device = self.quant_conv.weight.val().device();
        let row = |values: Vec<f32>| {
            let count = values.len();
            Tensor::<1>::from_data(TensorData::new(values, [count]), &device)
        };
        // In front: means are moved and divided, logarithms of variances get twice the logarithm less.
        let scale: Vec<f32> = deviation
            .iter()
            .map(|d| d.recip())
            .chain(vec![1.0; channels])
            .collect();
        let shift: Vec<f32> = mean
            .iter()
            .zip(deviation)
            .map(|(m, d)| -m / d)
            .chain(deviation.iter().map(|d| -2.0 * d.ln()))
            .collect();
        let scale = row(scale);
        let before = &mut self.quant_conv;
        before.weight = before
            .weight
            .clone()
            .map(|weight| weight * scale.clone().reshape([2 * channels, 1, 1, 1]));
        before.bias = before
            .bias
            .take()
            .map(|bias| bias.map(|bias| bias * scale + row(shift)));
        // Behind: what comes in is multiplied and moved back.
        let (mean, deviation) = (row(mean.to_vec()), row(deviation.to_vec()));
        let behind = &mut self.post_quant_conv;
        let weight = behind.weight.val().reshape([channels, channels]);
        let moved = weight
            .matmul(mean.reshape([channels, 1]))
            .reshape([channels]);
        behind.bias = behind.bias.take().map(|bias| bias.map(|bias| bias + moved));
        behind.weight = behind
            .weight
            .clone()
            .map(|weight| weight * deviation.reshape([1, channels, 1, 1]));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};
    use seed_device::test_device;

    use super::*;
    use crate::autoencoder_kl::config::AutoencoderKlConfig;

    fn model() -> AutoencoderKl {
        let config = AutoencoderKlConfig {
            sample_size: 16,
            channels: vec![8, 8],
            layers: 1,
            groups: 4,
            scaling_factor: 1.0,
            ..AutoencoderKlConfig::sd()
        };
        config.init(&test_device()).unwrap()
    }

    #[test]
    fn what_it_rebuilds_stays_and_its_latents_are_moved() {
        let device = test_device();
        let model = model();
        let pictures = Tensor::random([2, 3, 16, 16], Distribution::Uniform(-1.0, 1.0), &device);
        let (mean, deviation) = ([0.5, -1.0, 2.0, 0.0], [2.0, 0.25, 1.0, 3.0]);
        let other = model.clone().standardized(&mean, &deviation).unwrap();
        let before = model.encode(pictures.clone());
        let after = other.encode(pictures);
        let row =
            |values: [f32; 4]| Tensor::<1>::from_floats(values, &device).reshape([1, 4, 1, 1]);
        let close = |a: Tensor<4>, b: Tensor<4>| {
            a.into_data()
                .assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(1e-4));
        };
        close(
            after.mean.clone(),
            (before.mean.clone() - row(mean)) / row(deviation),
        );
        close(after.std(), before.std() / row(deviation));
        close(other.decode(after.mean), model.decode(before.mean));
    }

    #[test]
    fn what_is_no_deviation_is_refused() {
        for deviation in [0.0, -1.0, f32::NAN, f32::INFINITY] {
            let error = model().standardized(&[0.0; 4], &[1.0, 1.0, deviation, 1.0]);
            assert!(error.unwrap_err().to_string().contains("deviation"));
        }
        assert!(model().standardized(&[0.0; 3], &[1.0; 4]).is_err());
    }
}
