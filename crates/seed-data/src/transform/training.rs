//! Crop at random, flip, augment and normalise: a picture as training sees it once.

use image::{RgbImage, imageops};
use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

use super::augment::Augment;
use super::normalize::Normalize;
use super::random::{between, chance};
use super::resize::{Filter, Region, squash_region};

/// The training transform: torchvision's `RandomResizedCrop` and `RandomHorizontalFlip`, then the
/// optional [`Augment`].
///
/// The reference flips half of the pictures (`flip: 0.5`). The default here is not to flip, for a
/// corpus with letters and arrows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainTransform {
    /// Side of the output, in pixels.
    pub size: u32,
    /// Resampling filter.
    #[serde(default)]
    pub filter: Filter,
    /// Bounds of the cropped share of the area.
    #[serde(default = "default_scale")]
    pub scale: (f64, f64),
    /// Bounds of the crop's width over its height.
    #[serde(default = "default_ratio")]
    pub ratio: (f64, f64),
    /// Probability of a horizontal flip.
    #[serde(default)]
    pub flip: f32,
    /// Further augmentation, off by default.
    #[serde(default)]
    pub augment: Augment,
}

fn default_scale() -> (f64, f64) {
    (0.5, 1.0)
}

fn default_ratio() -> (f64, f64) {
    (3.0 / 4.0, 4.0 / 3.0)
}

impl TrainTransform {
    /// Bicubic crops of half to all of the area, without flip or further augmentation.
    pub fn new(size: u32) -> Self {
        Self {
            size,
            filter: Filter::Bicubic,
            scale: default_scale(),
            ratio: default_ratio(),
            flip: 0.0,
            augment: Augment::default(),
        }
    }

    /// The crop that `rng` draws from a picture of `width × height` pixels: torchvision's
    /// `RandomResizedCrop.get_params`, with its central crop after ten misses.
    pub fn region(&self, width: u32, height: u32, rng: &mut impl Rng) -> Region {
        let (w, h) = (f64::from(width), f64::from(height));
        let (log_low, log_high) = (self.ratio.0.ln(), self.ratio.1.ln());
        for _ in 0..10 {
            let area = w * h * between(rng, self.scale.0, self.scale.1);
            let aspect = between(rng, log_low, log_high).exp();
            let crop_width = (area * aspect).sqrt().round_ties_even() as u32;
            let crop_height = (area / aspect).sqrt().round_ties_even() as u32;
            if (1..=width).contains(&crop_width) && (1..=height).contains(&crop_height) {
                return Region {
                    top: rng.random_range(0..=height - crop_height),
                    left: rng.random_range(0..=width - crop_width),
                    width: crop_width,
                    height: crop_height,
                };
            }
        }
        let (crop_width, crop_height) = if w / h < self.ratio.0 {
            (width, (w / self.ratio.0).round_ties_even() as u32)
        } else if w / h > self.ratio.1 {
            ((h * self.ratio.1).round_ties_even() as u32, height)
        } else {
            (width, height)
        };
        let (crop_width, crop_height) = (crop_width.clamp(1, width), crop_height.clamp(1, height));
        Region {
            top: (height - crop_height) / 2,
            left: (width - crop_width) / 2,
            width: crop_width,
            height: crop_height,
        }
    }

    /// The cropped, flipped and augmented picture, still 8 bit.
    pub fn pixels(&self, picture: &RgbImage, rng: &mut impl Rng) -> RgbImage {
        let region = self.region(picture.width(), picture.height(), rng);
        let mut out = squash_region(picture, region, self.size, self.size, self.filter);
        if chance(rng, self.flip) {
            imageops::flip_horizontal_in_place(&mut out);
        }
        self.augment.apply(out, rng)
    }

    /// The cropped, flipped, augmented and normalised picture, `[3, size, size]` row-major.
    pub fn tensor(
        &self,
        picture: &RgbImage,
        normalize: &Normalize,
        rng: &mut impl Rng,
    ) -> Vec<f32> {
        normalize.apply(&self.pixels(picture, rng))
    }
}
