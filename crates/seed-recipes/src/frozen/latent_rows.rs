//! Latents of pictures: what a UNet is trained on.

use std::sync::Arc;

use seed_data::{Normalize, PairSet, TRANSFORM_VERSION};
use seed_diffusion::AutoencoderKl;

use burn::tensor::Tensor;

use super::rows::{FrozenCache, FrozenRows, Views, hex, look};
use crate::{error::RecipeError, tensors::stack};

impl FrozenCache<'_> {
    /// The distribution of the latents of each picture in each view, scaled as the UNet sees them:
    /// `[2 · channels, height · width]`, means, then deviations. `weights` identifies the autoencoder.
    ///
    /// Views are those of [`image_tokens`](Self::image_tokens), crop for crop.
    pub fn latents(
        &self,
        autoencoder: &AutoencoderKl,
        weights: &str,
        renderings: &[Arc<dyn PairSet>],
        views: &Views,
    ) -> Result<FrozenRows, RecipeError> {
        let config = autoencoder.config();
        let size = config.sample_size;
        let side = size / config.factor();
        let shape = [2 * config.latent_channels, side * side];
        let mut key = self
            .key("latents", shape, weights)
            .part("transform", TRANSFORM_VERSION)
            .part("views", format!("{views:?}"));
        for set in renderings {
            key = key.part("set", hex(&set.fingerprint()));
        }
        let normalize = Normalize::new([0.5; 3], [0.5; 3]);
        let of = (renderings[0].len(), views.count());
        self.rows(key, "latents", of, shape, |view, range| {
            let count = range.len();
            let pictures = look(renderings, views, size, &normalize, view, range)?;
            let pictures = stack(pictures, [count, 3, size, size], self.device);
            let moments = autoencoder.encode(pictures);
            let both = Tensor::cat(vec![moments.mean.clone(), moments.std()], 1);
            Ok(both.mul_scalar(config.scaling_factor).flatten(2, 3))
        })
    }
}
